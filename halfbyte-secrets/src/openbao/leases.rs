//! By which token something was lent: it ends with that token, whatever its own time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::Lease;

/// The number of the login that each lease was made with, until the lease ends.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<Box<str>, (u64, Instant)>>);

impl Leases {
    /// Enters `lease`, or its new end; those that have ended are forgotten, so that it does not grow.
    pub(super) fn enter(&self, lease: &Lease, login: u64, now: Instant) {
        let mut leases = self.lock();
        leases.retain(|_, (_, ends)| *ends > now);
        // A lease longer than any clock goes on for as long as this process.
        if let Some(ends) = now.checked_add(lease.ttl()) {
            leases.insert(lease.id().into(), (login, ends));
        }
    }

    pub(super) fn forget(&self, lease: &Lease) {
        self.lock().remove(lease.id());
    }

    /// Which login it was made with, if it has not ended.
    pub(super) fn login(&self, lease: &Lease) -> Option<u64> {
        self.lock().get(lease.id()).map(|(login, _)| *login)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, (u64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_has_ended_is_forgotten_with_the_next_entry() {
        let (leases, now) = (Leases::default(), Instant::now());
        let lease = |id: &str| Lease::new(id, Duration::from_secs(5));
        leases.enter(&lease("a"), 1, now);
        leases.enter(&lease("b"), 2, now + Duration::from_secs(4));
        assert_eq!((leases.login(&lease("a")), leases.login(&lease("b"))), (Some(1), Some(2)));
        leases.enter(&lease("c"), 2, now + Duration::from_secs(5));
        assert_eq!((leases.login(&lease("a")), leases.login(&lease("b"))), (None, Some(2)));
        leases.forget(&lease("b"));
        assert_eq!(leases.login(&lease("b")), None);
    }
}
