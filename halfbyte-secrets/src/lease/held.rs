use std::time::Duration;

use tokio::time::Instant;

use crate::Lease;

/// What part of a lease is used before it is renewed or replaced. The rest is for tries that fail; jitter is the
/// policy's.
const USED: f64 = 2.0 / 3.0;

/// A lease that is granted for less than this part of the first one is about to meet its `max_ttl`.
const SHRUNK: f64 = 0.9;

/// A lease for less than this is over before anybody has used it.
pub(crate) const SHORTEST: Duration = Duration::from_secs(1);

/// What a lease that is longer than any clock counts for. What a backend says of it is not believed further than that.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A lease as it is held now. Pure: what is decided follows from the instants that are given.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) lease: Lease,
    /// How long it is, and was at first.
    ttl: Duration,
    first: Duration,
    granted: Instant,
}

/// What is to be done about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    Keep,
    Renew,
    /// By another credential: it cannot be renewed, or not for long.
    Replace,
}

impl Held {
    /// Granted just now; `asked` is when it was asked for, since when it may run.
    pub(crate) fn new(lease: Lease, asked: Instant) -> Self {
        let ttl = lease.ttl().min(LONGEST);
        Self { lease, ttl, first: ttl, granted: asked }
    }

    /// The same after a renewal that was asked for at `asked`.
    pub(crate) fn renewed(&self, lease: Lease, asked: Instant) -> Self {
        Self { first: self.first, ..Self::new(lease, asked) }
    }

    pub(crate) fn due(&self, now: Instant) -> Due {
        // The policy's jitter may ask a little early; what comes much too early was not about the lease.
        if now.saturating_duration_since(self.granted) < self.fresh_for() / 2 {
            Due::Keep
        } else if self.lease.is_renewable() && !self.is_shrunk() && now < self.ends() {
            Due::Renew
        } else {
            Due::Replace
        }
    }

    /// How long after it was granted something is due.
    pub(crate) fn fresh_for(&self) -> Duration {
        self.ttl.mul_f64(USED)
    }

    pub(crate) fn ends(&self) -> Instant {
        self.granted + self.ttl
    }

    /// When the backend ends it, if nobody gives it back: that may be after the last that it may be used.
    pub(crate) fn lasts_until(&self) -> Instant {
        self.granted + self.lease.lasts().min(LONGEST)
    }

    /// How long it may still be used.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.ends().saturating_duration_since(now)
    }

    /// How long it is until something is due.
    pub(crate) fn rest(&self, now: Instant) -> Duration {
        (self.granted + self.fresh_for()).saturating_duration_since(now)
    }

    fn is_shrunk(&self) -> bool {
        self.ttl < self.first.mul_f64(SHRUNK)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn duration() -> impl Strategy<Value = Duration> {
        let edges = [Duration::ZERO, Duration::from_nanos(1), SHORTEST, LONGEST, Duration::MAX];
        prop_oneof![
            prop::sample::select(edges.to_vec()),
            (0..100_000u64).prop_map(Duration::from_millis),
            (any::<u64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)),
        ]
    }

    fn lease(ttl: Duration) -> Lease {
        Lease::new("a", ttl).renewable(true)
    }

    proptest! {
        #[test]
        fn however_long_a_backend_says_that_it_lends_what_follows_is_in_order(
            first in duration(), renewed in duration(), age in duration(), is_renewable: bool
        ) {
            let granted = Instant::now();
            let age = age.min(LONGEST * 2);
            for held in [
                Held::new(lease(first).renewable(is_renewable), granted),
                Held::new(lease(first), granted).renewed(lease(renewed).renewable(is_renewable), granted),
            ] {
                let now = granted + age;
                let (rest, left, ttl) = (held.rest(now), held.left(now), held.lease.ttl());
                prop_assert!(rest <= left && left <= ttl && left <= LONGEST, "{rest:?} {left:?} of {ttl:?}");
                prop_assert_eq!(held.left(granted), ttl.min(LONGEST));
                prop_assert_eq!(held.left(held.ends()), Duration::ZERO);
                prop_assert!(left.is_zero() || now + left == held.ends());
                let due = held.due(now);
                prop_assert_eq!(due == Due::Keep, age < held.fresh_for() / 2);
                prop_assert!(due != Due::Renew || (is_renewable && !left.is_zero()));
            }
        }
    }

    #[test]
    fn a_lease_is_kept_then_renewed_then_replaced() {
        let (granted, second) = (Instant::now(), Duration::from_secs(1));
        let held = Held::new(lease(second * 30), granted);
        for (age, due) in [(0, Due::Keep), (9, Due::Keep), (10, Due::Renew), (29, Due::Renew), (30, Due::Replace)] {
            assert_eq!(held.due(granted + second * age), due, "after {age} s");
        }
        for (ttl, due) in [(60, Due::Renew), (28, Due::Renew), (27, Due::Renew), (26, Due::Replace)] {
            let renewed = held.renewed(lease(second * ttl), granted);
            assert_eq!(renewed.due(granted + second * ttl * 2 / 3), due, "for {ttl} s");
        }
    }
}
