use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::{Ending, Exchange};
use super::failure::Failure;

pin_project! {
    /// The body of a response to an observed call: the span ends when this ends or is dropped.
    #[derive(Debug)]
    pub struct ClientBody<B> {
        #[pin]
        body: B,
        // None once the span has ended.
        exchange: Option<Exchange>,
        // The data still to come, where that is known: a caller may drop the body without asking for the end of it.
        left: Option<u64>,
    }
}

impl<B: Body> ClientBody<B> {
    pub(super) fn wrap(response: Response<B>, exchange: Option<Exchange>) -> Response<Self> {
        let mut exchange = exchange;
        if let Some(answered) = &mut exchange {
            answered.answered(response.status(), response.version(), response.headers());
        }
        response.map(|body| {
            let left = body.size_hint().exact();
            let mut observed = Self { body, exchange, left };
            observed.end_if_complete();
            observed
        })
    }

    /// The body without what was around it; the span ends.
    pub fn into_inner(self) -> B {
        self.body
    }

    fn end_if_complete(&mut self) {
        let ended = self.body.is_end_stream();
        end_if_complete(&mut self.exchange, ended, self.left);
    }
}

/// The trailers of gRPC, which hold its status, come behind the data.
fn end_if_complete(exchange: &mut Option<Exchange>, ended: bool, left: Option<u64>) {
    let complete = exchange.as_ref().is_some_and(|exchange| ended || (left == Some(0) && !exchange.awaits_trailers()));
    if complete && let Some(exchange) = exchange.take() {
        exchange.end(Ending::Complete);
    }
}

impl<B: Body<Error: 'static>> Body for ClientBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(exchange) = this.exchange else { return this.body.poll_frame(cx) };
        // Who has asked for more and goes away has not got what he wanted.
        exchange.will_end(Ending::Cancelled);
        let frame = ready!(exchange.within(|| this.body.as_mut().poll_frame(cx)));
        match &frame {
            None => end_if_complete(this.exchange, true, None),
            Some(Err(error)) => {
                if let Some(exchange) = this.exchange.take() {
                    exchange.fail(Failure::of(error));
                }
            }
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    exchange.trailers(trailers);
                }
                if let (Some(left), Some(data)) = (this.left.as_mut(), frame.data_ref()) {
                    *left = left.saturating_sub(data.remaining() as u64);
                }
                let ended = frame.is_trailers() || this.body.is_end_stream();
                end_if_complete(this.exchange, ended, *this.left);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
