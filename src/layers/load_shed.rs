use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use halfbyte_core::body::{Guarded, Refusable};
use halfbyte_core::{Problem, problem};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

/// Bounds the requests at once, up to the end of response bodies that are streamed; one more is refused at once, not queued.
#[derive(Clone, Debug)]
pub struct LoadShedLayer {
    permits: Arc<Semaphore>,
    retry_after: Duration,
}

/// A body of a known length up to this is taken to be complete, in bytes.
const IN_MEMORY: u64 = 64 * 1024;

impl LoadShedLayer {
    /// At most `in_flight` requests, over all clones; a client is asked to wait `retry_after`.
    pub fn new(in_flight: usize, retry_after: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(in_flight)), retry_after }
    }
}

impl<S> Layer<S> for LoadShedLayer {
    type Service = LoadShed<S>;

    fn layer(&self, inner: S) -> LoadShed<S> {
        LoadShed { inner, layer: self.clone() }
    }
}

/// The service of [`LoadShedLayer`].
#[derive(Clone, Debug)]
pub struct LoadShed<S> {
    inner: S,
    layer: LoadShedLayer,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for LoadShed<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<Refusable<Guarded<ResBody, OwnedSemaphorePermit>>>;
    type Error = S::Error;
    type Future = LoadShedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.layer.permits.clone().try_acquire_owned() {
            Ok(permit) => {
                LoadShedFuture { admitted: Some(self.inner.call(request)), permit: Some(permit), refusal: None }
            }
            Err(_none_left) => {
                let refusal = Some((problem::Context::of(&request), self.layer.retry_after));
                LoadShedFuture { admitted: None, permit: None, refusal }
            }
        }
    }
}

pin_project! {
    /// The future of [`LoadShed`].
    pub struct LoadShedFuture<F> {
        #[pin]
        admitted: Option<F>,
        permit: Option<OwnedSemaphorePermit>,
        refusal: Option<(problem::Context, Duration)>,
    }
}

impl<F, B, E> Future for LoadShedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<Refusable<Guarded<B, OwnedSemaphorePermit>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(admitted) = this.admitted.as_pin_mut() else {
            let (context, retry_after) = this.refusal.unwrap_or_default();
            return Poll::Ready(Ok(Problem::overloaded(retry_after).to_response(&context)));
        };
        let response = ready!(admitted.poll(cx))?;
        let permit = this.permit.take();
        Poll::Ready(Ok(response.map(|body| {
            // What is in memory is work no more: a client that does not read it must not keep others out.
            let permit = permit.filter(|_| body.size_hint().exact().is_none_or(|bytes| bytes > IN_MEMORY));
            Refusable::inner(Guarded::maybe(body, permit))
        })))
    }
}
