//! The one source of wall-clock time, so that expiry, rotation and quotas are tested without waiting.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Tells the wall-clock time.
///
/// Cloning is cheap and clones agree. Timers (back-off, refresh, deadlines) do not use it: they run on
/// [`tokio::time`], which is monotonic; a `Clock` answers "what time is it" where a timestamp is compared with one
/// that came from elsewhere, such as a token's `exp`.
///
/// ```
/// use halfbyte_core::Clock;
/// use jiff::{SignedDuration, Timestamp};
///
/// let noon: Timestamp = "2030-01-01T12:00:00Z".parse().unwrap();
/// let clock = Clock::manual(noon);
/// clock.jump(SignedDuration::from_secs(90));
/// assert!(clock.now() >= noon + SignedDuration::from_secs(90));
/// ```
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<Manual>>);

struct Manual {
    start: Timestamp,
    since: Instant,
    jumped_nanos: AtomicI64,
}

impl Clock {
    /// The clock of this machine.
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock for tests: it starts at `start`, moves with [`tokio::time`] (so a paused runtime pauses it), and
    /// jumps when told to.
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(Manual { start, since: Instant::now(), jumped_nanos: AtomicI64::new(0) })))
    }

    /// The time now, in UTC.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            None => system_now(),
            Some(manual) => {
                let jumped = SignedDuration::from_nanos(manual.jumped_nanos.load(Ordering::Relaxed));
                let ran = SignedDuration::try_from(manual.since.elapsed()).unwrap_or(SignedDuration::MAX);
                manual.start.checked_add(ran).and_then(|now| now.checked_add(jumped)).unwrap_or(manual.start)
            }
        }
    }

    /// Moves a [manual](Clock::manual) clock forwards or backwards; the machine's clock is left alone.
    pub fn jump(&self, by: SignedDuration) {
        if let Some(manual) = &self.0 {
            let nanos = i64::try_from(by.as_nanos()).unwrap_or(if by.is_negative() { i64::MIN } else { i64::MAX });
            manual.jumped_nanos.fetch_add(nanos, Ordering::Relaxed);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
fn system_now() -> Timestamp {
    Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Clock(manual)" } else { "Clock(system)" })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_manual_clock_moves_with_the_paused_runtime_and_jumps() {
        let start = Timestamp::from_second(1_900_000_000).expect("in range");
        let clock = Clock::manual(start);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), start + SignedDuration::from_secs(60));
        clock.jump(SignedDuration::from_secs(-30));
        assert_eq!(clock.clone().now(), start + SignedDuration::from_secs(30));
    }

    #[test]
    fn the_system_clock_is_not_stuck_at_the_epoch() {
        assert!(Clock::system().now().as_second() > 1_700_000_000);
    }
}
