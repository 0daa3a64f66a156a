//! What time it was at an instant, without asking the system's clock each time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use halfbyte_core::Clock;

/// How long the distance between the two clocks is relied on, since the system's may be set.
const RELIED_ON: i64 = 1_000_000_000;

/// The time at `instant`, by the system's clock as it was at most a second before.
pub(crate) fn at(instant: Instant) -> SystemTime {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    static DISTANCE: AtomicI64 = AtomicI64::new(0);
    // When it was measured, by the steady clock; 0 is never.
    static MEASURED: AtomicI64 = AtomicI64::new(0);
    let first = *FIRST.get_or_init(Instant::now);
    // Another thread's may be earlier than the first.
    let steady = match instant.checked_duration_since(first) {
        Some(since) => nanos(since),
        None => -nanos(first.duration_since(instant)),
    };
    let measured = MEASURED.load(Ordering::Acquire);
    let distance = if measured == 0 || steady.saturating_sub(measured) > RELIED_ON {
        let wall = SystemTime::from(Clock::system().now()).duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = nanos(first.elapsed());
        let distance = nanos(wall) - now;
        DISTANCE.store(distance, Ordering::Relaxed);
        MEASURED.store(now.max(1), Ordering::Release);
        distance
    } else {
        DISTANCE.load(Ordering::Relaxed)
    };
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(steady.saturating_add(distance)).unwrap_or_default())
}

/// Enough for 292 years.
fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_clock_says_and_moves_as_instants_do() {
        let instant = Instant::now();
        let told = at(instant);
        let clock = SystemTime::from(Clock::system().now());
        let apart = clock.duration_since(told).unwrap_or_else(|error| error.duration());
        assert!(apart < Duration::from_secs(30), "{apart:?}");
        let earlier = told.duration_since(at(instant - Duration::from_secs(1))).unwrap();
        assert!(earlier > Duration::from_millis(900) && earlier < Duration::from_millis(1_100), "{earlier:?}");
        let hour = Duration::from_secs(3_600);
        let later = at(instant + hour).duration_since(told).unwrap();
        assert!(later > hour.mul_f64(0.9) && later < hour.mul_f64(1.1), "{later:?}");
    }
}
