//! Tokens that come back: which of them are of this issuer, and which of those are still good.

use serde_json::Value;

use super::request::Authenticated;
use crate::claims::LEEWAY;
use crate::jose::{self, Algorithm, Object};

/// The claims of an access token that this issuer has signed. Whether it is still good is another question.
pub(super) struct OwnToken(pub(super) Object);

impl Authenticated<'_> {
    /// `token`, if it is an access token of this issuer by a key that is still published.
    pub(super) fn own_token(&self, token: &str) -> Option<OwnToken> {
        let verified = jose::verify(token, self.state.public_keys(), &[Algorithm::Es256]).ok()?;
        if verified.header.media_type.as_deref() != Some("at+jwt") {
            return None;
        }
        let token = OwnToken(jose::parse_object(&verified.payload).ok()?);
        (token.text("iss") == Some(self.issuer.issuer())).then_some(token)
    }

    /// Whether `token` has not expired and is not revoked. Without leeway: the clock is the one that it was issued by.
    pub(super) fn is_good(&self, token: &OwnToken) -> bool {
        token.expires_at().is_some_and(|end| self.now < end) && !self.state.is_revoked(&token.0)
    }

    /// Whether `token` is past every clock that it is verified by.
    pub(super) fn is_past(&self, token: &OwnToken) -> bool {
        token.expires_at().is_none_or(|end| self.now >= end.saturating_add(LEEWAY))
    }
}

impl OwnToken {
    pub(super) fn text(&self, claim: &str) -> Option<&str> {
        self.0.get(claim)?.as_str()
    }

    /// In seconds since 1970.
    pub(super) fn expires_at(&self) -> Option<i64> {
        self.0.get("exp").and_then(Value::as_i64)
    }
}
