use std::error::Error as StdError;
use std::fmt;

use halfbyte_core::BoxError;

/// What is the matter with identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// State cannot be read or written: that of the embedded issuer, or the API keys.
    Storage,
    /// State is there and is not what it should be; it is left as it is.
    Corrupt,
    /// An issuer's identifier or address cannot be used.
    Issuer,
    /// Another setting cannot be used.
    Setting,
    /// A client asked for what does not exist or is not allowed.
    Client,
    /// A token could not be had.
    Token,
    /// An API key is asked for that does not exist or cannot be as asked.
    ApiKey,
}

/// Identity cannot do what was asked. The message never holds a token, a key or a client secret.
///
/// # Troubleshooting
///
/// [`ErrorKind::Corrupt`] and [`ErrorKind::Storage`] name the file. A corrupt one is never overwritten: restore it from a
/// copy, or move it away to start with a new issuer (tokens and clients of the old one are then no longer good).
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<BoxError>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What is the matter.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
