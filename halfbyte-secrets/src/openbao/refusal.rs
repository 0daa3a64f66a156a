//! What the server says when it says no, told apart, each with what to do.

use std::borrow::Cow;
use std::time::Duration;

use halfbyte_core::client::Response;
use http::StatusCode;
use serde::Deserialize;

use crate::{Error, ErrorKind};

/// What is repeated of an error's text, in lower case. The rest of it may hold what was sent or stored.
const WORDS: [&str; 27] = [
    "permission denied",
    "invalid token",
    "bad token",
    "missing client token",
    "invalid role or secret id",
    "invalid role id",
    "invalid secret id",
    "invalid role name",
    "service account name not authorized",
    "namespace not authorized",
    "invalid audience",
    "token is expired",
    "error validating token",
    UNKNOWN_ROLE,
    LEASE_NOT_FOUND,
    "lease is not renewable",
    "lease expired",
    NO_HANDLER,
    UNSUPPORTED_PATH,
    "unsupported operation",
    SEALED,
    UPGRADING,
    "not initialized",
    "rate limit quota exceeded",
    "lease count quota exceeded",
    "barrier is sealed",
    "context deadline exceeded",
];

const SEALED: &str = "vault is sealed";
const UPGRADING: &str = "upgrading from non-versioned to versioned";
const UNKNOWN_ROLE: &str = "unknown role";
const LEASE_NOT_FOUND: &str = "lease not found";
const NO_HANDLER: &str = "no handler for route";
const UNSUPPORTED_PATH: &str = "unsupported path";
/// The ways to say that a token does not exist, or no longer. OpenBao itself says "permission denied".
const BAD_TOKEN: [&str; 2] = ["invalid token", "bad token"];

/// A status that means no, with the known words of its text.
pub(super) struct Refusal {
    status: u16,
    words: Vec<&'static str>,
    retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    errors: Vec<Cow<'a, str>>,
}

impl Refusal {
    /// `None` if the answer is none.
    pub(super) fn of(response: &Response) -> Option<Self> {
        let status = response.status();
        (!status.is_success()).then(|| Self::new(status, response.body(), response.retry_after()))
    }

    fn new(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Self {
        let errors = serde_json::from_slice::<Body<'_>>(body).map(|body| body.errors).unwrap_or_default();
        let errors: Vec<String> = errors.iter().map(|error| error.to_ascii_lowercase()).collect();
        let said = |word: &&str| errors.iter().any(|error| error.contains(*word));
        Self { status: status.as_u16(), words: WORDS.into_iter().filter(said).collect(), retry_after }
    }

    pub(super) fn is_forbidden(&self) -> bool {
        self.status == 403
    }

    /// It was the token, and not what it may do.
    pub(super) fn is_of_token(&self) -> bool {
        self.is_forbidden() && BAD_TOKEN.into_iter().any(|word| self.says(word))
    }

    /// How long to leave the server alone.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.retry_after.filter(|_| self.status == 429)
    }

    /// As an error; `what` was asked for, in words that may be shown.
    pub(super) fn error(&self, what: &str) -> Error {
        let (kind, why) = self.meaning();
        let mut message = format!("OpenBao answered {} to {what}", self.status);
        if !self.words.is_empty() {
            message.extend([" (", &self.words.join(", "), ")"]);
        }
        message.extend([": ", why]);
        if let Some(after) = self.patience() {
            message.push_str(&format!("; it asks to wait for {} s", after.as_secs()));
        }
        Error::new(kind, message)
    }

    /// As [`error`](Self::error), when it was a login. Not finding something would say that a secret is not there.
    pub(super) fn login_error(&self, what: &str) -> Error {
        let (kind, why) = match self.status {
            400 | 403 => (
                ErrorKind::Denied,
                "the login was refused; look at the role, its bindings, and whether the credential has ended or was used up",
            ),
            // As with a mount that is gone: somebody took it away, and waiting does not bring it back.
            404 => (
                ErrorKind::Denied,
                "there is no such login; enable the auth method there, or correct its mount or the namespace",
            ),
            _ => return self.error(what),
        };
        let said = self.error(what);
        let message = said.to_string();
        let head = message.split_once(": ").map_or(message.as_str(), |(head, _)| head);
        Error::new(kind, format!("{head}: {why}"))
    }

    fn meaning(&self) -> (ErrorKind, &'static str) {
        match self.status {
            300..400 => (
                ErrorKind::Unavailable,
                "it points elsewhere, as a standby does that does not forward; use the address of the active server",
            ),
            400 if self.says(UPGRADING) => (ErrorKind::Unavailable, "the engine is being upgraded; it is asked again"),
            400 if self.says(UNKNOWN_ROLE) => (ErrorKind::NotFound, "create the role, or correct its name"),
            400 if self.says(LEASE_NOT_FOUND) => (ErrorKind::NotFound, "the lease has ended or was revoked"),
            400 => (ErrorKind::Malformed, "it does not understand the request; is the engine what it is taken for?"),
            401 | 403 => (ErrorKind::Denied, "the policies of the token do not allow it; allow it in one of them"),
            // Not "not found", which would say of one secret what is so of all; and not for a snapshot to stand in for.
            404 if self.says(NO_HANDLER) => {
                (ErrorKind::Denied, "nothing is mounted there; mount it, or correct mount, path or namespace")
            }
            404 if self.says(UNSUPPORTED_PATH) => {
                (ErrorKind::Malformed, "the engine there has no such path; is it what it is taken for?")
            }
            404 => (ErrorKind::NotFound, "it is not there, or the engine there is no key-value engine of version 2"),
            405 => (ErrorKind::Malformed, "what is there cannot be read; is the engine what it is taken for?"),
            412 => (ErrorKind::Unavailable, "this server has not yet what another one has; it is asked again"),
            429 => (ErrorKind::Throttled, "a quota is used up; it is asked again, raise the quota if that goes on"),
            472 => (
                ErrorKind::Unavailable,
                "it is a standby for disaster recovery and serves nothing; point the address to the primary, or promote it",
            ),
            473 => (
                ErrorKind::Unavailable,
                "it is a performance standby that cannot answer this; point the address to the active server",
            ),
            500 => (ErrorKind::Unavailable, "it failed; its log says why, often what it relies on is down"),
            501 => (ErrorKind::Unavailable, "it is not initialized; `bao operator init`, or correct the address"),
            502 => (ErrorKind::Unavailable, "what it relies on, or what is in front of it, got no answer"),
            503 if self.says(SEALED) => (ErrorKind::Unavailable, "it is sealed; `bao operator unseal`"),
            503 => (ErrorKind::Unavailable, "it is sealed, starting or under maintenance; `bao status` says which"),
            504..600 => (ErrorKind::Unavailable, "the server, or what is in front of it, is in trouble"),
            _ => (ErrorKind::Malformed, "this is not how OpenBao answers; is there something else at the address?"),
        }
    }

    fn says(&self, word: &str) -> bool {
        self.words.contains(&word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, errors: &str) -> Refusal {
        let body = format!(r#"{{"errors":["{errors}"]}}"#);
        Refusal::new(StatusCode::from_u16(status).expect("a status"), body.as_bytes(), None)
    }

    #[test]
    fn every_status_has_its_kind_and_says_what_to_do() {
        use ErrorKind::{Denied, Malformed, NotFound, Throttled, Unavailable};
        for (status, errors, kind, says) in [
            (307, "", Unavailable, "active server"),
            (400, "", Malformed, "understand"),
            (400, "unknown role: app", NotFound, "role"),
            (400, "lease not found", NotFound, "revoked"),
            (400, "Upgrading from non-versioned to versioned data. This backend", Unavailable, "upgraded"),
            (403, "1 error occurred: * permission denied", Denied, "policies"),
            (404, "", NotFound, "not there"),
            (404, r#"no handler for route \"x/data/y\""#, Denied, "mount it"),
            (404, "1 error occurred: * unsupported path", Malformed, "path"),
            (405, "unsupported operation", Malformed, "cannot be read"),
            (412, "", Unavailable, "not yet"),
            (418, "", Malformed, "something else"),
            (429, "", Throttled, "quota"),
            (472, "", Unavailable, "disaster"),
            (473, "", Unavailable, "performance"),
            (500, "", Unavailable, "log"),
            (501, "", Unavailable, "operator init"),
            (502, "", Unavailable, "in front"),
            (503, "Vault is sealed", Unavailable, "operator unseal"),
            (503, "", Unavailable, "bao status"),
            (504, "", Unavailable, "trouble"),
        ] {
            let error = refusal(status, errors).error("reading secret/app/x");
            assert_eq!(error.kind(), kind, "{status} {errors}");
            let message = error.to_string();
            assert!(message.contains(says) && message.contains(&status.to_string()), "{message}");
            assert!(message.contains("reading secret/app/x"), "{message}");
        }
    }

    #[test]
    fn a_login_is_denied_and_never_not_found() {
        for (status, errors, kind) in [
            (400, "invalid role or secret ID", ErrorKind::Denied),
            (403, "permission denied", ErrorKind::Denied),
            (404, "no handler for route", ErrorKind::Denied),
            (404, "", ErrorKind::Denied),
            (503, "Vault is sealed", ErrorKind::Unavailable),
            (429, "", ErrorKind::Throttled),
        ] {
            let error = refusal(status, errors).login_error("the login at auth/approle/login");
            assert_eq!(error.kind(), kind, "{status}: {error}");
            assert!(error.to_string().contains("auth/approle/login"), "{error}");
        }
    }

    #[test]
    fn of_its_text_known_words_alone_are_repeated() {
        let error = refusal(403, "permission denied for hunter2").error("x");
        assert!(error.to_string().contains("(permission denied)"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
        for body in ["hunter2", "{", r#"{"errors":"hunter2"}"#, r#"{"errors":[{"a":"hunter2"}]}"#, "\u{0}"] {
            let refusal = Refusal::new(StatusCode::BAD_REQUEST, body.as_bytes(), None);
            assert!(!format!("{:?}", refusal.error("x")).contains("hunter2"), "{body}");
        }
    }

    #[test]
    fn a_bad_token_is_told_from_a_policy_where_the_server_tells() {
        for (status, errors, of_token) in [
            (403, "2 errors occurred: * permission denied * invalid token", true),
            (403, "bad token", true),
            (403, "permission denied", false),
            (400, "bad token", false),
        ] {
            assert_eq!(refusal(status, errors).is_of_token(), of_token, "{status} {errors}");
        }
    }

    #[test]
    fn patience_is_asked_for_by_429_alone() {
        let after = Some(Duration::from_secs(7));
        let throttled = Refusal::new(StatusCode::TOO_MANY_REQUESTS, b"", after);
        assert_eq!(throttled.patience(), after);
        assert!(throttled.error("x").to_string().ends_with("wait for 7 s"));
        assert_eq!(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, b"", after).patience(), None);
    }
}
