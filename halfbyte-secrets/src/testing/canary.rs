//! Secrets that are there to be found if they leak.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use halfbyte_core::fingerprint::Finder;
use secrecy::zeroize::Zeroizing;

use crate::provider::only_current;
use crate::{Ask, Error, Provider, Reading, Version};

const LENGTH: usize = 40;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Stands for the canary in the shape of a secret.
const PLACE: &str = "{}";

/// A canary for each name that is asked for.
#[derive(Clone, Default)]
pub(super) struct Canaries(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Of secrets that are more than a canary.
    shapes: HashMap<String, String>,
    made: Mutex<Vec<Canary>>,
    /// Of all that are made.
    finder: ArcSwapOption<Known>,
}

struct Known {
    finder: Finder,
    names: Vec<String>,
}

/// One of them. It is made anew each time, so that what searches memory for it has none of its own.
struct Canary {
    name: String,
    letters: RandomState,
}

impl Canary {
    fn value(&self) -> Zeroizing<Vec<u8>> {
        let mut value = Zeroizing::new(Vec::with_capacity(LENGTH));
        value.extend((0..LENGTH).map(|index| {
            let random = self.letters.hash_one(index) % LETTERS.len() as u64;
            usize::try_from(random).map_or(b'A', |random| LETTERS[random])
        }));
        value
    }
}

impl Canaries {
    pub(super) fn new(shapes: HashMap<String, String>) -> Self {
        Self(Arc::new(Shared { shapes, ..Shared::default() }))
    }

    /// The name of a secret that is in `bytes`.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<String> {
        let known = self.0.finder.load();
        let known = known.as_deref()?;
        known.names.get(known.finder.find(bytes)?.secret).cloned()
    }

    /// The secret `name`, in its shape.
    fn secret(&self, name: &str) -> Vec<u8> {
        let value = self.value(name);
        let Some((before, after)) = self.0.shapes.get(name).and_then(|shape| shape.split_once(PLACE)) else {
            return value.to_vec();
        };
        let mut secret = Vec::with_capacity(before.len() + value.len() + after.len());
        [before.as_bytes(), &value, after.as_bytes()].iter().for_each(|part| secret.extend_from_slice(part));
        secret
    }

    fn value(&self, name: &str) -> Zeroizing<Vec<u8>> {
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(canary) = made.iter().find(|canary| canary.name == name) {
            return canary.value();
        }
        let canary = Canary { name: name.to_owned(), letters: RandomState::new() };
        let value = canary.value();
        made.push(canary);
        let values: Vec<_> = made.iter().map(Canary::value).collect();
        let finder = Finder::new(values.iter().map(|value| value.as_slice()));
        let names = made.iter().map(|canary| canary.name.clone()).collect();
        self.0.finder.store(Some(Arc::new(Known { finder, names })));
        value
    }
}

impl Provider for Canaries {
    const NAME: &'static str = "canaries";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let (name, known) = only_current(&ask)?;
        if known.is_some() {
            return Ok(Reading::unchanged());
        }
        Ok(Reading::new(self.secret(name.as_str())).version(Version::new("only")))
    }
}
