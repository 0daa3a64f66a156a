use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use halfbyte_core::body::Refusable;
use halfbyte_core::{Principal, Problem, problem};
use http::{Request, Response};
use tower_service::Service;

use super::granted::sent_key;
use super::{Asked, Gate, Granted, Pass, ResponseFuture, Units, Verdict};

/// The service that [`EntitleLayer`](super::EntitleLayer) makes.
#[derive(Clone)]
pub struct Entitle<S> {
    inner: S,
    gate: Arc<Gate>,
    units: Option<Units>,
}

impl<S> Entitle<S> {
    pub(super) fn new(inner: S, gate: Arc<Gate>, units: Option<Units>) -> Self {
        Self { inner, gate, units }
    }
}

impl<S: fmt::Debug> fmt::Debug for Entitle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entitle")
            .field("inner", &self.inner)
            .field("feature", &self.gate.feature())
            .finish_non_exhaustive()
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
        let units = self.units.as_ref().map_or(1, |units| units(&Asked::of(&request)));
        match self.gate.decide(principal.tenant(), units) {
            Verdict::Pass(pass) => {
                attach(&mut request, &self.gate, pass);
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
                let answer = async move { gate.ask(&tenant, units, sent).await };
                ResponseFuture::asking(answer, self.gate.clone(), request, ready)
            }
        }
    }
}

/// Puts what was decided where the meter and the handler find it.
pub(super) fn attach<B>(request: &mut Request<B>, gate: &Arc<Gate>, pass: Pass) {
    // The headers are read while the extensions are written: one reference cannot lend both.
    let mut extensions = std::mem::take(request.extensions_mut());
    Granted::attach(pass, gate, request.headers(), &mut extensions);
    *request.extensions_mut() = extensions;
}
