use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection holds as long as its bytes flow, also when it was upgraded to another protocol.
pub(super) struct Place {
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) _counted: TaskTrackerToken,
}

type Cut = Pin<Box<WaitForCancellationFutureOwned>>;

pin_project! {
    /// The bytes of a connection: it must say soon which protocol it speaks, its client must go on reading what it is sent, and
    /// it can be cut off. An upgraded connection keeps its transport, so that all of this holds for WebSockets too.
    pub(super) struct Transport<S> {
        #[pin]
        inner: S,
        opening: Option<Opening>,
        stall: Stall,
        // Two of them: one half may be polled by another task than the other.
        cut_read: Cut,
        cut_write: Cut,
        _place: Place,
    }
}

impl<S> Transport<S> {
    /// `say_by` is when the client must have said its protocol; it may let `stall` pass without reading anything of what waits
    /// for it.
    pub(super) fn new(inner: S, say_by: Instant, stall: Duration, cut: &CancellationToken, place: Place) -> Self {
        Self {
            inner,
            opening: Some(Opening { seen: 0, by: Box::pin(sleep_until(say_by)) }),
            stall: Stall { limit: stall, since: None, is_waiting: false },
            cut_read: Box::pin(cut.clone().cancelled_owned()),
            cut_write: Box::pin(cut.clone().cancelled_owned()),
            _place: place,
        }
    }
}

/// A client that has not yet said which protocol it speaks.
struct Opening {
    /// How much of the preface of HTTP/2 it has sent.
    seen: usize,
    by: Pin<Box<Sleep>>,
}

impl Opening {
    /// Looks at what came; answers whether it is clear now.
    fn is_clear(&mut self, came: &[u8]) -> bool {
        let rest = &PREFACE[self.seen..];
        let common = rest.len().min(came.len());
        self.seen += common;
        came[..common] != rest[..common] || self.seen == PREFACE.len()
    }
}

/// How long nothing that waits to be sent has been taken.
struct Stall {
    limit: Duration,
    since: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl Stall {
    fn observe<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        let until = Instant::now() + self.limit;
        let since = self.since.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if !std::mem::replace(&mut self.is_waiting, true) {
            since.as_mut().reset(until);
        }
        since.as_mut().poll(cx).map(|()| Err(timed_out("the client does not read what it is sent")))
    }
}

fn timed_out(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut off at the end of a drain")
}

impl<S: AsyncRead> AsyncRead for Transport<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        match this.inner.poll_read(cx, buf) {
            Poll::Ready(outcome) => {
                if let Some(opening) = this.opening
                    && opening.is_clear(&buf.filled()[before..])
                {
                    *this.opening = None;
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => {
                if this.cut_read.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(cut_off()));
                }
                match this.opening {
                    Some(opening) => {
                        opening.by.as_mut().poll(cx).map(|()| Err(timed_out("the client does not say its protocol")))
                    }
                    None => Poll::Pending,
                }
            }
        }
    }
}

impl<S: AsyncWrite> AsyncWrite for Transport<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = this.inner.poll_write(cx, buf);
        if written.is_pending() && this.cut_write.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(cut_off()));
        }
        this.stall.observe(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let flushed = this.inner.poll_flush(cx);
        if flushed.is_pending() && this.cut_write.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(cut_off()));
        }
        this.stall.observe(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let shut = this.inner.poll_shutdown(cx);
        if shut.is_pending() && this.cut_write.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(cut_off()));
        }
        this.stall.observe(cx, shut)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = this.inner.poll_write_vectored(cx, bufs);
        if written.is_pending() && this.cut_write.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(cut_off()));
        }
        this.stall.observe(cx, written)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::sync::Semaphore;
    use tokio_util::task::TaskTracker;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A transport that has 10 s to say its protocol and 60 s to read, with 8 bytes between it and the client.
    async fn transport() -> (Transport<DuplexStream>, DuplexStream, CancellationToken, TaskTracker) {
        let (server, client) = duplex(8);
        let (cut, tracker) = (CancellationToken::new(), TaskTracker::new());
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let place = Place { _permit: permit, _counted: tracker.token() };
        (Transport::new(server, Instant::now() + 10 * SECOND, 60 * SECOND, &cut, place), client, cut, tracker)
    }

    async fn end_of_reading(mut transport: Transport<DuplexStream>) -> io::ErrorKind {
        let mut bytes = [0; 64];
        loop {
            match transport.read(&mut bytes).await {
                Ok(0) => return io::ErrorKind::UnexpectedEof,
                Ok(_) => {}
                Err(error) => return error.kind(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_ten_seconds_to_say_its_protocol_however_it_sends_it() {
        for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let (transport, mut client, _cut, _tracker) = transport().await;
            let begun = Instant::now();
            let says = async {
                for byte in said {
                    client.write_all(&[*byte]).await.unwrap();
                    tokio::time::sleep(SECOND / 10).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                ended = end_of_reading(transport) => assert_eq!(ended, io::ErrorKind::TimedOut),
                () = says => {}
            }
            assert_eq!(begun.elapsed().as_secs(), 10, "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_said_it_may_be_silent() {
        for said in [&b"G"[..], b"PRO", PREFACE] {
            let (transport, mut client, _cut, _tracker) = transport().await;
            let says = async {
                client.write_all(said).await.unwrap();
                tokio::time::sleep(1000 * SECOND).await;
            };
            tokio::select! {
                ended = end_of_reading(transport) => panic!("{ended} after {said:?}"),
                () = says => {}
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_for_a_minute_is_given_up_and_a_slow_one_is_not() {
        let (mut transport, mut client, _cut, _tracker) = transport().await;
        let (begun, mut byte) = (Instant::now(), [0]);
        let reads = async {
            for _ in 0..20 {
                tokio::time::sleep(50 * SECOND).await;
                client.read_exact(&mut byte).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let written = tokio::time::timeout(10_000 * SECOND, transport.write_all(&[7; 64]));
        tokio::select! {
            written = written => assert_eq!(written.expect("it is not given up").unwrap_err().kind(), io::ErrorKind::TimedOut),
            () = reads => {}
        }
        assert_eq!(begun.elapsed().as_secs(), 20 * 50 + 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_cut_off_ends_whatever_it_does_and_is_counted_until_it_is_dropped() {
        let (transport, mut client, cut, tracker) = transport().await;
        client.write_all(b"GET").await.unwrap();
        let (mut reads, mut writes) = tokio::io::split(transport);
        let cuts = async {
            tokio::time::sleep(SECOND).await;
            cut.cancel();
        };
        let reads_all = async {
            let mut all = Vec::new();
            reads.read_to_end(&mut all).await.map(|_| all)
        };
        let (read, written, ()) = tokio::join!(reads_all, writes.write_all(&[7; 64]), cuts);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(tracker.len(), 1);
        drop((reads, writes));
        assert!(tracker.is_empty());
    }
}
