use std::borrow::Cow;
use std::sync::Arc;

use halfbyte_core::{Clock, Principal, Problem, error_chain, live};
use jiff::Timestamp;

use crate::cache::VerifiedTokens;
use crate::claims;
use crate::issuer::{Issuer, Signature};
use crate::jose::{self, Algorithm};

/// Turns an access token into a [`Principal`], or into the refusal of the table. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    issuers: Vec<Issuer>,
    audience: Box<str>,
    clock: Clock,
    cache: VerifiedTokens,
}

/// Why a token was not accepted with what is at hand.
enum Failure {
    /// Final.
    Refused(Problem),
    /// That issuer has no keys at hand.
    NoKeys(usize, live::Error),
    /// That issuer had no key of that name in that generation.
    UnknownKey(usize, u64),
}

const INVALID: &str = "the access token is not valid";

impl Authenticator {
    pub(crate) fn new(issuers: Vec<Issuer>, audience: &str, clock: Clock) -> Self {
        Self(Arc::new(Inner { issuers, audience: audience.into(), clock, cache: VerifiedTokens::new() }))
    }

    pub(crate) fn issuers(&self) -> &[Issuer] {
        &self.0.issuers
    }

    /// Verifies `token` with what is at hand: no waiting, no I/O. `None` when the keys have to be fetched first.
    pub fn authenticate_now(&self, token: &str) -> Option<Result<Principal, Problem>> {
        match self.attempt(token) {
            Ok(principal) => Some(Ok(principal)),
            Err(Failure::Refused(problem)) => Some(Err(problem)),
            Err(Failure::NoKeys(..) | Failure::UnknownKey(..)) => None,
        }
    }

    /// Verifies `token`: signature, algorithm as the key has it, `iss`, `aud`, `exp`, `nbf`, kind of token.
    ///
    /// An unknown key makes the issuer's keys be fetched once, for all who wait. Cancel safe.
    ///
    /// # Errors
    ///
    /// `invalid-token`, or `unavailable` when the issuer's keys cannot be had.
    pub async fn authenticate(&self, token: &str) -> Result<Principal, Problem> {
        let missing = match self.attempt(token) {
            Ok(principal) => return Ok(principal),
            Err(Failure::Refused(problem)) => return Err(problem),
            Err(missing) => missing,
        };
        let fetched = match missing {
            Failure::NoKeys(issuer, _) => self.0.issuers[issuer].warm().await,
            Failure::UnknownKey(issuer, seen) => self.0.issuers[issuer].refresh(seen).await,
            Failure::Refused(_) => Ok(()),
        };
        fetched.map_err(|error| unavailable(&error))?;
        self.attempt(token).map_err(|failure| match failure {
            Failure::Refused(problem) => problem,
            Failure::NoKeys(_, error) => unavailable(&error),
            Failure::UnknownKey(..) => {
                tracing::debug!("a token names a key that its issuer does not have");
                Problem::invalid_token(INVALID)
            }
        })
    }

    fn attempt(&self, token: &str) -> Result<Principal, Failure> {
        let inner = &*self.0;
        if token.len() > jose::MAX_TOKEN {
            return Err(refused(&"the token is too long", INVALID));
        }
        let now = inner.clock.now();
        if let Some(principal) = inner.cache.get(token, |issuer| inner.issuers[issuer].generation(), now) {
            return Ok(principal);
        }
        let index = self.issuer_of(token)?;
        let issuer = &inner.issuers[index];
        let (verified, generation) = match issuer.verify(token, &Algorithm::ALL) {
            Ok(Signature::Good(verified, generation)) => (verified, generation),
            Ok(Signature::Bad(error)) => return Err(refused(&error, INVALID)),
            Ok(Signature::UnknownKey(generation)) => {
                self.require_hope(token, issuer, now)?;
                return Err(Failure::UnknownKey(index, generation));
            }
            Err(error) => {
                self.require_hope(token, issuer, now)?;
                return Err(Failure::NoKeys(index, error));
            }
        };
        let claims = jose::parse_object(&verified.payload).map_err(|error| refused(&error, INVALID))?;
        let principal = claims::principal(&verified.header, &claims, issuer.id(), &inner.audience, now)
            .map_err(|fault| refused(&fault, fault.detail()))?;
        inner.cache.insert(token, principal.clone(), index, generation);
        Ok(principal)
    }

    /// Refuses a token that is not good whatever the keys may be: it waits for nothing and makes nobody work.
    fn require_hope(&self, token: &str, issuer: &Issuer, now: Timestamp) -> Result<(), Failure> {
        let (header, claims) = jose::unverified(token).map_err(|error| refused(&error, INVALID))?;
        claims::principal(&header, &claims, issuer.id(), &self.0.audience, now)
            .map(drop)
            .map_err(|fault| refused(&fault, fault.detail()))
    }

    /// The issuer is chosen by `iss`, never by trying all; where there is one, its keys decide.
    fn issuer_of(&self, token: &str) -> Result<usize, Failure> {
        if self.0.issuers.len() == 1 {
            return Ok(0);
        }
        let (_, claims) = jose::unverified(token).map_err(|error| refused(&error, INVALID))?;
        let iss = claims::unverified_issuer(&claims).unwrap_or_default();
        let foreign = claims::Fault::Issuer;
        self.0.issuers.iter().position(|issuer| issuer.is(iss)).ok_or_else(|| refused(&foreign, foreign.detail()))
    }
}

/// The exact reason is for the log of the one who runs the product; `detail` is for the one who sent the token.
fn refused(reason: &dyn std::fmt::Display, detail: &'static str) -> Failure {
    tracing::debug!(%reason, "a token is refused");
    Failure::Refused(Problem::invalid_token(detail))
}

fn unavailable(error: &live::Error) -> Problem {
    // Not a warning: the fetch that failed has made one, and whoever sends tokens must not be able to fill the log.
    tracing::debug!(error = error_chain(error), "a token cannot be verified: the keys of its issuer are not to be had");
    Problem::unavailable(error.retry_in())
}

/// The token of an `Authorization` header: `Ok(None)` when there are no bearer credentials.
pub(crate) fn bearer(headers: &http::HeaderMap) -> Result<Option<&str>, Problem> {
    let malformed = || Problem::invalid_token("the Authorization header is not \"Bearer TOKEN\"");
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed());
    }
    let value = value.as_bytes();
    let scheme_ends = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    if !value[..scheme_ends].eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let token = value[scheme_ends..].trim_ascii();
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if token.is_empty() || !token.iter().all(is_token) {
        return Err(malformed());
    }
    std::str::from_utf8(token).map(Some).map_err(|_| malformed())
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let issuers: Vec<Cow<'_, str>> = self.0.issuers.iter().map(|issuer| issuer.id().into()).collect();
        f.debug_struct("Authenticator").field("issuers", &issuers).field("audience", &self.0.audience).finish()
    }
}
