use std::sync::Arc;
use std::task::{Context, Poll};

use halfbyte_core::body::Refusable;
use halfbyte_core::{Principal, Problem, problem};
use http::request::Parts;
use http::{HeaderName, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::action::Action;
use super::check::Access;
use super::checks::Checks;
use super::future::{AuthorizeFuture, Waiting};
use super::target::{Place, Target};
use crate::layers::path::PathPattern;

/// Lets only those through who may do one action to what the request asks for, from [`Access::authorize`]. Stands inside
/// [`AuthenticateLayer`](crate::layers::AuthenticateLayer).
///
/// ```
/// # use halfbyte_identity::access::{Access, Action, EntityRef};
/// const CREATE_LABEL: Action = Action::new("CreateLabel");
/// const READ_LABEL: Action = Action::new("ReadLabel");
///
/// # fn example(access: &Access) {
/// let create = access.authorize(CREATE_LABEL); // in the tenant as a whole
/// let read = access.authorize(READ_LABEL).in_path("Label", "/labels/{id}");
/// let print = access.authorize(READ_LABEL).found_by(|parts| {
///     let id = parts.uri.query()?.strip_prefix("label=")?;
///     Some(EntityRef::new("Label", id))
/// });
/// # }
/// ```
///
/// Who has no principal is `unauthenticated`. Whatever else is missing is `forbidden` in the same words: policies that say no, a
/// request that does not say what it asks for, and a thing that is not there. So nobody learns by asking which things another
/// tenant has. Where there are no policies yet, or the provider fails, it is `unavailable`. A gRPC call is refused by the
/// corresponding status.
///
/// The handler takes what was permitted as [`Authorized`](super::Authorized), and asks more by [`Checks`].
#[derive(Clone, Debug)]
pub struct AuthorizeLayer {
    access: Access,
    action: Action,
    place: Place,
    resource_metadata: Option<Arc<str>>,
}

impl AuthorizeLayer {
    pub(super) fn new(access: Access, action: Action, resource_metadata: Option<Arc<str>>) -> Self {
        Self { access, action, place: Place::Tenant, resource_metadata }
    }

    /// What is asked for is the thing of type `kind` whose id stands in the path as `{id}`: `/labels/{id}` fits `/labels/7` and
    /// all below it. Any other segment in braces stands for whatever is there.
    ///
    /// The path is the one that this layer sees: inside of what cuts off a prefix (such as axum's `nest`) it is the rest. One
    /// that does not fit is refused, and so is one with `.` or `..` in it, however they are encoded.
    ///
    /// # Panics
    ///
    /// `pattern` does not begin with `/`, or has not exactly one segment `{id}`.
    #[must_use]
    pub fn in_path(self, kind: &'static str, pattern: &str) -> Self {
        Self { place: Place::Path { kind, pattern: PathPattern::new(pattern, "id") }, ..self }
    }

    /// What is asked for is the thing of type `kind` whose id is the value of a header, which must be there exactly once.
    #[must_use]
    pub fn in_header(self, kind: &'static str, name: HeaderName) -> Self {
        Self { place: Place::Header { kind, name }, ..self }
    }

    /// What is asked for is what `find` says: an [`EntityRef`](super::EntityRef), which the provider is asked for, or an
    /// [`Entity`](super::Entity). A request for which it says nothing is refused.
    ///
    /// An id that stands in the request must be read as the handler reads it.
    #[must_use]
    pub fn found_by<T: Into<Target>>(self, find: impl Fn(&Parts) -> Option<T> + Send + Sync + 'static) -> Self {
        Self { place: Place::Function(Arc::new(move |parts| find(parts).map(Into::into))), ..self }
    }
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Authorize<S> {
        Authorize { inner, layer: self.clone() }
    }
}

/// The service of [`AuthorizeLayer`].
#[derive(Clone, Debug)]
pub struct Authorize<S> {
    inner: S,
    layer: AuthorizeLayer,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Authorize<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<Refusable<ResBody>>;
    type Error = S::Error;
    type Future = AuthorizeFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let AuthorizeLayer { access, action, place, resource_metadata } = &self.layer;
        let Some(principal) = request.extensions().get::<Principal>().cloned() else {
            let mut problem = Problem::unauthenticated();
            if let Some(url) = resource_metadata {
                problem = problem.resource_metadata(&**url);
            }
            return AuthorizeFuture::refused(problem, &problem::Context::of(&request));
        };
        let (mut parts, body) = request.into_parts();
        let target = place.find(&parts, &principal);
        let checks = Checks::at(&mut parts.extensions, access, &principal);
        let request = Request::from_parts(parts, body);
        let Some(target) = target else {
            tracing::debug!(%action, ?place, "a request does not say what it asks for");
            let denied = access.unclear(&principal, *action);
            return AuthorizeFuture::refused(denied.problem(), &problem::Context::of(&request));
        };
        // The service that was polled ready is the one that is called; its clone stays for the next request.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        let action = *action;
        let decision = Box::pin(async move { checks.reach(action, target).await });
        AuthorizeFuture::deciding(decision, Waiting { principal, action, request, service: ready })
    }
}
