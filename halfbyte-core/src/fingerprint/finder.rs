//! Looks for many secrets at once, by hashes.
//!
//! Of each form of a secret two runs of eight bytes are chosen, one behind the other, and marked in a filter that fits into
//! the first-level cache. A text is looked at once, at each second place the eight bytes that begin there: one of the two
//! is always met. What the filter lets through, rarely, is confirmed by a run elsewhere in the form, and then by a hash of the
//! whole form. The filter's hash is a multiplication; the confirming one SipHash. A form of eight bytes has but one run: while
//! there is such a one, all places are looked at.
//!
//! Who knows how a secret begins can write that many times over, and must not make others work by it. So where the runs are
//! nobody can know, and of one text no more is hashed than a few times its length; from there on, which a text without such a
//! design does not come to, what both runs say is masked.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::Arc;

use super::forms::{Form, forms};
use super::{REDACTED, SHORTEST};

/// How many bytes a run has.
const WINDOW: usize = 8;
const _: () = assert!(WINDOW <= SHORTEST);

/// Bits of the filter: 16 KiB.
const BITS: u32 = 17;
const WORDS: usize = 1 << (BITS - 6);

/// Of how many places, at random over the whole form, the best one has the runs.
const PLACES: u64 = 8;

/// How much is digested of a text of no length, in bytes, and how many times its length of a longer one.
const DIGESTED: usize = 64 << 10;
const TIMES: usize = 8;

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
    /// By the one hash and by the other.
    bits: Box<[u64; WORDS]>,
    marks: Box<[u64; WORDS]>,
    /// By mark.
    patterns: Box<[Pattern]>,
    /// Whether each place is looked at, and not each second one.
    is_dense: bool,
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
    other: u64,
    digest: RandomState,
}

/// One run of one form of a secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern {
    /// Two hashes of the run, of `BITS` each: few, so that they tell little of it.
    bit: u32,
    mark: u32,
    /// Where the run begins.
    at: u32,
    /// The hash of a run that is elsewhere, and where that begins.
    other: u32,
    other_at: u32,
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
        let (mut bits, mut marks) = (Box::new([0; WORDS]), Box::new([0; WORDS]));
        for pattern in &patterns {
            set(&mut bits, pattern.bit);
            set(&mut marks, pattern.mark);
        }
        let is_dense = patterns.iter().any(|pattern| pattern.len as usize <= WINDOW);
        Self { keys, bits, marks, patterns: patterns.into(), is_dense }
    }

    /// One of the secrets in `bytes`, mostly the first.
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
            match found.last_mut() {
                // So that this does not grow with a text in which all places match.
                Some(last) if range.start < last.end && last.start < range.end => {
                    *last = last.start.min(range.start)..last.end.max(range.end);
                }
                _ => found.push(range),
            }
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

    /// Calls `found` for each place until it says that this is enough. Answers how many bytes were digested.
    fn scan(&self, bytes: &[u8], mut found: impl FnMut(&Pattern, Range<usize>) -> bool) -> usize {
        let most = bytes.len().saturating_mul(TIMES).saturating_add(DIGESTED);
        let mut left = most;
        let (mut at, step) = (0, if self.is_dense { 1 } else { 2 });
        while let Some(suspect) =
            if self.is_dense { self.suspect::<1>(bytes, at) } else { self.suspect::<2>(bytes, at) }
        {
            if !self.confirm(bytes, suspect, &mut left, &mut found) {
                break;
            }
            at = suspect + step;
        }
        most - left
    }

    /// The first place from `at` on, by steps, that the filter lets through.
    fn suspect<const STEP: usize>(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let windows = bytes.get(at..)?.array_windows::<WINDOW>().step_by(STEP);
        let is_marked = |window: &[u8; WINDOW]| {
            let window = u64::from_le_bytes(*window);
            is_set(&self.bits, hash(window, self.keys.bit))
        };
        let mut windows = windows.enumerate();
        let (index, _) = windows.find(|(_, window)| is_marked(window))?;
        Some(at + index * STEP)
    }

    fn confirm(
        &self,
        bytes: &[u8],
        at: usize,
        left: &mut usize,
        found: &mut impl FnMut(&Pattern, Range<usize>) -> bool,
    ) -> bool {
        let Some(window) = window(bytes, at) else { return true };
        let (bit, mark) = (hash(window, self.keys.bit), hash(window, self.keys.mark));
        if !is_set(&self.marks, mark) {
            return true;
        }
        let from = self.patterns.partition_point(|pattern| pattern.mark < mark);
        let same = self.patterns[from..].iter().take_while(|pattern| pattern.mark == mark);
        for pattern in same.filter(|pattern| pattern.bit == bit) {
            if let Some(range) = self.keys.place(pattern, bytes, at, left)
                && !found(pattern, range)
            {
                return false;
            }
        }
        true
    }
}

fn set(filter: &mut [u64; WORDS], bit: u32) {
    filter[(bit >> 6) as usize & (WORDS - 1)] |= 1 << (bit & 63);
}

#[inline]
fn is_set(filter: &[u64; WORDS], bit: u32) -> bool {
    filter[(bit >> 6) as usize & (WORDS - 1)] >> (bit & 63) & 1 == 1
}

impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Finder")
    }
}

#[inline]
fn window(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|window| u64::from_le_bytes(*window))
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
        Self { bit: key(0), mark: key(1), other: key(2), digest }
    }

    pub(super) fn digest(&self, bytes: &[u8]) -> u64 {
        self.digest.hash_one(bytes)
    }

    /// The forms of a secret, each with its runs.
    pub(super) fn patterns(&self, secret: &[u8], index: usize) -> Vec<Pattern> {
        let mut patterns: Vec<Pattern> = Vec::new();
        if secret.len() < SHORTEST {
            return patterns;
        }
        forms(secret, |form| {
            let (digest, len) = (self.digest(form.bytes), form.bytes.len());
            let same = |other: &Pattern| (other.digest, other.len as usize) == (digest, len);
            if !patterns.iter().any(same) {
                let (at, other) = self.places(form.bytes, digest);
                patterns.extend([at, at + 1].iter().filter_map(|at| self.pattern(&form, digest, *at, other, index)));
            }
        });
        patterns
    }

    /// Where the runs are, and the one that confirms them: at random, so that nobody can know, and of some places the one that
    /// is least like what stands in other texts.
    fn places(&self, form: &[u8], digest: u64) -> (usize, usize) {
        // One that has another behind it.
        let count = (form.len() - WINDOW).max(1);
        let random = |n: u64| (self.digest.hash_one((digest, form.len(), n)) % count as u64) as usize;
        let variety = |at: &usize| form.get(*at..).and_then(<[u8]>::first_chunk).map_or(0, |run| variety(*run));
        let at = (0..PLACES).map(random).max_by_key(variety).unwrap_or(0);
        let other = random(PLACES);
        let is_near = other.abs_diff(at) < WINDOW;
        (at, if is_near { (other + count / 2) % count } else { other })
    }

    fn pattern(&self, form: &Form<'_>, digest: u64, at: usize, other: usize, index: usize) -> Option<Pattern> {
        let (window, other_window) = (window(form.bytes, at)?, window(form.bytes, other)?);
        Some(Pattern {
            other: hash(other_window, self.other),
            other_at: u32::try_from(other).ok()?,
            bit: hash(window, self.bit),
            mark: hash(window, self.mark),
            at: u32::try_from(at).ok()?,
            len: u32::try_from(form.bytes.len()).ok()?,
            digest,
            before: form.before,
            after: form.after,
            secret: u32::try_from(index).ok()?,
        })
    }

    /// Where `pattern` is in `bytes`, if its run at `at` is a part of it.
    fn place(&self, pattern: &Pattern, bytes: &[u8], at: usize, left: &mut usize) -> Option<Range<usize>> {
        let start = at.checked_sub(pattern.at as usize)?;
        let end = start.checked_add(pattern.len as usize)?;
        let form = bytes.get(start..end)?;
        if hash(window(form, pattern.other_at as usize)?, self.other) != pattern.other {
            return None;
        }
        // Without anything left both runs have to do: rather too much is masked than a secret left.
        if let Some(less) = left.checked_sub(form.len()) {
            *left = less;
            if self.digest(form) != pattern.digest {
                return None;
            }
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
