use std::future::Future;
use std::time::Duration;

use crate::BoxError;

/// Where a [`Live`](super::Live) value comes from. An `async` closure that answers a `Result<Fetched<T>, _>` is one.
pub trait Source<T>: Send + Sync + 'static {
    /// Asks the backend once. Retries, time limits and back-off are the caller's; dropping the future gives up.
    fn fetch(&self) -> impl Future<Output = Result<Fetched<T>, BoxError>> + Send;
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
    pub(super) fresh_for: Option<Duration>,
}

impl<T> Fetched<T> {
    /// A value, to be used from now on.
    pub fn new(value: T) -> Self {
        Self { value: Some(value), fresh_for: None }
    }

    /// The value fetched before is still the current one. An error if there was none.
    pub fn unchanged() -> Self {
        Self { value: None, fresh_for: None }
    }

    /// The backend's own word on how long this is current, in place of the policy's.
    #[must_use]
    pub fn fresh_for(mut self, fresh_for: Duration) -> Self {
        self.fresh_for = Some(fresh_for);
        self
    }
}

impl<T> From<T> for Fetched<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}
