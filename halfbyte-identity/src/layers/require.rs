use std::sync::Arc;
use std::task::{Context, Poll};

use halfbyte_core::body::Refusable;
use halfbyte_core::{Principal, Problem, problem};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::future::RequireFuture;

/// Lets only principals with all of its scopes through; with no scopes, any principal. Stands inside
/// [`AuthenticateLayer`](super::AuthenticateLayer).
#[derive(Clone, Debug)]
pub struct RequireLayer {
    scopes: Arc<[Box<str>]>,
    resource_metadata: Arc<str>,
}

impl RequireLayer {
    pub(crate) fn new(scopes: &[&str], resource_metadata: Arc<str>) -> Self {
        Self { scopes: scopes.iter().map(|scope| Box::from(*scope)).collect(), resource_metadata }
    }

    fn check(&self, principal: Option<&Principal>) -> Result<(), Problem> {
        let problem = match principal {
            None => Problem::unauthenticated(),
            Some(principal) if self.scopes.iter().all(|scope| principal.has_scope(scope)) => return Ok(()),
            Some(_) => Problem::insufficient_scope(&self.scopes.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
        };
        Err(problem.resource_metadata(&*self.resource_metadata))
    }
}

impl<S> Layer<S> for RequireLayer {
    type Service = Require<S>;

    fn layer(&self, inner: S) -> Require<S> {
        Require { inner, layer: self.clone() }
    }
}

/// The service of [`RequireLayer`].
#[derive(Clone, Debug)]
pub struct Require<S> {
    inner: S,
    layer: RequireLayer,
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
        match self.layer.check(request.extensions().get()) {
            Ok(()) => RequireFuture::calling(self.inner.call(request)),
            Err(problem) => RequireFuture::refused(problem, &problem::Context::of(&request)),
        }
    }
}
