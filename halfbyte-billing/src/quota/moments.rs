use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Moments of this process as numbers, so that they can be kept in atomics: milliseconds since it opened its store, on the
/// monotonic clock.
#[derive(Debug)]
pub(crate) struct Moments {
    start: Instant,
    /// Counts the rounds of the sweep.
    round: AtomicU64,
    /// The moment from which nothing that is held may be spent: others may have taken it back.
    fence: AtomicU64,
}

impl Default for Moments {
    fn default() -> Self {
        // Until it is told otherwise nothing is taken back from this process.
        Self { start: Instant::now(), round: AtomicU64::new(0), fence: AtomicU64::new(u64::MAX) }
    }
}

impl Moments {
    /// The number of `instant`.
    pub(crate) fn of(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn round(&self) -> u64 {
        self.round.load(Ordering::Relaxed)
    }

    pub(crate) fn next_round(&self) -> u64 {
        self.round.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether what is held may be spent.
    pub(crate) fn may_spend(&self, now: Instant) -> bool {
        let fence = self.fence.load(Ordering::Acquire);
        fence == u64::MAX || self.of(now) < fence
    }

    /// What is held may be spent for `time` from `since` on.
    pub(crate) fn fence(&self, since: Instant, time: Duration) {
        self.fence.store(self.of(since + time), Ordering::Release);
    }
}
