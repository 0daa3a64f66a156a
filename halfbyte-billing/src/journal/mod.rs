//! What this process has answered for and the store does not have yet: appended before the response leaves, replayed by
//! whoever finds it when the process dies.

mod folder;
mod record;
mod segment;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

pub(crate) use self::folder::{Folder, Orphan};
pub(crate) use self::record::{Contents, Record, Use};
use self::segment::Segment;

/// So much room at most is made for records beforehand.
const ROOM: usize = 1024;

/// How much may wait for a store that does not answer; then metered requests and events are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) records: usize,
    /// Of memory, which is what runs out first: on the disk it is less.
    pub(crate) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { records: 200_000, bytes: 256 * 1024 * 1024 }
    }
}

/// What can wait in a journal.
pub(crate) trait Item {
    /// Appends its record to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// About how many bytes of memory it takes while it waits.
    fn size(&self) -> usize;
}

/// What is kept for encoding records, in bytes: most are far smaller.
const SCRATCH: usize = 4096;

/// The journal of this process: two files that take turns. Records go to the active one; while the store commits what
/// was taken, the other stands still, and is emptied when the commit is through.
///
/// Appending is one write(2) under a mutex. The write goes to the page cache (a few microseconds), no fsync is waited
/// for, and the order in the file must be the order in the queue: a lock held that briefly costs less than any scheme
/// without one.
#[derive(Debug)]
pub(crate) struct Journal<T> {
    owner: Uuid,
    path: PathBuf,
    state: Mutex<State<T>>,
    /// The last append failed; nothing metered is let in until one works again.
    failing: AtomicBool,
    full: AtomicBool,
    bounds: Bounds,
    /// Held as long as the process lives, and given back by the kernel however it ends.
    _lock: File,
}

#[derive(Debug)]
struct State<T> {
    active: Segment,
    sealed: Segment,
    queue: Vec<T>,
    /// What the queue takes of memory.
    bytes: usize,
    /// How many were taken out of the queue and are not in the store yet, and what they take.
    taken: (usize, usize),
    scratch: Vec<u8>,
    closed: bool,
}

impl<T> State<T> {
    /// Whether `records` more, of so many bytes, are still within `bounds`.
    fn has_room(&self, bounds: Bounds, records: usize, bytes: usize) -> bool {
        self.queue.len() + self.taken.0 + records <= bounds.records && self.bytes + self.taken.1 + bytes <= bounds.bytes
    }
}

impl<T: Item> Journal<T> {
    fn new(owner: Uuid, path: PathBuf, lock: File, [active, sealed]: [Segment; 2], bounds: Bounds) -> Self {
        let (queue, scratch) = (Vec::new(), Vec::new());
        let state = State { active, sealed, queue, bytes: 0, taken: (0, 0), scratch, closed: false };
        Self {
            owner,
            path,
            state: Mutex::new(state),
            failing: AtomicBool::new(false),
            full: AtomicBool::new(false),
            bounds,
            _lock: lock,
        }
    }

    /// Who owns what is journalled and leased here.
    pub(crate) fn owner(&self) -> Uuid {
        self.owner
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the next append can be expected to work.
    pub(crate) fn is_accepting(&self) -> bool {
        !self.failing.load(Ordering::Relaxed) && !self.full.load(Ordering::Relaxed)
    }

    /// How many records wait for the store.
    pub(crate) fn backlog(&self) -> usize {
        let state = self.state();
        state.queue.len() + state.taken.0
    }

    /// Whether all of `items` may wait as well.
    pub(crate) fn has_room(&self, items: &[T]) -> bool {
        let bytes = items.iter().map(Item::size).fold(0, usize::saturating_add);
        self.state().has_room(self.bounds, items.len(), bytes)
    }

    /// Whether the last append failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Writes one record and queues `item` for the store. Once this answers, the record outlives the process.
    ///
    /// Answers whether the queue was empty before.
    pub(crate) fn append(&self, item: T) -> io::Result<bool> {
        self.write(&mut self.state(), item)
    }

    fn write(&self, state: &mut State<T>, item: T) -> io::Result<bool> {
        if state.closed {
            return Err(io::Error::other("the process is stopping"));
        }
        let State { active, queue, bytes, scratch, .. } = state;
        scratch.clear();
        item.encode(scratch);
        if let Err(error) = active.append(scratch) {
            self.failing.store(true, Ordering::Relaxed);
            return Err(error);
        }
        // One record that was long must not keep its room for good.
        scratch.clear();
        scratch.shrink_to(SCRATCH);
        *bytes += item.size();
        queue.push(item);
        if !state.has_room(self.bounds, 1, 1) {
            self.full.store(true, Ordering::Relaxed);
        }
        Ok(state.queue.len() == 1)
    }

    /// As [`append`](Self::append), and waits until the disk has it: what is written survives a loss of power as well. For
    /// threads that may wait.
    pub(crate) fn append_durably(&self, item: T) -> io::Result<bool> {
        let (first, file) = {
            let mut state = self.state();
            let first = self.write(&mut state, item)?;
            // Taken under the lock: the files may take turns meanwhile.
            (first, state.active.handle()?)
        };
        file.sync_data()?;
        Ok(first)
    }

    /// Takes all that is queued, in the order of the journal. [`committed`](Self::committed) must follow, once the store
    /// has it, before the next take.
    pub(crate) fn take(&self) -> Vec<T> {
        let mut state = self.state();
        let State { active, sealed, queue, bytes, taken, .. } = &mut *state;
        // Emptying it can have failed before. Without a turn the active file only grows: replaying twice counts once.
        if !queue.is_empty() && (sealed.is_empty() || sealed.clear().is_ok()) {
            std::mem::swap(active, sealed);
        }
        taken.0 += queue.len();
        taken.1 += std::mem::take(bytes);
        // With the room that it had: requests should not have to make it again.
        let empty = Vec::with_capacity(queue.len().min(ROOM));
        std::mem::replace(queue, empty)
    }

    /// The store has all that was taken.
    pub(crate) fn committed(&self) {
        let mut state = self.state();
        state.taken = (0, 0);
        self.full.store(!state.has_room(self.bounds, 1, 1), Ordering::Relaxed);
        if let Err(error) = state.sealed.clear() {
            tracing::warn!(journal = %self.path.display(), %error, "a committed journal could not be emptied");
        }
    }

    /// Called every second. After a failed append: tries whether appending works again, and lets metered requests in if
    /// it does. A journal that was taken away from under the process would be found by nobody, and is a failure too.
    pub(crate) fn tend(&self) -> io::Result<()> {
        let there = self.path.metadata().map(drop);
        let outcome = match there {
            Ok(()) if !self.is_failing() => return Ok(()),
            // As large as the largest record, so that success means something.
            Ok(()) => self.state().active.probe(2048),
            Err(error) => Err(error),
        };
        self.failing.store(outcome.is_err(), Ordering::Relaxed);
        outcome
    }

    /// Takes no more records, if none is queued; answers whether it closed.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state();
        state.closed |= state.queue.is_empty();
        state.closed
    }

    /// Removes the files of a closed journal.
    pub(crate) fn remove(&self) -> io::Result<()> {
        folder::remove(&self.path)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::OpenOptions;

    use halfbyte_core::home::Home;

    use super::*;
    use crate::IdempotencyKey;

    impl Item for String {
        fn encode(&self, out: &mut Vec<u8>) {
            let key = IdempotencyKey::of(self.as_bytes());
            let at = jiff::Timestamp::UNIX_EPOCH;
            let used = Use { tenant: self, feature: "f", key, at, units: 1, held: 0, cell: 0, data: "" };
            Record::Use(used).encode(out);
        }

        fn size(&self) -> usize {
            self.len()
        }
    }

    fn folder(parent: &tempfile::TempDir) -> Folder {
        Folder::new(Home::open(parent.path().join("journal")).expect("opened"))
    }

    /// The tenants in the files of a journal whose process is gone.
    fn orphaned(folder: &Folder) -> Vec<String> {
        let orphans = folder.orphans(&BTreeSet::new()).expect("listed");
        let bytes = orphans.iter().flat_map(|orphan| orphan.read().expect("read"));
        bytes.flat_map(|bytes| tenants(&bytes)).collect()
    }

    fn tenants(bytes: &[u8]) -> Vec<String> {
        let tenant = |record: &Record<'_>| match record {
            Record::Use(used) => used.tenant.to_owned(),
            Record::Event { json, .. } => (*json).to_owned(),
        };
        Contents::read(bytes).records.iter().map(tenant).collect()
    }

    #[test]
    fn what_was_appended_and_not_committed_is_found_by_the_next_process() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = folder(&parent);
        let journal = folder.create().expect("made");
        assert!(journal.append("committed".to_owned()).expect("written"), "it is the first");
        assert_eq!(journal.take(), ["committed"]);
        journal.append("meanwhile".to_owned()).expect("written");
        journal.committed();
        journal.append("later".to_owned()).expect("written");
        assert_eq!(orphaned(&folder), [""; 0], "its process lives");
        drop(journal);
        assert_eq!(orphaned(&folder), ["meanwhile", "later"]);
    }

    #[test]
    fn what_was_taken_and_never_committed_is_found_too() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = folder(&parent);
        let journal = folder.create().expect("made");
        journal.append("taken".to_owned()).expect("written");
        journal.take();
        journal.append("queued".to_owned()).expect("written");
        drop(journal);
        let mut found = orphaned(&folder);
        found.sort();
        assert_eq!(found, ["queued", "taken"]);
    }

    #[test]
    fn a_committed_journal_does_not_grow() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = folder(&parent);
        let journal = folder.create().expect("made");
        for round in 0..1000 {
            journal.append(format!("tenant-{round}")).expect("written");
            journal.take();
            journal.append(format!("between-{round}")).expect("written");
            journal.committed();
        }
        drop(journal);
        assert_eq!(orphaned(&folder), ["between-999"]);
    }

    #[test]
    fn a_journal_without_room_refuses_and_says_so_until_there_is_some() {
        let parent = tempfile::tempdir().expect("a folder");
        let full = || Segment::of(OpenOptions::new().append(true).open("/dev/full").expect("opened"));
        let lock = File::create(parent.path().join("lock")).expect("made");
        let journal = Journal::new(Uuid::now_v7(), parent.path().into(), lock, [full(), full()], Bounds::default());
        assert!(journal.is_accepting());
        journal.append("acme".to_owned()).expect_err("there is no room");
        assert!(!journal.is_accepting() && journal.is_failing());
        assert!(journal.take().is_empty(), "what was not written is not queued");
        journal.tend().expect_err("there is still no room");
        journal.state().active = Segment::create(&parent.path().join("roomy")).expect("made");
        journal.tend().expect("there is room");
        assert!(journal.is_accepting());
    }

    fn bounded(parent: &tempfile::TempDir, records: usize, bytes: usize) -> Journal<String> {
        folder(parent).bounded(Bounds { records, bytes }).create().expect("made")
    }

    #[test]
    fn what_was_taken_counts_into_the_backlog_until_it_is_committed() {
        let parent = tempfile::tempdir().expect("a folder");
        let journal = bounded(&parent, 200, usize::MAX);
        for _ in 0..100 {
            journal.append("acme".to_owned()).expect("written");
        }
        journal.take();
        for _ in 0..100 {
            assert!(journal.is_accepting());
            journal.append("acme".to_owned()).expect("written");
        }
        assert_eq!((journal.backlog(), journal.is_accepting()), (200, false));
        journal.committed();
        assert_eq!((journal.backlog(), journal.is_accepting()), (100, true));
    }

    #[test]
    fn few_long_records_fill_a_journal_as_many_short_ones_do() {
        let parent = tempfile::tempdir().expect("a folder");
        let journal = bounded(&parent, 200, 1000);
        let long = || "x".repeat(100);
        for _ in 0..5 {
            journal.append(long()).expect("written");
        }
        journal.take();
        let five = vec![long(); 5];
        assert!(journal.has_room(&five), "just as many as fit");
        assert!(!journal.has_room(&vec![long(); 6]), "one too many");
        assert!(!bounded(&parent, 4, 1000).has_room(&five), "fewer bytes, but too many records");
        for item in five {
            assert!(journal.is_accepting());
            journal.append(item).expect("written");
        }
        assert_eq!((journal.backlog(), journal.is_accepting()), (10, false));
        journal.committed();
        assert_eq!((journal.backlog(), journal.is_accepting()), (5, true));
        journal.take();
        journal.committed();
        for _ in 0..9 {
            journal.append(long()).expect("written");
        }
        journal.append("x".repeat(99)).expect("written");
        assert!(journal.is_accepting());
        journal.append("x".to_owned()).expect("written");
        assert!(!journal.is_accepting());
    }

    #[test]
    fn a_closed_journal_takes_nothing_and_closes_only_when_all_is_taken() {
        let parent = tempfile::tempdir().expect("a folder");
        let journal = folder(&parent).create().expect("made");
        journal.append("acme".to_owned()).expect("written");
        assert!(!journal.close());
        journal.take();
        journal.committed();
        assert!(journal.close());
        journal.append("late".to_owned()).expect_err("it is closed");
        journal.remove().expect("removed");
        assert!(!journal.path().exists());
    }
}
