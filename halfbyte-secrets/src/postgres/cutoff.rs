use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells old connections from new ones by when they were made. The clock is that of sqlx.
#[derive(Debug)]
pub(super) struct Cutoff {
    origin: Instant,
    /// Nanoseconds after `origin`; what was made before is old.
    at: AtomicU64,
}

impl Cutoff {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), at: AtomicU64::new(0) }
    }

    /// From now on, what was made before now is old.
    pub(super) fn cut(&self) {
        self.at.fetch_max(nanos(self.origin.elapsed()), Ordering::AcqRel);
    }

    /// Whether a connection of this age is old.
    pub(super) fn is_before(&self, age: Duration) -> bool {
        let made = self.origin.elapsed().saturating_sub(age);
        nanos(made) < self.at.load(Ordering::Acquire)
    }
}

/// Of 500 years no more.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_before_the_last_cut_is_old() {
        let cutoff = Cutoff::new();
        assert!(!cutoff.is_before(Duration::from_secs(3600)), "nothing is old before the first cut");
        let made = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        cutoff.cut();
        std::thread::sleep(Duration::from_millis(2));
        assert!(cutoff.is_before(made.elapsed()));
        assert!(!cutoff.is_before(Duration::ZERO));
        cutoff.cut();
        assert!(cutoff.is_before(Duration::from_millis(1)));
    }
}
