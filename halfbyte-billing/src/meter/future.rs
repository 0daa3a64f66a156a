use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use halfbyte_core::body::Refusable;
use halfbyte_core::{BoxError, Problem, problem};
use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::rules::{Amount, Bill, Rules, rpc_status};
use super::settling::{Count, Judge, Settling};
use super::{Answered, Metered};
use crate::entitle::{Claim, Settlement};

/// What a client is told to wait when its use could not be recorded.
const RETRY: Duration = Duration::from_secs(1);

pin_project! {
    /// The response future of [`Meter`](super::Meter). Dropping it gives back what was reserved.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        metered: Option<Metering>,
    }
}

/// A request whose use is to be settled.
pub(super) struct Metering {
    pub(super) claim: Claim,
    pub(super) rules: Arc<Rules>,
    pub(super) data: Option<Box<str>>,
    pub(super) context: problem::Context,
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, metered: Option<Metering>) -> Self {
        Self { inner, metered }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Refusable<Metered<B>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.inner.poll(cx));
        // An error of the service drops it, and gives back what was reserved.
        let metered = this.metered.take();
        Poll::Ready(outcome.map(|response| match metered {
            Some(metered) => metered.settle(response),
            None => through(response, None),
        }))
    }
}

fn through<B>(response: Response<B>, settling: Option<Settling>) -> Response<Refusable<Metered<B>>> {
    response.map(|body| Refusable::inner(Metered::new(body, settling)))
}

impl Metering {
    /// Settles now, or sees to it that the body does.
    fn settle<B: Body>(self, response: Response<B>) -> Response<Refusable<Metered<B>>> {
        let open = !response.body().is_end_stream();
        // The status of a gRPC call that has a body stands in the trailers.
        let rpc = open && self.context.grpc && rpc_status(response.headers()).is_none();
        let judge = match &self.rules.bill {
            Bill::Chosen(_) if rpc => Judge::Product {
                bill: self.rules.bill.clone(),
                status: response.status(),
                headers: Box::new(response.headers().clone()),
            },
            bill if !bill.wants(response.status(), response.headers()) => {
                self.claim.release();
                return through(response, None);
            }
            Bill::Good => Judge::Status { needed: rpc },
            Bill::All | Bill::Chosen(_) => Judge::Known,
        };
        let count = match &self.rules.amount {
            Amount::Reserved => Count::Call(None),
            Amount::OfResponse(units) => Count::Call(units(&Answered::of(&response))),
            Amount::OfBody(unit) => Count::Bytes(*unit),
            Amount::AtEnd => Count::Said,
        };
        let waits = match (&count, &judge) {
            (Count::Call(_), Judge::Known | Judge::Status { needed: false }) => false,
            (Count::Call(_), _) => rpc,
            (Count::Bytes(_) | Count::Said, _) => open,
        };
        if waits {
            return through(response, Some(Settling::new(self.claim, count, judge, self.data)));
        }
        let units = match count {
            Count::Call(units) => units,
            Count::Bytes(_) => Some(0),
            Count::Said => None,
        };
        match self.claim.settle(Settlement { units, whole: true, data: self.data }) {
            Ok(()) => through(response, None),
            Err(_logged) => Problem::unavailable(RETRY).to_response(&self.context),
        }
    }
}
