//! Knows a live secret wherever it turns up in a text, without keeping its text.
//!
//! ```
//! use halfbyte_core::fingerprint::{self, mask};
//!
//! let password = fingerprint::register(b"correct horse");
//! assert_eq!(mask("it is correct horse, or not"), "it is [REDACTED], or not");
//! assert_eq!(mask("?password=correct%20horse"), "?password=[REDACTED]");
//! assert_eq!(mask("Authorization: Basic dTpjb3JyZWN0IGhvcnNl"), "Authorization: Basic dT[REDACTED]");
//! drop(password);
//! ```
//!
//! What provides secrets [registers](register) each for as long as it is live; what writes logs, exports telemetry or prints
//! panics [masks](mask) what it lets out. Both find each other here, in the registry of the process.
//!
//! # What it guarantees
//!
//! - While its guard lives, a secret of at least [`SHORTEST`] bytes is found wherever all of it stands in one text: as it is,
//!   as `Debug` and JSON escape it (JSON in JSON too), percent-encoded by the usual sets, in base64 (both alphabets, at each
//!   alignment: `user:secret` of Basic too), in hexadecimal, and as a list of numbers.
//! - The last [`REMEMBERED`] that are no longer live are found as well: a late line may hold an old value. One of many parts
//!   counts as one; of those with the most parts fewer are remembered where there are many, so that they drive out no others.
//! - It keeps lengths and hashes, keyed by random keys of this process, and no text. What it makes of a secret to hash it
//!   is overwritten with zeros.
//! - Nobody can write a text that takes much longer, whatever he knows of a secret: what is hashed of a text is bounded by its
//!   length, and where there is more to hash the text is masked on a hint.
//! - A look at a text takes no lock, allocates only if there is something to mask, and takes about 0.5 ns a byte with a
//!   hundred secrets; twice that while one of exactly 8 bytes is known. Before the first secret is registered it is one relaxed
//!   load. Registering one takes up to a millisecond, and as much again for each further part of it.
//!
//! # What it does not do
//!
//! - Shorter secrets are not known: to mask them would be to mask ordinary words.
//! - A secret that is an ordinary word of eight letters or more, such as `password`, masks that word.
//! - Nothing finds a part of a secret, one that is spread over two fields or lines of a log, or one in another encoding
//!   (compressed, encrypted, base64 in base64, another case).
//! - The keys lie in the same memory as the hashes, those of whole secrets and shorter ones of seventeen bytes of each. Whoever
//!   has a dump of it can try guesses: this keeps a long random secret, not a word out of a dictionary. The dump has the live
//!   secrets themselves, too.

mod finder;
mod forms;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

pub use self::finder::{Finder, Found};
use self::finder::{Keys, Pattern};

/// What stands in place of a secret.
pub const REDACTED: &str = "[REDACTED]";

/// In bytes: what is shorter is not registered.
pub const SHORTEST: usize = 8;

/// How many secrets that are no longer live are still known.
pub const REMEMBERED: usize = 256;

/// How many parts of those, so that looking for them stays cheap.
const PARTS: usize = 4 * REMEMBERED;

/// Whether there ever was one.
static ANY: AtomicBool = AtomicBool::new(false);
static FINDER: ArcSwapOption<Finder> = ArcSwapOption::const_empty();
static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// Makes a secret known until the guard is dropped, and for a while after that. The same one may be registered many times.
/// What is shorter than [`SHORTEST`] is not, and has a guard all the same.
pub fn register(secret: &[u8]) -> Fingerprint {
    register_all(|part| part(secret))
}

/// [`register`] for a secret of which each part is one by itself: `parts` hands over all of them, in any order, and is called
/// once. That they belong together makes them cheaper than by themselves, and has them remembered as one secret.
pub fn register_all(parts: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Fingerprint {
    let mut found = Parts::new();
    // What takes long, and what is the caller's, is not done under the lock.
    parts(&mut |part| {
        if part.len() >= SHORTEST {
            let (id, keys, known) = with_registry(|registry| registry.look(part));
            found.entry(id).or_insert_with(|| known.unwrap_or_else(|| keys.patterns(part, 0).into()));
        }
    });
    let ids = found.keys().copied().collect();
    if !found.is_empty() {
        with_registry(|registry| {
            if registry.add(found) {
                FINDER.store(Some(Arc::new(registry.finder())));
                ANY.store(true, Ordering::Relaxed);
            }
        });
    }
    Fingerprint(ids)
}

fn with_registry<R>(work: impl FnOnce(&mut Registry) -> R) -> R {
    work(REGISTRY.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Registry::new))
}

/// `text` with [`REDACTED`] in place of each secret that is known; borrowed if there is none.
#[inline]
pub fn mask(text: &str) -> Cow<'_, str> {
    with(|finder| finder.mask(text)).unwrap_or(Cow::Borrowed(text))
}

/// [`mask`] for what may not be UTF-8.
#[inline]
pub fn mask_bytes(bytes: &[u8]) -> Cow<'_, [u8]> {
    with(|finder| finder.mask_bytes(bytes)).unwrap_or(Cow::Borrowed(bytes))
}

/// Whether a secret that is known is in `bytes`.
#[inline]
pub fn is_there(bytes: &[u8]) -> bool {
    with(|finder| finder.find(bytes).is_some()).unwrap_or(false)
}

/// [`is_there`] for a number, as it is written in digits.
#[inline]
pub fn is_number(number: impl Into<i128>) -> bool {
    // None that is smaller is as long as a secret.
    const SMALL: u128 = 9_999_999;
    if !is_any() {
        return false;
    }
    let number = number.into();
    number.unsigned_abs() > SMALL && is_there(number.to_string().as_bytes())
}

/// Whether there is anything to look for, by one relaxed load.
#[inline]
pub fn is_any() -> bool {
    ANY.load(Ordering::Relaxed)
}

#[inline]
fn with<R>(look: impl FnOnce(&Finder) -> R) -> Option<R> {
    if is_any() { FINDER.load().as_deref().map(look) } else { None }
}

/// A secret is known while this lives; see [`register`].
#[must_use = "dropping it says that the secret is no longer live"]
pub struct Fingerprint(Box<[Id]>);

impl Drop for Fingerprint {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            with_registry(|registry| registry.release(&self.0));
        }
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// Keyed hash and length of a part of a secret.
type Id = (u64, usize);

/// The parts of one secret, most often one.
type Parts = HashMap<Id, Arc<[Pattern]>>;

struct Registry {
    keys: Arc<Keys>,
    /// How often each was registered.
    live: HashMap<Id, (usize, Arc<[Pattern]>)>,
    /// By secret, the last one at the end; none is empty.
    dead: VecDeque<Parts>,
}

impl Registry {
    fn new() -> Self {
        Self { keys: Arc::new(Keys::random()), live: HashMap::new(), dead: VecDeque::new() }
    }

    /// The id of `part`, what its patterns are made with, and themselves if it is known.
    fn look(&self, part: &[u8]) -> (Id, Arc<Keys>, Option<Arc<[Pattern]>>) {
        let id = (self.keys.digest(part), part.len());
        let live = self.live.get(&id).map(|(_, patterns)| patterns);
        let known = live.or_else(|| self.dead.iter().find_map(|dead| dead.get(&id)));
        (id, self.keys.clone(), known.cloned())
    }

    /// Answers whether there is anything that the finder does not know yet.
    fn add(&mut self, parts: Parts) -> bool {
        let mut is_news = false;
        for (id, patterns) in parts {
            if let Some((count, _)) = self.live.get_mut(&id) {
                *count += 1;
                continue;
            }
            is_news |= !self.dead.iter_mut().any(|dead| dead.remove(&id).is_some());
            self.live.insert(id, (1, patterns));
        }
        self.dead.retain(|dead| !dead.is_empty());
        is_news
    }

    /// Those of one secret.
    fn release(&mut self, ids: &[Id]) {
        let mut dead = Parts::new();
        for id in ids {
            let Some((count, _)) = self.live.get_mut(id) else { continue };
            *count -= 1;
            if *count == 0
                && let Some((_, patterns)) = self.live.remove(id)
            {
                dead.insert(*id, patterns);
            }
        }
        if !dead.is_empty() {
            self.dead.push_back(dead);
            self.forget();
        }
    }

    /// Forgets the oldest one, or the oldest of the largest: what others have registered shall not go for one of many parts. The
    /// finder forgets what falls out when it is made anew, with the next secret that comes.
    fn forget(&mut self) {
        if self.dead.len() > REMEMBERED {
            self.dead.pop_front();
        }
        while self.dead.iter().map(HashMap::len).sum::<usize>() > PARTS {
            let most = self.dead.iter().map(HashMap::len).max();
            let Some(largest) = self.dead.iter().position(|dead| Some(dead.len()) == most) else { return };
            self.dead.remove(largest);
        }
    }

    fn finder(&self) -> Finder {
        let live = self.live.values().map(|(_, patterns)| patterns);
        let dead = self.dead.iter().flat_map(HashMap::values);
        Finder::of(self.keys.clone(), live.chain(dead).flat_map(|patterns| patterns.iter().copied()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Registry {
        /// As [`register_all`] does. Answers the ids, and whether there is news.
        fn enter(&mut self, secret: &[&str]) -> (Vec<Id>, bool) {
            let look = |part: &&str| {
                let (id, keys, known) = self.look(part.as_bytes());
                (id, known.unwrap_or_else(|| keys.patterns(part.as_bytes(), 0).into()))
            };
            let parts: Parts = secret.iter().map(look).collect();
            (parts.keys().copied().collect(), self.add(parts))
        }

        fn enter_and_release(&mut self, secret: &[&str]) {
            let (ids, _) = self.enter(secret);
            self.release(&ids);
        }

        fn knows(&self, text: &str) -> bool {
            self.finder().find(text.as_bytes()).is_some()
        }
    }

    /// `count` of them, as of a key with many lines.
    fn parts(secret: &str, count: usize) -> Vec<String> {
        (0..count).map(|n| format!("{secret}, part {n}.")).collect()
    }

    fn shown(parts: &[String]) -> Vec<&str> {
        parts.iter().map(String::as_str).collect()
    }

    #[test]
    fn a_secret_is_known_while_a_guard_lives_and_a_while_longer() {
        let mut registry = Registry::new();
        let (ids, is_news) = registry.enter(&["the first secret"]);
        assert!(is_news && registry.knows("it is the first secret."));
        assert_eq!(registry.enter(&["the first secret"]), (ids.clone(), false));
        registry.release(&ids);
        assert_eq!(registry.live.len(), 1, "the other guard lives");
        registry.release(&ids);
        assert!(registry.live.is_empty() && registry.knows("the first secret"));
        assert_eq!(registry.enter(&["the first secret"]), (ids.clone(), false));
        assert!(registry.dead.is_empty(), "it is live again");
        registry.release(&ids);
        for n in 0..REMEMBERED {
            assert!(registry.knows("the first secret"));
            registry.enter_and_release(&[&format!("secret number {n}")]);
        }
        assert!(!registry.knows("the first secret") && registry.knows("secret number 0"));
        assert_eq!(registry.dead.len(), REMEMBERED);
        assert!(registry.enter(&["the first secret"]).1);
    }

    #[test]
    fn a_secret_of_many_parts_is_remembered_as_one_and_drives_no_other_out() {
        let mut registry = Registry::new();
        registry.enter_and_release(&["another secret"]);
        let rotations: Vec<_> = (0..20).map(|n| parts(&format!("key {n}"), 60)).collect();
        for key in &rotations {
            registry.enter_and_release(&shown(key));
        }
        assert!(registry.knows("another secret"));
        // 17 of 60 parts are within the bound, the last ones.
        let finder = registry.finder();
        for (n, key) in rotations.iter().enumerate() {
            assert!(key.iter().all(|part| finder.find(part.as_bytes()).is_some() == (n >= 3)), "{n}");
        }
        assert_eq!(registry.dead.len(), 18);
        registry.enter_and_release(&shown(&parts("one of too many parts", PARTS + 1)));
        assert!(registry.knows("another secret") && !registry.knows("one of too many parts, part 0."));
        assert_eq!(registry.dead.len(), 18);
    }

    #[test]
    fn a_part_that_two_secrets_share_is_live_until_the_last_of_them_is_not() {
        let mut registry = Registry::new();
        let (one, _) = registry.enter(&["what both have", "what one has"]);
        let (other, is_news) = registry.enter(&["what both have", "what the other has"]);
        assert!(is_news);
        registry.release(&one);
        assert_eq!((registry.live.len(), registry.dead[0].len()), (2, 1));
        assert!(!registry.enter(&["what one has"]).1, "it was remembered");
        assert!(registry.dead.is_empty());
        registry.release(&other);
        assert_eq!((registry.live.len(), registry.dead[0].len()), (1, 2));
    }

    #[test]
    fn what_is_registered_together_is_known_together_whatever_is_registered_meanwhile() {
        let known = register_all(|part| {
            part(b"the first of two parts");
            drop(register(b"the second of two parts"));
            part(b"the second of two parts");
            part(b"short");
        });
        assert_eq!(known.0.len(), 2);
        assert_eq!(mask("the first of two parts, the second of two parts, short"), "[REDACTED], [REDACTED], short");
        assert_eq!(register_all(|_| {}).0.len(), 0);
    }

    #[test]
    fn what_is_registered_is_masked_on_every_thread() {
        assert_eq!(mask("an-unknown-value"), "an-unknown-value");
        let guard = register(b"a value of this test");
        let masked = std::thread::spawn(|| mask("<a value of this test>").into_owned()).join().expect("masked");
        assert_eq!(masked, "<[REDACTED]>");
        assert_eq!(mask_bytes(b"\xffa value of this test"), b"\xff[REDACTED]".as_slice());
        assert!(is_any() && is_there(b"a value of this test") && !is_there(b"another value"));
        assert_eq!(format!("{guard:?}"), "Fingerprint");
    }

    #[test]
    fn a_number_is_known_by_its_digits() {
        let _known = register(b"4711471147");
        assert!(is_number(4_711_471_147_u64) && is_number(-4_711_471_147_i64));
        assert!(!is_number(4_711_471_148_u64) && !is_number(0_u8));
    }

    #[test]
    fn what_is_too_short_is_not_known() {
        let _seven = register(b"sevenXY");
        assert!(matches!(mask("sevenXY"), Cow::Borrowed("sevenXY")));
        let _eight = register(b"eightXYZ");
        assert_eq!(mask("eightXYZ"), REDACTED);
    }
}
