use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use halfbyte_core::body::Refusable;
use halfbyte_core::{Clock, Principal, Problem, problem};
use http::{Request, Response};
use jiff::SignedDuration;
use tower_layer::Layer;
use tower_service::Service;

use super::future::RequireFuture;
use super::path::PathPattern;

/// Lets only principals through that have all it asks for; with nothing asked for, any principal. Stands inside
/// [`AuthenticateLayer`](super::AuthenticateLayer).
///
/// ```
/// # use std::time::Duration;
/// # fn example(identity: &halfbyte_identity::Identity) {
/// let transfers = identity
///     .require(&["transfers:write"])
///     .role("treasurer")
///     .acr(&["urn:example:loa:2"])
///     .max_age(Duration::from_secs(300))
///     .tenant_in_path("/tenants/{tenant}");
/// # }
/// ```
///
/// What is missing is refused in this order: a principal (`unauthenticated`), scopes (`insufficient-scope`), a role or the
/// tenant (`forbidden`), strength or age of the sign-in (`step-up-required`, RFC 9470).
#[derive(Clone, Debug)]
pub struct RequireLayer {
    asked: Arc<Asked>,
}

#[derive(Clone, Debug)]
struct Asked {
    scopes: Box<[Box<str>]>,
    roles: Vec<Box<str>>,
    acr: Box<[Box<str>]>,
    max_age: Option<Duration>,
    tenant: Option<PathPattern>,
    resource_metadata: Arc<str>,
    clock: Clock,
}

impl RequireLayer {
    pub(crate) fn new(scopes: &[&str], resource_metadata: Arc<str>, clock: Clock) -> Self {
        let scopes = scopes.iter().map(|scope| Box::from(*scope)).collect();
        let (roles, acr) = (Vec::new(), Box::default());
        Self { asked: Arc::new(Asked { scopes, roles, acr, max_age: None, tenant: None, resource_metadata, clock }) }
    }

    /// Asks for a role as well; called again, for that one too.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        Arc::make_mut(&mut self.asked).roles.push(role.into());
        self
    }

    /// Asks for a sign-in as strong as one of `values` (`acr`), the preferred one first.
    #[must_use]
    pub fn acr(mut self, values: &[&str]) -> Self {
        Arc::make_mut(&mut self.asked).acr = values.iter().map(|value| Box::from(*value)).collect();
        self
    }

    /// Asks for a sign-in that is not longer ago (`auth_time`). A principal who does not say when he signed in, such as a
    /// service, is refused.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        Arc::make_mut(&mut self.asked).max_age = Some(age);
        self
    }

    /// Asks that the tenant in the path is the principal's: `/tenants/{tenant}` fits `/tenants/acme` and all below it.
    /// Any other segment in braces stands for whatever is there. A path that does not fit is refused, so that a route that was moved does not lose its guard. The path is the one that
    /// this layer sees: inside of what cuts off a prefix (such as axum's `nest`) it is the rest.
    ///
    /// # Panics
    ///
    /// `pattern` does not begin with `/`, or has not exactly one segment `{tenant}`.
    #[must_use]
    pub fn tenant_in_path(mut self, pattern: &str) -> Self {
        Arc::make_mut(&mut self.asked).tenant = Some(PathPattern::new(pattern, "tenant"));
        self
    }
}

impl Asked {
    fn check(&self, principal: Option<&Principal>, path: &str) -> Result<(), Problem> {
        self.missing(principal, path).map_or(Ok(()), |problem| Err(problem.resource_metadata(&*self.resource_metadata)))
    }

    fn missing(&self, principal: Option<&Principal>, path: &str) -> Option<Problem> {
        let Some(principal) = principal else { return Some(Problem::unauthenticated()) };
        if !self.scopes.iter().all(|scope| principal.has_scope(scope)) {
            return Some(Problem::insufficient_scope(&self.scopes.iter().map(AsRef::as_ref).collect::<Vec<_>>()));
        }
        if let Some(role) = self.roles.iter().find(|role| !principal.has_role(role)) {
            return Some(Problem::forbidden(format!("this needs the role: {role}")));
        }
        if self
            .tenant
            .as_ref()
            .is_some_and(|pattern| pattern.find(path).is_none_or(|it| it != principal.tenant().as_str()))
        {
            return Some(Problem::forbidden("this is of another tenant"));
        }
        let weak = !self.acr.is_empty() && !principal.acr().is_some_and(|acr| self.acr.iter().any(|one| **one == *acr));
        if weak || self.max_age.is_some_and(|age| self.is_older(principal, age)) {
            return Some(Problem::step_up_required(self.acr.join(" "), self.max_age));
        }
        None
    }

    fn is_older(&self, principal: &Principal, age: Duration) -> bool {
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        principal.authenticated_at().is_none_or(|at| self.clock.now().duration_since(at) > age)
    }
}

impl<S> Layer<S> for RequireLayer {
    type Service = Require<S>;

    fn layer(&self, inner: S) -> Require<S> {
        Require { inner, asked: self.asked.clone() }
    }
}

/// The service of [`RequireLayer`].
#[derive(Clone, Debug)]
pub struct Require<S> {
    inner: S,
    asked: Arc<Asked>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Require<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<Refusable<ResBody>>;
    type Error = S::Error;
    type Future = RequireFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.asked.check(request.extensions().get(), request.uri().path()) {
            Ok(()) => RequireFuture::calling(self.inner.call(request)),
            Err(problem) => RequireFuture::refused(problem, &problem::Context::of(&request)),
        }
    }
}
