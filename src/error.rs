use std::error::Error as StdError;
use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use halfbyte_core::{BoxError, error_chain};

/// Why a product did not start, or did not stop well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The environment, the catalogue or the policies that are built in cannot be used. Exit code 78.
    Configuration,
    /// A system that must be there is not: a store, a folder, a port. Exit code 69.
    Unavailable,
    /// It served and was told to stop, and did not end cleanly within its budgets. Exit code 70.
    Drain,
}

/// A product did not start, or did not stop well. `Debug` reads like `Display` with all causes, for a `main` that returns it.
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

    /// Why.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the process answers its supervisor, by sysexits.h.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Configuration => 78,
            ErrorKind::Unavailable => 69,
            ErrorKind::Drain => 70,
        }
    }
}

/// Ends a `main`: prints an error for people and answers the exit code; 0 after a clean drain.
pub fn exit_code(outcome: Result<(), Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be listening any more; the exit code still says it.
            let _told = writeln!(std::io::stderr(), "error: {error:?}");
            ExitCode::from(error.exit_code())
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&error_chain(self))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// A product's own error at start: something that it needs is not there.
impl From<BoxError> for Error {
    fn from(error: BoxError) -> Self {
        Self::new(ErrorKind::Unavailable, "the product could not start").caused_by(error)
    }
}

impl From<halfbyte_billing::Error> for Error {
    fn from(error: halfbyte_billing::Error) -> Self {
        let kind = match error.kind() {
            // Trying again as it is would end the same way.
            halfbyte_billing::ErrorKind::Catalog
            | halfbyte_billing::ErrorKind::Invalid
            | halfbyte_billing::ErrorKind::Conflict => ErrorKind::Configuration,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, "billing could not start").caused_by(error)
    }
}

impl From<halfbyte_identity::Error> for Error {
    fn from(error: halfbyte_identity::Error) -> Self {
        let kind = match error.kind() {
            halfbyte_identity::ErrorKind::Issuer => ErrorKind::Configuration,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, "identity could not start").caused_by(error)
    }
}

impl From<halfbyte_secrets::Error> for Error {
    fn from(error: halfbyte_secrets::Error) -> Self {
        Self::new(ErrorKind::Unavailable, "secrets could not start").caused_by(error)
    }
}
