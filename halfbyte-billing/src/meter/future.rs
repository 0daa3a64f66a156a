use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use halfbyte_core::body::Refusable;
use halfbyte_core::{Problem, problem};
use http::Response;
use pin_project_lite::pin_project;

use crate::entitle::Reservation;

/// What a client is told to wait when its use could not be recorded.
const RETRY: Duration = Duration::from_secs(1);

pin_project! {
    /// The response future of [`Meter`](super::Meter). Dropping it gives back what was reserved.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        metered: Option<(Reservation, problem::Context)>,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, metered: Option<(Reservation, problem::Context)>) -> Self {
        Self { inner, metered }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Refusable<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.inner.poll(cx));
        let Some((reservation, context)) = this.metered.take() else {
            return Poll::Ready(outcome.map(|response| response.map(Refusable::inner)));
        };
        Poll::Ready(outcome.map(|response| {
            if !is_good(&response) {
                reservation.release();
            } else if reservation.settle().is_err() {
                return Problem::unavailable(RETRY).to_response(&context);
            }
            response.map(Refusable::inner)
        }))
    }
}

/// Whether the response is one to pay for.
fn is_good<B>(response: &Response<B>) -> bool {
    let failed_rpc = response.headers().get("grpc-status").is_some_and(|status| status != "0");
    response.status().as_u16() < 400 && !failed_rpc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_and_failures_are_not_paid_for() {
        for (status, grpc, good) in [
            (200, None, true),
            (201, Some("0"), true),
            (302, None, true),
            (400, None, false),
            (409, None, false),
            (500, None, false),
            (200, Some("13"), false),
        ] {
            let mut response = Response::builder().status(status);
            if let Some(grpc) = grpc {
                response = response.header("grpc-status", grpc);
            }
            assert_eq!(is_good(&response.body(()).expect("built")), good, "{status} {grpc:?}");
        }
    }
}
