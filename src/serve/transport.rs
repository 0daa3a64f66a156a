use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::activity::Activity;
use crate::contract::Limits;

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
        linger: Duration,
        lingers: Option<Lingers>,
        // Two of them: one half may be polled by another task than the other.
        cut_read: Cut,
        cut_write: Cut,
        activity: Arc<Activity>,
        _place: Place,
    }
}

impl<S> Transport<S> {
    /// `say_by` is when the client must have said its protocol; for what waits for it, or for the least of it, it has `limits.stall`.
    pub(super) fn new(inner: S, say_by: Instant, limits: &Limits, cut: &CancellationToken, place: Place) -> Self {
        let (stall, least) = (limits.stall, limits.least);
        Self {
            inner,
            opening: Some(Opening { seen: 0, by: Box::pin(sleep_until(say_by)) }),
            stall: Stall { limit: stall, least, taken: 0, since: None, is_waiting: false, is_buffered: false },
            linger: limits.first_byte / 2,
            lingers: None,
            cut_read: Box::pin(cut.clone().cancelled_owned()),
            cut_write: Box::pin(cut.clone().cancelled_owned()),
            activity: Arc::default(),
            _place: place,
        }
    }

    /// What those who see no bytes are told of them.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

/// A connection of which all was sent, and whose client may not have got it: to close it while the client still sends something makes the
/// kernel throw away what is on its way.
struct Lingers {
    until: Pin<Box<Sleep>>,
    /// How much of what comes is thrown away before that.
    left: usize,
}

/// How much is read of who was told that the connection ends, in bytes.
const READ_ON: usize = 1 << 20;

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

/// How long what waits to be sent has not been taken, or too little of it.
struct Stall {
    limit: Duration,
    least: usize,
    /// Since it waits, in bytes.
    taken: usize,
    since: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    /// Whether what is written may stay on this side, as it does below TLS: then only a flush tells that it was sent.
    is_buffered: bool,
}

impl Stall {
    /// Of `offered` bytes so many were written.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        offered: usize,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(outcome) = written else { return self.waits(cx) };
        if let Ok(bytes) = &outcome {
            self.taken = self.taken.saturating_add(*bytes);
            self.is_waiting &= (self.is_buffered || *bytes < offered) && self.taken < self.least;
        }
        Poll::Ready(outcome)
    }

    /// All was written.
    fn flushed(&mut self, cx: &mut Context<'_>, flushed: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        let Poll::Ready(outcome) = flushed else {
            self.is_buffered = true;
            return self.waits(cx);
        };
        self.is_waiting = false;
        Poll::Ready(outcome)
    }

    fn waits<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let until = Instant::now() + self.limit;
        let since = self.since.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if !std::mem::replace(&mut self.is_waiting, true) {
            since.as_mut().reset(until);
            self.taken = 0;
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
                    if opening.seen == PREFACE.len() {
                        this.activity.speaks_http2();
                    }
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

impl<S> Transport<S> {
    /// Looks at an attempt to send: whether that has come to its end because the connection is cut off.
    fn attempted<T>(self: Pin<&mut Self>, cx: &mut Context<'_>, outcome: &Poll<io::Result<T>>) -> bool {
        let this = self.project();
        this.activity.blocked(outcome.is_pending());
        outcome.is_pending() && this.cut_write.as_mut().poll(cx).is_ready()
    }
}

impl<S: AsyncRead> Transport<S> {
    /// Reads until the client closes the connection too, or for long enough.
    fn poll_closed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (mut this, mut bytes) = (self.project(), [0; 4096]);
        let lingers = this.lingers.get_or_insert_with(|| {
            let until = Instant::now() + *this.linger;
            Lingers { until: Box::pin(sleep_until(until)), left: READ_ON }
        });
        while lingers.until.as_mut().poll(cx).is_pending() && this.cut_write.as_mut().poll(cx).is_pending() {
            let mut came = ReadBuf::new(&mut bytes);
            let read = ready!(this.inner.as_mut().poll_read(cx, &mut came));
            lingers.left = lingers.left.saturating_sub(came.filled().len());
            if read.is_err() || came.filled().is_empty() || lingers.left == 0 {
                break;
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite> AsyncWrite for Transport<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.as_mut().project().inner.poll_write(cx, buf);
        if self.as_mut().attempted(cx, &written) {
            return Poll::Ready(Err(cut_off()));
        }
        self.project().stall.wrote(cx, written, buf.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.as_mut().project().inner.poll_flush(cx);
        if self.as_mut().attempted(cx, &flushed) {
            return Poll::Ready(Err(cut_off()));
        }
        self.project().stall.flushed(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingers.is_none() {
            let shut = self.as_mut().project().inner.poll_shutdown(cx);
            if self.as_mut().attempted(cx, &shut) {
                return Poll::Ready(Err(cut_off()));
            }
            ready!(self.as_mut().project().stall.flushed(cx, shut))?;
            // What comes on then is for whoever speaks its protocol.
            if self.activity.is_upgraded() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_closed(cx).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().project().inner.poll_write_vectored(cx, bufs);
        if self.as_mut().attempted(cx, &written) {
            return Poll::Ready(Err(cut_off()));
        }
        self.project().stall.wrote(cx, written, bufs.iter().map(|buf| buf.len()).sum())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::sync::Semaphore;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::contract::Contract;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits { least: 16, ..Contract::V1.limits() }
    }

    /// A transport that has 10 s to say its protocol and 60 s to read 16 bytes, with 8 bytes between it and the client.
    async fn transport() -> (Transport<DuplexStream>, DuplexStream, CancellationToken, TaskTracker) {
        let (server, client) = duplex(8);
        let (cut, tracker) = (CancellationToken::new(), TaskTracker::new());
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let place = Place { _permit: permit, _counted: tracker.token() };
        (Transport::new(server, Instant::now() + 10 * SECOND, &limits(), &cut, place), client, cut, tracker)
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

    /// After how many seconds a client is given up that reads so many bytes each ten seconds, of 256 that wait for it and up to the 256th
    /// second; none if it has had all of them.
    async fn given_up(bytes: usize) -> Option<u64> {
        let (mut transport, mut client, _cut, _tracker) = transport().await;
        let (begun, mut read) = (Instant::now(), vec![0; bytes]);
        let reads = async {
            loop {
                tokio::time::sleep(10 * SECOND).await;
                if begun.elapsed() < 256 * SECOND {
                    client.read_exact(&mut read).await.unwrap();
                }
            }
        };
        let written = tokio::time::timeout(10_000 * SECOND, transport.write_all(&[7; 256]));
        let written = tokio::select! {
            written = written => written.expect("it is not given up"),
            () = reads => unreachable!(),
        };
        match written {
            Ok(()) => None,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                Some(begun.elapsed().as_secs())
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_little_in_a_minute_is_given_up_and_a_slow_one_is_not() {
        assert_eq!(given_up(0).await, Some(60));
        assert_eq!(given_up(1).await, Some(60));
        assert_eq!(given_up(2).await, Some(60));
        // It stops after 25 of them, when 8 are on their way; the window is as long as it was for the first 16.
        assert_eq!(given_up(4).await, Some(300));
        assert_eq!(given_up(16).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_little_there_is_may_be_all() {
        let (mut transport, mut client, _cut, _tracker) = transport().await;
        for _ in 0..10 {
            // The ninth byte waits for the first.
            let reads = async {
                tokio::time::sleep(50 * SECOND).await;
                client.read_exact(&mut [0; 9]).await.unwrap();
            };
            let (written, ()) = tokio::join!(transport.write_all(&[7; 9]), reads);
            written.unwrap();
            transport.flush().await.unwrap();
            tokio::time::sleep(1000 * SECOND).await;
        }
    }

    /// Takes all that is written, and sends a byte of it for each that its client takes.
    struct Buffers(DuplexStream, usize);

    impl AsyncRead for Buffers {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Buffers {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.1 += buf.len();
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            while self.1 > 0 {
                ready!(Pin::new(&mut self.0).poll_write(cx, &[7]))?;
                self.1 -= 1;
            }
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn small_writes_below_which_all_is_buffered_are_no_reading() {
        let (server, _client) = duplex(8);
        let (cut, tracker) = (CancellationToken::new(), TaskTracker::new());
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let place = Place { _permit: permit, _counted: tracker.token() };
        let mut transport = Transport::new(Buffers(server, 0), Instant::now() + 10 * SECOND, &limits(), &cut, place);
        let begun = Instant::now();
        transport.write_all(&[7; 9]).await.unwrap();
        while begun.elapsed() < 1000 * SECOND {
            let flushed = tokio::time::timeout(30 * SECOND, transport.flush()).await;
            if let Ok(flushed) = flushed {
                assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
                break;
            }
            transport.write_all(&[7]).await.unwrap();
        }
        assert_eq!(begun.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_told_of() {
        let (mut transport, mut client, _cut, _tracker) = transport().await;
        let activity = transport.activity().clone();
        let unused = async { tokio::time::timeout(15 * SECOND, activity.unused(10 * SECOND)).await.is_ok() };
        assert!(unused.await);
        let unused = async { tokio::time::timeout(15 * SECOND, activity.unused(10 * SECOND)).await.is_ok() };
        let reads = async {
            let unused = unused.await;
            client.read_exact(&mut [0; 9]).await.unwrap();
            unused
        };
        let (written, was_unused) = tokio::join!(transport.write_all(&[7; 9]), reads);
        written.unwrap();
        assert!(!was_unused);
        assert!(tokio::time::timeout(15 * SECOND, activity.unused(10 * SECOND)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_is_read_until_its_client_closes_it_and_not_for_ever() {
        for (closes, seconds) in [(0, 0), (3, 3), (1000, 5)] {
            let (mut transport, mut client, _cut, _tracker) = transport().await;
            let begun = Instant::now();
            let sends = async {
                while begun.elapsed() < closes * SECOND && client.write_all(&[7; 8]).await.is_ok() {
                    tokio::time::sleep(SECOND / 2).await;
                }
                drop(client);
            };
            let ends = async {
                transport.shutdown().await.unwrap();
                drop(transport);
                begun.elapsed().as_secs()
            };
            assert_eq!(tokio::join!(ends, sends).0, seconds);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn neither_is_one_that_is_cut_off_that_sends_much_or_that_was_upgraded() {
        let begun = Instant::now();
        let (mut cut_off, _client, cut, _tracker) = transport().await;
        cut.cancel();
        cut_off.shutdown().await.unwrap();
        let (mut upgraded, _client, _cut, _tracker) = transport().await;
        upgraded.activity().upgrades();
        upgraded.shutdown().await.unwrap();
        let (mut flooded, mut client, _cut, _tracker) = transport().await;
        let floods = async { while client.write_all(&[7; 4096]).await.is_ok() {} };
        let ends = async {
            flooded.shutdown().await.unwrap();
            drop(flooded);
        };
        tokio::join!(ends, floods);
        assert_eq!(begun.elapsed(), Duration::ZERO);
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
