//! One pass over a text: a byte that could begin or separate something asks the rule for it, all others are skipped.
//!
//! Every rule looks a bounded number of bytes ahead and behind, or looks at bytes that no other attempt will look at.

use std::borrow::Cow;

use halfbyte_core::fingerprint;

use super::{Rules, pairs, shapes};

/// How often a text is looked through in which something was found.
const PASSES: usize = 8;

/// How often the value of a parameter is decoded to look into it: a URL in a URL in a URL.
const LEVELS: u8 = 3;

/// What is to be replaced with what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) with: &'static str,
}

/// What a byte may be the beginning of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Other,
    Separator,
    Dash,
    At,
    Letter,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    classes[b'=' as usize] = Class::Separator;
    classes[b':' as usize] = Class::Separator;
    classes[b'(' as usize] = Class::Separator;
    classes[b'-' as usize] = Class::Dash;
    classes[b'@' as usize] = Class::At;
    let letters = shapes::INITIALS;
    let mut at = 0;
    while at < letters.len() {
        classes[letters[at] as usize] = Class::Letter;
        at += 1;
    }
    classes
};

/// What was looked at already, so that nothing is looked at once for each attempt.
pub(super) struct Looked {
    /// Whether the text is the query of a URL, which begins with a parameter.
    pub(super) is_query: bool,
    /// How often values of parameters may still be decoded.
    pub(super) levels: u8,
    /// No value that begins before this is decoded.
    pub(super) decoded_to: usize,
    /// No JSON web token begins before this.
    no_jwt_before: usize,
    /// Whether `queried` is in the query of a URL.
    is_in_query: bool,
    queried: usize,
}

impl Looked {
    fn new(is_query: bool, levels: u8) -> Self {
        Self { is_query, levels, decoded_to: 0, no_jwt_before: 0, is_in_query: is_query, queried: 0 }
    }

    /// Whether `at`, which is never before that of an earlier call, is behind the `?` or `#` of a URL.
    pub(super) fn is_in_query(&mut self, bytes: &[u8], at: usize) -> bool {
        for byte in bytes.get(self.queried..at).unwrap_or_default() {
            step(1);
            match byte {
                b'?' | b'#' => self.is_in_query = true,
                ..=b' ' | b'"' | b'\'' | b'`' | b'<' | b'>' => self.is_in_query = false,
                _ => {}
            }
        }
        self.queried = self.queried.max(at);
        self.is_in_query
    }
}

/// `text` without secrets. `is_query` says that it is the query of a URL, which begins with a parameter.
pub(super) fn redact<'a>(rules: &Rules, text: &'a str, is_query: bool) -> Cow<'a, str> {
    // Live secrets first: a rule may take a part of one.
    match fingerprint::mask(text) {
        Cow::Borrowed(text) => by_rules(rules, text, is_query),
        Cow::Owned(masked) => Cow::Owned(by_rules(rules, &masked, is_query).into_owned()),
    }
}

fn by_rules<'a>(rules: &Rules, text: &'a str, is_query: bool) -> Cow<'a, str> {
    let mut redacted = pass(rules, text, is_query, LEVELS);
    // What was removed may have hidden something behind it; mostly the second pass finds nothing.
    for _ in 1..PASSES {
        let Cow::Owned(found) = &redacted else { break };
        let Cow::Owned(more) = pass(rules, found, is_query, LEVELS) else { break };
        redacted = Cow::Owned(more);
    }
    redacted
}

/// Whether `text` has a secret.
pub(super) fn finds(rules: &Rules, text: &str, is_query: bool, levels: u8) -> bool {
    matches!(pass(rules, text, is_query, levels), Cow::Owned(_))
}

fn pass<'a>(rules: &Rules, text: &'a str, is_query: bool, levels: u8) -> Cow<'a, str> {
    let bytes = text.as_bytes();
    let mut edited = Edited { text, output: String::new(), copied: 0 };
    let mut looked = Looked::new(is_query, levels);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        step(1);
        let found = match CLASSES[usize::from(byte)] {
            Class::Other => None,
            Class::Separator if byte == b':' => {
                shapes::user_info(bytes, at).or_else(|| pairs::pair(rules, text, at, &mut looked))
            }
            Class::Separator => pairs::pair(rules, text, at, &mut looked),
            Class::Dash => shapes::private_key(bytes, at),
            Class::At => shapes::data_source(bytes, at, edited.copied),
            Class::Letter if at > 0 && bytes[at - 1].is_ascii_alphanumeric() => None,
            Class::Letter => shapes::word(bytes, at, &mut looked.no_jwt_before),
        };
        at = match found {
            Some(found) => edited.replace(&found).max(at + 1),
            None => at + 1,
        };
    }
    edited.finish()
}

struct Edited<'a> {
    text: &'a str,
    output: String,
    copied: usize,
}

impl<'a> Edited<'a> {
    /// Answers where to go on.
    fn replace(&mut self, found: &Finding) -> usize {
        if self.output.is_empty() {
            self.output.reserve(self.text.len() + 32);
        }
        self.output.push_str(&self.text[self.copied..found.from]);
        self.output.push_str(found.with);
        self.copied = found.to;
        found.to
    }

    fn finish(mut self) -> Cow<'a, str> {
        if self.copied == 0 {
            return Cow::Borrowed(self.text);
        }
        self.output.push_str(&self.text[self.copied..]);
        Cow::Owned(self.output)
    }
}

/// How many bytes of `bytes` from `at` on are `part`.
pub(super) fn run(bytes: &[u8], at: usize, part: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let length = rest.iter().position(|byte| !part(*byte)).unwrap_or(rest.len());
    step(length as u64);
    length
}

/// Whether it reads like words or small numbers, of which no secret is made: `token`, `invalid_token`, `2.0`.
pub(super) fn is_prose(text: &[u8]) -> bool {
    // Longer than any word that follows in prose; a bound as well.
    text.len() <= 40
        && text.split(|byte| byte.is_ascii_punctuation()).all(|word| match word {
            [] => true,
            [first, ..] if first.is_ascii_digit() => word.len() <= 4 && word.iter().all(u8::is_ascii_digit),
            [first, rest @ ..] => {
                let upper = first.is_ascii_uppercase() && word.len() <= 12 && rest.iter().all(u8::is_ascii_uppercase);
                let lower = word.len() <= 16 && rest.iter().all(u8::is_ascii_lowercase);
                first.is_ascii_alphabetic() && (upper || lower)
            }
        })
}

#[cfg(test)]
thread_local! {
    pub(super) static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts the work, so that tests can tell how it grows.
#[inline(always)]
pub(super) fn step(_many: u64) {
    #[cfg(test)]
    STEPS.set(STEPS.get() + _many);
}
