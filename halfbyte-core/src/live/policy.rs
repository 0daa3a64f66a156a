use std::time::Duration;

/// When a [`Live`](super::Live) value is fetched, and for how long it may be served without.
///
/// ```
/// use std::time::Duration;
/// use halfbyte_core::live::Policy;
///
/// let keys = Policy { fresh_for: Duration::from_secs(600), max_stale: Duration::from_secs(86_400), ..Policy::default() };
/// assert_eq!(keys.jitter, 0.1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How long a value counts as current, unless the source says otherwise. Default 5 minutes.
    pub fresh_for: Duration,
    /// How long past `fresh_for` the last known good value is still served. Default 1 hour.
    pub max_stale: Duration,
    /// The refresh is due at a random point in the last `jitter` of `fresh_for`, 0 to 1. Default 0.1.
    pub jitter: f64,
    /// The shortest time between two fetches that [`refresh`](super::Live::refresh) causes. Default 1 second.
    pub demand_gap: Duration,
    /// The wait after the first failed fetch; it doubles with each further one, less up to half at random. Default 250 ms.
    /// Also the shortest wait after a good one, unless `fresh_for` here is shorter, whatever the source says.
    pub backoff: Duration,
    /// The longest wait between failed fetches. Default 30 seconds.
    pub max_backoff: Duration,
    /// After this a fetch has failed. Default 10 seconds.
    pub fetch_timeout: Duration,
    /// Do not fetch before somebody asks. Default false.
    pub lazy: bool,
    /// Whether the process is ready only with it. Default true; false where only some requests need it.
    pub required: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            fresh_for: Duration::from_secs(300),
            max_stale: Duration::from_secs(3600),
            jitter: 0.1,
            demand_gap: Duration::from_secs(1),
            backoff: Duration::from_millis(250),
            max_backoff: Duration::from_secs(30),
            fetch_timeout: Duration::from_secs(10),
            lazy: false,
            required: true,
        }
    }
}

impl Policy {
    /// When to refresh a value that is fresh for `fresh_for`; `random` is in 0..1.
    pub(super) fn refresh_after(&self, fresh_for: Duration, random: f64) -> Duration {
        // The last step turns a jitter that is not a number into none.
        less(fresh_for, self.jitter.clamp(0.0, 1.0).max(0.0) * random)
    }

    /// How long to wait after `failures` failed fetches in a row; `random` is in 0..1.
    pub(super) fn backoff_after(&self, failures: u32, random: f64) -> Duration {
        let doubled = self.backoff.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        less(doubled.min(self.max_backoff), random / 2.0)
    }
}

/// `whole` less that part of it, but never so short that a loop on it would spin.
fn less(whole: Duration, part: f64) -> Duration {
    // The part is taken off rather than the rest taken: of the longest duration, all of it is more than f64 can give back.
    whole.saturating_sub(whole.mul_f64(part)).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_a_fraction_of_the_interval_and_never_after_expiry() {
        let policy = Policy { jitter: 0.2, ..Policy::default() };
        let interval = Duration::from_secs(100);
        assert_eq!(policy.refresh_after(interval, 0.0), interval);
        assert_eq!(policy.refresh_after(interval, 1.0), Duration::from_secs(80));
    }

    #[test]
    fn back_off_doubles_up_to_its_bound_and_keeps_at_least_half() {
        let policy = Policy::default();
        assert_eq!(policy.backoff_after(1, 0.0), Duration::from_millis(250));
        assert_eq!(policy.backoff_after(3, 0.0), Duration::from_secs(1));
        assert_eq!(policy.backoff_after(3, 1.0), Duration::from_millis(500));
        assert_eq!(policy.backoff_after(500, 0.0), Duration::from_secs(30));
    }
}
