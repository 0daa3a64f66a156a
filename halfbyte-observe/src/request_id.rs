//! The outermost layer: every request has an id, and every response names it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use halfbyte_core::RequestId;
use http::{HeaderName, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every request a [`RequestId`]: the one that it came with in `x-request-id`, if there is exactly one and it is
/// well formed, or else a new one. It is put into the request's extensions and set on every response.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestIdLayer(());

impl RequestIdLayer {
    /// The layer.
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for RequestIdLayer {
    type Service = RequestIdService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestIdService { inner }
    }
}

/// The service that [`RequestIdLayer`] makes.
#[derive(Clone, Copy, Debug)]
pub struct RequestIdService<S> {
    inner: S,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for RequestIdService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = RequestIdFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let id = inbound(&request).unwrap_or_else(RequestId::random);
        request.extensions_mut().insert(id);
        RequestIdFuture { inner: self.inner.call(request), id }
    }
}

/// With two of them there is no telling which one the sender means.
fn inbound<B>(request: &Request<B>) -> Option<RequestId> {
    let mut values = request.headers().get_all(HEADER).iter();
    let first = values.next()?;
    RequestId::from_bytes(first.as_bytes()).filter(|_| values.next().is_none())
}

pin_project! {
    /// The response future of [`RequestIdService`].
    #[derive(Debug)]
    pub struct RequestIdFuture<F> {
        #[pin]
        inner: F,
        id: RequestId,
    }
}

impl<F, B, E> Future for RequestIdFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if let Ok(value) = HeaderValue::from_str(this.id.as_str()) {
            response.headers_mut().insert(HEADER, value);
        }
        Poll::Ready(Ok(response))
    }
}
