use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::Lease;

/// The leases of a process that have not ended, whoever holds them: what is given back when it shuts down. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Vec<Entry>>>);

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Arc<str>,
    pub(crate) lease: Lease,
    ends: Instant,
}

impl Ledger {
    /// Enters `lease`, or its new end. Those that have ended meanwhile are forgotten, so that it does not grow.
    pub(crate) fn enter(&self, name: &str, lease: &Lease, ends: Instant) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        entries.retain(|entry| entry.ends > now && entry.lease.id() != lease.id());
        entries.push(Entry { name: name.into(), lease: lease.clone(), ends });
    }

    /// Forgets what was given back.
    pub(crate) fn strike(&self, lease: &Lease) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|entry| entry.lease.id() != lease.id());
    }

    /// All that have not ended; none is left.
    pub(crate) fn take(&self) -> Vec<Entry> {
        let mut entries = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let now = Instant::now();
        entries.retain(|entry| entry.ends > now);
        entries
    }
}
