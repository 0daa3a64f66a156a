//! The bodies of responses, in pieces that are told of until they are sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::activity::Open;
use super::stream::Sending;
use crate::layers::Sending as Place;

/// How much of a response is given to HTTP/2 at once, in bytes: what it has taken it keeps for as long as the client likes, and
/// nobody sees how much of it is left.
pub(super) const PIECE: usize = 16 * 1024;

/// A part of a body.
pub(super) struct Piece {
    bytes: Bytes,
    told: Told,
}

/// Who is told when a piece was sent, or is not going to be.
enum Told {
    Connection { _open: Open, _place: Option<Place> },
    Stream(Arc<Sending>),
}

impl Piece {
    fn sent(&self, bytes: usize) {
        if let Told::Stream(sending) = &self.told {
            sending.sent(bytes);
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.sent(self.bytes.len());
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.sent(count);
    }
}

pin_project! {
    /// A body whose request is open until it is sent.
    ///
    /// Over HTTP/2 large frames are given in pieces, and the end of what is more than one comes after all of them were sent: until then
    /// the stream is watched, and its place among the requests is taken.
    pub(super) struct Sent<B> {
        #[pin]
        body: B,
        // Of HTTP/2.
        sending: Option<Arc<Sending>>,
        rest: Bytes,
        is_in_pieces: bool,
        end: Option<End>,
        // Nothing of it is sent, as in the answer to HEAD.
        is_head: bool,
        open: Open,
        // Of large and streamed ones, which is taken until they are sent.
        place: Option<Place>,
    }

    impl<B> PinnedDrop for Sent<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(sending) = this.sending {
                sending.ends(this.open, this.place.take());
            }
        }
    }
}

/// An end that waits for what comes before it: trailers, if there are some.
type End = Option<http::HeaderMap>;

impl<B> Sent<B> {
    pub(super) fn new(body: B, open: Open, place: Option<Place>) -> Self {
        let (sending, rest) = (Sending::current(), Bytes::new());
        Self { body, sending, rest, is_in_pieces: false, end: None, is_head: false, open, place }
    }

    /// Without its bytes.
    pub(super) fn head(body: B, open: Open) -> Self {
        let mut head = Self::new(body, open, None);
        head.is_head = true;
        head
    }
}

impl<B: Body<Data = Bytes>> Body for Sent<B> {
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        let this = self.project();
        if *this.is_head {
            return Poll::Ready(None);
        }
        let Some(sending) = this.sending else {
            let frame = ready!(this.body.poll_frame(cx));
            let piece = |bytes| Piece {
                bytes,
                told: Told::Connection { _open: this.open.clone(), _place: this.place.clone() },
            };
            return Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(piece))));
        };
        let piece = |bytes: Bytes| {
            sending.gives(bytes.len());
            Poll::Ready(Some(Ok(Frame::data(Piece { bytes, told: Told::Stream(sending.clone()) }))))
        };
        if !this.rest.is_empty() {
            return piece(this.rest.split_to(PIECE.min(this.rest.len())));
        }
        if this.end.is_none() {
            let Poll::Ready(frame) = this.body.poll_frame(cx) else {
                sending.waits_for_more();
                return Poll::Pending;
            };
            let frame = frame.transpose()?.map(Frame::into_data);
            match frame {
                Some(Ok(mut bytes)) => {
                    let unsent = sending.unsent();
                    *this.is_in_pieces = unsent + bytes.len() > PIECE || *this.is_in_pieces && unsent > 0;
                    if bytes.len() > PIECE {
                        *this.rest = bytes.split_off(PIECE);
                    }
                    return piece(bytes);
                }
                Some(Err(other)) => match other.into_trailers() {
                    Ok(trailers) => *this.end = Some(Some(trailers)),
                    // There is no other kind.
                    Err(_) => *this.end = Some(None),
                },
                None => *this.end = Some(None),
            }
        }
        if *this.is_in_pieces {
            ready!(sending.poll_all_sent(cx));
        }
        Poll::Ready(this.end.as_mut().and_then(Option::take).map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        if self.is_head {
            return true;
        }
        let is_sent = || self.sending.as_ref().is_none_or(|sending| sending.unsent() == 0);
        self.rest.is_empty() && self.end.is_none() && self.body.is_end_stream() && (!self.is_in_pieces || is_sent())
    }

    fn size_hint(&self) -> SizeHint {
        // Asked for before there is a rest.
        self.body.size_hint()
    }
}
