use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::client::{self, Response};
use halfbyte_core::{BoxError, live};
use http::StatusCode;
use serde::Deserialize;

/// What went wrong between this product and an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The issuer refused; [`Error::code`] says why, in the words of RFC 6749, 5.2.
    Rejected,
    /// The issuer cannot be reached or is in trouble; to try again later may help.
    Unavailable,
    /// The issuer's answer is not what the protocol says.
    Malformed,
    /// It is this side's doing: a secret or key that is not to be had, a host that cannot be read, an endpoint that the
    /// issuer does not publish.
    Configuration,
    /// The token that was to be exchanged has expired.
    Expired,
    /// The answer is about somebody else than was asked for.
    WrongSubject,
}

/// An issuer did not give what was asked for. Nothing of what was sent or answered is in it but the issuer's error code,
/// and that only in the form of the registered ones: at most 40 lower-case letters and underscores.
///
/// ```no_run
/// # use {halfbyte_core::BoxError, halfbyte_identity::OAuthClient, secrecy::SecretString};
/// # async fn example(client: OAuthClient, refresh_token: SecretString) -> Result<(), BoxError> {
/// match client.refresh(&refresh_token).await {
///     Ok(tokens) => { /* keep them */ }
///     Err(error) if error.code() == Some("invalid_grant") => { /* sign in again */ }
///     Err(error) if error.is_unavailable() => { /* later, see `retry_after` */ }
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(()) }
/// ```
///
/// # Troubleshooting
///
/// [`code`](Self::code) is `invalid_client`: the secret or the key here is not the one that the issuer has for this client.
/// `invalid_target`, `invalid_scope` or `unauthorized_client`: the client may not have such a token; the issuer's
/// registration of the client says what it may have. `invalid_grant`: the token handed in is expired or revoked.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    code: Option<Box<str>>,
    retry_after: Option<Duration>,
    // Shared: all who wait for one call get its error.
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), code: None, retry_after: None, source: None }
    }

    pub(super) fn malformed(message: &'static str) -> Self {
        Self::new(ErrorKind::Malformed, message)
    }

    pub(super) fn configuration(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    pub(super) fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// Why there is no address to call.
    pub(super) fn no_endpoint(error: BoxError) -> Self {
        match error.downcast::<live::Error>() {
            Ok(error) => {
                let retry_after = Some(error.retry_in());
                let message = "the issuer's metadata is not to be had";
                Self { retry_after, ..Self::new(ErrorKind::Unavailable, message).caused_by(error) }
            }
            Err(error) => Self::configuration("the issuer cannot be asked for this").caused_by(error),
        }
    }

    /// What an answer says whose status is not one of success.
    pub(super) fn of_answer(response: &Response) -> Self {
        let status = response.status();
        let is_trouble =
            status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let (kind, what) = match () {
            () if is_trouble => (ErrorKind::Unavailable, "is in trouble"),
            () if status.is_client_error() => (ErrorKind::Rejected, "refused"),
            () => (ErrorKind::Malformed, "gave an answer of no meaning here"),
        };
        let code = if kind == ErrorKind::Rejected { code_of(response) } else { None };
        Self { code, retry_after: response.retry_after(), ..Self::new(kind, format!("the issuer {what}: {status}")) }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Why the issuer refused, such as `invalid_grant` (RFC 6749, 5.2), where it said so.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// How long the issuer asks to wait, or how long it rests after a failure; `None` where nobody said.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the issuer refused.
    pub fn is_rejected(&self) -> bool {
        self.kind == ErrorKind::Rejected
    }

    /// Whether the issuer could not be asked, so that to try again later may help.
    pub fn is_unavailable(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }
}

/// Anything of another form than the registered codes may be an echo of what was sent, and is left out.
fn code_of(response: &Response) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Refusal {
        error: Box<str>,
    }
    let Refusal { error } = response.json().ok()?;
    let is_code = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    ((1..=40).contains(&error.len()) && error.bytes().all(is_code)).then_some(error)
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        let (kind, message) = match error.kind() {
            client::ErrorKind::TooLarge | client::ErrorKind::Body => {
                (ErrorKind::Malformed, "the issuer's answer cannot be read")
            }
            client::ErrorKind::Request => (ErrorKind::Configuration, "the request to the issuer cannot be made"),
            _ => (ErrorKind::Unavailable, "the issuer cannot be reached"),
        };
        Self::new(kind, message).caused_by(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.code {
            Some(code) => write!(f, ", {code}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("code", &self.code)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
