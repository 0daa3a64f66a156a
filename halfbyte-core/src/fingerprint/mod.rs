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
//! - The last [`REMEMBERED`] that are no longer live are found as well: a late line may hold an old value.
//! - It keeps lengths and hashes, keyed by random keys of this process, and no text. What it makes of a secret to hash it
//!   is overwritten with zeros.
//! - Nobody can write a text that takes much longer, whatever he knows of a secret: what is hashed of a text is bounded by its
//!   length, and where there is more to hash the text is masked on a hint.
//! - A look at a text takes no lock, allocates only if there is something to mask, and takes about 0.5 ns a byte with a
//!   hundred secrets; twice that while one of exactly 8 bytes is known. Before the first secret is registered it is one relaxed
//!   load. Registering one takes up to a millisecond.
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

/// Whether there ever was one.
static ANY: AtomicBool = AtomicBool::new(false);
static FINDER: ArcSwapOption<Finder> = ArcSwapOption::const_empty();
static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// Makes a secret known until the guard is dropped, and for a while after that. The same one may be registered many times.
/// What is shorter than [`SHORTEST`] is not, and has a guard all the same.
pub fn register(secret: &[u8]) -> Fingerprint {
    if secret.len() < SHORTEST {
        return Fingerprint(None);
    }
    let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    let registry = registry.get_or_insert_with(Registry::new);
    let (id, is_news) = registry.add(secret);
    if is_news {
        FINDER.store(Some(Arc::new(registry.finder())));
        ANY.store(true, Ordering::Relaxed);
    }
    Fingerprint(Some(id))
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
pub struct Fingerprint(Option<Id>);

impl Drop for Fingerprint {
    fn drop(&mut self) {
        if let Some(id) = self.0
            && let Some(registry) = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        {
            registry.release(id);
        }
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// Keyed hash and length of a secret.
type Id = (u64, usize);

struct Registry {
    keys: Arc<Keys>,
    /// How often each was registered.
    live: HashMap<Id, (usize, Arc<[Pattern]>)>,
    /// The last one at the end.
    dead: VecDeque<(Id, Arc<[Pattern]>)>,
}

impl Registry {
    fn new() -> Self {
        Self { keys: Arc::new(Keys::random()), live: HashMap::new(), dead: VecDeque::new() }
    }

    /// Answers its id, and whether the finder does not know it yet.
    fn add(&mut self, secret: &[u8]) -> (Id, bool) {
        let id = (self.keys.digest(secret), secret.len());
        if let Some((count, _)) = self.live.get_mut(&id) {
            *count += 1;
            return (id, false);
        }
        let dead = self.dead.iter().position(|(dead, _)| *dead == id).and_then(|at| self.dead.remove(at));
        let is_news = dead.is_none();
        let patterns = dead.map_or_else(|| self.keys.patterns(secret, 0).into(), |(_, patterns)| patterns);
        self.live.insert(id, (1, patterns));
        (id, is_news)
    }

    fn release(&mut self, id: Id) {
        let Some((count, _)) = self.live.get_mut(&id) else { return };
        *count -= 1;
        if *count == 0
            && let Some((_, patterns)) = self.live.remove(&id)
        {
            // The finder forgets what falls out when it is made anew, with the next secret that comes.
            if self.dead.len() == REMEMBERED {
                self.dead.pop_front();
            }
            self.dead.push_back((id, patterns));
        }
    }

    fn finder(&self) -> Finder {
        let live = self.live.values().map(|(_, patterns)| patterns);
        let dead = self.dead.iter().map(|(_, patterns)| patterns);
        Finder::of(self.keys.clone(), live.chain(dead).flat_map(|patterns| patterns.iter().copied()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_while_a_guard_lives_and_a_while_longer() {
        let mut registry = Registry::new();
        let knows = |registry: &Registry, text: &str| registry.finder().find(text.as_bytes()).is_some();
        let (id, is_news) = registry.add(b"the first secret");
        assert!(is_news && knows(&registry, "it is the first secret."));
        assert_eq!(registry.add(b"the first secret"), (id, false));
        registry.release(id);
        assert_eq!(registry.live.len(), 1, "the other guard lives");
        registry.release(id);
        assert!(registry.live.is_empty() && knows(&registry, "the first secret"));
        assert_eq!(registry.add(b"the first secret"), (id, false));
        registry.release(id);
        for n in 0..REMEMBERED {
            assert!(knows(&registry, "the first secret"));
            let (id, _) = registry.add(format!("secret number {n}").as_bytes());
            registry.release(id);
        }
        assert!(!knows(&registry, "the first secret") && knows(&registry, "secret number 0"));
        assert_eq!(registry.dead.len(), REMEMBERED);
        assert_eq!(registry.add(b"the first secret"), (id, true));
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
