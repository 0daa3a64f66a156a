//! What a snapshot holds, as bytes and as it changes. Pure: no file, no clock.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use secrecy::zeroize::Zeroizing;

use crate::Name;

/// The most that a snapshot may hold, before it is encrypted.
pub(super) const LARGEST: usize = 1024 * 1024;
pub(super) const MOST_NAMES: usize = 1000;

/// How far the clocks of two processes, or one before and after it was set, may be apart.
const SKEW: i64 = 300;

const MAGIC: &[u8] = b"halfbyte boot snapshot 1\n";

/// Values by name, of one backend.
pub(super) struct Contents {
    backend: String,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    /// When the backend last confirmed it, in seconds since 1970.
    confirmed: i64,
    value: Zeroizing<Vec<u8>>,
}

/// What is to become of a name.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) at: i64,
    /// `None` to forget it.
    pub(super) value: Option<Zeroizing<Vec<u8>>>,
}

/// What a snapshot has of a name.
pub(super) enum Found {
    Nothing,
    TooOld,
    Value(Zeroizing<Vec<u8>>, Duration),
}

impl Contents {
    pub(super) fn empty(backend: &str) -> Self {
        Self { backend: backend.to_owned(), entries: BTreeMap::new() }
    }

    pub(super) fn is_of(&self, backend: &str) -> bool {
        self.backend == backend
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of `name`, and how long it may be used after `now`.
    pub(super) fn find(&mut self, name: &str, now: i64, max_age: Duration) -> Found {
        match self.entries.remove(name) {
            None => Found::Nothing,
            Some(entry) => match entry.left(now, max_age) {
                Some(left) => Found::Value(entry.value, left),
                None => Found::TooOld,
            },
        }
    }

    /// Makes a change, unless something newer is known of the name; answers false if there is no room.
    pub(super) fn apply(&mut self, name: &str, change: Change) -> bool {
        let Change { at, value } = change;
        let known = self.entries.get(name);
        // What was confirmed in the future was so by a clock that was wrong.
        if known.is_some_and(|entry| entry.confirmed > at && entry.confirmed <= at.saturating_add(SKEW)) {
            return true;
        }
        let before = self.entries.remove(name);
        let Some(value) = value else { return true };
        self.entries.insert(name.to_owned(), Entry { confirmed: at, value });
        if self.entries.len() > MOST_NAMES || self.size() > LARGEST {
            self.entries.remove(name);
            // The value before the new one is not current any more.
            drop(before);
            return false;
        }
        true
    }

    /// Drops what is too old at `now`.
    pub(super) fn expire(&mut self, now: i64, max_age: Duration) {
        self.entries.retain(|_, entry| entry.left(now, max_age).is_some());
    }

    fn size(&self) -> usize {
        let entry = |(name, entry): (&String, &Entry)| 1 + name.len() + 8 + 4 + entry.value.len();
        MAGIC.len() + 4 + self.backend.len() + 4 + self.entries.iter().map(entry).sum::<usize>()
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Of full size from the start: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.size()));
        bytes.extend_from_slice(MAGIC);
        let length = |length: usize| u32::try_from(length).expect("bounded by LARGEST").to_be_bytes();
        bytes.extend_from_slice(&length(self.backend.len()));
        bytes.extend_from_slice(self.backend.as_bytes());
        bytes.extend_from_slice(&length(self.entries.len()));
        for (name, entry) in &self.entries {
            bytes.push(u8::try_from(name.len()).expect("a name is at most 128 bytes"));
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&entry.confirmed.to_be_bytes());
            bytes.extend_from_slice(&length(entry.value.len()));
            bytes.extend_from_slice(&entry.value);
        }
        bytes
    }

    /// `None` if `bytes` are not what [`to_bytes`](Self::to_bytes) makes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes.strip_prefix(MAGIC).filter(|_| bytes.len() <= LARGEST)?);
        let backend = rest.part()?;
        let backend = str::from_utf8(backend).ok()?.to_owned();
        let count = rest.number()?;
        let mut entries = BTreeMap::new();
        for _ in 0..count.min(MOST_NAMES + 1) {
            let length = usize::from(rest.take(1)?[0]);
            let name = Name::new(str::from_utf8(rest.take(length)?).ok()?).ok()?;
            let confirmed = i64::from_be_bytes(rest.take(8)?.try_into().ok()?);
            let value = Zeroizing::new(rest.part()?.to_vec());
            entries.insert(name.as_str().to_owned(), Entry { confirmed, value });
        }
        // Neither a name twice nor too many, and nothing after them.
        (entries.len() == count && count <= MOST_NAMES && rest.0.is_empty()).then_some(Self { backend, entries })
    }
}

impl Entry {
    /// For how long it may be used after `now`; `None` if it may not.
    fn left(&self, now: i64, max_age: Duration) -> Option<Duration> {
        let age = now.saturating_sub(self.confirmed);
        if age < -SKEW {
            return None;
        }
        let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
        max_age.checked_sub(age).filter(|left| !left.is_zero())
    }
}

/// Shows names, never values.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

/// What is yet to be parsed.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(self.take(4)?.try_into().ok()?)).ok()
    }

    /// A number, and as many bytes.
    fn part(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn keep(value: &[u8], at: i64) -> Change {
        Change { at, value: Some(Zeroizing::new(value.to_vec())) }
    }

    fn value(contents: &Contents, name: &str, now: i64) -> Option<(Vec<u8>, u64)> {
        let mut copy = Contents::from_bytes(&contents.to_bytes()).expect("its own form");
        match copy.find(name, now, DAY) {
            Found::Value(value, left) => Some((value.to_vec(), left.as_secs())),
            Found::Nothing | Found::TooOld => None,
        }
    }

    #[test]
    fn a_value_may_be_used_for_a_day_after_it_was_confirmed_and_not_from_the_future() {
        let mut contents = Contents::empty("b");
        contents.apply("a", keep(b"1", 1_000_000));
        for (now, left) in [
            (1_000_000, Some(86_400)),
            (1_000_010, Some(86_390)),
            (1_086_399, Some(1)),
            (1_086_400, None),
            (i64::MAX, None),
            (999_700, Some(86_400)),
            (999_699, None),
            (i64::MIN, None),
        ] {
            assert_eq!(value(&contents, "a", now).map(|(_, left)| left), left, "{now}");
            let mut swept = Contents::from_bytes(&contents.to_bytes()).expect("its own form");
            swept.expire(now, DAY);
            assert_eq!(swept.is_empty(), left.is_none(), "{now}");
        }
    }

    #[test]
    fn what_is_confirmed_last_counts_whoever_writes_last() {
        let mut contents = Contents::empty("b");
        for (change, expected) in [
            (keep(b"1", 1000), Some(b"1")),
            (keep(b"2", 999), Some(b"1")),
            (keep(b"3", 1000), Some(b"3")),
            (Change { at: 999, value: None }, Some(b"3")),
            (Change { at: 1000, value: None }, None),
            (keep(b"4", 90_000), Some(b"4")),
            // The clock was put right: what it said before does not count.
            (keep(b"5", 2000), Some(b"5")),
        ] {
            let now = change.at;
            assert!(contents.apply("a", change));
            assert_eq!(value(&contents, "a", now).map(|(value, _)| value), expected.map(|value| value.to_vec()));
        }
    }

    #[test]
    fn there_is_room_for_a_thousand_names_and_a_mebibyte() {
        let mut contents = Contents::empty("b");
        for number in 0..MOST_NAMES {
            assert!(contents.apply(&format!("n{number}"), keep(b"x", 0)));
        }
        assert!(!contents.apply("one-more", keep(b"x", 0)));
        assert!(contents.apply("n7", keep(b"y", 1)), "one that is there is no more");
        assert!(Contents::from_bytes(&contents.to_bytes()).is_some());

        let mut contents = Contents::empty("b");
        let value_of = vec![b'x'; 64 * 1024];
        assert!((0..15).all(|number| contents.apply(&format!("n{number}"), keep(&value_of, 0))));
        assert!(!contents.apply("n15", keep(&value_of, 0)));
        contents.apply("n0", keep(b"small", 1));
        assert!(!contents.apply("n0", keep(&vec![b'x'; 200_000], 2)), "too large");
        assert_eq!(value(&contents, "n0", 1), None, "and what was before it is not current any more");
    }

    fn contents() -> impl Strategy<Value = Contents> {
        let entry = ("[a-zA-Z0-9_-]{1,20}", any::<i64>(), prop::collection::vec(any::<u8>(), 0..50));
        ("[ -~]{0,40}", prop::collection::vec(entry, 0..20)).prop_map(|(backend, entries)| {
            let entries = entries
                .into_iter()
                .map(|(name, confirmed, value)| (name, Entry { confirmed, value: Zeroizing::new(value) }));
            Contents { backend, entries: entries.collect() }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(contents in contents()) {
            let bytes = contents.to_bytes();
            prop_assert_eq!(bytes.len(), contents.size());
            let read = Contents::from_bytes(&bytes).expect("its own form");
            prop_assert!(read.is_of(&contents.backend));
            prop_assert_eq!(&*read.to_bytes(), &*bytes);
        }

        #[test]
        fn a_part_of_it_and_more_than_it_are_not_read(contents in contents(), cut in any::<prop::sample::Index>()) {
            let bytes = contents.to_bytes();
            prop_assert!(Contents::from_bytes(&bytes[..cut.index(bytes.len())]).is_none());
            prop_assert!(Contents::from_bytes(&[&bytes[..], b"x"].concat()).is_none());
        }

        #[test]
        fn what_is_read_of_anything_is_written_alike(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [MAGIC, &tail].concat();
            if let Some(read) = Contents::from_bytes(&bytes) {
                let again = Contents::from_bytes(&read.to_bytes()).expect("its own form");
                prop_assert_eq!(&*again.to_bytes(), &*read.to_bytes());
            }
        }
    }
}
