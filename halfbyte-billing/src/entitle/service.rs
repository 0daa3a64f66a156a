use std::sync::Arc;
use std::task::{Context, Poll};

use halfbyte_core::body::Refusable;
use halfbyte_core::{Principal, Problem, problem};
use http::{HeaderMap, HeaderName, Request, Response};
use jiff::Timestamp;
use tower_service::Service;

use super::{Gate, Reservation, ResponseFuture, Verdict};
use crate::IdempotencyKey;
use crate::quota::Hold;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The service that [`EntitleLayer`](super::EntitleLayer) makes.
#[derive(Clone, Debug)]
pub struct Entitle<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> Entitle<S> {
    pub(super) fn new(inner: S, gate: Arc<Gate>) -> Self {
        Self { inner, gate }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Entitle<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<Refusable<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let Some(principal) = request.extensions().get::<Principal>() else {
            return ResponseFuture::refused(&Problem::unauthenticated(), &problem::Context::of(&request));
        };
        match self.gate.decide(principal.tenant()) {
            Verdict::Pass(reserved) => {
                attach(&mut request, &self.gate, reserved);
                ResponseFuture::inner(self.inner.call(request))
            }
            Verdict::Refuse(decision) => {
                let problem = decision.to_problem(self.gate.feature()).unwrap_or_else(Problem::internal);
                ResponseFuture::refused(&problem, &problem::Context::of(&request))
            }
            Verdict::Ask => {
                let (gate, tenant) = (self.gate.clone(), principal.tenant().clone());
                let sent = sent_key(request.headers());
                // The service that was polled ready is the one that will be called.
                let ready = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, ready);
                ResponseFuture::asking(async move { gate.ask(&tenant, sent).await }, self.gate.clone(), request, ready)
            }
        }
    }
}

/// Puts what was reserved where the meter finds it.
pub(super) fn attach<B>(request: &mut Request<B>, gate: &Gate, reserved: Option<(Hold, Timestamp)>) {
    if let Some((hold, at)) = reserved {
        let key = sent_key(request.headers()).unwrap_or_else(IdempotencyKey::unique);
        let reservation = Reservation::new(gate.billing().clone(), hold, key, at);
        request.extensions_mut().insert(reservation);
    }
}

fn sent_key(headers: &HeaderMap) -> Option<IdempotencyKey> {
    headers.get(IDEMPOTENCY_KEY).map(|sent| IdempotencyKey::of(sent.as_bytes()))
}
