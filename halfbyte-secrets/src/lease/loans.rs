use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{join, join_all};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
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

/// All that a provider lends to this process, and the work about it that nobody waits for. Clones share it.
#[derive(Clone)]
pub(crate) struct Loans(Arc<Inner>);

struct Inner {
    provider: Arc<dyn Erased>,
    audience: Audience,
    ledger: Ledger,
    background: Mutex<JoinSet<()>>,
    turns: Semaphore,
}

impl Loans {
    pub(crate) fn new(provider: Arc<dyn Erased>, audience: Audience) -> Self {
        let turns = Semaphore::new(AT_ONCE);
        Self(Arc::new(Inner { provider, audience, ledger: Ledger::default(), background: Mutex::default(), turns }))
    }

    pub(crate) fn provider(&self) -> &dyn Erased {
        &*self.0.provider
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Runs `task` in the background; the end waits for it for a while.
    pub(super) fn spawn(&self, on: &Handle, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut background = self.background();
        while background.try_join_next().is_some() {}
        background.spawn_on(task, on)
    }

    /// Gives back what nobody holds any more, in the background, each once. What could not be given back is left for the end.
    pub(super) fn sweep(&self, on: &Handle) {
        let orphans = self.0.ledger.orphans();
        if orphans.is_empty() {
            return;
        }
        let loans = self.clone();
        self.spawn(on, async move {
            for Entry { name, lease, .. } in orphans {
                let Ok(_turn) = loans.0.turns.acquire().await else { return };
                let journal = loans.0.audience.of(&name);
                if let Err(error) = loans.give_back(&journal, &lease, Instant::now() + ONE).await {
                    let message =
                        "the lease of a secret that is not used any more was not given back; the end tries again";
                    journal.failed(0, &Error::new(error.kind(), message).with_source(error));
                }
            }
        });
    }

    /// Gives back one lease, until `until`, and says so. A provider that panics does harm to nobody else.
    pub(super) async fn give_back(&self, journal: &Journal, lease: &Lease, until: Instant) -> Result<(), Error> {
        let Inner { provider, ledger, .. } = &*self.0;
        // Called inside the block: it may panic before it has made its future.
        let revocation = AssertUnwindSafe(async { provider.revoke(lease).await }).catch_unwind();
        match timeout_at(until, revocation).await {
            Ok(Ok(outcome)) => outcome?,
            Ok(Err(_panic)) => return Err(Error::new(ErrorKind::Unavailable, "the provider panicked")),
            Err(_elapsed) => return Err(Error::new(ErrorKind::Unavailable, "the backend did not take it in time")),
        }
        ledger.strike(lease);
        journal.tell(0, Outcome::Revoked);
        Ok(())
    }

    /// Gives back what is lent, all of it at once, and closes the backend, until `until`. Calls that are under way are waited for
    /// meanwhile, for half of that time: they may lend more. What was not given back in time is told of: it ends by itself.
    pub(crate) async fn end(&self, until: Instant) {
        let Inner { provider, ledger, .. } = &*self.0;
        let now = Instant::now();
        let left = until.saturating_duration_since(now);
        let revoked_by = until.checked_sub(CLOSING.min(left / 4)).unwrap_or(until);
        let known = self.give_back_all(ledger.take_untried(), revoked_by);
        let late = async {
            self.settle(now + left / 2).await;
            self.give_back_all(ledger.take_all(), revoked_by).await;
        };
        join(known, late).await;
        let closing = AssertUnwindSafe(async { provider.close().await }).catch_unwind();
        if !matches!(timeout_at(until, closing).await, Ok(Ok(()))) {
            tracing::debug!(target: "halfbyte::secrets", "the backend was not closed, or not in time");
        }
    }

    async fn give_back_all(&self, entries: Vec<Entry>, until: Instant) {
        let revocations = entries.iter().map(async |Entry { name, lease, .. }| {
            let journal = self.0.audience.of(name);
            if let Err(error) = self.give_back(&journal, lease, until).await {
                let message = "the lease was not given back, and lasts until it ends by itself";
                journal.failed(0, &Error::new(error.kind(), message).with_source(error));
            }
        });
        join_all(revocations).await;
    }

    /// Waits until nothing runs in the background, or until `until`, when it is given up.
    async fn settle(&self, until: Instant) {
        let mut running = std::mem::take(&mut *self.background());
        let all = async {
            while !running.is_empty() {
                while running.join_next().await.is_some() {}
                // What a late answer lends is given back in the background too.
                running = std::mem::take(&mut *self.background());
            }
        };
        if timeout_at(until, all).await.is_err() {
            running.abort_all();
            self.background().abort_all();
            tracing::warn!(
                target: "halfbyte::secrets",
                left = running.len(),
                "calls that were under way at the end are given up: what they lend, if anything, ends by itself",
            );
        }
    }

    fn background(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.background.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Loans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loans").field("ledger", &self.0.ledger).finish_non_exhaustive()
    }
}
