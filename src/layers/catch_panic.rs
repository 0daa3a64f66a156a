use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use halfbyte_core::body::Refusable;
use halfbyte_core::{Problem, problem};
use halfbyte_observe::panics;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// Answers a panic further in with `internal`; the connection and the process go on.
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic { inner }
    }
}

/// The service of [`CatchPanicLayer`].
#[derive(Clone, Debug)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CatchPanic<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<Refusable<ResBody>>;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let context = problem::Context::of(&request);
        // What the panic left behind is not used again: the future is dropped.
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(response) => CatchPanicFuture { response: Some(response), context },
            Err(panic) => {
                panics::caught(&*panic);
                CatchPanicFuture { response: None, context }
            }
        }
    }
}

pin_project! {
    /// The future of [`CatchPanic`].
    pub struct CatchPanicFuture<F> {
        // None when the call itself panicked.
        #[pin]
        response: Option<F>,
        context: problem::Context,
    }
}

impl<F, B, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Refusable<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(response) = this.response.as_mut().as_pin_mut() {
            match catch_unwind(AssertUnwindSafe(|| response.poll(cx))) {
                Ok(outcome) => return outcome.map_ok(|response| response.map(Refusable::inner)),
                Err(panic) => {
                    panics::caught(&*panic);
                    // What the panic left behind may panic again when it is dropped.
                    let _dropped = catch_unwind(AssertUnwindSafe(|| this.response.set(None)));
                }
            }
        }
        Poll::Ready(Ok(Problem::internal().to_response(this.context)))
    }
}
