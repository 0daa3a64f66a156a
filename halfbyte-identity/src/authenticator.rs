use std::fmt;
use std::sync::Arc;

use halfbyte_core::{Clock, Principal, Problem, error_chain, live};
use http::HeaderValue;

use crate::api_keys::{self, ApiKeys};
use crate::binding::Binding;
use crate::cache::VerifiedTokens;
use crate::claims::{self, Accepted};
use crate::credential::{Credential, Evidence, Scheme};
use crate::dpop::{self, Proofs};
use crate::introspection::Introspection;
use crate::issuer::{Issuer, Signature};
use crate::jose::{self, Compact};
use crate::mtls::Certificates;
use crate::revocation::Revocations;

/// Turns a credential into a [`Principal`], or into the refusal of the table. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Arc<Parts>);

/// What an authenticator is made of. Apart from the count of its clones, which every request of every core changes.
#[repr(align(128))]
pub(crate) struct Parts {
    pub(crate) issuers: Vec<Arc<Issuer>>,
    pub(crate) audience: Box<str>,
    pub(crate) client_id: Option<Box<str>>,
    pub(crate) clock: Clock,
    pub(crate) cache: VerifiedTokens,
    pub(crate) revocations: Revocations,
    pub(crate) api_keys: Option<ApiKeys>,
    pub(crate) introspection: Option<Introspection>,
    pub(crate) proofs: Proofs,
    pub(crate) certificates: Certificates,
}

/// Why a credential was not accepted with what is at hand.
enum Failure {
    /// Final.
    Refused(Problem),
    /// That issuer has no keys at hand.
    NoKeys(usize, live::Error),
    /// That issuer had no such key in that generation.
    UnknownKey { issuer: usize, generation: u64, key_id: Option<Box<str>> },
    /// The issuer of opaque tokens has to be asked.
    Opaque,
    /// The store of API keys has to be asked.
    ApiKey,
}

/// Whom a credential stands for, and what he has to prove.
type Bound = (Principal, Option<Binding>);

/// Who calls, and the nonce for his next proof where there is a new one.
pub(crate) type Proven = (Principal, Option<HeaderValue>);

const INVALID: &str = "the access token is not valid";

impl Authenticator {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// Verifies `token`, an access token or an API key, with what is at hand: no waiting, no I/O. `None` when something has
    /// to be fetched first. A token that is bound to a key or a certificate is refused: here is no request to prove it by.
    pub fn authenticate_now(&self, token: &str) -> Option<Result<Principal, Problem>> {
        match self.attempt(token) {
            Ok(bound) => Some(unbound(bound)),
            Err(Failure::Refused(problem)) => Some(Err(problem)),
            Err(_) => None,
        }
    }

    /// Verifies `token`, an access token or an API key: signature, algorithm as the key has it, `iss`, `aud`, `exp`, `nbf`,
    /// kind of token, and that it is not revoked. A token that is bound to a key or a certificate is refused.
    ///
    /// An unknown key makes the issuer's keys be fetched once, for all who wait. Cancel safe.
    ///
    /// # Errors
    ///
    /// `invalid-token`, or `unavailable` when what has to be asked cannot be.
    pub async fn authenticate(&self, token: &str) -> Result<Principal, Problem> {
        match self.attempt(token) {
            Ok(bound) => unbound(bound),
            Err(failure) => unbound(self.fetch(token, failure).await?),
        }
    }

    /// As [`authenticate_now`](Self::authenticate_now), with the proof that a bound token needs.
    pub(crate) fn accept_now(&self, credential: Credential<'_>) -> Option<Result<Proven, Problem>> {
        let attempt = self.recall(credential.token).unwrap_or_else(|| {
            // A token that is known was well-formed when it came first.
            credential.require_form().map_err(Failure::Refused)?;
            self.verify(credential.token)
        });
        match attempt {
            Ok(bound) => Some(self.prove(bound, credential.scheme, credential.token, credential.evidence)),
            Err(Failure::Refused(problem)) => Some(Err(challenge(problem, credential.scheme))),
            Err(_) => None,
        }
    }

    /// What [`accept_now`](Self::accept_now) could not answer; [`prove`](Self::prove) is still to be done.
    pub(crate) async fn accept(&self, token: &str) -> Result<Bound, Problem> {
        match self.attempt(token) {
            Ok(bound) => Ok(bound),
            Err(failure) => self.fetch(token, failure).await,
        }
    }

    /// Whether the credential that `principal` came with is known to be revoked: here, or by its issuer or its store as far
    /// as they tell. What an issuer elsewhere has revoked it tells by logout tokens only.
    pub(crate) async fn has_ended(&self, principal: &Principal) -> bool {
        let parts = &*self.0;
        if parts.revocations.covers(principal) {
            return true;
        }
        match &parts.api_keys {
            Some(keys) if principal.issuer() == api_keys::ISSUER => keys.has_ended(principal).await,
            _ => {
                let issuer = parts.issuers.iter().find(|issuer| issuer.rules().is_issuer(principal.issuer()));
                issuer.is_some_and(|issuer| issuer.has_revoked_principal(principal))
            }
        }
    }

    /// Checks that the token is the caller's own, where it is bound.
    pub(crate) fn prove(
        &self,
        (principal, binding): Bound,
        scheme: Scheme,
        token: &str,
        evidence: Evidence<'_>,
    ) -> Result<Proven, Problem> {
        let parts = &*self.0;
        match (binding, scheme) {
            (None, Scheme::Bearer) => Ok(None),
            (None, Scheme::Dpop) => {
                let detail = "the access token is not bound to a key; send it as \"Bearer TOKEN\"";
                Err(challenge(Problem::invalid_token(detail), scheme))
            }
            (Some(Binding::Key(_)), Scheme::Bearer) => {
                let detail = "the access token is bound to a key; send it as \"DPoP TOKEN\" with a proof";
                Err(challenge(Problem::invalid_token(detail), Scheme::Dpop))
            }
            (Some(Binding::Key(thumbprint)), Scheme::Dpop) => {
                let Evidence { method, uri, headers, .. } = evidence;
                parts.proofs.check(method, uri.path(), headers, token, &thumbprint, parts.clock.now())
            }
            (Some(Binding::Certificate(fingerprint)), Scheme::Bearer) => {
                parts.certificates.check(&fingerprint, evidence.headers, evidence.peer).map(|()| None)
            }
            (Some(Binding::Certificate(_)), Scheme::Dpop) => {
                let detail = "the access token is bound to a client certificate; send it as \"Bearer TOKEN\"";
                Err(challenge(Problem::invalid_token(detail), scheme))
            }
        }
        .map(|nonce| (principal, nonce))
    }

    /// Fetches what was missing and attempts once more.
    async fn fetch(&self, token: &str, failure: Failure) -> Result<Bound, Problem> {
        let parts = &*self.0;
        let fetched = match failure {
            Failure::Refused(problem) => return Err(problem),
            Failure::NoKeys(issuer, _) => parts.issuers[issuer].warm().await,
            Failure::UnknownKey { issuer, generation, key_id } => {
                parts.issuers[issuer].look_for(key_id.as_deref(), generation).await.map(drop)
            }
            Failure::Opaque => {
                let introspection = parts.introspection.as_ref().ok_or_else(|| Problem::invalid_token(INVALID))?;
                let Accepted { principal, binding } = introspection.ask(token).await?;
                return self.require_unrevoked((principal, binding));
            }
            Failure::ApiKey => {
                let keys = parts.api_keys.as_ref().ok_or_else(|| Problem::invalid_token(INVALID))?;
                return self.require_unrevoked((keys.authenticate(token).await?, None));
            }
        };
        fetched.map_err(|error| unavailable(&error))?;
        self.attempt(token).map_err(|failure| match failure {
            Failure::Refused(problem) => problem,
            Failure::NoKeys(_, error) => unavailable(&error),
            Failure::UnknownKey { .. } | Failure::Opaque | Failure::ApiKey => {
                tracing::debug!("a token names a key that its issuer does not have");
                Problem::invalid_token(INVALID)
            }
        })
    }

    fn attempt(&self, token: &str) -> Result<Bound, Failure> {
        self.recall(token).unwrap_or_else(|| self.verify(token))
    }

    /// What is remembered of a token that was verified before.
    fn recall(&self, token: &str) -> Option<Result<Bound, Failure>> {
        let parts = &*self.0;
        // Before the look at the token: a revocation that comes meanwhile is looked for the next time.
        let revocations = parts.revocations.count();
        let generation = |issuer: usize| parts.issuers[issuer].generation();
        let known = parts.cache.find(token, generation, parts.clock.now())?;
        if known.may_be_revoked(revocations) {
            if parts.revocations.covers(&known.principal) {
                parts.cache.forget(token);
                return Some(Err(refused(&"the token is revoked", REVOKED)));
            }
            known.is_not_revoked(revocations);
        }
        Some(Ok((known.principal.clone(), known.binding)))
    }

    fn verify(&self, token: &str) -> Result<Bound, Failure> {
        let parts = &*self.0;
        if token.len() > jose::MAX_TOKEN {
            return Err(refused(&"the token is too long", INVALID));
        }
        if api_keys::looks_like(token) {
            return self.attempt_api_key(token);
        }
        if !is_signed(token) {
            return self.attempt_opaque(token);
        }
        let (now, revocations) = (parts.clock.now(), parts.revocations.count());
        let compact = Compact::parse(token).map_err(|error| refused(&error, INVALID))?;
        let index = self.issuer_of(&compact.payload)?;
        let issuer = &parts.issuers[index];
        let accept = || {
            let accepted = issuer.rules().accept(&compact.header, &compact.payload, now);
            accepted.map_err(|fault| refused(&fault, fault.detail()))
        };
        let generation = match issuer.verify(&compact) {
            Ok(Signature::Good(generation)) => generation,
            Ok(Signature::Bad(error)) => return Err(refused(&error, INVALID)),
            // Nobody waits and nobody works for a token that is not good whatever the keys may be.
            Ok(Signature::UnknownKey(generation)) => {
                accept()?;
                return Err(Failure::UnknownKey { issuer: index, generation, key_id: compact.header.key_id });
            }
            Err(error) => {
                accept()?;
                return Err(Failure::NoKeys(index, error));
            }
        };
        let Accepted { principal, binding } = accept()?;
        if issuer.has_revoked(&compact.payload).map_err(|error| Failure::NoKeys(index, error))? {
            return Err(refused(&"its issuer has revoked the token", REVOKED));
        }
        let bound = self.require_unrevoked((principal, binding)).map_err(Failure::Refused)?;
        parts.cache.keep(token, bound.clone(), (index, generation), revocations, now);
        Ok(bound)
    }

    fn attempt_api_key(&self, key: &str) -> Result<Bound, Failure> {
        let keys = self.0.api_keys.as_ref().ok_or_else(|| refused(&"there are no API keys here", INVALID))?;
        let principal = keys.authenticate_now(key).ok_or(Failure::ApiKey)?.map_err(Failure::Refused)?;
        self.require_unrevoked((principal, None)).map_err(Failure::Refused)
    }

    fn attempt_opaque(&self, token: &str) -> Result<Bound, Failure> {
        let asked = self.0.introspection.as_ref().ok_or_else(|| refused(&"the token is not a JWT", INVALID))?;
        let known = asked.known(token, self.0.clock.now()).ok_or(Failure::Opaque)?;
        let Accepted { principal, binding } = known.map_err(Failure::Refused)?;
        self.require_unrevoked((principal, binding)).map_err(Failure::Refused)
    }

    fn require_unrevoked(&self, bound: Bound) -> Result<Bound, Problem> {
        if self.0.revocations.covers(&bound.0) {
            tracing::debug!("a revoked credential is refused");
            return Err(Problem::invalid_token(REVOKED));
        }
        Ok(bound)
    }

    /// The issuer is chosen by `iss`, never by trying all; where there is one, its keys decide.
    fn issuer_of(&self, payload: &[u8]) -> Result<usize, Failure> {
        let issuers = &self.0.issuers;
        if issuers.len() == 1 {
            return Ok(0);
        }
        let iss = claims::unverified_issuer(payload).unwrap_or_default();
        let foreign = claims::Fault::Issuer;
        let named = issuers.iter().position(|issuer| issuer.rules().is_issuer(&iss));
        named.ok_or_else(|| refused(&foreign, foreign.detail()))
    }
}

const REVOKED: &str = "the credential was revoked";

/// Whether it is a JWS in compact form: any other token is opaque, and only its issuer can say what it stands for.
fn is_signed(token: &str) -> bool {
    // A JSON object that begins without white space, as all do; and whatever else has a JSON object for its first part.
    token.starts_with("ey") && token.contains('.')
        || token
            .split_once('.')
            .is_some_and(|(header, _)| jose::decode(header).is_ok_and(|json| json.trim_ascii_start().starts_with(b"{")))
}

fn unbound((principal, binding): Bound) -> Result<Principal, Problem> {
    match binding {
        None => Ok(principal),
        Some(_) => {
            Err(Problem::invalid_token("the access token is bound, and nothing here proves that it is the caller's"))
        }
    }
}

/// Answers in the scheme that the caller used.
pub(crate) fn challenge(problem: Problem, scheme: Scheme) -> Problem {
    match scheme {
        Scheme::Bearer => problem,
        Scheme::Dpop => problem.dpop(dpop::ALGORITHMS),
    }
}

/// The exact reason is for the log of the one who runs the product; `detail` is for the one who sent the token.
fn refused(reason: &dyn fmt::Display, detail: &'static str) -> Failure {
    tracing::debug!(%reason, "a token is refused");
    Failure::Refused(Problem::invalid_token(detail))
}

fn unavailable(error: &live::Error) -> Problem {
    // Not a warning: the fetch that failed has made one, and whoever sends tokens must not be able to fill the log.
    tracing::debug!(error = error_chain(error), "a token cannot be verified: the keys of its issuer are not to be had");
    Problem::unavailable(error.retry_in())
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers: Vec<&str> = self.0.issuers.iter().map(|issuer| issuer.id()).collect();
        f.debug_struct("Authenticator").field("issuers", &issuers).field("audience", &self.0.audience).finish()
    }
}
