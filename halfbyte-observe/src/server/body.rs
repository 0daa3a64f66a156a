use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::{Ending, Exchange};

pin_project! {
    /// The body of a response whose request is observed: the span ends when this ends or is dropped.
    #[derive(Debug)]
    pub struct ServerBody<B> {
        // None only while it is dropped.
        #[pin]
        body: Option<B>,
        // None once the span has ended.
        exchange: Option<Exchange>,
        // The data still to come, where that is known: a server may drop the body without asking for the end of it.
        left: Option<u64>,
    }

    impl<B> PinnedDrop for ServerBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(exchange) = this.exchange {
                exchange.within(|| this.body.set(None));
            }
        }
    }
}

impl<B: Body> ServerBody<B> {
    /// Takes the exchange over from the future, unless the response is complete.
    #[inline]
    pub(super) fn wrap(response: Response<B>, exchange: &mut Option<Exchange>) -> Response<Self> {
        let mut left = None;
        if let Some(going) = exchange {
            let has_content = going.answered(response.status(), response.headers(), response.extensions());
            let body = response.body();
            if body.is_end_stream() {
                Exchange::end(exchange, Ending::Complete);
            } else {
                left = if has_content { body.size_hint().exact() } else { Some(0) };
                if left == Some(0) && !going.awaits_trailers() {
                    going.will_end(Ending::Complete);
                }
            }
        }
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, Self { body: Some(body), exchange: exchange.take(), left })
    }
}

impl<B: Body> Body for ServerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let mut body = this.body.as_pin_mut().expect("it is there until it is dropped");
        let Some(exchange) = this.exchange else { return body.poll_frame(cx) };
        let frame = ready!(exchange.within(|| body.as_mut().poll_frame(cx)));
        let ending = match &frame {
            None => Some(Ending::Complete),
            Some(Err(_)) => Some(Ending::BrokenBody),
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    // Nothing comes behind them.
                    exchange.trailers(trailers);
                    Some(Ending::Complete)
                } else {
                    if let (Some(left), Some(data)) = (this.left.as_mut(), frame.data_ref()) {
                        *left = left.saturating_sub(data.remaining() as u64);
                    }
                    if *this.left == Some(0) && !exchange.awaits_trailers() {
                        exchange.will_end(Ending::Complete);
                    }
                    body.is_end_stream().then_some(Ending::Complete)
                }
            }
        };
        if let Some(ending) = ending {
            Exchange::end(this.exchange, ending);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}
