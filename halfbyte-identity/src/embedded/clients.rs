use halfbyte_core::TenantId;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// A client of the embedded issuer: a program that acts for a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    pub(super) id: String,
    pub(super) tenant: TenantId,
    pub(super) scopes: Vec<String>,
    pub(super) audiences: Vec<String>,
    /// Left out where it is not so, as it was before there was token exchange.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) may_exchange: bool,
}

impl ClientSpec {
    /// A client that may have no scope and no audience yet, and may not exchange tokens.
    pub fn new(id: impl Into<String>, tenant: TenantId) -> Self {
        Self { id: id.into(), tenant, scopes: Vec::new(), audiences: Vec::new(), may_exchange: false }
    }

    /// The scopes that it may have.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// The audiences that it may have tokens for.
    #[must_use]
    pub fn audiences<S: Into<String>>(mut self, audiences: impl IntoIterator<Item = S>) -> Self {
        self.audiences = audiences.into_iter().map(Into::into).collect();
        self
    }

    /// Lets it exchange a token that it was called with for one by which it calls another product on behalf of its caller
    /// (RFC 8693).
    ///
    /// The token that it was called with must be meant for it: its `aud` is this client's id, so a product registers under
    /// its own name. The new one is for one of its [`audiences`](Self::audiences), has only scopes that are both among its
    /// [`scopes`](Self::scopes) and in the token that it was called with, keeps subject and tenant, and names this client as the
    /// one who acts. It ends when the token that it was called with does, and is revoked with it.
    #[must_use]
    pub fn may_exchange(mut self) -> Self {
        self.may_exchange = true;
        self
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        require_name("a client id", &self.id)?;
        if self.id.contains(':') {
            return Err(Error::new(ErrorKind::Client, "a client id must not have a ':' in it"));
        }
        self.scopes.iter().try_for_each(|scope| require_name("a scope", scope))?;
        self.audiences.iter().try_for_each(|audience| require_name("an audience", audience))
    }
}

/// Refuses what could not be told apart in a log, or could grow without end.
pub(super) fn require_name(what: &str, name: &str) -> Result<(), Error> {
    if (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Client, format!("{what} must be 1 to 128 visible ASCII characters")))
}
