use std::sync::Arc;
use std::task::{Context, Poll};

use halfbyte_core::body::Refusable;
use halfbyte_core::{Problem, problem};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::future::{AuthenticateFuture, announce};
use crate::authenticator::Authenticator;
use crate::credential::Credential;

/// Turns a request's credential (an access token or an API key, with its proof where it is bound) into a `Principal` in the
/// request's extensions, and refuses a bad one.
///
/// A layer outside hears who called by its [`Caller`](halfbyte_core::Caller). A request without credentials goes on
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
        let authenticator = &self.layer.authenticator;
        let refuse = |problem: Problem, request: &Request<ReqBody>| {
            AuthenticateFuture::refused(problem.resource_metadata(&**metadata), &problem::Context::of(request))
        };
        let credential = match Credential::of(&request) {
            Ok(Some(credential)) => credential,
            Ok(None) if self.layer.required => return refuse(Problem::unauthenticated(), &request),
            Ok(None) => return AuthenticateFuture::calling(self.inner.call(request), None),
            Err(problem) => return refuse(problem, &request),
        };
        match authenticator.accept_now(credential) {
            Some(Ok((principal, nonce))) => {
                announce(&mut request, principal);
                AuthenticateFuture::calling(self.inner.call(request), nonce)
            }
            Some(Err(problem)) => refuse(problem, &request),
            None => {
                let (token, fetching) = (credential.token.to_owned(), authenticator.clone());
                let verification = Box::pin(async move { fetching.accept(&token).await });
                // The service that was polled ready is the one that is called; its clone stays for the next request.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                AuthenticateFuture::verifying(verification, request, ready, authenticator.clone(), metadata.clone())
            }
        }
    }
}
