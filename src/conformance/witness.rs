//! What the whole run did, for what must hold of all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use halfbyte_core::TenantId;

use super::client::Answer;

/// Remembers, from the first request of a run to its last.
#[derive(Default)]
pub(super) struct Witness(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// What must not be seen, by itself or in anything.
    parts: Vec<(&'static str, String)>,
    /// What must not be seen and is a whole word, of which there may be many.
    words: BTreeMap<String, &'static str>,
    customers: Vec<TenantId>,
    answers: usize,
    leaks: BTreeSet<String>,
}

impl Witness {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A secret of the product: also its halves are not to be seen, which no masking of the whole hides.
    pub fn secret(&self, what: &'static str, value: &str) {
        let half = value.len() / 2;
        let halves = [&value[..value.floor_char_boundary(half)], &value[value.floor_char_boundary(half)..]];
        self.seen().parts.extend(halves.map(|half| (what, half.to_owned())));
    }

    /// A credential of a caller: its last part is what makes it one.
    pub fn credential(&self, what: &'static str, text: &str) {
        let word = text.rsplit('.').next().unwrap_or(text);
        if !word.is_empty() {
            self.seen().words.insert(word.to_owned(), what);
        }
    }

    pub fn customer(&self, tenant: &TenantId) {
        self.seen().customers.push(tenant.clone());
    }

    /// The customers of this run.
    pub fn customers(&self) -> Vec<TenantId> {
        self.seen().customers.clone()
    }

    /// Looks at what a client was told.
    pub fn answered(&self, to: &str, answer: &Answer) {
        let mut text = format!("{:?} {:?} ", answer.headers, answer.trailers);
        text.push_str(&String::from_utf8_lossy(&answer.body));
        let found = self.find(&text);
        let mut seen = self.seen();
        seen.answers += 1;
        if let Some(what) = found {
            seen.leaks.insert(format!("{what} is in the answer of {to}"));
        }
    }

    /// How many answers were looked at, and what was in them that must not be.
    pub fn answers(&self) -> (usize, Vec<String>) {
        let seen = self.seen();
        (seen.answers, seen.leaks.iter().cloned().collect())
    }

    /// What is in `text` that must not be seen.
    pub fn find(&self, text: &str) -> Option<&'static str> {
        let seen = self.seen();
        let part = seen.parts.iter().find(|(_, part)| text.contains(part)).map(|(what, _)| *what);
        let is_of_a_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        part.or_else(|| text.split(|letter| !is_of_a_word(letter)).find_map(|word| seen.words.get(word).copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_secret_and_the_end_of_a_credential_are_found_in_a_text() {
        let witness = Witness::default();
        witness.secret("a secret", "0123456789abcdef");
        witness.credential("a token", "head.claims.c2ln-bmF0_dXJl");
        for (text, found) in [
            ("nothing", None),
            ("0123", None),
            ("x=89abcdefg", Some("a secret")),
            ("[01234567]", Some("a secret")),
            ("\"c2ln-bmF0_dXJl\"", Some("a token")),
            ("c2ln-bmF0_dXJlx", None),
            ("head.claims", None),
        ] {
            assert_eq!(witness.find(text), found, "{text}");
        }
    }
}
