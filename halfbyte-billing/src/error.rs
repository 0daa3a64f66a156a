use std::fmt;

use halfbyte_core::BoxError;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What the program asks for does not fit its catalogue: an unknown product, feature, meter or plan.
    Catalog,
    /// The store's file is damaged or is no database. It is left as it is.
    Corrupt,
    /// The store's file is a database of another program, or of a later version of this one. It is left as it is.
    Foreign,
    /// The store or the journal cannot be opened, read or written now.
    Unavailable,
    /// There is no such customer.
    NoCustomer,
    /// It did not end in the time that was given.
    Timeout,
    /// The process is stopping and takes no more work.
    Closed,
    /// What was asked for makes no sense, or is more than is allowed; the message says why.
    Invalid,
    /// It contradicts what is there: an id that came with another content, or a name that belongs to another.
    Conflict,
}

/// A fault of billing.
///
/// # Troubleshooting
///
/// The message says what was tried, on which file, and where there is something to do, what. [`ErrorKind::Corrupt`]
/// and [`ErrorKind::Foreign`] never touch the file: move it away or restore a copy, then start again.
/// [`ErrorKind::Unavailable`] is about permissions, disk space or a lock that another program holds; its source is the
/// system's own word.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Box<str>,
    source: Option<BoxError>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Box<str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn because(kind: ErrorKind, message: impl Into<Box<str>>, source: impl Into<BoxError>) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }
}

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}
