use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::metrics::hash_of_bytes;

const SLOTS: usize = 128;

/// Longer ones are not kept, so that what is kept has a bound.
const LONGEST: usize = 512;

/// What was made lately of texts that clients send over and over, such as `User-Agent`: a place for each hash, in which
/// the last one stands.
pub(super) struct Recent<V>(Box<[ArcSwapOption<Kept<V>>]>);

struct Kept<V> {
    raw: Box<[u8]>,
    value: V,
}

impl<V: Clone> Recent<V> {
    pub(super) fn new() -> Self {
        Self(std::iter::repeat_with(ArcSwapOption::empty).take(SLOTS).collect())
    }

    /// What `make` made of `raw`, perhaps earlier.
    pub(super) fn get(&self, raw: &[u8], make: impl FnOnce() -> V) -> V {
        if raw.len() > LONGEST {
            return make();
        }
        let slot = &self.0[(hash_of_bytes(raw) >> 32) as usize % SLOTS];
        if let Some(kept) = &*slot.load()
            && *kept.raw == *raw
        {
            return kept.value.clone();
        }
        let value = make();
        slot.store(Some(Arc::new(Kept { raw: raw.into(), value: value.clone() })));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_not_made_again_and_never_mistaken_for_something_else() {
        let recent = Recent::new();
        let made = std::cell::Cell::new(0);
        let ask = |text: &str| {
            recent.get(text.as_bytes(), || {
                made.set(made.get() + 1);
                text.to_owned()
            })
        };
        assert_eq!((ask("curl/8"), ask("curl/8"), made.get()), ("curl/8".to_owned(), "curl/8".to_owned(), 1));
        for n in 0..1_000 {
            assert_eq!(ask(&n.to_string()), n.to_string());
        }
        let long = "x".repeat(LONGEST + 1);
        made.set(0);
        assert_eq!((ask(&long), ask(&long)), (long.clone(), long));
        assert_eq!(made.get(), 2);
    }
}
