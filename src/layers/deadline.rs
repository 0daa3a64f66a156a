use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use halfbyte_core::body::Refusable;
use halfbyte_core::{Problem, problem};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower::{Layer, Service};

/// Gives a request a time within which its response must begin; past it the work is dropped and refused.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer(Duration);

impl DeadlineLayer {
    /// The time from the request's head to the response's head; a body may take longer.
    pub fn new(allowed: Duration) -> Self {
        Self(allowed)
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, allowed: self.0 }
    }
}

/// The service of [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
    allowed: Duration,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Deadline<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<Refusable<ResBody>>;
    type Error = S::Error;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let context = problem::Context::of(&request);
        DeadlineFuture { response: self.inner.call(request), passed: sleep(self.allowed), context }
    }
}

pin_project! {
    /// The future of [`Deadline`].
    pub struct DeadlineFuture<F> {
        #[pin]
        response: F,
        #[pin]
        passed: Sleep,
        context: problem::Context,
    }
}

impl<F, B, E> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Refusable<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The response first: one that is there is not refused.
        if let Poll::Ready(outcome) = this.response.poll(cx) {
            return Poll::Ready(outcome.map(|response| response.map(Refusable::inner)));
        }
        this.passed.poll(cx).map(|()| Ok(Problem::deadline_exceeded().to_response(this.context)))
    }
}
