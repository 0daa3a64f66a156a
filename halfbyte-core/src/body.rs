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

/// A body of a layer that may do nothing by the time it is sent but hand on the one inside, which can then be sent as it is.
pub trait Unwrap: Sized {
    /// The innermost body.
    type Innermost;

    /// The innermost body, or this one if it has something to do.
    ///
    /// # Errors
    ///
    /// It has: it comes back unchanged.
    fn unwrapped(self) -> Result<Self::Innermost, Self>;
}

impl<B: Unwrap> Unwrap for Refusable<B> {
    type Innermost = B::Innermost;

    fn unwrapped(self) -> Result<B::Innermost, Self> {
        match self.inner {
            Some(body) => body.unwrapped().map_err(Self::inner),
            None => Err(self),
        }
    }
}

#[cfg(feature = "axum")]
impl Unwrap for axum_core::body::Body {
    type Innermost = Self;

    fn unwrapped(self) -> Result<Self, Self> {
        Ok(self)
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

#[cfg(test)]
mod tests {
    use super::*;

    impl Unwrap for &'static str {
        type Innermost = Self;

        fn unwrapped(self) -> Result<Self, Self> {
            if self == "busy" { Err(self) } else { Ok(self) }
        }
    }

    #[test]
    fn a_body_is_unwrapped_unless_something_around_it_has_work_to_do() {
        assert_eq!(Refusable::inner(Refusable::inner("a label")).unwrapped().ok(), Some("a label"));
        assert!(Refusable::inner(Refusable::inner("busy")).unwrapped().is_err_and(|body| body.inner.is_some()));
        let refusal: Refusable<&str> = Refusable::refused(Bytes::from_static(b"no"));
        assert!(refusal.unwrapped().is_err_and(|body| body.refusal.as_deref() == Some(b"no")));
    }
}
