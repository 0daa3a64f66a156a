//! Every refusal that a client can see, from one table: as RFC 9457 problem details, or as a gRPC status when the
//! request is gRPC.

mod kind;
mod render;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

pub use self::kind::Kind;
pub use self::render::{Context, is_grpc};

/// A refusal: which row of the table, and the details that its headers and its body carry.
///
/// ```
/// use std::time::Duration;
/// use halfbyte_core::problem::{Context, Problem};
///
/// let response = Problem::unavailable(Duration::from_secs(3)).to_response::<String>(&Context::default());
/// assert_eq!(response.status(), 503);
/// assert_eq!(response.headers()["retry-after"], "3");
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// ```
///
/// A `detail` is for the caller's developer. It never holds a secret, and never says which check of a credential failed
/// beyond what the caller could see for himself.
#[derive(Clone, PartialEq, Eq)]
pub struct Problem(Box<Fields>);

// Boxed, so that a `Result` that may be a refusal stays small on the path where it is none.
#[derive(Clone, PartialEq, Eq)]
struct Fields {
    kind: Kind,
    detail: Cow<'static, str>,
    scope: Option<Box<str>>,
    step_up: Option<(Box<str>, Option<Duration>)>,
    quota: Option<Quota>,
    retry_after: Option<Duration>,
    resource_metadata: Option<Box<str>>,
    dpop: Option<Dpop>,
}

/// What a refusal says to a client that sends DPoP proofs (RFC 9449).
#[derive(Clone, Default, PartialEq, Eq)]
struct Dpop {
    /// In place of the row's own `error`.
    error: Option<&'static str>,
    algorithms: &'static str,
    nonce: Option<Box<str>>,
}

/// The quota behind a [`Kind::QuotaExhausted`], for the `RateLimit` headers of draft-ietf-httpapi-ratelimit-headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The name of the policy: the feature.
    pub name: Box<str>,
    /// Units in a whole period.
    pub limit: u64,
    /// Units left.
    pub remaining: u64,
    /// The length of a period.
    pub window: Duration,
    /// When the next period begins.
    pub resets_in: Duration,
}

impl Problem {
    fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Fields {
            kind,
            detail: detail.into(),
            scope: None,
            step_up: None,
            quota: None,
            retry_after: None,
            resource_metadata: None,
            dpop: None,
        }))
    }

    /// 401: the request has no credentials.
    pub fn unauthenticated() -> Self {
        Self::new(Kind::Unauthenticated, "this needs an access token: send it as \"Authorization: Bearer TOKEN\"")
    }

    /// 401: the credential is bad, expired, foreign or revoked. `detail` must not say which check of a signature failed.
    pub fn invalid_token(detail: &'static str) -> Self {
        Self::new(Kind::InvalidToken, detail)
    }

    /// 401: the token is bound to a key, and the proof that the caller has it is missing or not good (RFC 9449, 7.1).
    pub fn invalid_dpop_proof(detail: &'static str) -> Self {
        let mut problem = Self::new(Kind::InvalidToken, detail);
        problem.0.dpop = Some(Dpop { error: Some("invalid_dpop_proof"), ..Dpop::default() });
        problem
    }

    /// 401: the proof must hold the nonce that the answer brings along (RFC 9449, 9).
    pub fn use_dpop_nonce(nonce: impl Into<Box<str>>) -> Self {
        let mut problem = Self::new(Kind::InvalidToken, "make the DPoP proof anew, with the nonce of this answer");
        let nonce = Some(nonce.into());
        problem.0.dpop = Some(Dpop { error: Some("use_dpop_nonce"), nonce, ..Dpop::default() });
        problem
    }

    /// 401: the caller must sign in more strongly (RFC 9470).
    pub fn step_up_required(acr_values: impl Into<Box<str>>, max_age: Option<Duration>) -> Self {
        let mut problem = Self::new(Kind::StepUpRequired, "this needs a stronger or more recent sign-in");
        problem.0.step_up = Some((acr_values.into(), max_age));
        problem
    }

    /// 403: the token lacks one of `scopes`.
    pub fn insufficient_scope(scopes: &[&str]) -> Self {
        let scope = scopes.join(" ");
        let mut problem = Self::new(Kind::InsufficientScope, format!("this needs a token with the scope: {scope}"));
        problem.0.scope = Some(scope.into());
        problem
    }

    /// 403: policy says no.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Forbidden, detail)
    }

    /// 403: the plan of the tenant does not have `feature`.
    pub fn not_entitled(feature: &str) -> Self {
        Self::new(Kind::NotEntitled, format!("the plan of this tenant does not have the feature \"{feature}\""))
    }

    /// 402: past due or out of credit.
    pub fn payment_required(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::PaymentRequired, detail)
    }

    /// 429: the quota is used up until it resets.
    pub fn quota_exhausted(quota: Quota) -> Self {
        let detail = format!("the quota of {} for \"{}\" is used up", quota.limit, quota.name);
        let mut problem = Self::new(Kind::QuotaExhausted, detail);
        problem.0.retry_after = Some(quota.resets_in);
        problem.0.quota = Some(quota);
        problem
    }

    /// 503: keys, policies or a store cannot be reached and no good copy is left.
    pub fn unavailable(retry_after: Duration) -> Self {
        let mut problem = Self::new(Kind::Unavailable, "a system that this needs cannot be reached; try again");
        problem.0.retry_after = Some(retry_after);
        problem
    }

    /// 503: too many requests at once.
    pub fn overloaded(retry_after: Duration) -> Self {
        let mut problem = Self::new(Kind::Overloaded, "too many requests at once; try again");
        problem.0.retry_after = Some(retry_after);
        problem
    }

    /// 503: this process is about to stop; another one answers.
    pub fn draining() -> Self {
        let mut problem = Self::new(Kind::Draining, "this server is about to stop; try again");
        problem.0.retry_after = Some(Duration::from_secs(1));
        problem
    }

    /// 504: the work took longer than allowed.
    pub fn deadline_exceeded() -> Self {
        Self::new(Kind::DeadlineExceeded, "this took longer than the server allows")
    }

    /// 500: a defect.
    pub fn internal() -> Self {
        Self::new(Kind::Internal, "an unexpected error; the request id names it in the server's log")
    }

    /// Adds where the protected-resource metadata is (RFC 9728), for the 401s.
    #[must_use]
    pub fn resource_metadata(mut self, url: impl Into<Box<str>>) -> Self {
        self.0.resource_metadata = Some(url.into());
        self
    }

    /// Challenges by the scheme `DPoP` in place of `Bearer`, for a caller who uses it; `algorithms` are those that proofs
    /// may be signed with, separated by spaces.
    #[must_use]
    pub fn dpop(mut self, algorithms: &'static str) -> Self {
        self.0.dpop.get_or_insert_default().algorithms = algorithms;
        self
    }

    /// The row of the table.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What the body tells the caller's developer.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem").field("kind", &self.0.kind).field("detail", &self.0.detail).finish_non_exhaustive()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind.slug(), self.0.detail)
    }
}

impl std::error::Error for Problem {}
