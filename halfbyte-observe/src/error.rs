use std::fmt;

use halfbyte_core::BoxError;

/// Telemetry could not be set up. The message says what happened and what to do; a value that could hold a secret is
/// never repeated in it.
///
/// # Troubleshooting
///
/// - [Already initialized](Self::is_already_initialized): something in this process has called
///   [`init`](crate::init), or has installed a `tracing` subscriber of its own. Call `init` once, first thing in `main`.
/// - [Configuration](Self::is_configuration): the message names the variable and the values that it may have.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<BoxError>,
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Telemetry is set up once a process, and it was before.
    AlreadyInitialized,
    /// A variable has a value that cannot be used.
    Configuration,
    /// The machine did not allow it: TLS roots, threads.
    Setup,
}

impl Error {
    pub(crate) fn already_initialized(message: &str) -> Self {
        Self { kind: ErrorKind::AlreadyInitialized, message: message.to_owned(), source: None }
    }

    pub(crate) fn configuration(variable: &str, message: impl fmt::Display) -> Self {
        Self { kind: ErrorKind::Configuration, message: format!("{variable}: {message}"), source: None }
    }

    pub(crate) fn setup(message: &str, source: impl Into<BoxError>) -> Self {
        Self { kind: ErrorKind::Setup, message: message.to_owned(), source: Some(source.into()) }
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Telemetry was set up before in this process.
    pub fn is_already_initialized(&self) -> bool {
        self.kind == ErrorKind::AlreadyInitialized
    }

    /// A variable has a value that cannot be used.
    pub fn is_configuration(&self) -> bool {
        self.kind == ErrorKind::Configuration
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
