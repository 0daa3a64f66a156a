//! Streams of HTTP/2 whose client leaves the connection open and does not take what it asked for: one that opens no window is
//! seen by nobody, as the connection itself goes on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

tokio::task_local! {
    /// How the body of the stream that is polled gets on.
    static OF_THIS_STREAM: Arc<Sending>;
}

/// How a body gets on.
#[derive(Debug)]
pub(super) struct Sending {
    /// How much is to be taken at once, in bytes.
    least: usize,
    /// Even while the body waits for more to send, odd while what it gave is to be taken.
    window: AtomicU64,
    /// What was taken in this window, and what was given last.
    taken: AtomicUsize,
    given: AtomicUsize,
    /// How many pieces are not sent.
    unsent: AtomicUsize,
    waker: AtomicWaker,
}

impl Sending {
    fn new(least: usize) -> Self {
        let (window, waker) = (AtomicU64::new(0), AtomicWaker::new());
        let [taken, given, unsent] = [0; 3].map(AtomicUsize::new);
        Self { least, window, taken, given, unsent, waker }
    }

    /// Of the stream that is polled, if it is one of HTTP/2.
    pub(super) fn current() -> Option<Arc<Self>> {
        OF_THIS_STREAM.try_with(Clone::clone).ok()
    }

    /// The body gives so many bytes, for which those before had to be taken.
    pub(super) fn gives(&self, bytes: usize) {
        let taken = self.given.swap(bytes, Ordering::Relaxed) + self.taken.load(Ordering::Relaxed);
        let window = self.window.load(Ordering::Relaxed);
        let has_waited = window % 2 == 1;
        if has_waited && taken < self.least {
            return self.taken.store(taken, Ordering::Relaxed);
        }
        self.taken.store(0, Ordering::Relaxed);
        self.window.store(window + if has_waited { 2 } else { 1 }, Ordering::Relaxed);
    }

    /// All that it gave was taken, and there is no more yet.
    pub(super) fn waits_for_more(&self) {
        self.given.store(0, Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
        let window = self.window.load(Ordering::Relaxed);
        self.window.store(window + window % 2, Ordering::Relaxed);
    }

    /// In which window something waits to be taken.
    fn waits(&self) -> Option<u64> {
        Some(self.window.load(Ordering::Relaxed)).filter(|window| window % 2 == 1)
    }

    /// A piece waits to be sent.
    pub(super) fn is_unsent(&self) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
    }

    /// One was, or will never be.
    pub(super) fn sent(&self) {
        if self.unsent.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waker.wake();
        }
    }

    pub(super) fn is_all_sent(&self) -> bool {
        self.unsent.load(Ordering::Acquire) == 0
    }

    pub(super) fn poll_all_sent(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_all_sent() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // It may have been sent meanwhile.
        if self.is_all_sent() { Poll::Ready(()) } else { Poll::Pending }
    }
}

pin_project! {
    /// A stream of HTTP/2, which is reset when its client takes too little for a while.
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
    /// Within `limit` the client takes at `least` so many bytes, or all that there is.
    pub(super) fn new(stream: F, limit: Duration, least: usize) -> Self {
        Self { stream, sending: Arc::new(Sending::new(least)), limit, waits: 0, since: None }
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
            tracing::debug!(limit = ?this.limit, "the client does not take what waits for it on a stream, which is reset");
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::{Buf as _, Bytes};
    use http_body::{Body, Frame};
    use http_body_util::BodyExt as _;
    use tokio::time::sleep;

    use super::super::activity::Activity;
    use super::super::sent::{PIECE, Sent};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Gives frames of so many bytes, each after as many seconds.
    struct After(VecDeque<(u64, usize)>, Option<Pin<Box<Sleep>>>);

    impl Body for After {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let Some((seconds, bytes)) = self.0.front().copied() else { return Poll::Ready(None) };
            let until = Instant::now() + Duration::from_secs(seconds);
            let waits = self.1.get_or_insert_with(|| Box::pin(sleep_until(until)));
            std::task::ready!(waits.as_mut().poll(cx));
            self.1 = None;
            self.0.pop_front();
            Poll::Ready(Some(Ok(Frame::data(vec![7; bytes].into()))))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }
    }

    /// A stream whose body gives frames as `gives` has it, and whose client takes so many seconds for each piece. Answers whether it came
    /// to its end, and after how many seconds.
    async fn stream(gives: &[(u64, usize)], takes: impl Fn(usize) -> u64 + Send + 'static) -> (bool, u64) {
        let (begun, gives) = (Instant::now(), gives.iter().copied().collect());
        let (ended, end) = tokio::sync::oneshot::channel();
        let activity = Arc::<Activity>::default();
        let open = activity.begin().0;
        let stream = async move {
            let mut body = Box::pin(Sent::new(After(gives, None), open));
            while let Some(frame) = body.frame().await {
                let piece = frame.unwrap().into_data().ok().unwrap();
                assert!(piece.remaining() <= PIECE);
                let takes = Duration::from_secs(takes(piece.remaining()));
                // What HTTP/2 has of it by then it sends in its own time.
                #[expect(clippy::disallowed_methods, reason = "the connection, which is not watched")]
                let sends = tokio::spawn(async move {
                    sleep(takes).await;
                    drop(piece);
                });
                if body.is_end_stream() {
                    break;
                }
                sends.await.unwrap();
            }
            ended.send(()).unwrap();
        };
        Taken::new(stream, 60 * SECOND, PIECE).await;
        (end.await.is_ok(), begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_which_nothing_is_taken_for_a_minute_is_given_up() {
        assert_eq!(stream(&[(0, 1), (0, 1)], |_| 1000).await, (false, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_which_little_is_taken_again_and_again_is_too() {
        assert_eq!(stream(&[(0, 1); 1000], |_| 59).await, (false, 60));
        assert_eq!(stream(&[(0, 100); 1000], |_| 1).await, (false, 60));
        assert_eq!(stream(&[(0, 300); 1000], |_| 1).await, (true, 999));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_for_its_product_is_not_and_neither_is_a_slow_client() {
        assert_eq!(stream(&[(1000, 1), (5, 1), (2000, 1)], |_| 4).await, (true, 1000 + 4 + 5 + 4 + 2000));
        assert_eq!(stream(&[(0, 10 * PIECE)], |_| 59).await, (true, 10 * 59));
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_of_any_size_is_watched_to_its_last_byte() {
        let last_is_left = |bytes: usize| if bytes < PIECE { 1000 } else { 0 };
        for more in [&[][..], &[(0, 0)]] {
            let gives = [&[(0, 64 * PIECE + 1)], more].concat();
            assert_eq!(stream(&gives, last_is_left).await, (false, 60));
        }
    }
}
