use std::fmt;
use std::sync::Arc;

use halfbyte_core::client::Request;
use http::HeaderValue;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::Error;

/// A bearer token (RFC 6750) that an issuer answered. Cheap to clone; shown by nothing.
#[derive(Clone)]
pub struct AccessToken(Arc<Fields>);

struct Fields {
    token: SecretString,
    header: HeaderValue,
    expires_at: Option<Timestamp>,
    scope: Option<Box<str>>,
}

/// What an issuer answers to a [refresh](super::OAuthClient::refresh).
#[derive(Clone, Debug)]
pub struct TokenSet {
    /// The token to call with.
    pub access_token: AccessToken,
    /// The refresh token to use from now on, where the issuer gave a new one; `None` when the one sent stays good.
    pub refresh_token: Option<SecretString>,
}

/// The longest token that is taken from an issuer, in bytes: no server reads a header of that size.
const LONGEST: usize = 16 * 1024;

impl AccessToken {
    pub(super) fn new(
        token: SecretString,
        expires_at: Option<Timestamp>,
        scope: Option<Box<str>>,
    ) -> Result<Self, Error> {
        let text = token.expose_secret();
        // RFC 6749, A.12, without the space: it would end the token in a header.
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::malformed("the issuer's answer holds no token that can be sent"));
        }
        let mut header = HeaderValue::try_from(format!("Bearer {text}"))
            .map_err(|_| Error::malformed("the issuer's answer holds no token that can be sent"))?;
        header.set_sensitive(true);
        Ok(Self(Arc::new(Fields { token, header, expires_at, scope })))
    }

    /// The token itself.
    pub fn secret(&self) -> &SecretString {
        &self.0.token
    }

    /// The value of an `Authorization` header; it is marked sensitive.
    pub fn header(&self) -> HeaderValue {
        self.0.header.clone()
    }

    /// Adds the token to `request`.
    pub fn authorize(&self, request: Request) -> Request {
        request.bearer(&self.0.token)
    }

    /// From when on the token is no longer good, where the issuer says so.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at
    }

    /// The scopes that were granted, separated by spaces, where the issuer says so. It must when they are not those that
    /// were asked for (RFC 6749, 5.1).
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_at", &self.0.expires_at).finish_non_exhaustive()
    }
}
