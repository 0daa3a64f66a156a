use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use halfbyte_core::BoxError;
use halfbyte_core::body::Unwrap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::settling::{End, Settling};

pin_project! {
    /// The body of a response whose use is settled when it ends, if it is one; any other goes through untouched.
    ///
    /// It ends with an error in place of its last frame if the use cannot be recorded. A body that its client leaves, or whose
    /// length was told beforehand and that is read no further, is settled when it is dropped.
    #[derive(Debug)]
    pub struct Metered<B> {
        #[pin]
        body: B,
        settling: Option<Settling>,
        broken: bool,
    }
}

impl<B> Metered<B> {
    pub(super) fn new(body: B, settling: Option<Settling>) -> Self {
        Self { body, settling, broken: false }
    }
}

impl<B: Unwrap> Unwrap for Metered<B> {
    type Innermost = B::Innermost;

    fn unwrapped(self) -> Result<B::Innermost, Self> {
        if self.settling.is_some() || self.broken {
            return Err(self);
        }
        self.body.unwrapped().map_err(|body| Self { body, settling: None, broken: false })
    }
}

impl<B> Body for Metered<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        if *this.broken {
            return Poll::Ready(None);
        }
        let polled = ready!(this.body.as_mut().poll_frame(cx));
        if let Some(settling) = this.settling {
            let end = match &polled {
                None => Some(End::Whole { trailers: None }),
                Some(Err(_)) => Some(End::Failed),
                Some(Ok(frame)) => match frame.data_ref() {
                    Some(data) => {
                        settling.deliver(data.remaining());
                        this.body.is_end_stream().then_some(End::Whole { trailers: None })
                    }
                    None => Some(End::Whole { trailers: frame.trailers_ref() }),
                },
            };
            if let Some(end) = end {
                let settled = settling.end(end);
                *this.settling = None;
                // One that failed by itself has its own error to tell.
                if let (Err(error), None | Some(Ok(_))) = (settled, &polled) {
                    *this.broken = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
        Poll::Ready(polled.map(|polled| polled.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        // Until it is settled it has an end to come, which can be an error.
        self.broken || (self.settling.is_none() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.broken { SizeHint::with_exact(0) } else { self.body.size_hint() }
    }
}
