//! OpenID Connect Back-Channel Logout 1.0: an issuer says that a session of its has ended.

use std::borrow::Cow;
use std::time::Duration;

use halfbyte_core::{Problem, error_chain};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::form_urlencoded;

use crate::authenticator::Authenticator;
use crate::claims::{self, LEEWAY};
use crate::issuer::Signature;
use crate::jose::{self, Compact};

/// The form field that holds the token.
const FIELD: &str = "logout_token";
/// How old a logout token may be that does not say when it expires, in seconds.
const OLDEST: i64 = 300;

/// Why nobody was logged out.
pub(crate) enum LogoutError {
    /// It is not a good logout token; what is wrong with it.
    Invalid(&'static str),
    /// It cannot be checked now.
    Unavailable(Problem),
}

#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow, default)]
    aud: Audience<'a>,
    iat: i64,
    exp: Option<i64>,
    #[serde(borrow)]
    jti: Cow<'a, str>,
    #[serde(borrow)]
    sub: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sid: Option<Cow<'a, str>>,
    nonce: Option<IgnoredAny>,
    events: Events,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Some(#[serde(borrow)] Vec<Cow<'a, str>>),
}

impl Default for Audience<'_> {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

#[derive(Deserialize)]
struct Events {
    #[serde(rename = "http://schemas.openid.net/event/backchannel-logout")]
    logout: Option<Empty>,
}

/// `{}`, to which later versions may add.
#[derive(Deserialize)]
struct Empty {}

impl Authenticator {
    /// Checks a logout token (2.6 of the specification) and revokes the session it names, or what its subject was issued
    /// until then. Said twice, it revokes no more than said once.
    pub(crate) async fn log_out(&self, form: &[u8]) -> Result<(), LogoutError> {
        let mut tokens = form_urlencoded::parse(form).filter(|(name, _)| name == FIELD).map(|(_, value)| value);
        let (Some(token), None) = (tokens.next(), tokens.next()) else {
            return Err(LogoutError::Invalid("the form has not one logout_token"));
        };
        let parts = self.parts();
        let compact = Compact::parse(&token).map_err(|_| INVALID)?;
        let iss = claims::unverified_issuer(&compact.payload).unwrap_or_default();
        let named = parts.issuers.iter().find(|issuer| issuer.rules().is_issuer(&iss));
        let issuer = named.ok_or(LogoutError::Invalid("the issuer is not accepted here"))?;
        let mut signature = issuer.verify(&compact);
        let fetched = match &signature {
            Err(_) => Some(issuer.warm().await.map(|()| true)),
            Ok(Signature::UnknownKey(seen)) => Some(issuer.look_for(compact.header.key_id.as_deref(), *seen).await),
            Ok(_) => None,
        };
        let was_looked_for = !matches!(fetched, Some(Ok(false)));
        if let Some(fetched) = fetched {
            signature = fetched.and_then(|_| issuer.verify(&compact));
        }
        match signature {
            Ok(Signature::Good(_)) => {}
            // An issuer does not send again what was answered to be no good: whoever sends tokens by made-up keys must not
            // be able to have a logout lost.
            Ok(Signature::UnknownKey(_)) if !was_looked_for => {
                return Err(LogoutError::Unavailable(Problem::unavailable(Duration::from_secs(1))));
            }
            Ok(Signature::Bad(_) | Signature::UnknownKey(_)) => return Err(INVALID),
            Err(error) => {
                tracing::debug!(error = error_chain(&error), "a logout token cannot be checked");
                return Err(LogoutError::Unavailable(Problem::unavailable(error.retry_in())));
            }
        }
        // Issuers that are older than the final specification say JWT or nothing; the event tells.
        if !matches!(compact.header.media_type.as_deref(), None | Some("logout+jwt" | "jwt")) {
            return Err(LogoutError::Invalid("this is a token of another kind"));
        }
        jose::parse_object(&compact.payload).map_err(|_| INVALID)?;
        let claims: Claims<'_> = serde_json::from_slice(&compact.payload).map_err(|_| INVALID)?;
        self.require_for_us(&claims, parts.clock.now())?;
        match (&claims.sid, &claims.sub) {
            (Some(session), _) => parts.revocations.session(&claims.iss, session),
            (None, Some(subject)) => {
                let issued = Timestamp::from_second(claims.iat).map_err(|_| INVALID)?;
                parts.revocations.subject_up_to(&claims.iss, subject, issued);
            }
            (None, None) => return Err(LogoutError::Invalid("the logout token names neither a session nor a subject")),
        }
        tracing::info!(issuer = &*claims.iss, by_session = claims.sid.is_some(), "an issuer has ended a session");
        Ok(())
    }

    fn require_for_us(&self, claims: &Claims<'_>, now: Timestamp) -> Result<(), LogoutError> {
        let parts = self.parts();
        let ours = |aud: &str| *parts.audience == *aud || parts.client_id.as_deref() == Some(aud);
        let for_us = match &claims.aud {
            Audience::One(aud) => ours(aud),
            Audience::Some(all) => all.iter().any(|aud| ours(aud)),
        };
        let now = now.as_second();
        let ends = claims.exp.unwrap_or(claims.iat.saturating_add(OLDEST));
        match () {
            () if !for_us => Err(LogoutError::Invalid("the logout token is meant for another client")),
            () if claims.events.logout.is_none() => Err(LogoutError::Invalid("this is not a logout token")),
            () if claims.nonce.is_some() => Err(LogoutError::Invalid("a logout token has no nonce")),
            () if claims.jti.is_empty() => Err(INVALID),
            () if claims.iat > now.saturating_add(LEEWAY) => {
                Err(LogoutError::Invalid("the logout token is of the future"))
            }
            () if now >= ends.saturating_add(LEEWAY) => Err(LogoutError::Invalid("the logout token has expired")),
            () => Ok(()),
        }
    }
}

const INVALID: LogoutError = LogoutError::Invalid("the logout token is not valid");
