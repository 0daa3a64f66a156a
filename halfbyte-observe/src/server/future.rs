use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::ServerBody;
use super::exchange::{Ending, Exchange};

pin_project! {
    /// The response future of [`Server`](super::Server). Dropping it ends the span: the request was cancelled.
    #[derive(Debug)]
    pub struct ServerFuture<F> {
        // Dropped first, so that what runs inside has ended when the span does.
        #[pin]
        pub(super) inner: F,
        // None once the response is there.
        pub(super) exchange: Option<Exchange>,
    }
}

impl<F, B, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ServerBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = match this.exchange {
            Some(exchange) => ready!(exchange.within(|| this.inner.poll(cx))),
            None => ready!(this.inner.poll(cx)),
        };
        let exchange = this.exchange.take();
        Poll::Ready(match outcome {
            Ok(response) => Ok(ServerBody::wrap(response, exchange)),
            Err(error) => {
                if let Some(exchange) = exchange {
                    exchange.end(Ending::Failed);
                }
                Err(error)
            }
        })
    }
}
