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
        // None only while it is dropped.
        #[pin]
        inner: Option<F>,
        // None once the response is there.
        exchange: Option<Exchange>,
    }

    impl<F> PinnedDrop for ServerFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // What runs inside ends before its span, and within it: it may have something to say.
            if let Some(exchange) = this.exchange {
                exchange.within(|| this.inner.set(None));
            }
        }
    }
}

impl<F> ServerFuture<F> {
    pub(super) fn new(inner: F, exchange: Exchange) -> Self {
        Self { inner: Some(inner), exchange: Some(exchange) }
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
        let inner = this.inner.as_pin_mut().expect("it is there until the future is dropped");
        let outcome = match this.exchange {
            Some(exchange) => ready!(exchange.within(|| inner.poll(cx))),
            None => ready!(inner.poll(cx)),
        };
        Poll::Ready(match outcome {
            Ok(response) => Ok(ServerBody::wrap(response, this.exchange)),
            Err(error) => {
                Exchange::end(this.exchange, Ending::Failed);
                Err(error)
            }
        })
    }
}
