use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use halfbyte_core::BoxError;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::layers::Waiting;

/// What a body brings in each window at the least, in bytes.
const LEAST: usize = 1024;

pin_project! {
    /// The body of a request as it comes from its client, which must go on sending it: one that brings less than 1 KiB within 10
    /// seconds of being waited for ends with an error. A call of gRPC may be silent for as long as it likes.
    #[derive(Debug)]
    pub struct RequestBody {
        #[pin]
        incoming: Incoming,
        waiting: Waiting,
        pace: Option<Pace>,
    }
}

impl RequestBody {
    /// A client has `window` for each piece of the body; none if it may take its time.
    pub(super) fn new(incoming: Incoming, window: Option<Duration>) -> Self {
        // A body that is there already needs no watch.
        let window = window.filter(|_| !incoming.is_end_stream());
        Self { incoming, waiting: Waiting::default(), pace: window.map(Pace::new) }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let frame = this.incoming.poll_frame(cx).map_err(BoxError::from);
        this.waiting.polled(&frame);
        let Some(pace) = this.pace else { return frame };
        match frame {
            Poll::Ready(frame) => {
                let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
                pace.came(bytes);
                Poll::Ready(frame)
            }
            Poll::Pending => pace.poll_given_up(cx).map(|()| {
                let why = "the client does not go on sending the request";
                Some(Err(io::Error::new(io::ErrorKind::TimedOut, why).into()))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// How fast a body comes. Only while somebody waits for it a window begins.
#[derive(Debug)]
struct Pace {
    window: Duration,
    came: usize,
    is_waiting: bool,
    until: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn new(window: Duration) -> Self {
        Self { window, came: 0, is_waiting: false, until: None }
    }

    fn came(&mut self, bytes: usize) {
        self.came = self.came.saturating_add(bytes);
        if self.came >= LEAST {
            self.is_waiting = false;
        }
    }

    fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = Instant::now() + self.window;
        let until = self.until.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if !std::mem::replace(&mut self.is_waiting, true) {
            until.as_mut().reset(end);
            self.came = 0;
        }
        until.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Seconds until a body is given up of which each second so many bytes come, up to a thousand seconds.
    async fn given_up(bytes_a_second: usize) -> Option<u64> {
        let (mut pace, begun) = (Pace::new(10 * SECOND), Instant::now());
        for second in 1..1000 {
            let comes = tokio::time::sleep_until(begun + SECOND * second);
            tokio::select! {
                biased;
                () = poll_fn(|cx| pace.poll_given_up(cx)) => return Some(begun.elapsed().as_secs()),
                () = comes => pace.came(bytes_a_second),
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_brings_less_than_a_kib_in_ten_seconds_is_given_up() {
        for (bytes_a_second, ends) in [(0, Some(10)), (1, Some(10)), (100, Some(10)), (150, None), (LEAST, None)] {
            assert_eq!(given_up(bytes_a_second).await, ends, "{bytes_a_second} bytes a second");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_for_it_does_not_count() {
        let mut pace = Pace::new(10 * SECOND);
        for _ in 0..10 {
            let given_up = tokio::time::timeout(9 * SECOND, poll_fn(|cx| pace.poll_given_up(cx))).await;
            assert!(given_up.is_err());
            pace.came(LEAST);
            tokio::time::sleep(60 * SECOND).await;
        }
    }
}
