use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;

use super::fault::Fault;
use super::{LEEWAY, MOST_AGE};

/// Which proofs were used (RFC 9449, 11.1): each key may use a `jti` once while the proof could still be good.
///
/// Bounded in memory: what does not fit is refused, for to forget a proof would be to accept it again.
pub(super) struct Replays {
    /// Of this process only: what a client chooses as `jti` must not choose where it is kept here.
    key: hmac::Key,
    shards: Box<[Mutex<Shard>]>,
    most_in_shard: usize,
}

/// The most proofs that are remembered: those of more than ten thousand requests a second, in about 40 MB.
pub(super) const MOST: usize = 1 << 20;

/// How many seconds of proofs are forgotten at once.
pub(super) const BUCKET: i64 = 15;

/// A power of two, so that a byte of a MAC chooses evenly.
const SHARDS: usize = 64;

struct Shard {
    /// By when they end: each holds the proofs that expire in the [`BUCKET`] seconds from its number times that.
    buckets: BTreeMap<i64, HashSet<u128, BuildHasherDefault<Prehashed>>>,
    used: usize,
    /// Proofs that expire before were forgotten. It follows what was remembered and not the clock, so that a clock that
    /// jumps far ahead and is set back neither opens the window again nor keeps it shut for long.
    forgotten: i64,
}

impl Replays {
    pub(super) fn new(key: hmac::Key, most: usize) -> Self {
        let shard = || Mutex::new(Shard { buckets: BTreeMap::new(), used: 0, forgotten: i64::MIN });
        let shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        Self { key, shards, most_in_shard: most / SHARDS }
    }

    /// Uses up a proof that is too old from `expires` on. Of any number who try at once, one succeeds.
    pub(super) fn use_up(&self, thumbprint: &[u8; 32], id: &str, expires: i64, now: i64) -> Result<(), Fault> {
        let mut mac = hmac::Context::with_key(&self.key);
        mac.update(thumbprint);
        mac.update(id.as_bytes());
        let mac = mac.sign();
        let (proof, rest) = mac.as_ref().split_first_chunk().expect("a MAC is longer than 16 bytes");
        let proof = u128::from_ne_bytes(*proof);
        // Nothing that can panic half-way happens under the lock.
        let mut shard = self.shards[usize::from(rest[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        shard.forget(now);
        if expires < shard.forgotten || shard.buckets.values().any(|bucket| bucket.contains(&proof)) {
            return Err(Fault::Used);
        }
        if shard.used >= self.most_in_shard {
            return Err(Fault::Full(shard.relief(now)));
        }
        shard.buckets.entry(expires.div_euclid(BUCKET)).or_default().insert(proof);
        shard.used += 1;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().expect("not poisoned").used).sum()
    }
}

impl Shard {
    fn forget(&mut self, now: i64) {
        while let Some(oldest) = self.buckets.first_entry() {
            let end = end(*oldest.key());
            if now < end {
                break;
            }
            self.used -= oldest.remove().len();
            self.forgotten = end;
        }
    }

    /// How long it takes until there is room again. A clock that was set back does not make it longer than it ever is.
    fn relief(&self, now: i64) -> Duration {
        let end = self.buckets.first_key_value().map_or(now, |(bucket, _)| end(*bucket));
        let seconds = end.saturating_sub(now).clamp(1, MOST_AGE + LEEWAY + BUCKET);
        Duration::from_secs(seconds.unsigned_abs())
    }
}

/// The first second at which nothing in that bucket can be good any more.
fn end(bucket: i64) -> i64 {
    bucket.saturating_add(1).saturating_mul(BUCKET)
}

/// Takes what is a MAC already for its own hash.
#[derive(Default)]
struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_ne_bytes(word);
        }
    }
}
