//! What a token endpoint is asked, and how its answer is read (RFC 6749, 5.1; RFC 8693, 2).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::registration::Repeat;
use super::{AccessToken, Error, Registration, TokenSet};
use crate::issuer::Endpoint;

/// What a token is for: where it is to be used, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    audience: Box<str>,
    scope: Box<str>,
}

impl Target {
    /// Scopes are a set: their order and repetitions make no other token.
    pub(super) fn new(audience: &str, scopes: &[&str]) -> Self {
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        Self { audience: audience.into(), scope: scopes.join(" ").into() }
    }

    pub(super) fn audience(&self) -> &str {
        &self.audience
    }

    fn fields(&self) -> [(&'static str, &str); 2] {
        // `resource` is RFC 8707 and must be a URI; `audience` is what issuers without it read.
        let name = if self.audience.contains(':') { "resource" } else { "audience" };
        [("scope", &self.scope), (name, &self.audience)]
    }
}

/// A token that was granted, and for how long it is to be used.
pub(super) struct Granted {
    pub(super) token: AccessToken,
    pub(super) lasts: Duration,
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    token_type: Box<str>,
    expires_in: Option<u64>,
    scope: Option<Box<str>>,
    refresh_token: Option<SecretString>,
    issued_token_type: Option<Box<str>>,
}

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

impl Registration {
    /// RFC 6749, 4.4. May be repeated: a token more does no harm.
    pub(super) async fn client_credentials(&self, target: &Target) -> Result<Granted, Error> {
        let [scope, audience] = target.fields();
        self.grant(&[("grant_type", "client_credentials"), scope, audience], Repeat::Allowed)
            .await
            .map(|(granted, _)| granted)
    }

    /// RFC 8693. May be repeated: the subject token is not used up.
    pub(super) async fn exchange(&self, subject: &SecretString, target: &Target) -> Result<Granted, Error> {
        let [scope, audience] = target.fields();
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", subject.expose_secret()),
            ("subject_token_type", ACCESS_TOKEN),
            ("requested_token_type", ACCESS_TOKEN),
            scope,
            audience,
        ];
        let (granted, answer) = self.grant(&fields, Repeat::Allowed).await?;
        if answer.issued_token_type.as_deref() != Some(ACCESS_TOKEN) {
            return Err(Error::malformed("the token that the issuer answered is not an access token"));
        }
        Ok(granted)
    }

    /// RFC 6749, 6. Never repeated: to use a rotated refresh token twice ends the session.
    pub(super) async fn refresh(&self, refresh_token: &SecretString) -> Result<TokenSet, Error> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
        let (granted, answer) = self.grant(&fields, Repeat::Never).await?;
        Ok(TokenSet { access_token: granted.token, refresh_token: answer.refresh_token })
    }

    async fn grant(&self, fields: &[(&str, &str)], repeat: Repeat) -> Result<(Granted, Rest), Error> {
        // A lifetime counts from before the answer, so that its way here does not lengthen it.
        let asked_at = self.now();
        let answer: Answer = self.post(Endpoint::Token, fields, repeat).await?.json()?;
        // RFC 6749, 7.1: a token of a type that is not understood must not be used.
        if !answer.token_type.eq_ignore_ascii_case("bearer") {
            return Err(Error::malformed("the token that the issuer answered is not a bearer token"));
        }
        if answer.expires_in == Some(0) {
            return Err(Error::malformed("the token that the issuer answered has expired already"));
        }
        let expires_at = answer.expires_in.map(|seconds| after(asked_at, seconds));
        // Gone a little before it expires, so that it does not expire on its way.
        let lasts = Duration::from_secs(answer.expires_in.unwrap_or(60)).mul_f64(0.9);
        let granted = Granted { token: AccessToken::new(answer.access_token, expires_at, answer.scope)?, lasts };
        Ok((granted, Rest { refresh_token: answer.refresh_token, issued_token_type: answer.issued_token_type }))
    }
}

/// What only some grants look at.
struct Rest {
    refresh_token: Option<SecretString>,
    issued_token_type: Option<Box<str>>,
}

fn after(start: Timestamp, seconds: u64) -> Timestamp {
    let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    start.checked_add(seconds).unwrap_or(Timestamp::MAX)
}
