//! Tokens that were verified before, so that the hot path does not verify a signature again.

use halfbyte_core::Principal;
use jiff::Timestamp;
use quick_cache::sync::Cache;

/// Bounded in entries; looked up by a keyed hash of the whole token, with the whole token compared.
pub(crate) struct VerifiedTokens(Cache<Box<str>, Entry>);

#[derive(Clone)]
struct Entry {
    principal: Principal,
    issuer: usize,
    generation: u64,
}

const MOST: usize = 10_000;

impl VerifiedTokens {
    pub(crate) fn new() -> Self {
        Self(Cache::new(MOST))
    }

    /// The principal of a token that was verified with the keys of `generation`; one that has expired meanwhile is forgotten.
    pub(crate) fn get(
        &self,
        token: &str,
        generation: impl Fn(usize) -> Option<u64>,
        now: Timestamp,
    ) -> Option<Principal> {
        let entry = self.0.get(token)?;
        // Without leeway: a token in its last seconds is verified in full.
        if now < entry.principal.expires_at() && generation(entry.issuer) == Some(entry.generation) {
            return Some(entry.principal);
        }
        self.0.remove(token);
        None
    }

    pub(crate) fn insert(&self, token: &str, principal: Principal, issuer: usize, generation: u64) {
        self.0.insert(token.into(), Entry { principal, issuer, generation });
    }
}
