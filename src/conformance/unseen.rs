//! Clauses that cannot be seen from outside of a product, or not in the time of a test, and where they are tested instead.

use super::report::{Outcome, Verdict};

const UNSEEN: &[(&str, &str, &str)] = &[];

pub(super) fn outcomes() -> impl Iterator<Item = Outcome> {
    UNSEEN.iter().map(|(clause, what, tested)| Outcome {
        clause,
        what,
        verdict: Verdict::Unseen((*tested).to_owned()),
        exchanges: Vec::new(),
    })
}

#[cfg(test)]
pub(super) fn clauses() -> impl Iterator<Item = &'static str> {
    UNSEEN.iter().map(|(clause, _, _)| *clause)
}
