//! Streams of HTTP/2 whose client leaves the connection open and does not take what it asked for: one that opens no window is
//! seen by nobody, as the connection itself goes on.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::{Open, Unsent};
use crate::layers::Sending as Place;

tokio::task_local! {
    /// How the body of the stream that is polled gets on.
    static OF_THIS_STREAM: Arc<Sending>;
}

/// How a body gets on.
#[derive(Debug)]
pub(super) struct Sending {
    /// How much is to be taken at once, in bytes.
    least: usize,
    /// What was given and not sent, in bytes.
    unsent: AtomicUsize,
    /// What was sent of it since `since`, in nanoseconds after `base`.
    taken: AtomicUsize,
    since: AtomicU64,
    base: Instant,
    waits_for_more: AtomicBool,
    waker: AtomicWaker,
    /// What the end of the stream leaves, as long as it is not sent: of its parts the last has this.
    left: OnceLock<(Unsent, Option<Place>)>,
}

impl Sending {
    fn new(least: usize) -> Self {
        let [unsent, taken] = [0; 2].map(AtomicUsize::new);
        let (since, base, waits_for_more) = (AtomicU64::new(0), Instant::now(), AtomicBool::new(true));
        let (waker, left) = (AtomicWaker::new(), OnceLock::new());
        Self { least, unsent, taken, since, base, waits_for_more, waker, left }
    }

    /// Of the stream that is polled, if it is one of HTTP/2.
    pub(super) fn current() -> Option<Arc<Self>> {
        OF_THIS_STREAM.try_with(Clone::clone).ok()
    }

    /// So many bytes wait to be sent.
    pub(super) fn gives(&self, bytes: usize) {
        let had_more = !self.waits_for_more.swap(false, Ordering::Relaxed);
        if !had_more && self.is_all_sent() {
            self.begins_anew();
        }
        self.unsent.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So many were, or will never be.
    pub(super) fn sent(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let is_last = self.unsent.fetch_sub(bytes, Ordering::AcqRel) == bytes;
        if self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.least {
            self.begins_anew();
        }
        if is_last {
            self.waker.wake();
        }
    }

    /// There is no more yet: whoever takes what was given has taken all.
    pub(super) fn waits_for_more(&self) {
        self.waits_for_more.store(true, Ordering::Relaxed);
    }

    fn begins_anew(&self) {
        self.taken.store(0, Ordering::Relaxed);
        let since = u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.since.store(since, Ordering::Relaxed);
    }

    /// Since when too little has been taken of what waits, if something does.
    fn waits_since(&self) -> Option<Instant> {
        (!self.is_all_sent()).then(|| self.base + Duration::from_nanos(self.since.load(Ordering::Relaxed)))
    }

    /// How many bytes are not sent.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Acquire)
    }

    fn is_all_sent(&self) -> bool {
        self.unsent() == 0
    }

    pub(super) fn poll_all_sent(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_all_sent() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // It may have been sent meanwhile.
        if self.is_all_sent() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The stream has come to its end: from now on only the connection is watched, for what is left.
    pub(super) fn ends(&self, open: &Open, place: Option<Place>) {
        if !self.is_all_sent() {
            self.left.get_or_init(|| (open.unsent(), place));
        }
    }
}

pin_project! {
    /// A stream of HTTP/2, which is reset when its client takes too little for a while.
    pub(super) struct Taken<F> {
        #[pin]
        stream: F,
        sending: Arc<Sending>,
        limit: Duration,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F> Taken<F> {
    /// Within `limit` the client takes at `least` so many bytes, or all that there is.
    pub(super) fn new(stream: F, limit: Duration, least: usize) -> Self {
        Self { stream, sending: Arc::new(Sending::new(least)), limit, timer: None }
    }
}

impl<F: Future> Future for Taken<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if OF_THIS_STREAM.sync_scope(this.sending.clone(), || this.stream.poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = this.sending.waits_since() else { return Poll::Pending };
        let until = since + *this.limit;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        // What was sent meanwhile has moved the end on, and nobody had to be woken for it.
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= until {
                tracing::debug!(limit = ?this.limit, "the client does not take what waits for it on a stream, which is reset");
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
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
            let mut body = Box::pin(Sent::new(After(gives, None), open, None));
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

    /// The same, of so many frames that are all taken at once by what stands before the client, which has one each so many seconds.
    /// The body comes to its end after `ends` seconds.
    async fn buffered(frames: usize, bytes: usize, each: u64, ends: u64) -> (bool, u64) {
        let (begun, gives) = (Instant::now(), (0..frames).map(|_| (0, bytes)).chain([(ends, 0)]).collect());
        let open = Arc::<Activity>::default().begin().0;
        let (ended, end) = tokio::sync::oneshot::channel();
        let stream = async move {
            let mut body = Box::pin(Sent::new(After(gives, None), open, None));
            let (buffer, mut buffered) = tokio::sync::mpsc::unbounded_channel();
            #[expect(clippy::disallowed_methods, reason = "the connection, which is not watched")]
            tokio::spawn(async move {
                while let Some(piece) = buffered.recv().await {
                    sleep(Duration::from_secs(each)).await;
                    drop(piece);
                }
            });
            while !body.is_end_stream()
                && let Some(frame) = body.frame().await
            {
                buffer.send(frame.unwrap()).ok().unwrap();
            }
            ended.send(()).unwrap();
        };
        Taken::new(stream, 60 * SECOND, PIECE).await;
        (end.await.is_ok(), begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_by_http2_at_once_is_watched_as_it_is_sent() {
        // In large frames and in small ones.
        assert_eq!(buffered(1, 25 * PIECE, 59, 0).await, (true, 25 * 59));
        assert_eq!(buffered(100, PIECE / 4, 14, 0).await, (true, 100 * 14));
        assert_eq!(buffered(1, 25 * PIECE, 61, 0).await, (false, 60));
        assert_eq!(buffered(100, PIECE / 4, 16, 0).await, (false, 60));
        // While the body waits for its product, what it gave does not wait for ever.
        assert_eq!(buffered(2, PIECE, 59, 1000).await, (true, 1000));
        assert_eq!(buffered(2, PIECE, 61, 1000).await, (false, 60));
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
