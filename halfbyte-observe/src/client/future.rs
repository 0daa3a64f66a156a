use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::Inbound;
use super::exchange::Exchange;
use super::failure::Failure;

pin_project! {
    /// The response future of [`Client`](super::Client). Dropping it ends the span: the call was cancelled.
    #[derive(Debug)]
    pub struct ClientFuture<F> {
        // Dropped first, so that what runs inside has ended when the span does.
        #[pin]
        pub(super) inner: F,
        // None once the response is there, and where nothing is recorded.
        pub(super) exchange: Option<Exchange>,
    }
}

impl<F, R, E> Future for ClientFuture<F>
where
    F: Future<Output = Result<R, E>>,
    R: Inbound,
    E: 'static,
{
    type Output = Result<R::Observed, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = match this.exchange {
            Some(exchange) => ready!(exchange.within(|| this.inner.poll(cx))),
            None => ready!(this.inner.poll(cx)),
        };
        let exchange = this.exchange.take();
        Poll::Ready(match outcome {
            Ok(response) => Ok(response.observe(exchange)),
            Err(error) => {
                if let Some(exchange) = exchange {
                    exchange.fail(Failure::of(&error));
                }
                Err(error)
            }
        })
    }
}
