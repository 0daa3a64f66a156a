use std::sync::Arc;
use std::task::{Context, Poll};

use halfbyte_core::body::Refusable;
use halfbyte_core::{Problem, problem};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::future::{AuthenticateFuture, announce};
use crate::authenticator::{Authenticator, bearer};

/// Turns a bearer token into a `Principal` in the request's extensions, and refuses a bad one.
///
/// A layer outside hears who called by a [`CallerSlot`](halfbyte_core::CallerSlot). A request without credentials goes on
/// without a principal, unless they are [required](Self::required).
#[derive(Clone, Debug)]
pub struct AuthenticateLayer {
    authenticator: Authenticator,
    resource_metadata: Arc<str>,
    required: bool,
}

impl AuthenticateLayer {
    pub(crate) fn new(authenticator: Authenticator, resource_metadata: Arc<str>) -> Self {
        Self { authenticator, resource_metadata, required: false }
    }

    /// Refuses a request without credentials as well.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Authenticate<S> {
        Authenticate { inner, layer: self.clone() }
    }
}

/// The service of [`AuthenticateLayer`].
#[derive(Clone, Debug)]
pub struct Authenticate<S> {
    inner: S,
    layer: AuthenticateLayer,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Authenticate<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<Refusable<ResBody>>;
    type Error = S::Error;
    type Future = AuthenticateFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let metadata = &self.layer.resource_metadata;
        let refuse = |problem: Problem, request: &Request<ReqBody>| {
            AuthenticateFuture::refused(problem.resource_metadata(&**metadata), &problem::Context::of(request))
        };
        let token = match bearer(request.headers()) {
            Ok(Some(token)) => token,
            Ok(None) if self.layer.required => return refuse(Problem::unauthenticated(), &request),
            Ok(None) => return AuthenticateFuture::calling(self.inner.call(request)),
            Err(problem) => return refuse(problem, &request),
        };
        match self.layer.authenticator.authenticate_now(token) {
            Some(Ok(principal)) => {
                announce(&mut request, principal);
                AuthenticateFuture::calling(self.inner.call(request))
            }
            Some(Err(problem)) => refuse(problem, &request),
            None => {
                let (token, authenticator) = (token.to_owned(), self.layer.authenticator.clone());
                // The service that was polled ready is the one that is called; its clone stays for the next request.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                let verification = Box::pin(async move { authenticator.authenticate(&token).await });
                AuthenticateFuture::verifying(verification, request, ready, metadata.clone())
            }
        }
    }
}
