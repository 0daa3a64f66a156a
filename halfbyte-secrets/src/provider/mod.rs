//! Where secrets come from.

mod env;
mod files;
mod stamp;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::live::Policy;
use secrecy::zeroize::Zeroizing;

pub use self::env::Env;
pub use self::files::Files;
pub(crate) use self::stamp::{Contents, Stamp, read, stamp};
use crate::handle::REDACTED;
use crate::{Error, ErrorKind, Name};

/// A backend that has secrets by name.
///
/// ```
/// use halfbyte_secrets::{Error, ErrorKind, Name, Provider, Reading, Version};
///
/// /// Answers each name with itself.
/// struct Echo;
///
/// impl Provider for Echo {
///     const NAME: &'static str = "echo";
///
///     async fn read(&self, name: &Name, _known: Option<&Version>) -> Result<Reading, Error> {
///         match name.as_str() {
///             "nothing" => Err(Error::new(ErrorKind::NotFound, "the echo has no answer")),
///             name => Ok(Reading::new(name)),
///         }
///     }
/// }
/// ```
pub trait Provider: Send + Sync + 'static {
    /// What it is, for people: the scheme of its URL.
    const NAME: &'static str;

    /// Asks once for the secret `name`. Retries, time limits and back-off are the caller's; dropping the future gives up.
    ///
    /// `known` is the version that was answered last, for a provider that can answer [`Reading::unchanged`] with less work.
    ///
    /// # Errors
    ///
    /// The kind says which: [not found](ErrorKind::NotFound) only if the backend answered that it does not have it,
    /// [denied](ErrorKind::Denied), [malformed](ErrorKind::Malformed), or [unavailable](ErrorKind::Unavailable). Never a
    /// value in a message or a source.
    fn read(&self, name: &Name, known: Option<&Version>) -> impl Future<Output = Result<Reading, Error>> + Send;

    /// How current its values are kept unless the caller says otherwise.
    fn policy(&self) -> Policy {
        Policy::default()
    }
}

/// What a [`Provider`] read. The bytes are wiped when it is dropped.
pub struct Reading {
    /// None if what was read last is still current.
    pub(crate) value: Option<Zeroizing<Vec<u8>>>,
    pub(crate) version: Option<Version>,
}

impl Reading {
    /// A value.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(Zeroizing::new(value.into())), version: None }
    }

    /// The value of the known version is still current.
    pub fn unchanged() -> Self {
        Self { value: None, version: None }
    }

    /// Names the version, to be given back with the next [`read`](Provider::read).
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.value.is_some() { REDACTED } else { "unchanged" };
        f.debug_struct("Reading").field("value", &value).field("version", &self.version).finish()
    }
}

/// Names one version of a secret, in the words of its provider. Not a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(Arc<str>);

impl Version {
    /// A version by its provider's own name for it.
    pub fn new(version: impl Into<Arc<str>>) -> Self {
        Self(version.into())
    }

    /// As the provider named it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A provider as [`Secrets`](crate::Secrets) keeps it, whatever its type.
pub(crate) trait Erased: Send + Sync {
    fn name(&self) -> &'static str;

    fn read<'a>(&'a self, name: &'a Name, known: Option<&'a Version>) -> BoxRead<'a>;
}

type BoxRead<'a> = Pin<Box<dyn Future<Output = Result<Reading, Error>> + Send + 'a>>;

impl<P: Provider> Erased for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn read<'a>(&'a self, name: &'a Name, known: Option<&'a Version>) -> BoxRead<'a> {
        Box::pin(Provider::read(self, name, known))
    }
}

/// For secrets on this machine: looked at each second, also when something is wrong with them.
pub(crate) fn watched() -> Policy {
    let second = Duration::from_secs(1);
    Policy { fresh_for: second, max_backoff: second, ..Policy::default() }
}

/// Runs `work` where it may wait for a disk or a network mount.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::new(ErrorKind::Unavailable, "reading was cut short").with_source(error)))
}
