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

/// What a lease that is longer than any clock counts for.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A lease as it is held now. Pure: what is decided follows from the instants that are given.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) lease: Lease,
    /// How long the backend lent it for at first.
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
        Self { first: lease.ttl(), lease, granted: asked }
    }

    /// The same after a renewal that was asked for at `asked`.
    pub(crate) fn renewed(&self, lease: Lease, asked: Instant) -> Self {
        Self { lease, first: self.first, granted: asked }
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
        self.lease.ttl().mul_f64(USED)
    }

    pub(crate) fn ends(&self) -> Instant {
        self.granted + self.lease.ttl().min(LONGEST)
    }

    /// How long it may still be used.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.ends().saturating_duration_since(now)
    }

    /// How long it is until something is due.
    pub(crate) fn rest(&self, now: Instant) -> Duration {
        (self.granted + self.fresh_for().min(LONGEST)).saturating_duration_since(now)
    }

    fn is_shrunk(&self) -> bool {
        self.lease.ttl() < self.first.mul_f64(SHRUNK)
    }
}
