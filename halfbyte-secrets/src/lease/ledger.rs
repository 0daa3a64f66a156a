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
    /// Those who use the secret, by handle; dead when the last of them is gone. More than one if a backend lends the same twice.
    holders: Vec<Weak<()>>,
    returning: Returning,
}

/// How far giving a lease back is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Returning {
    NotYet,
    /// Somebody is at it.
    UnderWay,
    /// It did not work: what is left of it is for the end.
    Failed,
}

impl Entry {
    fn is_held(&self) -> bool {
        self.holders.iter().any(|holder| holder.strong_count() > 0)
    }
}

impl Ledger {
    /// Enters `lease`, or its new end and one more who holds it. Those that have ended meanwhile are forgotten, so that it does not
    /// grow.
    pub(crate) fn enter(&self, name: &Arc<str>, lease: &Lease, ends: Instant, holder: &Weak<()>) {
        let now = Instant::now();
        let mut entries = self.entries();
        entries.retain(|entry| entry.ends > now);
        let known = entries.iter().position(|entry| entry.lease.id() == lease.id());
        let known = known.map(|known| entries.swap_remove(known));
        let (mut holders, returning) =
            known.map_or((Vec::new(), Returning::NotYet), |known| (known.holders, known.returning));
        holders.retain(|known| known.strong_count() > 0 && !known.ptr_eq(holder));
        holders.push(holder.clone());
        entries.push(Entry { name: name.clone(), lease: lease.clone(), ends, holders, returning });
    }

    /// Forgets what was given back.
    pub(crate) fn strike(&self, lease: &Lease) {
        self.entries().retain(|entry| entry.lease.id() != lease.id());
    }

    /// It could not be given back.
    pub(crate) fn failed(&self, lease: &Lease) {
        for entry in self.entries().iter_mut().filter(|entry| entry.lease.id() == lease.id()) {
            entry.returning = Returning::Failed;
        }
    }

    /// Whether somebody else than `holder` uses it.
    pub(crate) fn is_held_beside(&self, lease: &Lease, holder: &Weak<()>) -> bool {
        let is_other = |other: &Weak<()>| other.strong_count() > 0 && !other.ptr_eq(holder);
        self.entries().iter().any(|entry| entry.lease.id() == lease.id() && entry.holders.iter().any(is_other))
    }

    /// Those that nobody holds, to be given back; each is answered once.
    pub(crate) fn orphans(&self) -> Vec<Entry> {
        self.begin(|entry| entry.returning == Returning::NotYet && !entry.is_held())
    }

    /// All that nobody is giving back, whoever holds them, to be given back.
    pub(crate) fn idle(&self) -> Vec<Entry> {
        self.begin(|entry| entry.returning != Returning::UnderWay)
    }

    /// All that have not ended; none is left.
    pub(crate) fn take_all(&self) -> Vec<Entry> {
        let now = Instant::now();
        let mut taken = std::mem::take(&mut *self.entries());
        taken.retain(|entry| entry.ends > now);
        taken
    }

    /// They stay until they are struck: a renewal that is answered meanwhile finds that they are on their way back.
    fn begin(&self, which: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let now = Instant::now();
        let begin = |entry: &mut Entry| {
            entry.returning = Returning::UnderWay;
            entry.clone()
        };
        self.entries().iter_mut().filter(|entry| entry.ends > now && which(entry)).map(begin).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
