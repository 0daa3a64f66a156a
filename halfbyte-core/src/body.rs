//! Response bodies of layers: what a layer refuses has a body of ours, what it lets through keeps its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a service behind a layer that may refuse: the service's own, or the refusal's.
    #[derive(Debug)]
    pub struct Refusable<B> {
        // None in a refusal.
        #[pin]
        inner: Option<B>,
        refusal: Option<Bytes>,
    }
}

impl<B> Refusable<B> {
    /// The body of the inner service.
    pub fn inner(body: B) -> Self {
        Self { inner: Some(body), refusal: None }
    }

    /// The body of a refusal.
    pub fn refused(bytes: Bytes) -> Self {
        Self { inner: None, refusal: Some(bytes).filter(|bytes| !bytes.is_empty()) }
    }
}

impl<B: Body<Data = Bytes>> Body for Refusable<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        match this.inner.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(this.refusal.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().map_or(self.refusal.is_none(), Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.refusal.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.inner.as_ref().map_or(SizeHint::with_exact(left), Body::size_hint)
    }
}

pin_project! {
    /// A body that keeps `guard` alive until it has been sent or dropped: a permit, a gauge, a span.
    #[derive(Debug)]
    pub struct Guarded<B, G> {
        #[pin]
        body: B,
        guard: Option<G>,
    }
}

impl<B, G> Guarded<B, G> {
    /// Ties `guard` to `body`.
    pub fn new(body: B, guard: G) -> Self {
        Self::maybe(body, Some(guard))
    }

    /// Ties `guard`, where there is one, to `body`.
    pub fn maybe(body: B, guard: Option<G>) -> Self {
        Self { body, guard }
    }
}

impl<B: Body, G> Body for Guarded<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = std::task::ready!(this.body.poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            *this.guard = None;
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
