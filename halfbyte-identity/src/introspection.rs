//! Opaque tokens: the issuer is asked what they are (RFC 7662), and its word is kept for a short while.

use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use halfbyte_core::{Clock, Problem, error_chain};
use jiff::{SignedDuration, Timestamp};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::claims::Accepted;
use crate::outbound::{Error, Flights, OAuthClient};

#[cfg(test)]
mod tests;

/// Introspection at one issuer, by one client.
///
/// A good token that was asked about before costs a look-up. Everything that a sender of tokens can make grow is bounded:
/// the answers kept, the questions under way, and how long one who asks is left waiting. A flood of tokens that nobody
/// knows delays tokens that have to be asked about, and no others.
pub(crate) struct Introspection {
    client: OAuthClient,
    read: Read,
    clock: Clock,
    limits: Limits,
    /// By the token itself: how many and how long they are is for the issuer to say.
    active: Bounded<Box<str>, Active>,
    /// By hash: these are of anybody's making.
    inactive: Bounded<Hash, Inactive>,
    flights: Flights<Hash, Result<Accepted, Problem>>,
    turns: Semaphore,
    /// Whether the last question got no answer; the log has it once, not at each token.
    in_trouble: AtomicBool,
}

/// Reads the answer for an active token; the error is a detail of the refusal.
type Read = Box<dyn Fn(&[u8], Timestamp) -> Result<Accepted, &'static str> + Send + Sync>;

/// For how long and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The longest that the word that a token is good is used: a revocation at the issuer is seen within it.
    pub(crate) active_for: SignedDuration,
    /// How long the word that it is not good is used.
    pub(crate) inactive_for: SignedDuration,
    /// Questions to the issuer at once.
    pub(crate) at_once: usize,
    /// The longest wait for a turn and the answer together.
    pub(crate) wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            active_for: SignedDuration::from_secs(30),
            inactive_for: SignedDuration::from_secs(5),
            at_once: 64,
            wait: Duration::from_secs(10),
        }
    }
}

#[derive(Clone)]
struct Active {
    accepted: Accepted,
    kept: Kept,
}

#[derive(Clone, Copy)]
struct Inactive {
    detail: &'static str,
    kept: Kept,
}

#[derive(Clone, Copy)]
struct Kept {
    since: Timestamp,
    until: Timestamp,
}

type Hash = [u8; 32];
// The standard library's keyed hash, for keys that are chosen by strangers.
type Bounded<K, V> = Cache<K, V, UnitWeighter, RandomState>;

const MOST: usize = 10_000;
/// The longest opaque token that is asked about, in bytes.
const LONGEST: usize = 4096;
/// The longest that a caller is told to stay away: the issuer's word is for this product and not for its callers.
const LONGEST_REST: Duration = Duration::from_secs(60);
const INVALID: &str = "the access token is not valid";

impl Introspection {
    /// `read` turns the answer for an active token into what it says, or refuses it.
    pub(crate) fn new(
        client: OAuthClient,
        read: impl Fn(&[u8], Timestamp) -> Result<Accepted, &'static str> + Send + Sync + 'static,
        clock: Clock,
        limits: Limits,
    ) -> Self {
        Self {
            client,
            read: Box::new(read),
            clock,
            limits,
            active: bounded(),
            inactive: bounded(),
            flights: Flights::new(MOST),
            turns: Semaphore::new(limits.at_once),
            in_trouble: AtomicBool::new(false),
        }
    }

    /// What is known of `token` without asking: no waiting, no I/O. `None` when the issuer has to be [asked](Self::ask).
    pub(crate) fn known(&self, token: &str, now: Timestamp) -> Option<Result<Accepted, Problem>> {
        if !(1..=LONGEST).contains(&token.len()) {
            return Some(Err(Problem::invalid_token(INVALID)));
        }
        if let Some(Active { accepted, kept }) = self.active.get(token) {
            if kept.is_good(now) {
                return Some(Ok(accepted));
            }
            self.active.remove(token);
        }
        self.known_by_hash(&hash(token), now)
    }

    /// Asks the issuer about `token`, once for all who wait for the same. Cancel safe.
    ///
    /// # Errors
    ///
    /// `invalid-token`, or `unavailable` when the issuer does not answer in time, or not as it should.
    pub(crate) async fn ask(&self, token: &str) -> Result<Accepted, Problem> {
        if let Some(known) = self.known(token, self.clock.now()) {
            return known;
        }
        let hash = hash(token);
        let asking = self.flights.join(&hash, async {
            // Somebody may have been told while this one waited to ask.
            match self.known(token, self.clock.now()) {
                Some(known) => known,
                None => self.ask_now(token, hash).await,
            }
        });
        timeout(self.limits.wait, asking).await.unwrap_or_else(|_elapsed| {
            tracing::debug!(wait = ?self.limits.wait, "the issuer did not say in time what a token is");
            Err(Problem::unavailable(Duration::from_secs(1)))
        })
    }

    fn known_by_hash(&self, hash: &Hash, now: Timestamp) -> Option<Result<Accepted, Problem>> {
        let Inactive { detail, kept } = self.inactive.get(hash)?;
        if kept.is_good(now) {
            return Some(Err(Problem::invalid_token(detail)));
        }
        self.inactive.remove(hash);
        None
    }

    async fn ask_now(&self, token: &str, hash: Hash) -> Result<Accepted, Problem> {
        let _turn = self.turns.acquire().await;
        // What the issuer says is true of a moment after this one.
        let since = self.clock.now();
        let answered = self.client.introspect_text(token).await;
        self.report(answered.as_ref().err());
        let answer = answered.map_err(|error| {
            Problem::unavailable(error.retry_after().unwrap_or_default().clamp(Duration::from_secs(1), LONGEST_REST))
        })?;
        let outcome = if answer.is_active() { (self.read)(answer.body(), since) } else { Err(INVALID) };
        match outcome {
            Ok(accepted) => {
                let until = after(since, self.limits.active_for).min(accepted.principal.expires_at());
                let kept = Kept { since, until };
                self.active.insert(token.into(), Active { accepted: accepted.clone(), kept });
                Ok(accepted)
            }
            Err(detail) => {
                let kept = Kept { since, until: after(since, self.limits.inactive_for) };
                self.inactive.insert(hash, Inactive { detail, kept });
                Err(Problem::invalid_token(detail))
            }
        }
    }

    /// Tells the log when the issuer stops and begins to answer, and not at every token in between.
    fn report(&self, error: Option<&Error>) {
        let was_in_trouble = self.in_trouble.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_in_trouble => {
                tracing::warn!(error = error_chain(error), "the issuer does not say what opaque tokens are");
            }
            None if was_in_trouble => tracing::info!("the issuer says again what opaque tokens are"),
            _ => {}
        }
    }
}

impl Kept {
    /// A clock that was set back does not lengthen its life.
    fn is_good(self, now: Timestamp) -> bool {
        self.since <= now && now < self.until
    }
}

fn bounded<K: std::hash::Hash + Eq, V: Clone>() -> Bounded<K, V> {
    Cache::with(MOST, MOST as u64, UnitWeighter, RandomState::new(), DefaultLifecycle::default())
}

fn hash(token: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

fn after(start: Timestamp, time: SignedDuration) -> Timestamp {
    start.checked_add(time).unwrap_or(Timestamp::MAX)
}
