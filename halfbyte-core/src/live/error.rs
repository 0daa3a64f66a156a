use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a [`Live`](super::Live) value is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It has never been fetched.
    Cold,
    /// Its last known good copy is older than the policy allows.
    Expired,
    /// A fetch that was asked for failed; the last known good copy is still served.
    RefreshFailed,
}

/// A [`Live`](super::Live) value is not to be had; the source is what the backend said last.
///
/// # Troubleshooting
///
/// The message names the value (`identity.keys`, `secret.db-password`); `/readyz` of the admin listener shows the same
/// name with its age and its last error. The backend behind it is what needs attention.
#[derive(Clone, Debug)]
pub struct Error {
    pub(super) name: Arc<str>,
    pub(super) kind: ErrorKind,
    pub(super) retry_in: Duration,
    pub(super) source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// What is the matter.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// For a reader who is left without any value, whatever the status says a moment later.
    pub(super) fn without_value(mut self) -> Self {
        if self.kind == ErrorKind::RefreshFailed {
            self.kind = ErrorKind::Expired;
        }
        self
    }

    /// When the next fetch is due: what a `Retry-After` may say. At least one second.
    pub fn retry_in(&self) -> Duration {
        self.retry_in.max(Duration::from_secs(1))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.kind {
            ErrorKind::Cold => write!(f, "{name} has not been loaded yet"),
            ErrorKind::Expired => write!(f, "the last good copy of {name} is too old to use"),
            ErrorKind::RefreshFailed => write!(f, "{name} could not be refreshed"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
