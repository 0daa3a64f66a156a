//! Keys that tokens name and the issuer does not have: what keeps strangers from making the issuer work.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

/// For how long a key that the issuer did not have counts as one that it does not have.
pub(crate) const REMEMBERED_FOR: Duration = Duration::from_secs(5);
/// How many are remembered.
const MOST_REMEMBERED: usize = 4_096;
/// How many different unknown keys may be waited for at once. A rotation brings one or two.
const MOST_AWAITED: usize = 16;

/// What is known of unknown keys. A key is known by a keyed hash of its id.
pub(crate) struct UnknownKeys {
    hasher: RandomState,
    /// By key: the generation that did not have it, and when that was.
    remembered: Cache<u64, (u64, Instant)>,
    /// By key: how many wait for it.
    awaited: Mutex<HashMap<u64, usize>>,
}

/// A place among those who wait for a key; it is given up on drop.
pub(crate) struct Place<'a> {
    keys: &'a UnknownKeys,
    key: u64,
}

/// Why nobody waits for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// It is known not to be there.
    Known,
    /// Too many others are waited for.
    Full,
}

impl UnknownKeys {
    pub(crate) fn new() -> Self {
        let (hasher, remembered) = (RandomState::new(), Cache::new(MOST_REMEMBERED));
        Self { hasher, remembered, awaited: Mutex::default() }
    }

    /// A place to wait for the key.
    pub(crate) fn wait_for(&self, key_id: Option<&str>, generation: u64) -> Result<Place<'_>, NoPlace> {
        let key = self.hasher.hash_one(key_id);
        let remembered = self.remembered.get(&key);
        if remembered.is_some_and(|(without, at)| without == generation && at.elapsed() < REMEMBERED_FOR) {
            return Err(NoPlace::Known);
        }
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let full = awaited.len() >= MOST_AWAITED;
        match awaited.get_mut(&key) {
            Some(waiting) => *waiting += 1,
            None if full => return Err(NoPlace::Full),
            None => drop(awaited.insert(key, 1)),
        }
        drop(awaited);
        Ok(Place { keys: self, key })
    }
}

impl Place<'_> {
    /// Remembers that the keys of `generation`, which were fetched just now, do not have this one.
    pub(crate) fn remember(&self, generation: u64) {
        self.keys.remembered.insert(self.key, (generation, Instant::now()));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut awaited = self.keys.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        match awaited.get_mut(&self.key) {
            Some(waiting) if *waiting > 1 => *waiting -= 1,
            _ => drop(awaited.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_remembered_for_its_generation_and_for_a_while() {
        let keys = UnknownKeys::new();
        keys.wait_for(Some("a"), 1).expect("not known yet").remember(1);
        assert!(keys.wait_for(Some("a"), 1).err() == Some(NoPlace::Known));
        assert!(keys.wait_for(Some("a"), 2).is_ok(), "other keys may have it");
        assert!(keys.wait_for(Some("b"), 1).is_ok());
        assert!(keys.wait_for(None, 1).is_ok());
        tokio::time::advance(REMEMBERED_FOR).await;
        assert!(keys.wait_for(Some("a"), 1).is_ok(), "the issuer may have published it late");
    }

    #[test]
    fn many_may_wait_for_one_key_and_few_keys_may_be_waited_for() {
        let keys = UnknownKeys::new();
        let thousand: Vec<_> = (0..1_000).map(|_| keys.wait_for(Some("new"), 1).expect("a place")).collect();
        let ids: Vec<_> = (0..MOST_AWAITED).map(|id| id.to_string()).collect();
        let others: Vec<_> = ids.iter().filter_map(|id| keys.wait_for(Some(id), 1).ok()).collect();
        assert_eq!(others.len(), MOST_AWAITED - 1);
        assert!(keys.wait_for(Some("one more"), 1).err() == Some(NoPlace::Full));
        assert!(keys.wait_for(Some("new"), 1).is_ok());
        drop(thousand);
        assert!(keys.wait_for(Some("one more"), 1).is_ok(), "places are given back");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let keys = UnknownKeys::new();
        for id in 0..3 * MOST_REMEMBERED {
            keys.wait_for(Some(&id.to_string()), 1).expect("a place").remember(1);
        }
        assert!(keys.remembered.len() <= MOST_REMEMBERED);
        assert!(keys.awaited.lock().unwrap().is_empty());
    }
}
