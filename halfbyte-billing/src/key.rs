use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest;
use uuid::Uuid;

/// The [unique](IdempotencyKey::unique) keys of this process begin as this does: 74 of the 80 bits are the system's random ones.
/// What goes on twice from one image of its memory, a machine restored from a snapshot, makes the same keys twice.
static PROCESS: LazyLock<Uuid> = LazyLock::new(Uuid::new_v4);
/// How many unique keys this process has made.
static MADE: AtomicU64 = AtomicU64::new(0);

/// What makes a use of a meter count once: 128 bits, within one tenant, product and meter.
///
/// Whatever a client sends as its `Idempotency-Key` makes one: it is hashed (SHA-256, the first half), so that any value
/// is a valid key and none takes more room than another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey([u8; 16]);

impl IdempotencyKey {
    /// The key for what a client sent.
    ///
    /// ```
    /// use halfbyte_billing::IdempotencyKey;
    ///
    /// assert_eq!(IdempotencyKey::of(b"order-1"), IdempotencyKey::of(b"order-1"));
    /// assert_ne!(IdempotencyKey::of(b"order-1"), IdempotencyKey::of(b"order-2"));
    /// ```
    pub fn of(sent: &[u8]) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&digest::digest(&digest::SHA256, sent).as_ref()[..16]);
        Self(key)
    }

    /// A key that nothing else has, for a request that came without one: 74 random bits that this process drew when it made
    /// its first, and their number.
    ///
    /// Within a process no number comes twice before 2^48 of them: nine years at a million a second. Of a million processes
    /// that share a store, two have the same random bits with a probability of 3 in 10^11. And a client that wants its own key
    /// to be one of these has to find 128 bits of a SHA-256.
    pub fn unique() -> Self {
        // The system is asked once for each process: for each key, that would cost as much as the entry in the journal.
        let number = MADE.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut key = PROCESS.into_bytes();
        key[10..].copy_from_slice(&number[2..]);
        Self(key)
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(Uuid::from_bytes(self.0).as_simple(), f)
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    #[test]
    fn a_key_is_shown_by_all_its_digits() {
        let key = IdempotencyKey::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xab, 0xcd, 0xef, 0xff, 0x10]);
        assert_eq!(key.to_string(), "000102030405060708090aabcdefff10");
    }

    #[test]
    fn keys_made_by_several_threads_at_once_are_all_unique() {
        let make = || (0..10_000).map(|_| IdempotencyKey::unique()).collect::<Vec<_>>();
        let keys: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("made")).collect()
        });
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 40_000);
    }
}
