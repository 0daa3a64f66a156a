//! The one task behind a live value: it alone fetches, publishes and withdraws.

use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// The shortest time between two fetches that a source asks for itself.
const HINT_GAP: Duration = Duration::from_millis(50);

pub(super) async fn run<T, S>(
    mut keeper: Keeper<T>,
    source: S,
    alive: CancellationToken,
    stopping: WaitForCancellationFutureOwned,
) where
    T: Send + Sync + 'static,
    S: Source<T>,
{
    let mut stopping = pin!(stopping);
    loop {
        let due = tokio::select! {
            // In order, so that no fetch begins once the end was asked for.
            biased;
            () = alive.cancelled() => return,
            () = &mut stopping => return,
            () = keeper.expiry() => { keeper.withdraw(); false }
            () = keeper.due() => true,
            () = keeper.shared.wake.notified() => keeper.is_wanted(),
            () = keeper.hinted(&source) => true,
        };
        if due {
            keeper.begin();
            let mut fetch = pin!(guarded(&source, keeper.shared.policy.fetch_timeout));
            let outcome = loop {
                tokio::select! {
                    biased;
                    () = alive.cancelled() => return,
                    () = &mut stopping => return,
                    outcome = &mut fetch => break outcome,
                    () = keeper.expiry() => keeper.withdraw(),
                }
            };
            keeper.finish(outcome);
        }
    }
}

/// Runs one fetch with a time limit; a panic in it is an error like any other.
async fn guarded<T, S: Source<T>>(source: &S, limit: Duration) -> Result<Fetched<T>, BoxError> {
    // Called inside the block: a source may panic before it has made its future.
    let fetch = async { source.fetch().await };
    match timeout(limit, AssertUnwindSafe(fetch).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => Err("the fetch panicked".into()),
        Err(_elapsed) => Err(format!("no answer within {limit:?}").into()),
    }
}

/// Made before the task is: a task that is dropped before it ever ran ends in the same way as any other.
pub(super) struct Keeper<T> {
    shared: Arc<Shared<T>>,
    /// The value last fetched: an unchanged answer brings it back also after it was withdrawn.
    last: Option<Arc<Version<T>>>,
}

impl<T> Keeper<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared, last: None }
    }

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

    /// The source says that it has something new; heard a while after the last fetch began, so that one which always says so
    /// does not spin.
    async fn hinted<S: Source<T>>(&self, source: &S) {
        let last = self.shared.status.borrow().last_attempt;
        if let Some(last) = last {
            sleep_until(last + HINT_GAP).await;
        }
        source.changed().await;
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
        let (name, _) = self.name_and_failures();
        quietly(|| tracing::error!(name = &*name, "the last good copy is too old and was withdrawn"));
    }

    fn begin(&self) {
        self.shared.status.send_modify(|status| {
            status.in_flight = true;
            status.last_attempt = Some(Instant::now());
        });
    }

    fn finish(&mut self, outcome: Result<Fetched<T>, BoxError>) {
        match outcome {
            Ok(Fetched { value: None, refused, .. }) if self.last.is_none() => {
                let unchanged = || "the source answered \"unchanged\" before it ever gave a value".into();
                self.failed(refused.map_or_else(unchanged, |reason| reason.as_ref().into()));
            }
            Ok(fetched) => self.fetched(fetched),
            Err(error) => self.failed(error),
        }
    }

    fn fetched(&mut self, fetched: Fetched<T>) {
        let policy = &self.shared.policy;
        let fresh_for = fetched.fresh_for.unwrap_or(policy.fresh_for);
        let usable_for = fresh_for.saturating_add(policy.max_stale);
        let usable_for = fetched.usable_for.map_or(usable_for, |most| usable_for.min(most));
        let lifetime = Lifetime { fresh_for, usable_for, is_lease: fetched.usable_for.is_some() };
        if let Some(value) = fetched.value {
            let generation = self.last.as_ref().map_or(0, |last| last.generation) + 1;
            self.last = Some(Arc::new(Version { value, generation, unattended_until: OnceLock::new() }));
        }
        let generation = self.last.as_ref().map_or(0, |last| last.generation);
        self.shared.current.store(self.last.clone());
        // A source that says of each value that it is over already is not asked without a pause.
        let floor = policy.backoff.min(policy.fresh_for);
        let next = policy.refresh_after(fresh_for, fastrand::f64()).max(floor);
        self.log_recovery();
        let refused = fetched.refused.map(|reason| Arc::from(BoxError::from(&*reason)));
        self.shared.status.send_modify(|status| {
            status.confirmed(generation, Some(lifetime));
            status.last_error = refused;
            status.in_flight = false;
            status.attempts += 1;
            status.next_attempt = Instant::now().checked_add(next);
        });
    }

    fn failed(&self, error: BoxError) {
        let error: Arc<dyn std::error::Error + Send + Sync> = error.into();
        let failures = self.shared.status.borrow().failures.saturating_add(1);
        let policy = &self.shared.policy;
        let wait = policy.backoff_after(failures, fastrand::f64());
        // A lease is tried for once more before it ends.
        let left = self.shared.status.borrow().lease_left().filter(|left| !left.is_zero());
        let wait = left.map_or(wait, |left| wait.min((left / 2).max(policy.backoff)));
        self.log_failure(failures, wait, &*error);
        self.shared.status.send_modify(|status| {
            status.failures = failures;
            status.last_error = Some(error);
            status.in_flight = false;
            status.attempts += 1;
            status.next_attempt = Instant::now().checked_add(wait);
        });
    }

    // Nothing is logged while the status is locked: what listens to the log may read this very value.

    fn log_recovery(&self) {
        let (name, failures) = self.name_and_failures();
        if failures > 0 {
            quietly(|| tracing::info!(name = &*name, failures, "the backend is back"));
        }
    }

    /// At a rate that falls, so that a backend which is away for a day does not fill the log.
    fn log_failure(&self, failures: u32, wait: Duration, error: &(dyn std::error::Error + 'static)) {
        let (name, _) = self.name_and_failures();
        let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let error = crate::error_chain(error);
        quietly(|| {
            if failures.is_power_of_two() {
                tracing::warn!(name = &*name, failures, retry_in_ms, error, "a fetch failed");
            } else {
                tracing::debug!(name = &*name, failures, retry_in_ms, error, "a fetch failed");
            }
        });
    }

    fn name_and_failures(&self) -> (Arc<str>, u32) {
        let status = self.shared.status.borrow();
        (status.name.clone(), status.failures)
    }
}

/// Writes to the log: a layer of it that panics does not end the task.
fn quietly(log: impl FnOnce()) {
    let _panicked = catch_unwind(AssertUnwindSafe(log));
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
