//! What was read from the database, for as long as it may be believed. No I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::format::Id;
use super::record::Record;

/// How long a record is believed while changes made elsewhere are heard of.
const WHILE_HEARING: Duration = Duration::from_secs(30);
/// How long it is believed while they are not.
const WHILE_DEAF: Duration = Duration::from_secs(2);
/// From when on silence means that changes are not heard of any more. With it, a revocation is in force everywhere within
/// 5 seconds, whatever happens to the connection that would tell of it.
const SILENCE: Duration = Duration::from_secs(5);
/// How long an id is believed to be nobody's. Short: one that is made later should not stay unknown.
const UNKNOWN: Duration = Duration::from_secs(2);

const MOST: usize = 10_000;
const PARTS: usize = 64;

/// Bounded in entries and in time. An id that was read stays here when it is too old to be believed, so that a key that
/// somebody has is told from one that somebody made up.
pub(super) struct Records {
    known: Cache<Id, Entry>,
    unknown: Cache<Id, Entry>,
    /// Counts the changes to the ids of each part. An entry that was read before the last change is worth nothing, also one
    /// that arrives after it.
    changes: [AtomicU64; PARTS],
    start: Instant,
    /// When the connection that tells of changes last said anything, in milliseconds after the start; 0 when it is gone.
    heard_at: AtomicU64,
}

#[derive(Clone)]
struct Entry {
    record: Option<Arc<Record>>,
    read: Read,
}

/// When a read of the database began: what it answers is at least as new.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    at: Instant,
    changes: u64,
}

/// What is at hand of one id.
pub(super) enum Found {
    /// Its record, or that it is nobody's, and for how long that is known.
    Believed(Option<Arc<Record>>, Duration),
    /// A record that is too old to be believed.
    Old,
    /// Nothing.
    Nothing,
}

impl Records {
    pub(super) fn new() -> Self {
        Self {
            known: Cache::new(MOST),
            unknown: Cache::new(MOST),
            changes: std::array::from_fn(|_| AtomicU64::new(0)),
            start: Instant::now(),
            heard_at: AtomicU64::new(0),
        }
    }

    pub(super) fn find(&self, id: Id) -> Found {
        let longest = if self.is_hearing() { WHILE_HEARING } else { WHILE_DEAF };
        let believed = |entry: &Entry, longest| {
            let age = entry.read.at.elapsed();
            (age < longest && entry.read.changes == self.changes_of(id)).then_some(age)
        };
        if let Some(entry) = self.known.get(&id) {
            return believed(&entry, longest).map_or(Found::Old, |age| Found::Believed(entry.record, age));
        }
        match self.unknown.get(&id).and_then(|entry| believed(&entry, UNKNOWN)) {
            Some(age) => Found::Believed(None, age),
            None => Found::Nothing,
        }
    }

    /// To be called before the database is asked for `id`.
    pub(super) fn begin(&self, id: Id) -> Read {
        Read { at: Instant::now(), changes: self.changes_of(id) }
    }

    pub(super) fn insert(&self, id: Id, record: Option<Arc<Record>>, read: Read) {
        let (its, other) = if record.is_some() { (&self.known, &self.unknown) } else { (&self.unknown, &self.known) };
        other.remove(&id);
        its.insert(id, Entry { record, read });
    }

    /// Something about `id` has changed.
    pub(super) fn changed(&self, id: Id) {
        self.changes[id.part_of(PARTS)].fetch_add(1, Ordering::AcqRel);
    }

    /// Anything may have changed.
    pub(super) fn all_changed(&self) {
        for changes in &self.changes {
            changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Changes made elsewhere are heard of, now.
    pub(super) fn heard(&self) {
        let at = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_at.store(at.max(1), Ordering::Release);
    }

    /// They are no longer.
    pub(super) fn deaf(&self) {
        self.heard_at.store(0, Ordering::Release);
    }

    pub(super) fn is_hearing(&self) -> bool {
        let at = self.heard_at.load(Ordering::Acquire);
        at > 0 && self.start.elapsed().saturating_sub(Duration::from_millis(at)) < SILENCE
    }

    fn changes_of(&self, id: Id) -> u64 {
        self.changes[id.part_of(PARTS)].load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Environment;
    use jiff::Timestamp;

    use super::super::format::{Digest, generate};
    use super::super::record::Stored;
    use super::super::spec::ApiKeySpec;
    use super::*;

    fn id() -> Id {
        generate(Environment::Development, None).unwrap().0
    }

    fn record(id: Id) -> Option<Arc<Record>> {
        let spec = ApiKeySpec::new("acme".parse().unwrap());
        let stored = Stored::new(spec, id, Digest::of("a key"), Timestamp::UNIX_EPOCH).unwrap();
        Some(Arc::new(Record::new(id, &stored, &"issuer".into())))
    }

    fn believed(records: &Records, id: Id) -> Option<bool> {
        match records.find(id) {
            Found::Believed(record, _) => Some(record.is_some()),
            Found::Old | Found::Nothing => None,
        }
    }

    fn read(records: &Records, id: Id, record: Option<Arc<Record>>) {
        records.insert(id, record, records.begin(id));
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_is_believed_for_30_seconds_while_changes_are_heard_of_and_for_2_while_they_are_not() {
        let (records, id) = (Records::new(), id());
        for (hearing, seconds) in [(true, 30), (false, 2)] {
            read(&records, id, record(id));
            for second in 0..40 {
                if hearing {
                    records.heard();
                } else {
                    records.deaf();
                }
                assert_eq!(believed(&records, id), (second < seconds).then_some(true), "{hearing} {second}");
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            assert!(matches!(records.find(id), Found::Old));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_for_5_seconds_is_deafness() {
        let (records, id) = (Records::new(), id());
        read(&records, id, record(id));
        records.heard();
        tokio::time::advance(Duration::from_millis(4990)).await;
        assert_eq!(believed(&records, id), Some(true));
        tokio::time::advance(Duration::from_millis(20)).await;
        assert_eq!(believed(&records, id), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_a_change_is_not_believed_even_when_it_arrives_after_it() {
        let (records, id) = (Records::new(), id());
        records.heard();
        read(&records, id, record(id));
        assert_eq!(believed(&records, id), Some(true));
        let begun = records.begin(id);
        records.changed(id);
        assert_eq!(believed(&records, id), None);
        records.insert(id, record(id), begun);
        assert_eq!(believed(&records, id), None, "it was read before the change");
        read(&records, id, None);
        assert_eq!(believed(&records, id), Some(false));
        records.all_changed();
        assert_eq!(believed(&records, id), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_unknown_ids_drives_out_no_known_one_and_is_bounded() {
        let (records, known) = (Records::new(), id());
        records.heard();
        read(&records, known, record(known));
        for _ in 0..MOST * 3 {
            read(&records, id(), None);
        }
        assert_eq!(believed(&records, known), Some(true));
        assert!(records.unknown.len() <= MOST, "{}", records.unknown.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_id_is_asked_for_again_after_2_seconds() {
        let (records, id) = (Records::new(), id());
        records.heard();
        read(&records, id, None);
        assert_eq!(believed(&records, id), Some(false));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(matches!(records.find(id), Found::Nothing));
    }
}
