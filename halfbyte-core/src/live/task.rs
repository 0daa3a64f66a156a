//! The one task behind a live value: it alone fetches, publishes and withdraws.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::status::Lifetime;
use super::{Fetched, Shared, Source, Version};
use crate::BoxError;

pub(super) async fn run<T, S>(
    shared: Arc<Shared<T>>,
    source: S,
    alive: CancellationToken,
    stopping: WaitForCancellationFutureOwned,
) where
    T: Send + Sync + 'static,
    S: Source<T>,
{
    let mut keeper = Keeper { shared, last: None };
    let mut stopping = pin!(stopping);
    loop {
        let due = tokio::select! {
            () = alive.cancelled() => return,
            () = &mut stopping => return,
            () = keeper.expiry() => { keeper.withdraw(); false }
            () = keeper.due() => true,
            () = keeper.shared.wake.notified() => keeper.is_wanted(),
        };
        if due {
            keeper.begin();
            let mut fetch = pin!(guarded(&source, keeper.shared.policy.fetch_timeout));
            let outcome = loop {
                tokio::select! {
                    () = alive.cancelled() => return,
                    () = &mut stopping => return,
                    () = keeper.expiry() => keeper.withdraw(),
                    outcome = &mut fetch => break outcome,
                }
            };
            keeper.finish(outcome);
        }
    }
}

/// Runs one fetch with a time limit; a panic in it is an error like any other.
async fn guarded<T, S: Source<T>>(source: &S, limit: Duration) -> Result<Fetched<T>, BoxError> {
    match timeout(limit, AssertUnwindSafe(source.fetch()).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => Err("the fetch panicked".into()),
        Err(_elapsed) => Err(format!("no answer within {limit:?}").into()),
    }
}

struct Keeper<T> {
    shared: Arc<Shared<T>>,
    /// The value last fetched: an unchanged answer brings it back also after it was withdrawn.
    last: Option<Arc<Version<T>>>,
}

impl<T> Keeper<T> {
    fn is_wanted(&self) -> bool {
        self.shared.wanted.load(Ordering::Acquire) > self.shared.status.borrow().attempts
    }

    async fn due(&self) {
        let next = self.shared.status.borrow().next_attempt;
        match next {
            Some(at) => sleep_until(at).await,
            None if self.is_wanted() => {}
            None => std::future::pending().await,
        }
    }

    async fn expiry(&self) {
        let until =
            if self.shared.current.load().is_some() { self.shared.status.borrow().usable_until() } else { None };
        match until {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn withdraw(&self) {
        self.shared.current.store(None);
        let name = self.shared.status.borrow().name.clone();
        tracing::error!(name = &*name, "the last good copy is too old and was withdrawn");
    }

    fn begin(&self) {
        self.shared.status.send_modify(|status| {
            status.in_flight = true;
            status.last_attempt = Some(Instant::now());
        });
    }

    fn finish(&mut self, outcome: Result<Fetched<T>, BoxError>) {
        match outcome {
            Ok(Fetched { value: None, .. }) if self.last.is_none() => {
                self.failed("the source answered \"unchanged\" before it ever gave a value".into());
            }
            Ok(fetched) => self.fetched(fetched),
            Err(error) => self.failed(error),
        }
    }

    fn fetched(&mut self, fetched: Fetched<T>) {
        let policy = &self.shared.policy;
        let fresh_for = fetched.fresh_for.unwrap_or(policy.fresh_for);
        let lifetime = Lifetime { fresh_for, usable_for: fresh_for.saturating_add(policy.max_stale) };
        if let Some(value) = fetched.value {
            let generation = self.last.as_ref().map_or(0, |last| last.generation) + 1;
            self.last = Some(Arc::new(Version { value, generation, unattended_until: OnceLock::new() }));
        }
        let generation = self.last.as_ref().map_or(0, |last| last.generation);
        self.shared.current.store(self.last.clone());
        let next = policy.refresh_after(fresh_for, fastrand::f64()).max(Duration::from_millis(1));
        self.shared.status.send_modify(|status| {
            if status.failures > 0 {
                tracing::info!(name = &*status.name, failures = status.failures, "the backend is back");
            }
            status.confirmed(generation, Some(lifetime));
            status.in_flight = false;
            status.attempts += 1;
            status.next_attempt = Instant::now().checked_add(next);
        });
    }

    fn failed(&self, error: BoxError) {
        let error: Arc<dyn std::error::Error + Send + Sync> = error.into();
        self.shared.status.send_modify(|status| {
            status.failures = status.failures.saturating_add(1);
            let wait = self.shared.policy.backoff_after(status.failures, fastrand::f64());
            tracing::warn!(
                name = &*status.name,
                failures = status.failures,
                retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                error = crate::error_chain(&*error),
                "a fetch failed"
            );
            status.last_error = Some(error);
            status.in_flight = false;
            status.attempts += 1;
            status.next_attempt = Instant::now().checked_add(wait);
        });
    }
}

/// Whatever ends the task, from a normal stop to the runtime being dropped, readers are left a deadline of their own.
impl<T> Drop for Keeper<T> {
    fn drop(&mut self) {
        let until = self.shared.status.borrow().usable_until();
        if let (Some(version), Some(until)) = (self.shared.current.load().as_ref(), until) {
            let _already_set = version.unattended_until.set(until);
        }
        self.shared.status.send_modify(|status| {
            status.ended = true;
            status.in_flight = false;
        });
    }
}
