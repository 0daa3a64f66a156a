use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::exchange::Exchange;
use super::layer::Instruments;
use super::{ClientFuture, Inbound, Outbound};

/// The service that [`ClientLayer`](super::ClientLayer) makes.
#[derive(Clone, Debug)]
pub struct Client<S> {
    pub(super) inner: S,
    pub(super) instruments: Arc<Instruments>,
}

impl<S, Request> Service<Request> for Client<S>
where
    S: Service<Request, Response: Inbound, Error: 'static>,
    Request: Outbound,
{
    type Response = <S::Response as Inbound>::Observed;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // What telemetry itself sends is never traced.
        if opentelemetry::Context::is_current_telemetry_suppressed() {
            return ClientFuture { inner: self.inner.call(request), exchange: None };
        }
        let mut exchange = Exchange::start(&self.instruments, &mut request);
        let inner = exchange.within(|| self.inner.call(request));
        ClientFuture { inner, exchange: Some(exchange) }
    }
}
