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
}

impl ClientSpec {
    /// A client that may have no scope and no audience yet.
    pub fn new(id: impl Into<String>, tenant: TenantId) -> Self {
        Self { id: id.into(), tenant, scopes: Vec::new(), audiences: Vec::new() }
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

    pub(super) fn validate(&self) -> Result<(), Error> {
        let wrong = |what: &str| {
            Err(Error::new(ErrorKind::Client, format!("{what} must be 1 to 128 visible ASCII characters")))
        };
        let fits = |text: &str| (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        match () {
            () if !fits(&self.id) || self.id.contains(':') => wrong("a client id (without ':')"),
            () if !self.scopes.iter().all(|scope| fits(scope)) => wrong("a scope"),
            () if !self.audiences.iter().all(|audience| fits(audience)) => wrong("an audience"),
            () => Ok(()),
        }
    }
}
