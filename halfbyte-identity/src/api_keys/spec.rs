use std::time::Duration;

use halfbyte_core::TenantId;
use jiff::Timestamp;

use crate::error::{Error, ErrorKind};

/// What a new API key is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeySpec {
    pub(super) tenant: TenantId,
    pub(super) subject: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) roles: Vec<String>,
    pub(super) label: String,
    pub(super) expires_at: Option<Timestamp>,
}

impl ApiKeySpec {
    /// A key that acts for `tenant`, without scopes and roles yet, and without an end.
    pub fn new(tenant: TenantId) -> Self {
        Self { tenant, subject: None, scopes: Vec::new(), roles: Vec::new(), label: String::new(), expires_at: None }
    }

    /// Who acts: 1 to 255 visible ASCII characters; `key:ID` unless said.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// The scopes that it has: up to 100, each of 1 to 128 visible ASCII characters.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// The roles that it has: up to 100, each of 1 to 128 visible ASCII characters.
    #[must_use]
    pub fn roles<S: Into<String>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// What people call it: up to 200 bytes without control characters. Not a place for secrets: it is kept and shown.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// From when on it is no longer good.
    #[must_use]
    pub fn expires_at(mut self, at: Timestamp) -> Self {
        self.expires_at = Some(at);
        self
    }
}

/// What is known of an API key. The secret is not: it is seen once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKey {
    /// Names it: the third part of its text, and the [credential id](halfbyte_core::Principal::credential_id).
    pub id: String,
    /// For whom it acts.
    pub tenant: TenantId,
    /// Who acts.
    pub subject: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// What it is.
    pub roles: Vec<String>,
    /// What people call it.
    pub label: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is no longer good, where it has an end.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When its secret was last rotated.
    pub rotated_at: Option<Timestamp>,
    /// Until when the secret before the last rotation is good; it may be in the past.
    pub overlap_ends_at: Option<Timestamp>,
}

const MOST_NAMES: usize = 100;
const LONGEST_LABEL: usize = 200;

/// The longest time that the secret before a rotation stays good.
pub const MAX_OVERLAP: Duration = Duration::from_secs(90 * 86_400);

pub(super) fn is_visible(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn are_names(names: &[String]) -> bool {
    names.len() <= MOST_NAMES && names.iter().all(|name| is_visible(name, 128))
}

pub(super) fn is_label(label: &str) -> bool {
    label.len() <= LONGEST_LABEL && !label.chars().any(char::is_control)
}

impl ApiKeySpec {
    pub(super) fn validate(&self, now: Timestamp) -> Result<(), Error> {
        let names = "are at most 100, each of 1 to 128 visible ASCII characters";
        match () {
            () if !self.subject.as_ref().is_none_or(|subject| is_visible(subject, 255)) => {
                Err(refused("the subject of an API key has 1 to 255 visible ASCII characters"))
            }
            () if !are_names(&self.scopes) => Err(refused(format!("the scopes of an API key {names}"))),
            () if !are_names(&self.roles) => Err(refused(format!("the roles of an API key {names}"))),
            () if !is_label(&self.label) => {
                Err(refused("the label of an API key has at most 200 bytes and no control characters"))
            }
            () if self.expires_at.is_some_and(|at| at <= now) => {
                Err(refused("an API key that has expired already would be good for nothing"))
            }
            () => Ok(()),
        }
    }
}

/// What the one who manages keys asked for cannot be.
pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ApiKey, message)
}
