use std::error::Error as StdError;
use std::fmt;

use http::StatusCode;
use url::Url;

use crate::BoxError;

/// What went wrong with an outbound call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// TLS could not be set up on this machine.
    Setup,
    /// The request could not be built: a header or a body that cannot be sent.
    Request,
    /// No connection: name, network or TLS.
    Connect,
    /// No complete answer in time.
    Timeout,
    /// The connection broke before the answer was complete.
    Broken,
    /// The answer is larger than allowed.
    TooLarge,
    /// The answer has an error status.
    Status(StatusCode),
    /// The answer's body is not what it should be.
    Body,
}

/// An outbound call failed. The message names the address without its query, and never a credential.
///
/// # Troubleshooting
///
/// [`is_connect`](Self::is_connect) and [`is_timeout`](Self::is_timeout): the service behind the address is down, slow, or
/// not reachable from here. [`status`](Self::status): it answered, and refused.
pub struct Error {
    kind: ErrorKind,
    address: Option<String>,
    source: BoxError,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, url: Option<&Url>, source: impl Into<BoxError>) -> Self {
        Self { kind, address: url.map(shown), source: source.into() }
    }

    pub(super) fn from_reqwest(url: &Url, error: reqwest::Error) -> Self {
        let kind = match () {
            () if error.is_connect() => ErrorKind::Connect,
            () if error.is_timeout() => ErrorKind::Timeout,
            () if error.is_builder() => ErrorKind::Request,
            () => ErrorKind::Broken,
        };
        Self::new(kind, Some(url), error.without_url())
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether nothing was sent, because there was no connection.
    pub fn is_connect(&self) -> bool {
        self.kind == ErrorKind::Connect
    }

    /// Whether the answer did not come in time.
    pub fn is_timeout(&self) -> bool {
        self.kind == ErrorKind::Timeout
    }

    /// The error status that was answered.
    pub fn status(&self) -> Option<StatusCode> {
        match self.kind {
            ErrorKind::Status(status) => Some(status),
            _ => None,
        }
    }
}

/// The address without what may be secret in it: query, fragment, user name and password.
pub(super) fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "the call to {address} failed"),
            None => f.write_str("the HTTP client could not be set up"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("address", &self.address)
            .field("source", &self.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}
