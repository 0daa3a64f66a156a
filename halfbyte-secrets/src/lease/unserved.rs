use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Lease;

/// What was lent for one secret and is not served, or not yet. It is there as soon as the backend has answered, so that a fetch
/// which is cut short or panics loses none: the next one finds it.
#[derive(Debug, Default)]
pub(crate) struct Unserved(Mutex<Vec<Lease>>);

impl Unserved {
    pub(crate) fn enter(&self, lease: &Lease) {
        let mut leases = self.leases();
        leases.retain(|known| known.id() != lease.id());
        leases.push(lease.clone());
    }

    /// All that are not `needed`; those stay.
    pub(crate) fn take_unless(&self, needed: impl Fn(&Lease) -> bool) -> Vec<Lease> {
        self.leases().extract_if(.., |lease| !needed(lease)).collect()
    }

    /// That one is served from now on.
    pub(crate) fn strike(&self, lease: &Lease) {
        self.leases().retain(|known| known.id() != lease.id());
    }

    fn leases(&self) -> MutexGuard<'_, Vec<Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
