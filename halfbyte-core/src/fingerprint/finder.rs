//! Looks for many secrets at once, by hashes.
//!
//! Of each form of a secret eight bytes are chosen, and marked in a filter that fits into the first-level cache. A text is
//! looked at once, at each place the eight bytes that begin there; what the filter lets through, rarely, is confirmed by a
//! hash of the whole form. The filter's hash is a multiplication; the confirming one SipHash.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::Arc;

use super::forms::{Form, forms};
use super::{REDACTED, SHORTEST};

/// How many bytes are looked at in each place.
const WINDOW: usize = 8;
const _: () = assert!(WINDOW <= SHORTEST);

/// Bits of the filter: 16 KiB.
const BITS: u32 = 17;
const WORDS: usize = 1 << (BITS - 6);

/// How far from its beginning the window of a form may be.
const FURTHEST: usize = 256;

/// Knows a set of secrets wherever they turn up, without their text.
///
/// ```
/// use halfbyte_core::fingerprint::Finder;
///
/// let finder = Finder::new([b"correct horse".as_slice(), b"battery staple"]);
/// assert_eq!(finder.mask("battery staple"), "[REDACTED]");
/// let found = finder.find(b"or correct horse?").unwrap();
/// assert_eq!((found.secret, found.range), (0, 3..16));
/// ```
pub struct Finder {
    keys: Arc<Keys>,
    filter: Box<[u64; WORDS]>,
    /// By mark.
    patterns: Box<[Pattern]>,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which one, as they were given.
    pub secret: usize,
    /// Which bytes.
    pub range: Range<usize>,
}

/// Keys of hashes, so that nobody can choose texts that are slow to look at, nor knows hashes of a secret beforehand.
pub(super) struct Keys {
    bit: u64,
    mark: u64,
    digest: RandomState,
}

/// One form of a secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern {
    /// Two hashes of the window, of `BITS` each: few, so that they tell little of it.
    bit: u32,
    mark: u32,
    /// Where the window begins.
    at: u32,
    len: u32,
    /// Of the whole form.
    digest: u64,
    /// Whether the letters before and after hold bits of the secret too.
    before: bool,
    after: bool,
    secret: u32,
}

impl Finder {
    /// Looks for `secrets`; those shorter than [`SHORTEST`] are not found.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let keys = Keys::random();
        let patterns = secrets.into_iter().enumerate().flat_map(|(index, secret)| keys.patterns(secret, index));
        let patterns = patterns.collect();
        Self::of(Arc::new(keys), patterns)
    }

    pub(super) fn of(keys: Arc<Keys>, mut patterns: Vec<Pattern>) -> Self {
        patterns.sort_unstable_by_key(|pattern| pattern.mark);
        let mut filter = Box::new([0; WORDS]);
        for bit in patterns.iter().flat_map(|pattern| [pattern.bit, pattern.mark]) {
            filter[bit as usize >> 6] |= 1 << (bit & 63);
        }
        Self { keys, filter, patterns: patterns.into() }
    }

    /// The first secret that ends in `bytes`.
    pub fn find(&self, bytes: &[u8]) -> Option<Found> {
        let mut first = None;
        self.scan(bytes, |pattern, range| {
            first = Some(Found { secret: pattern.secret as usize, range });
            false
        });
        first
    }

    /// `text` with [`REDACTED`] in place of each secret; borrowed if there is none. Whole characters are replaced, and what
    /// overlaps is replaced as one.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let found = self.find_all(text.as_bytes());
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = String::with_capacity(text.len() + found.len() * REDACTED.len());
        let mut copied = 0;
        for Range { start, end } in found {
            // A secret that is no text may begin or end within a character.
            let start = text.floor_char_boundary(start).max(copied);
            masked.push_str(&text[copied..start]);
            masked.push_str(REDACTED);
            copied = text.ceil_char_boundary(end);
        }
        masked.push_str(&text[copied..]);
        Cow::Owned(masked)
    }

    /// [`mask`](Self::mask) for what may not be UTF-8.
    pub fn mask_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if let Ok(text) = str::from_utf8(bytes) {
            return match self.mask(text) {
                Cow::Borrowed(_) => Cow::Borrowed(bytes),
                Cow::Owned(masked) => Cow::Owned(masked.into_bytes()),
            };
        }
        let found = self.find_all(bytes);
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut masked = Vec::with_capacity(bytes.len() + found.len() * REDACTED.len());
        let mut copied = 0;
        for Range { start, end } in found {
            masked.extend_from_slice(&bytes[copied..start]);
            masked.extend_from_slice(REDACTED.as_bytes());
            copied = end;
        }
        masked.extend_from_slice(&bytes[copied..]);
        Cow::Owned(masked)
    }

    /// All places, in order, those that overlap as one.
    fn find_all(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        self.scan(bytes, |_, range| {
            found.push(range);
            true
        });
        found.sort_unstable_by_key(|range| range.start);
        found.dedup_by(|next, last| {
            let overlaps = next.start < last.end;
            if overlaps {
                last.end = last.end.max(next.end);
            }
            overlaps
        });
        found
    }

    /// Calls `found` for each place until it says that this is enough.
    #[inline]
    fn scan(&self, bytes: &[u8], mut found: impl FnMut(&Pattern, Range<usize>) -> bool) {
        for (at, window) in bytes.array_windows::<WINDOW>().enumerate() {
            let window = u64::from_le_bytes(*window);
            let bit = hash(window, self.keys.bit);
            if self.is_marked(bit) && !self.confirm(bytes, at, bit, hash(window, self.keys.mark), &mut found) {
                return;
            }
        }
    }

    #[inline]
    fn is_marked(&self, bit: u32) -> bool {
        self.filter[(bit >> 6) as usize & (WORDS - 1)] >> (bit & 63) & 1 == 1
    }

    #[cold]
    fn confirm(
        &self,
        bytes: &[u8],
        at: usize,
        bit: u32,
        mark: u32,
        found: &mut impl FnMut(&Pattern, Range<usize>) -> bool,
    ) -> bool {
        if !self.is_marked(mark) {
            return true;
        }
        let from = self.patterns.partition_point(|pattern| pattern.mark < mark);
        let same = self.patterns[from..].iter().take_while(|pattern| pattern.mark == mark);
        for pattern in same.filter(|pattern| pattern.bit == bit) {
            if let Some(range) = self.keys.place(pattern, bytes, at)
                && !found(pattern, range)
            {
                return false;
            }
        }
        true
    }
}

impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Finder")
    }
}

#[inline]
fn hash(window: u64, key: u64) -> u32 {
    (window.wrapping_mul(key) >> (64 - BITS)) as u32
}

impl Keys {
    pub(super) fn random() -> Self {
        let digest = RandomState::new();
        // Odd, so that each bit of a window counts.
        let key = |n: u64| digest.hash_one(n) | 1;
        Self { bit: key(0), mark: key(1), digest }
    }

    pub(super) fn digest(&self, bytes: &[u8]) -> u64 {
        self.digest.hash_one(bytes)
    }

    /// The forms of a secret.
    pub(super) fn patterns(&self, secret: &[u8], index: usize) -> Vec<Pattern> {
        let mut patterns: Vec<Pattern> = Vec::new();
        if secret.len() < SHORTEST {
            return patterns;
        }
        forms(secret, |form| {
            let Some(pattern) = self.pattern(&form, index) else { return };
            let same = |other: &Pattern| (other.digest, other.len) == (pattern.digest, pattern.len);
            if !patterns.iter().any(same) {
                patterns.push(pattern);
            }
        });
        patterns
    }

    fn pattern(&self, form: &Form<'_>, index: usize) -> Option<Pattern> {
        let len = u32::try_from(form.bytes.len()).ok()?;
        // The one that is least like what stands in other texts, and which one nobody can know.
        let windows = form.bytes.array_windows::<WINDOW>().take(FURTHEST).enumerate();
        let (at, window) = windows.max_by_key(|(at, window)| (variety(**window), self.digest.hash_one((at, len))))?;
        let window = u64::from_le_bytes(*window);
        Some(Pattern {
            bit: hash(window, self.bit),
            mark: hash(window, self.mark),
            at: u32::try_from(at).ok()?,
            len,
            digest: self.digest(form.bytes),
            before: form.before,
            after: form.after,
            secret: u32::try_from(index).ok()?,
        })
    }

    /// Where `pattern` is in `bytes`, if its window at `at` is a part of it.
    fn place(&self, pattern: &Pattern, bytes: &[u8], at: usize) -> Option<Range<usize>> {
        let start = at.checked_sub(pattern.at as usize)?;
        let end = start.checked_add(pattern.len as usize)?;
        if self.digest(bytes.get(start..end)?) != pattern.digest {
            return None;
        }
        let is_letter = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|byte| is_base64(*byte));
        let before = pattern.before && is_letter(start.checked_sub(1));
        let after = pattern.after && is_letter(Some(end));
        Some(start - usize::from(before)..end + usize::from(after))
    }
}

/// How many different bytes there are.
fn variety(mut window: [u8; WINDOW]) -> usize {
    window.sort_unstable();
    window.chunk_by(u8::eq).count()
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

#[cfg(test)]
#[path = "finder_tests.rs"]
mod tests;
