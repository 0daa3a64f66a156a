//! What an issuer says of a token (RFC 7662) and of a subject (OpenID Connect Core 1.0, 5.3).

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Error;
use crate::jose::parse_object;

/// What an issuer says of a token, from [`OAuthClient::introspect`](super::OAuthClient::introspect). It is the answer to a
/// question and not a decision: an active token may be meant for another service.
#[derive(Clone)]
pub struct Introspected {
    active: bool,
    body: Bytes,
}

impl Introspected {
    pub(super) fn read(body: Bytes) -> Result<Self, Error> {
        let members = object(&body)?;
        let Some(Value::Bool(active)) = members.get("active") else {
            return Err(Error::malformed("the issuer does not say whether the token is active"));
        };
        Ok(Self { active: *active, body })
    }

    /// Whether the token is good at the issuer.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// The members of the answer as `T` reads them; see RFC 7662, 2.2.
    ///
    /// # Errors
    ///
    /// They are not of the form that `T` asks for.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, Error> {
        read(&self.body)
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

impl fmt::Debug for Introspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspected").field("active", &self.active).finish_non_exhaustive()
    }
}

/// What an issuer says of a subject, from [`OAuthClient::userinfo`](super::OAuthClient::userinfo).
#[derive(Clone)]
pub struct Userinfo {
    subject: Box<str>,
    body: Bytes,
}

impl Userinfo {
    pub(super) fn read(body: Bytes) -> Result<Self, Error> {
        let subject = match object(&body)?.remove("sub") {
            Some(Value::String(subject)) if !subject.is_empty() => subject.into(),
            _ => return Err(Error::malformed("the issuer does not say whom its answer is about")),
        };
        Ok(Self { subject, body })
    }

    /// Whom it is about (`sub`).
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The claims as `T` reads them; see OpenID Connect Core 1.0, 5.1.
    ///
    /// # Errors
    ///
    /// They are not of the form that `T` asks for.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, Error> {
        read(&self.body)
    }
}

/// Shows the subject; the rest is about a person.
impl fmt::Debug for Userinfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Userinfo").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Read strictly: of a name that stands twice, two readers could take two values.
fn object(body: &[u8]) -> Result<crate::jose::Object, Error> {
    parse_object(body).map_err(|_| Error::malformed("the issuer's answer is not a JSON object"))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    // Not the message of the reader: it may quote what it read.
    serde_json::from_slice(body).map_err(|_| Error::malformed("the issuer's answer is not of the form asked for"))
}
