use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock};

/// A hash table that only grows, up to a cap (and by one more for each thread that adds to it at the same instant), and
/// that is read without a lock: what was found stays where it is.
pub(crate) struct Table<V> {
    // At least twice the cap, a power of two: there is always a free one at which a search ends.
    slots: Box<[OnceLock<Box<V>>]>,
    len: AtomicUsize,
    cap: usize,
    // Drawn at random, so that nobody outside can aim at one slot.
    seed: u64,
}

impl<V> Table<V> {
    pub(crate) fn new(cap: usize) -> Self {
        let size = (cap.max(1) * 2).next_power_of_two();
        let slots = std::iter::repeat_with(OnceLock::new).take(size).collect();
        Self { slots, len: AtomicUsize::new(0), cap, seed: fastrand::u64(..) }
    }

    /// Where the value is that is hashed from `parts` and of which `is` answers true; made and put there if need be.
    /// None if it is not there and the table is full.
    pub(crate) fn find_or_insert(&self, hash: u64, is: impl Fn(&V) -> bool, make: impl FnOnce() -> V) -> Option<usize> {
        let (mut make, mut made) = (Some(make), None);
        let mut at = self.start(hash);
        // Each turn passes a slot that is taken, or takes one, or sees another thread take it.
        for _ in 0..self.slots.len() * 2 {
            let slot = &self.slots[at];
            if let Some(value) = slot.get() {
                if is(value) {
                    return Some(at);
                }
                at = (at + 1) & (self.slots.len() - 1);
                continue;
            }
            let value = match (made.take(), make.take()) {
                (Some(value), _) => value,
                (None, unused) => {
                    // What filled the table may be this very value, from another thread.
                    if self.len.load(Ordering::Acquire) >= self.cap {
                        let _anothers = slot.get()?;
                        make = unused;
                        continue;
                    }
                    Box::new(unused?())
                }
            };
            match slot.set(value) {
                Ok(()) => {
                    self.len.fetch_add(1, Ordering::Release);
                    return Some(at);
                }
                // Another thread was faster, perhaps with the same value: look at it.
                Err(value) => made = Some(value),
            }
        }
        None
    }

    /// Where the value is, if it is there.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(&V) -> bool) -> Option<usize> {
        self.look_up(hash, is).map(|(at, _)| at)
    }

    /// The value too.
    #[inline]
    pub(crate) fn look_up(&self, hash: u64, is: impl Fn(&V) -> bool) -> Option<(usize, &V)> {
        let mut at = self.start(hash);
        for _ in 0..self.slots.len() {
            let value = self.slots[at].get()?;
            if is(value) {
                return Some((at, value));
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        None
    }

    /// What was found there.
    pub(crate) fn get(&self, at: usize) -> Option<&V> {
        self.slots.get(at)?.get().map(AsRef::as_ref)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().filter_map(OnceLock::get).map(AsRef::as_ref)
    }

    fn start(&self, hash: u64) -> usize {
        let mixed = mix(hash ^ self.seed);
        usize::try_from(mixed >> 32).unwrap_or_default() & (self.slots.len() - 1)
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value ^ (value >> 29)
}

/// Quick, for texts that are short and hashed on every request. Whoever could choose texts to collide does not know where
/// this process begins.
#[inline]
pub(crate) fn hash_of_bytes(bytes: &[u8]) -> u64 {
    static BEGIN: LazyLock<u64> = LazyLock::new(|| fastrand::u64(..));
    let (words, rest) = bytes.as_chunks::<8>();
    let begin = BEGIN.wrapping_add((bytes.len() as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9));
    let hash = words.iter().fold(begin, |hash, word| mix(hash ^ u64::from_le_bytes(*word)));
    // With the length, what overlaps is as good as the rest itself, and is read at once.
    let last = match (bytes.last_chunk(), bytes.first_chunk(), bytes.last_chunk()) {
        _ if rest.is_empty() => 0,
        (Some(last), ..) => u64::from_le_bytes(*last),
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte)),
    };
    mix(hash.rotate_left(23) ^ last)
}

#[inline]
pub(crate) fn hash_of_key(key: u128) -> u64 {
    let [low, high] = [key as u64, (key >> 64) as u64];
    mix(low ^ high.rotate_left(32).wrapping_mul(0xbf58_476d_1ce4_e5b9))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    fn put(table: &Table<String>, text: &str) -> Option<usize> {
        table.find_or_insert(hash_of_bytes(text.as_bytes()), |known| known == text, || text.to_owned())
    }

    #[test]
    fn what_was_put_in_is_found_at_the_same_place_again() {
        let table = Table::new(100);
        let places: Vec<_> = (0..100).map(|n| put(&table, &n.to_string()).expect("there is room")).collect();
        for (n, place) in places.iter().enumerate() {
            let text = n.to_string();
            assert_eq!(put(&table, &text), Some(*place));
            assert_eq!(table.find(hash_of_bytes(text.as_bytes()), |known| *known == text), Some(*place));
            assert_eq!(table.get(*place), Some(&text));
        }
        assert_eq!(table.values().count(), 100);
    }

    #[test]
    fn a_full_table_takes_no_more_and_still_finds_what_it_has() {
        let table = Table::new(3);
        assert!(["a", "b", "c"].iter().all(|text| put(&table, text).is_some()));
        assert_eq!(put(&table, "d"), None);
        assert!(put(&table, "b").is_some());
        assert_eq!(table.find(hash_of_bytes(b"d"), |known| known == "d"), None);
        assert_eq!(Table::<String>::new(0).find_or_insert(1, |_| true, String::new), None);
    }

    #[test]
    fn every_byte_and_the_length_count_in_a_hash() {
        let mut seen = std::collections::HashMap::new();
        for length in 0..30 {
            let plain = vec![b'a'; length];
            let changed = (0..length).map(|at| {
                let mut text = plain.clone();
                text[at] = b'b';
                text
            });
            for text in std::iter::once(plain.clone()).chain(changed) {
                let before = seen.insert(hash_of_bytes(&text), text.clone());
                assert_eq!(before, None, "{:?}", String::from_utf8(text));
            }
        }
    }

    #[test]
    fn values_of_one_hash_are_told_apart() {
        let table = Table::new(8);
        let places: Vec<_> = (0..8).map(|n| table.find_or_insert(7, |known| *known == n, || n)).collect();
        for (n, place) in places.into_iter().enumerate() {
            assert_eq!(table.get(place.expect("there is room")), Some(&n));
        }
    }

    #[test]
    fn threads_that_put_the_same_in_at_once_agree_on_its_place() {
        for _ in 0..50 {
            let (table, together) = (Table::new(16), Barrier::new(4));
            let all: Vec<Vec<_>> = thread::scope(|scope| {
                let work = || {
                    together.wait();
                    (0..16).map(|n| put(&table, &n.to_string())).collect()
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            assert!(all.iter().all(|places| *places == all[0]), "{all:?}");
            assert!(all[0].iter().all(Option::is_some), "what two threads made at once was counted twice: {all:?}");
            assert_eq!(table.values().count(), 16);
            assert_eq!(put(&table, "one more"), None);
        }
    }
}
