//! Streams of HTTP/2 whose client leaves the connection open and does not take what it asked for: one that opens no window is
//! seen by nobody, as the connection itself goes on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

tokio::task_local! {
    /// How the body of the stream that is polled gets on.
    static OF_THIS_STREAM: Arc<Sending>;
}

/// How a body gets on: even while it waits for more to send, odd while what it gave has not been taken.
#[derive(Debug, Default)]
pub(super) struct Sending(AtomicU64);

impl Sending {
    /// Of the stream that is polled, if it is one of HTTP/2.
    pub(super) fn current() -> Option<Arc<Self>> {
        OF_THIS_STREAM.try_with(Clone::clone).ok()
    }

    fn is_polled(&self) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store((now | 1) + 1, Ordering::Relaxed);
    }

    fn gave(&self) {
        self.0.fetch_or(1, Ordering::Relaxed);
    }

    /// Which of its frames waits to be taken.
    fn waits(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|now| now % 2 == 1)
    }
}

pin_project! {
    /// A body, with something that is held until its end.
    pub(super) struct Sent<B, G> {
        #[pin]
        body: B,
        sending: Option<Arc<Sending>>,
        held: G,
    }
}

impl<B, G> Sent<B, G> {
    pub(super) fn new(body: B, held: G) -> Self {
        Self { body, sending: Sending::current(), held }
    }
}

impl<B: Body, G> Body for Sent<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if let Some(sending) = this.sending {
            sending.is_polled();
        }
        let frame = this.body.poll_frame(cx);
        if let (Poll::Ready(Some(Ok(_))), Some(sending)) = (&frame, this.sending) {
            sending.gave();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// A stream of HTTP/2, which is reset when its client has taken nothing for a while.
    pub(super) struct Taken<F> {
        #[pin]
        stream: F,
        sending: Arc<Sending>,
        limit: Duration,
        waits: u64,
        since: Option<Pin<Box<Sleep>>>,
    }
}

impl<F> Taken<F> {
    pub(super) fn new(stream: F, limit: Duration) -> Self {
        Self { stream, sending: Arc::default(), limit, waits: 0, since: None }
    }
}

impl<F: Future> Future for Taken<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if OF_THIS_STREAM.sync_scope(this.sending.clone(), || this.stream.poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        let Some(waits) = this.sending.waits() else { return Poll::Pending };
        let until = Instant::now() + *this.limit;
        let since = this.since.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if std::mem::replace(this.waits, waits) != waits {
            since.as_mut().reset(until);
        }
        let given_up = since.as_mut().poll(cx);
        if given_up.is_ready() {
            tracing::debug!(limit = ?this.limit, "the client takes nothing of a stream: it is reset");
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::Bytes;
    use http_body_util::BodyExt as _;
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Gives what it has after as many seconds each.
    struct After(VecDeque<u64>, Option<Pin<Box<Sleep>>>);

    impl Body for After {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let Some(seconds) = self.0.front().copied() else { return Poll::Ready(None) };
            let until = Instant::now() + Duration::from_secs(seconds);
            let waits = self.1.get_or_insert_with(|| Box::pin(sleep_until(until)));
            std::task::ready!(waits.as_mut().poll(cx));
            self.1 = None;
            self.0.pop_front();
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    /// A stream whose body gives a frame after as many seconds as `gives` has, and whose client takes each as `takes` has it.
    /// Answers whether it came to its end, and after how many seconds.
    async fn stream(gives: &[u64], takes: &[u64]) -> (bool, u64) {
        let (begun, takes, gives) = (Instant::now(), takes.to_vec(), gives.iter().copied().collect());
        let (ended, end) = tokio::sync::oneshot::channel();
        let stream = async move {
            let mut body = Box::pin(Sent::new(After(gives, None), ()));
            let mut takes = takes.into_iter();
            while let Some(frame) = body.frame().await {
                frame.unwrap();
                sleep(Duration::from_secs(takes.next().unwrap())).await;
            }
            ended.send(()).unwrap();
        };
        Taken::new(stream, 60 * SECOND).await;
        (end.await.is_ok(), begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_which_nothing_is_taken_for_a_minute_is_given_up() {
        assert_eq!(stream(&[0, 0], &[59, 1000]).await, (false, 59 + 60));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_for_its_product_is_not_and_neither_is_a_slow_client() {
        assert_eq!(stream(&[1000, 0, 2000], &[59, 59, 59]).await, (true, 3000 + 3 * 59));
    }
}
