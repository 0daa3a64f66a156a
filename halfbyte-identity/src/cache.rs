//! Tokens that were verified before, so that the hot path does not verify a signature again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use halfbyte_core::Principal;
use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;

use crate::binding::Binding;

/// Bounded in entries; looked up by a keyed hash of the whole token, with the whole token compared.
pub(crate) struct VerifiedTokens {
    entries: Cache<Box<str>, Arc<Known>>,
    kept_for: SignedDuration,
}

/// A token that was verified.
pub(crate) struct Known {
    pub(crate) principal: Principal,
    /// What the caller has to prove with each request.
    pub(crate) binding: Option<Binding>,
    pub(crate) issuer: usize,
    pub(crate) generation: u64,
    /// The count of revocations when it was last looked for among them.
    revocations_seen: AtomicU64,
    since: Timestamp,
    good_until: Timestamp,
}

impl Known {
    /// Whether it has to be looked for among the revocations, of which there have been `count`.
    pub(crate) fn may_be_revoked(&self, count: u64) -> bool {
        self.revocations_seen.load(Ordering::Relaxed) != count
    }

    /// Says that it is not among the first `count` revocations.
    pub(crate) fn is_not_revoked(&self, count: u64) {
        self.revocations_seen.store(count, Ordering::Relaxed);
    }
}

impl VerifiedTokens {
    /// At most `most` tokens, each for at most `kept_for`.
    pub(crate) fn new(most: usize, kept_for: Duration) -> Self {
        let kept_for = SignedDuration::try_from(kept_for).unwrap_or(SignedDuration::MAX);
        Self { entries: Cache::new(most), kept_for }
    }

    /// The token as it was verified with the keys that its issuer has now; one that is too old is forgotten.
    pub(crate) fn find(
        &self,
        token: &str,
        generation: impl Fn(usize) -> Option<u64>,
        now: Timestamp,
    ) -> Option<Arc<Known>> {
        let known = self.entries.get(token)?;
        // A clock that was set back does not lengthen its life.
        if known.since <= now && now < known.good_until && generation(known.issuer) == Some(known.generation) {
            return Some(known);
        }
        self.entries.remove(token);
        None
    }

    pub(crate) fn forget(&self, token: &str) {
        self.entries.remove(token);
    }

    /// Keeps a token that was verified with the keys of `generation`, and was not among the first `revocations`.
    pub(crate) fn keep(
        &self,
        token: &str,
        (principal, binding): (Principal, Option<Binding>),
        (issuer, generation): (usize, u64),
        revocations: u64,
        now: Timestamp,
    ) {
        // Without leeway: a token in its last seconds is verified in full.
        let longest = now.checked_add(self.kept_for).unwrap_or(Timestamp::MAX);
        let good_until = principal.expires_at().min(longest);
        let revocations_seen = AtomicU64::new(revocations);
        let known = Known { principal, binding, issuer, generation, revocations_seen, since: now, good_until };
        self.entries.insert(token.into(), Arc::new(known));
    }
}
