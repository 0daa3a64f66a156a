use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::BoxError;

/// Where a [`Live`](super::Live) value comes from. An `async` closure that answers a `Result<Fetched<T>, _>` is one.
pub trait Source<T>: Send + Sync + 'static {
    /// Asks the backend once. Retries, time limits and back-off are the caller's; dropping the future gives up.
    fn fetch(&self) -> impl Future<Output = Result<Fetched<T>, BoxError>> + Send;

    /// Resolves when the backend may have something new since the last fetch began, which is then fetched at once, also in the
    /// middle of a back-off. It is dropped and called anew at any time, so it must be cancel safe. Unless a source knows
    /// better, it never resolves.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

impl<T, F, Fut> Source<T> for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Fetched<T>, BoxError>> + Send,
{
    fn fetch(&self) -> impl Future<Output = Result<Fetched<T>, BoxError>> + Send {
        self()
    }
}

/// What a backend answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched<T> {
    pub(super) value: Option<T>,
    /// Why what the backend gave is not the value.
    pub(super) refused: Option<Arc<str>>,
    pub(super) fresh_for: Option<Duration>,
    pub(super) usable_for: Option<Duration>,
}

impl<T> Fetched<T> {
    /// A value, to be used from now on.
    pub fn new(value: T) -> Self {
        Self { value: Some(value), refused: None, fresh_for: None, usable_for: None }
    }

    /// The value fetched before is still the current one. An error if there was none.
    pub fn unchanged() -> Self {
        Self { value: None, refused: None, fresh_for: None, usable_for: None }
    }

    /// The backend gave something that cannot be used. The value fetched before stays, as current as when it is
    /// [unchanged](Self::unchanged), and the status says why; where there is none the fetch has failed with that reason.
    pub fn refused(reason: impl Into<Arc<str>>) -> Self {
        Self { refused: Some(reason.into()), ..Self::unchanged() }
    }

    /// The backend's own word on how long this is current, in place of the policy's.
    #[must_use]
    pub fn fresh_for(mut self, fresh_for: Duration) -> Self {
        self.fresh_for = Some(fresh_for);
        self
    }

    /// The longest that this may be served: a lease that ends. It shortens what the policy's `max_stale` would allow, and
    /// never lengthens it.
    #[must_use]
    pub fn usable_for(mut self, usable_for: Duration) -> Self {
        self.usable_for = Some(usable_for);
        self
    }
}

impl<T> From<T> for Fetched<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}
