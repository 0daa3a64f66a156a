use std::task::{Context, Poll};

use halfbyte_core::body::Refusable;
use halfbyte_core::problem;
use http::{Request, Response};
use tower_service::Service;

use super::ResponseFuture;
use crate::entitle::Reservation;

/// The service that [`MeterLayer`](super::MeterLayer) makes.
#[derive(Clone, Debug)]
pub struct Meter<S> {
    inner: S,
}

impl<S> Meter<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Meter<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<Refusable<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let reservation = request.extensions_mut().remove::<Reservation>();
        let metered = reservation.map(|reservation| (reservation, problem::Context::of(&request)));
        ResponseFuture::new(self.inner.call(request), metered)
    }
}
