use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::time::Instant;

use crate::Lease;

/// The leases of a process that have not ended, whoever holds them: what is given back, at the latest when it shuts down.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Vec<Entry>>);

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Arc<str>,
    pub(crate) lease: Lease,
    ends: Instant,
    /// Those who use the secret; dead when the last of them is gone.
    holder: Weak<()>,
    /// Somebody gives it back, or has tried to: what is left of it is for the end.
    is_tried: bool,
}

impl Ledger {
    /// Enters `lease`, or its new end. Those that have ended meanwhile are forgotten, so that it does not grow.
    pub(crate) fn enter(&self, name: &Arc<str>, lease: &Lease, ends: Instant, holder: &Weak<()>) {
        let now = Instant::now();
        let mut entries = self.entries();
        entries.retain(|entry| entry.ends > now && entry.lease.id() != lease.id());
        let (name, lease, holder) = (name.clone(), lease.clone(), holder.clone());
        entries.push(Entry { name, lease, ends, holder, is_tried: false });
    }

    /// Forgets what was given back.
    pub(crate) fn strike(&self, lease: &Lease) {
        self.entries().retain(|entry| entry.lease.id() != lease.id());
    }

    /// Those that nobody holds, each answered once; they stay until they are struck.
    pub(crate) fn orphans(&self) -> Vec<Entry> {
        let now = Instant::now();
        let is_orphan = |entry: &&mut Entry| !entry.is_tried && entry.ends > now && entry.holder.strong_count() == 0;
        let try_it = |entry: &mut Entry| {
            entry.is_tried = true;
            entry.clone()
        };
        self.entries().iter_mut().filter(is_orphan).map(try_it).collect()
    }

    /// All that have not ended and that nobody gives back yet; none of them is left.
    pub(crate) fn take_untried(&self) -> Vec<Entry> {
        self.take(|entry| !entry.is_tried)
    }

    /// All that have not ended; none is left.
    pub(crate) fn take_all(&self) -> Vec<Entry> {
        self.take(|_| true)
    }

    fn take(&self, which: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let now = Instant::now();
        let mut taken: Vec<_> = self.entries().extract_if(.., |entry| which(entry)).collect();
        taken.retain(|entry| entry.ends > now);
        taken
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
