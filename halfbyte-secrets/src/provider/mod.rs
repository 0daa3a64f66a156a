//! Where secrets come from.

mod env;
mod files;
mod folder;
#[cfg_attr(not(target_os = "linux"), path = "no_handover.rs")]
mod handover;
#[cfg_attr(not(target_os = "linux"), path = "no_inotify.rs")]
mod inotify;
mod stamp;
mod threads;
mod watch;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::live::Policy;
use secrecy::zeroize::Zeroizing;

pub use self::env::Env;
pub use self::files::Files;
pub(crate) use self::stamp::{Contents, Stamp, contents, read};
pub(crate) use self::threads::Threads;
#[cfg(test)]
pub(crate) use self::threads::tests as stuck;
use crate::handle::REDACTED;
use crate::{Error, ErrorKind, Name};

/// A backend that has secrets by name.
///
/// ```
/// use halfbyte_secrets::{Ask, Error, ErrorKind, Provider, Reading};
///
/// /// Answers each name with itself.
/// struct Echo;
///
/// impl Provider for Echo {
///     const NAME: &'static str = "echo";
///
///     async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
///         match ask.name().as_str() {
///             "nothing" => Err(Error::new(ErrorKind::NotFound, "the echo has no answer")),
///             name => Ok(Reading::new(name)),
///         }
///     }
/// }
/// ```
///
/// Only [`read`](Self::read) must be there. The others are for backends that lease, that can tell of changes, or that have
/// something to give back at the end. Retries, time limits, back-off and single flight are the caller's; dropping a future
/// gives up. A read that [may lend](Self::lends), or a renewal, is not dropped when its time is over: it has as much again, so that
/// what it lends is known and can be given back. No error holds a value, in its message or its sources.
pub trait Provider: Send + Sync + 'static {
    /// What it is, for people: the scheme of its URL.
    const NAME: &'static str;

    /// Asks once for a secret. What is lent is lent anew with each read, under a lease of its own: two who had one lease would
    /// lose it both when the first gives it back. So nothing between here and the backend may keep answers, or answer two at once
    /// with one.
    ///
    /// # Errors
    ///
    /// The kind says which: [not found](ErrorKind::NotFound) only if the backend answered that it does not have it,
    /// [denied](ErrorKind::Denied), [malformed](ErrorKind::Malformed), [throttled](ErrorKind::Throttled), or
    /// [unavailable](ErrorKind::Unavailable).
    fn read(&self, ask: Ask<'_>) -> impl Future<Output = Result<Reading, Error>> + Send;

    /// Whether a [`read`](Self::read) of `name` may answer something that is [lent](Reading::lease). Unless a provider says
    /// otherwise, it may.
    fn lends(&self, name: &Name) -> bool {
        let _ = name;
        true
    }

    /// Lengthens a lease that [`read`](Self::read) answered; the new one says how long it is from now.
    ///
    /// # Errors
    ///
    /// [Unavailable](ErrorKind::Unavailable) or [throttled](ErrorKind::Throttled) means that it may work later. With any other
    /// kind the lease is taken for lost, and another credential is read. Unless a provider says otherwise, that is so.
    fn renew(&self, lease: &Lease) -> impl Future<Output = Result<Lease, Error>> + Send {
        let _ = lease;
        async { Err(Error::new(ErrorKind::NotFound, "this backend does not renew leases")) }
    }

    /// Gives a lease back before it ends: at shutdown, when the last handle to the secret is dropped, and at once if what was
    /// lent cannot be used.
    ///
    /// # Errors
    ///
    /// It could not be given back, and lasts until it ends by itself.
    fn revoke(&self, lease: &Lease) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = lease;
        async { Ok(()) }
    }

    /// Resolves when some secret may have changed since the last time this resolved for the same caller. It is dropped and
    /// called anew, so it must be cancel safe. A provider that is asked from time to time need not say anything.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Gives back what the provider itself holds, such as the token that it has logged in for. The last call, after all leases
    /// were revoked.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// How current its values are kept unless the caller says otherwise.
    fn policy(&self) -> Policy {
        Policy::default()
    }
}

/// What a [`Provider`] is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    name: &'a Name,
    known: Option<&'a Version>,
    stage: Stage,
}

impl<'a> Ask<'a> {
    /// The current value of `name`.
    pub fn current(name: &'a Name) -> Self {
        Self { name, known: None, stage: Stage::Current }
    }

    /// The same, of another stage.
    #[must_use]
    pub fn stage_of(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    /// The same, by one who has `known`.
    #[must_use]
    pub fn knowing(mut self, known: Option<&'a Version>) -> Self {
        self.known = known;
        self
    }

    /// Which secret.
    pub fn name(&self) -> &'a Name {
        self.name
    }

    /// The version that was answered last, for a provider that can answer [`Reading::unchanged`] with less work.
    pub fn known(&self) -> Option<&'a Version> {
        self.known
    }

    /// Which of its values. A backend without stages has the current one alone, and answers
    /// [not found](ErrorKind::NotFound) for the others.
    pub fn stage(&self) -> Stage {
        self.stage
    }
}

/// Which of the values of a secret, while it is being rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The one to use. `AWSCURRENT`; the newest version of a key-value store.
    Current,
    /// The one that a rotation is about to make current. `AWSPENDING`.
    Pending,
    /// The one that was current before. `AWSPREVIOUS`; the version before the newest.
    Previous,
}

impl Stage {
    /// In lower case, as events show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Current => "current",
            Stage::Pending => "pending",
            Stage::Previous => "previous",
        }
    }
}

/// For how long a backend has lent a credential. Not a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    id: Arc<str>,
    ttl: Duration,
    /// No less than that.
    lasts: Duration,
    is_renewable: bool,
}

impl Lease {
    /// The lease that its backend calls `id`, for `ttl` from now; by that name it is renewed and given back, so no two have the
    /// same. One of less than a second is of no use: it is given back, and
    /// the read counts as failed.
    pub fn new(id: impl Into<Arc<str>>, ttl: Duration) -> Self {
        Self { id: id.into(), ttl, lasts: ttl, is_renewable: false }
    }

    /// It can be [renewed](Provider::renew).
    #[must_use]
    pub fn renewable(mut self, is_renewable: bool) -> Self {
        self.is_renewable = is_renewable;
        self
    }

    /// The same, where the backend may keep it for longer than it is safe to use: until then it is given back.
    #[must_use]
    pub(crate) fn lasting(mut self, lasts: Duration) -> Self {
        self.lasts = lasts.max(self.ttl);
        self
    }

    pub(crate) fn lasts(&self) -> Duration {
        self.lasts
    }

    /// The backend's name for it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How long it was from when it was granted.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Whether it can be renewed.
    pub fn is_renewable(&self) -> bool {
        self.is_renewable
    }
}

/// What a [`Provider`] read. The bytes are wiped when it is dropped.
pub struct Reading {
    /// None if what was read last is still current.
    pub(crate) value: Option<Zeroizing<Vec<u8>>>,
    pub(crate) version: Option<Version>,
    pub(crate) lease: Option<Lease>,
}

impl Reading {
    /// A value.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(Zeroizing::new(value.into())), version: None, lease: None }
    }

    /// The value of the known version is still current.
    pub fn unchanged() -> Self {
        Self { value: None, version: None, lease: None }
    }

    /// Names the version, to be given back with the next [`read`](Provider::read).
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// The value is lent, and served no longer than that.
    #[must_use]
    pub fn lease(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// The value; `None` if it is [unchanged](Self::unchanged).
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref().map(Vec::as_slice)
    }

    /// For how long the value is lent, if it is.
    pub fn lent(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.value.is_some() { REDACTED } else { "unchanged" };
        f.debug_struct("Reading")
            .field("value", &value)
            .field("version", &self.version)
            .field("lease", &self.lease)
            .finish()
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
    fn read<'a>(&'a self, ask: Ask<'a>) -> Boxed<'a, Result<Reading, Error>>;
    fn lends(&self, name: &Name) -> bool;
    fn renew<'a>(&'a self, lease: &'a Lease) -> Boxed<'a, Result<Lease, Error>>;
    fn revoke<'a>(&'a self, lease: &'a Lease) -> Boxed<'a, Result<(), Error>>;
    fn changed(&self) -> Boxed<'_, ()>;
    fn close(&self) -> Boxed<'_, ()>;
}

pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<P: Provider> Erased for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn read<'a>(&'a self, ask: Ask<'a>) -> Boxed<'a, Result<Reading, Error>> {
        Box::pin(Provider::read(self, ask))
    }

    fn lends(&self, name: &Name) -> bool {
        Provider::lends(self, name)
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> Boxed<'a, Result<Lease, Error>> {
        Box::pin(Provider::renew(self, lease))
    }

    fn revoke<'a>(&'a self, lease: &'a Lease) -> Boxed<'a, Result<(), Error>> {
        Box::pin(Provider::revoke(self, lease))
    }

    fn changed(&self) -> Boxed<'_, ()> {
        Box::pin(Provider::changed(self))
    }

    fn close(&self) -> Boxed<'_, ()> {
        Box::pin(Provider::close(self))
    }
}

/// For a backend that has no stages.
pub(crate) fn only_current<'a>(ask: &Ask<'a>) -> Result<(&'a Name, Option<&'a Version>), Error> {
    match ask.stage() {
        Stage::Current => Ok((ask.name(), ask.known())),
        other => Err(Error::new(ErrorKind::NotFound, format!("this backend has no {} values", other.as_str()))),
    }
}
