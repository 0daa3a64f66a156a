//! A value that is fetched from a backend and changes while the program runs.

mod error;
mod policy;
mod source;
mod status;
mod task;

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::error::{Error, ErrorKind};
pub use self::policy::Policy;
pub use self::source::{Fetched, Source};
pub use self::status::{State, Status};
use crate::BoxError;
use crate::lifecycle::Lifecycle;

/// A value fetched from a backend that changes while the program runs: signing keys, a secret, a policy set.
///
/// [`load`](Live::load) is a lock-free snapshot: a few nanoseconds, no allocation, no I/O. One task behind it does the
/// first load, refreshes ahead of expiry with jitter, joins concurrent demands into one fetch, backs off on error,
/// serves the last known good value up to [`Policy::max_stale`], and answers a typed [`Error`] after that.
///
/// ```
/// use halfbyte_core::live::{Live, Policy};
/// use halfbyte_core::{Clock, Lifecycle};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lifecycle = Lifecycle::new(Clock::system());
/// let motd = Live::start("motd", Policy::default(), async || Ok("hello".to_owned().into()), &lifecycle);
/// assert_eq!(*motd.get().await?, "hello");
/// # Ok(()) }
/// ```
///
/// # What it guarantees
///
/// - However many callers wait, at most one fetch is in flight.
/// - A value is not served later than `fresh_for + max_stale` after the backend last confirmed it, also when the task has
///   ended or its runtime is gone. While the task lives it is what withdraws the value, so a runtime whose threads are
///   all blocked, or that nobody drives, withdraws late.
/// - A fetch that panics or takes longer than [`Policy::fetch_timeout`] counts as a failed one.
///
/// Dropping the last clone ends the task. Clones share everything.
pub struct Live<T> {
    shared: Arc<Shared<T>>,
    _alive: Option<Arc<DropGuard>>,
}

struct Shared<T> {
    current: ArcSwapOption<Version<T>>,
    status: watch::Sender<Status>,
    /// The number of the attempt that somebody waits for; the task fetches while fewer have finished.
    wanted: AtomicU64,
    wake: Notify,
    policy: Policy,
}

struct Version<T> {
    value: T,
    generation: u64,
    /// Set when no task is left to withdraw the value in time: readers then check for themselves.
    unattended_until: OnceLock<Instant>,
}

/// A snapshot of a [`Live`] value; it stays what it is while the live value moves on. Keep it for one operation only.
pub struct Snapshot<T>(Guard<Option<Arc<Version<T>>>>);

impl<T: Send + Sync + 'static> Live<T> {
    /// Starts the task that keeps the value; the first load begins at once unless the policy is
    /// [lazy](Policy::lazy). `name` names the value in errors, readiness and metrics.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn start<S: Source<T>>(name: impl Into<Arc<str>>, policy: Policy, source: S, lifecycle: &Lifecycle) -> Self {
        let name = name.into();
        let alive = CancellationToken::new();
        let shared = Arc::new(Shared {
            current: ArcSwapOption::empty(),
            status: watch::Sender::new(Status::cold(name.clone(), &policy)),
            wanted: AtomicU64::new(u64::from(!policy.lazy)),
            wake: Notify::new(),
            policy,
        });
        let weak = Arc::downgrade(&shared);
        lifecycle.health().register(move || Some(weak.upgrade()?.status.borrow().check()));
        let keeper = task::Keeper::new(shared.clone());
        lifecycle.spawn("live", task::run(keeper, source, alive.clone(), lifecycle.stopping()));
        Self { shared, _alive: Some(Arc::new(alive.drop_guard())) }
    }
}

impl<T> Live<T> {
    /// A value that never changes, for tests and for providers that have nothing to refresh. No task, no expiry.
    pub fn fixed(name: impl Into<Arc<str>>, value: T) -> Self {
        let mut status = Status::cold(name.into(), &Policy::default());
        status.confirmed(1, None);
        let version = Version { value, generation: 1, unattended_until: OnceLock::new() };
        Self {
            shared: Arc::new(Shared {
                current: ArcSwapOption::from_pointee(version),
                status: watch::Sender::new(status),
                wanted: AtomicU64::new(0),
                wake: Notify::new(),
                policy: Policy::default(),
            }),
            _alive: None,
        }
    }

    /// A value that is never to be had, and why. No task, no readiness: for a name that must not be asked for, say.
    pub fn failed(name: impl Into<Arc<str>>, error: impl Into<BoxError>) -> Self {
        let mut status = Status::cold(name.into(), &Policy::default());
        status.failures = 1;
        status.last_error = Some(Arc::from(error.into()));
        status.ended = true;
        Self {
            shared: Arc::new(Shared {
                current: ArcSwapOption::empty(),
                status: watch::Sender::new(status),
                wanted: AtomicU64::new(0),
                wake: Notify::new(),
                policy: Policy::default(),
            }),
            _alive: None,
        }
    }

    /// The value as it is now, without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Cold`] before the first successful load, [`ErrorKind::Expired`] when the backend has been away for
    /// longer than `fresh_for + max_stale`.
    #[inline]
    pub fn load(&self) -> Result<Snapshot<T>, Error> {
        self.snapshot().map_or_else(|| self.missing(), Ok)
    }

    /// The value as it is now; a cold or expired one is fetched first, by one fetch for all who wait.
    ///
    /// While the task backs off after an error this answers that error at once rather than wait or fetch again.
    /// Cancel safe: the fetch goes on for the others.
    ///
    /// # Errors
    ///
    /// As [`load`](Live::load), with the failed fetch as its source.
    pub async fn get(&self) -> Result<Snapshot<T>, Error> {
        match self.snapshot() {
            Some(snapshot) => Ok(snapshot),
            None => {
                self.attempt(|status| !status.is_usable()).await?;
                self.load()
            }
        }
    }

    /// Says that generation `seen` does not do, and answers a newer one if there is one to be had.
    ///
    /// A newer generation that is already there is answered at once; otherwise one fetch is made for all who ask
    /// meanwhile. Within [`Policy::demand_gap`] of the last fetch the current snapshot is answered without a new one, so
    /// that outsiders cannot make the backend work: compare [`Snapshot::generation`] with `seen`.
    /// Cancel safe: the fetch goes on for the others.
    ///
    /// # Errors
    ///
    /// The fetch failed, or failed just before and the task backs off. The last known good value is still served by
    /// [`load`](Live::load).
    pub async fn refresh(&self, seen: u64) -> Result<Snapshot<T>, Error> {
        match self.snapshot() {
            Some(newer) if newer.generation() > seen => Ok(newer),
            _ => {
                let gap = self.shared.policy.demand_gap;
                let rested = |status: &Status| status.last_attempt.is_none_or(|at| at.elapsed() >= gap);
                self.attempt(|status| status.generation <= seen && rested(status)).await?;
                self.load()
            }
        }
    }

    /// As [`refresh`](Live::refresh), for one who must not be answered with what was there before he asked: within
    /// [`Policy::demand_gap`] of the last fetch he waits until it is over, and a fetch that was under way is followed by
    /// another, so that the answer is newer than `seen` or is of a fetch that began after this call.
    ///
    /// Whoever waits here waits at most for the gap and two fetches. Cancel safe: the fetch goes on for the others.
    ///
    /// # Errors
    ///
    /// As [`refresh`](Live::refresh).
    pub async fn refetch(&self, seen: u64) -> Result<Snapshot<T>, Error> {
        let gap = self.shared.policy.demand_gap;
        let enough = {
            let status = self.shared.status.borrow();
            status.attempts + 1 + u64::from(status.in_flight)
        };
        loop {
            if let Some(newer) = self.snapshot().filter(|snapshot| snapshot.generation() > seen) {
                return Ok(newer);
            }
            let rested = {
                let status = self.shared.status.borrow();
                if status.ended {
                    drop(status);
                    return self.load();
                }
                if status.attempts >= enough {
                    // One that failed meanwhile does not tell that there is nothing newer.
                    let failed = status.failed();
                    drop(status);
                    return failed.map_or_else(|| self.load(), Err);
                }
                status.last_attempt.filter(|_| !status.in_flight).map(|at| at + gap)
            };
            if let Some(rested) = rested {
                tokio::time::sleep_until(rested).await;
            }
            self.attempt(|status| status.last_attempt.is_none_or(|at| at.elapsed() >= gap)).await?;
        }
    }

    /// Waits until the first load is through; for a boot that wants to be warm.
    ///
    /// # Errors
    ///
    /// As [`get`](Live::get).
    pub async fn ready(&self) -> Result<(), Error> {
        self.get().await.map(drop)
    }

    /// Waits for a generation after `seen` and answers its number. Never resolves for a [fixed](Live::fixed) value or
    /// when the task has ended. Cancel safe.
    pub async fn changed(&self, seen: u64) -> u64 {
        let mut status = self.shared.status.subscribe();
        if let Ok(status) = status.wait_for(|status| status.generation > seen).await {
            return status.generation;
        }
        std::future::pending().await
    }

    /// Name, state, age, generation, failures and the last error, as readiness and metrics show them.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    #[cold]
    fn missing(&self) -> Result<Snapshot<T>, Error> {
        let error = self.shared.status.borrow().to_error();
        // The value may have been published since the caller looked; the status is written after it.
        self.snapshot().ok_or_else(|| error.without_value())
    }

    /// Always inlined: it has many callers, and a call of its own costs half as much again.
    #[inline(always)]
    fn snapshot(&self) -> Option<Snapshot<T>> {
        let guard = self.shared.current.load();
        let version = guard.as_ref()?;
        match version.unattended_until.get() {
            Some(until) if Instant::now() >= *until => None,
            _ => Some(Snapshot(guard)),
        }
    }

    /// Waits for the attempt in flight, or demands one if `may_start` and waits for that; with neither, does nothing.
    async fn attempt(&self, may_start: impl FnOnce(&Status) -> bool) -> Result<(), Error> {
        let mut updates = self.shared.status.subscribe();
        let target = {
            let status = updates.borrow_and_update();
            if let Some(error) = status.backing_off() {
                return Err(error);
            }
            if status.ended || (!status.in_flight && !may_start(&status)) {
                return Ok(());
            }
            status.attempts + 1
        };
        self.shared.wanted.fetch_max(target, Ordering::AcqRel);
        self.shared.wake.notify_one();
        match updates.wait_for(|status| status.attempts >= target || status.ended).await {
            Ok(status) => status.failed().map_or(Ok(()), Err),
            Err(_closed) => Ok(()),
        }
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), _alive: self._alive.clone() }
    }
}

/// Shows name and state, never the value: it may be a secret.
impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        f.debug_struct("Live")
            .field("name", &status.name)
            .field("state", &status.state())
            .field("generation", &status.generation)
            .finish_non_exhaustive()
    }
}

impl<T> Snapshot<T> {
    /// Counts the values that came from the backend, from 1; an unchanged refresh does not count.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.version().generation
    }

    #[inline]
    fn version(&self) -> &Version<T> {
        self.0.as_deref().expect("a snapshot is made only of a present value")
    }
}

impl<T> Deref for Snapshot<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.version().value
    }
}

/// Shows the generation, never the value: it may be a secret.
impl<T> fmt::Debug for Snapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("generation", &self.generation()).finish_non_exhaustive()
    }
}
