use std::sync::Arc;
use std::task::{Context, Poll};

use halfbyte_core::BoxError;
use halfbyte_core::body::Refusable;
use halfbyte_core::problem;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::future::Metering;
use super::rules::Rules;
use super::{Metered, ResponseFuture};
use crate::entitle::{Asked, Granted};

/// The service that [`MeterLayer`](super::MeterLayer) makes.
#[derive(Clone, Debug)]
pub struct Meter<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> Meter<S> {
    pub(super) fn new(inner: S, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Meter<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<Refusable<Metered<ResBody>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let metered = Granted::claim(request.extensions()).map(|claim| Metering {
            claim,
            rules: self.rules.clone(),
            data: self.rules.dimensions.as_ref().and_then(|dimensions| dimensions.of(&Asked::of(&request))),
            context: problem::Context::of(&request),
        });
        ResponseFuture::new(self.inner.call(request), metered)
    }
}
