use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{join, join_all};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::ledger::{Entry, Ledger};
use crate::journal::{Audience, Journal, Outcome};
use crate::provider::Erased;
use crate::{Error, ErrorKind, Lease};

/// What of the time for giving back is kept for saying goodbye, at most.
const CLOSING: Duration = Duration::from_secs(1);

/// How many leases are given back at once while the process runs, and how long one may take.
const AT_ONCE: usize = 4;
const ONE: Duration = Duration::from_secs(10);

const TOO_SLOW: &str = "the backend did not take it in time";

/// All that a provider lends to this process, and the work about it that nobody waits for. Clones share it.
#[derive(Clone)]
pub(crate) struct Loans(Arc<Inner>);

struct Inner {
    provider: Arc<dyn Erased>,
    audience: Audience,
    ledger: Ledger,
    /// Which may lend.
    calls: Tasks,
    /// One for each lease that nobody holds any more.
    returns: Tasks,
    /// For those; closed at the end, when there is no time for turns.
    turns: Semaphore,
}

impl Loans {
    pub(crate) fn new(provider: Arc<dyn Erased>, audience: Audience) -> Self {
        let (turns, ledger) = (Semaphore::new(AT_ONCE), Ledger::default());
        let (calls, returns) = (Tasks::default(), Tasks::default());
        Self(Arc::new(Inner { provider, audience, ledger, calls, returns, turns }))
    }

    pub(crate) fn provider(&self) -> &dyn Erased {
        &*self.0.provider
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Runs a call that may lend in the background; the end waits for it for a while.
    pub(super) fn spawn(&self, on: &Handle, call: impl Future<Output = ()> + Send + 'static) {
        self.0.calls.spawn(on, call);
    }

    /// Gives back what nobody holds any more, in the background, each once. What could not be given back is left for the end.
    pub(super) fn sweep(&self, on: &Handle) {
        for Entry { name, lease, .. } in self.0.ledger.orphans() {
            let loans = self.clone();
            self.0.returns.spawn(on, async move {
                let _turn = loans.0.turns.acquire().await.ok();
                let journal = loans.0.audience.of(&name);
                if let Err(error) = loans.give_back(&journal, &lease, Instant::now() + ONE).await {
                    loans.ledger().failed(&lease);
                    let message =
                        "the lease of a secret that is not used any more was not given back; the end tries again";
                    journal.failed(0, &Error::new(error.kind(), message).with_source(error));
                }
            });
        }
    }

    /// Gives back one lease, until `until`, and says so. A provider that panics does harm to nobody else.
    pub(super) async fn give_back(&self, journal: &Journal, lease: &Lease, until: Instant) -> Result<(), Error> {
        let Inner { provider, ledger, .. } = &*self.0;
        // Called inside the block: it may panic before it has made its future.
        let revocation = AssertUnwindSafe(async { provider.revoke(lease).await }).catch_unwind();
        match timeout_at(until, revocation).await {
            Ok(Ok(outcome)) => outcome?,
            Ok(Err(_panic)) => return Err(Error::new(ErrorKind::Unavailable, "the provider panicked")),
            Err(_elapsed) => return Err(Error::new(ErrorKind::Unavailable, TOO_SLOW)),
        }
        ledger.strike(lease);
        journal.tell(0, Outcome::Revoked);
        Ok(())
    }

    /// Gives back what is lent, all of it at once, and closes the backend, until `until`. Calls that are under way are waited for
    /// meanwhile, for half of that time: they may lend more. What was not given back in time is told of: it ends by itself.
    pub(crate) async fn end(&self, until: Instant) {
        let Inner { provider, ledger, calls, returns, turns, .. } = &*self.0;
        turns.close();
        let now = Instant::now();
        let left = until.saturating_duration_since(now);
        let revoked_by = until.checked_sub(CLOSING.min(left / 4)).unwrap_or(until);
        let known = self.give_back_all(ledger.idle(), revoked_by);
        let late = async {
            let given_up = calls.settle(now + left / 2).await;
            if given_up > 0 {
                tracing::warn!(
                    target: "halfbyte::secrets",
                    left = given_up,
                    "calls that were under way at the end are given up: what they lend, if anything, ends by itself",
                );
            }
            self.give_back_all(ledger.idle(), revoked_by).await;
        };
        join(known, late).await;
        // What was on its way back before is not begun again, unless that has failed.
        returns.settle(revoked_by).await;
        self.give_back_all(ledger.idle(), revoked_by).await;
        for Entry { name, .. } in ledger.take_all() {
            self.is_left(&name, Error::new(ErrorKind::Unavailable, TOO_SLOW));
        }
        let closing = AssertUnwindSafe(async { provider.close().await }).catch_unwind();
        if !matches!(timeout_at(until, closing).await, Ok(Ok(()))) {
            tracing::debug!(target: "halfbyte::secrets", "the backend was not closed, or not in time");
        }
    }

    /// The last that is done about these.
    async fn give_back_all(&self, entries: Vec<Entry>, until: Instant) {
        let revocations = entries.iter().map(async |Entry { name, lease, .. }| {
            if let Err(error) = self.give_back(&self.0.audience.of(name), lease, until).await {
                self.0.ledger.strike(lease);
                self.is_left(name, error);
            }
        });
        join_all(revocations).await;
    }

    fn is_left(&self, name: &str, error: Error) {
        let message = "the lease was not given back, and lasts until it ends by itself";
        self.0.audience.of(name).failed(0, &Error::new(error.kind(), message).with_source(error));
    }
}

/// What runs in the background.
#[derive(Default)]
struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    fn spawn(&self, on: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running();
        while running.try_join_next().is_some() {}
        running.spawn_on(task, on);
    }

    /// Waits until nothing runs, or until `until`, when it is given up. Answers how many were.
    async fn settle(&self, until: Instant) -> usize {
        let mut running = std::mem::take(&mut *self.running());
        let all = async {
            while !running.is_empty() {
                while running.join_next().await.is_some() {}
                // What has begun meanwhile.
                running = std::mem::take(&mut *self.running());
            }
        };
        if timeout_at(until, all).await.is_ok() {
            return 0;
        }
        running.abort_all();
        self.running().abort_all();
        running.len()
    }

    fn running(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Loans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loans").field("ledger", &self.0.ledger).finish_non_exhaustive()
    }
}
