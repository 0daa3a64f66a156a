use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::{BoxError, live};

/// Why a secret is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It has not been fetched yet: see [`Secret::ready`](crate::Secret::ready).
    Pending,
    /// The backend does not have it.
    NotFound,
    /// The backend has it and does not give it: permissions, or a key that does not fit.
    Denied,
    /// It is there and is not what it should be.
    Malformed,
    /// The backend cannot be reached, or did not answer in time.
    Unavailable,
    /// The backend asks for patience.
    Throttled,
    /// It was [rejected](crate::Secret::reject), and the backend has nothing else.
    Rejected,
    /// It was not asked for while the process started: see [`Secrets::get`](crate::Secrets::get).
    Undeclared,
    /// No secret can have this name: see [`Name`](crate::Name).
    InvalidName,
}

/// A secret is not to be had. No message holds a value or a part of one.
///
/// # Troubleshooting
///
/// The message names the secret or the file, its sources what the backend said. `NotFound`: is the name right, and does
/// `HALFBYTE_SECRETS_URL` point where you think? `Denied` and `Malformed` say which file and what to do. `Pending`:
/// wait for [`Secret::ready`](crate::Secret::ready) before serving.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Arc<str>,
    retry_in: Duration,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of a [`Provider`](crate::Provider). `message` says what is wrong and what to do; never a value.
    pub fn new(kind: ErrorKind, message: impl Into<Arc<str>>) -> Self {
        Self { kind, message: message.into(), retry_in: Duration::ZERO, source: None }
    }

    /// Adds what it came from; that must not hold a value either.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// What is the matter.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether it has not been fetched yet.
    pub fn is_pending(&self) -> bool {
        self.kind == ErrorKind::Pending
    }

    /// Whether the backend does not have it.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// Whether the backend does not give it.
    pub fn is_denied(&self) -> bool {
        self.kind == ErrorKind::Denied
    }

    /// Whether it is not what it should be.
    pub fn is_malformed(&self) -> bool {
        self.kind == ErrorKind::Malformed
    }

    /// Whether the backend cannot be reached.
    pub fn is_unavailable(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }

    /// Whether the backend asks for patience.
    pub fn is_throttled(&self) -> bool {
        self.kind == ErrorKind::Throttled
    }

    /// Whether it was rejected, and the backend has nothing else.
    pub fn is_rejected(&self) -> bool {
        self.kind == ErrorKind::Rejected
    }

    /// Whether it may work later though nobody changes anything.
    pub fn is_temporary(&self) -> bool {
        matches!(self.kind, ErrorKind::Pending | ErrorKind::Unavailable | ErrorKind::Throttled)
    }

    /// When the next fetch is due: what a `Retry-After` may say. At least one second.
    pub fn retry_in(&self) -> Duration {
        self.retry_in.max(Duration::from_secs(1))
    }

    /// What the life of a handle came to; the kind is that of the fetch that failed last.
    pub(crate) fn of_handle(name: &str, error: live::Error) -> Self {
        let kind = match error.source() {
            Some(cause) => cause.downcast_ref::<Error>().map_or(ErrorKind::Unavailable, Error::kind),
            None if error.kind() == live::ErrorKind::Cold => ErrorKind::Pending,
            None => ErrorKind::Unavailable,
        };
        let message = match kind {
            ErrorKind::Pending => format!("the secret {name} has not been loaded yet"),
            ErrorKind::NotFound => format!("there is no secret {name}"),
            ErrorKind::Denied => format!("the secret {name} may not be read"),
            ErrorKind::Malformed => format!("the secret {name} is not what it should be"),
            ErrorKind::Unavailable => format!("the secret {name} cannot be had now"),
            ErrorKind::Throttled => format!("the secret {name} cannot be had now, the backend asks for patience"),
            ErrorKind::Rejected => format!("the secret {name} was rejected, and there is no other"),
            ErrorKind::Undeclared => format!("the secret {name} was not asked for at start, so it may not be read"),
            ErrorKind::InvalidName => "a secret was asked for by a name that none can have".to_owned(),
        };
        Self { retry_in: error.retry_in(), ..Self::new(kind, message).with_source(error) }
    }

    /// A failed file operation, with the file's name.
    pub(crate) fn of_file(path: &Path, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, format!("{} cannot be used", path.display())).with_source(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source: &(dyn StdError + 'static) = self.source.as_deref()?;
        // The live value between this error and the backend's says nothing that this one does not.
        if source.is::<live::Error>() { source.source() } else { Some(source) }
    }
}
