use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::exchange::Exchange;
use super::layer::Shared;
use super::{ServerBody, ServerFuture};

/// The service that [`ServerLayer`](super::ServerLayer) makes.
#[derive(Clone, Debug)]
pub struct Server<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for Server<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body,
{
    type Response = Response<ServerBody<ResB>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let mut exchange = Exchange::start(&self.shared, &request);
        let inner = exchange.within(|| self.inner.call(request));
        ServerFuture::new(inner, exchange)
    }
}
