use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use halfbyte_core::body::Refusable;
use halfbyte_core::lifecycle::Phase;
use halfbyte_core::{Lifecycle, Problem, problem};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// On a request whose client could not know of the drain when it sent it: it is let in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unaware;

/// Refuses requests that come on old connections once the process is [draining](Phase::Draining).
#[derive(Clone, Debug)]
pub struct DrainGateLayer(Lifecycle);

impl DrainGateLayer {
    /// Follows `lifecycle`.
    pub fn new(lifecycle: Lifecycle) -> Self {
        Self(lifecycle)
    }
}

impl<S> Layer<S> for DrainGateLayer {
    type Service = DrainGate<S>;

    fn layer(&self, inner: S) -> DrainGate<S> {
        DrainGate { inner, lifecycle: self.0.clone() }
    }
}

/// The service of [`DrainGateLayer`].
#[derive(Clone, Debug)]
pub struct DrainGate<S> {
    inner: S,
    lifecycle: Lifecycle,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for DrainGate<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<Refusable<ResBody>>;
    type Error = S::Error;
    type Future = DrainGateFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        if self.lifecycle.phase() < Phase::Draining || request.extensions().get::<Unaware>().is_some() {
            DrainGateFuture { response: Some(self.inner.call(request)), context: None }
        } else {
            DrainGateFuture { response: None, context: Some(problem::Context::of(&request)) }
        }
    }
}

pin_project! {
    /// The future of [`DrainGate`].
    pub struct DrainGateFuture<F> {
        #[pin]
        response: Option<F>,
        // Set when the request is refused.
        context: Option<problem::Context>,
    }
}

impl<F, B, E> Future for DrainGateFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Refusable<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.response.as_pin_mut() {
            Some(response) => response.poll(cx).map_ok(|response| response.map(Refusable::inner)),
            None => Poll::Ready(Ok(Problem::draining().to_response(&this.context.unwrap_or_default()))),
        }
    }
}
