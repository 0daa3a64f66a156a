use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use halfbyte_core::lifecycle::Phase;
use halfbyte_core::problem::is_grpc;
use halfbyte_core::{BoxError, Lifecycle, PeerAddress};
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, sleep_until};
use tower::Service;

use super::activity::{Activity, Finding, Open};
use super::sent::Sent;
use super::stream::Taken;
use super::transport::Transport;
use super::{RequestBody, Sendable, Servable};
use crate::contract::Limits;
use crate::layers::{Sending as Place, Unaware};

/// How long a connection may take to send its request in a drain, when it has been open for a while.
const LINGER: Duration = Duration::from_millis(100);

/// How long it may take when it was just accepted: who connects cannot know of the drain.
const FRESH: Duration = Duration::from_secs(1);

/// How much of a response HTTP/2 takes before it is sent, in parts that a client takes at least at once: as much as the kernel does.
const BUFFERED: usize = 4;

/// How connections are spoken on.
pub(super) type Protocols = auto::Builder<Tracked>;

pub(super) fn protocols(life: &Lifecycle, limits: &Limits) -> Protocols {
    let mut protocols = auto::Builder::new(Tracked { life: life.clone(), stall: limits.stall, least: limits.least });
    // The number of headers is limited by hyper, to 100: to say so here would cost an allocation a request.
    protocols.http1().timer(TokioTimer::new()).header_read_timeout(limits.next_head).max_buf_size(limits.head);
    protocols
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.pong)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams)
        .max_send_buf_size(BUFFERED * limits.least)
        .max_pending_accept_reset_streams(limits.resets);
    protocols
}

/// Speaks on a connection until it ends, by itself or by a drain.
pub(super) async fn converse<T, S, B>(
    transport: Transport<T>,
    peer: PeerAddress,
    opened: Instant,
    life: Lifecycle,
    limits: Limits,
    protocols: Protocols,
    service: S,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Servable<B>,
    B: Sendable,
{
    let activity = transport.activity().clone();
    let service = Connected { inner: service, peer, life: life.clone(), body: limits.body, activity: activity.clone() };
    let connection =
        protocols.serve_connection_with_upgrades(TokioIo::new(transport), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let finding = tokio::select! {
        ended = &mut connection => return told_of(ended),
        found = activity.watch(limits.next_head, limits.stall) => found,
        () = told_to_close(&life, opened) => Finding::Idle,
    };
    if finding == Finding::Stalled {
        return tracing::debug!("the client leaves the end of a response: the connection is cut off");
    }
    connection.as_mut().graceful_shutdown();
    // A client that does not say that it has understood is not asked for it for ever.
    let knows = async {
        sleep(limits.first_byte).await;
        activity.knows();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = &mut connection => told_of(ended),
        () = activity.unused(limits.first_byte) => {}
        () = knows => {}
    }
}

fn told_of(ended: Result<(), BoxError>) {
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended");
    }
}

/// Resolves when a connection of this age is told to close: in a drain, and when who was at the door has said what it wants.
pub(super) async fn told_to_close(life: &Lifecycle, opened: Instant) {
    life.reached(Phase::Draining).await;
    sleep_until((Instant::now() + LINGER).max(opened + FRESH)).await;
}

/// Tells each request of a connection who is at the other end, and what goes on there of its requests.
#[derive(Clone)]
struct Connected<S> {
    inner: S,
    peer: PeerAddress,
    life: Lifecycle,
    /// What a client has for each piece of a request's body.
    body: Duration,
    activity: Arc<Activity>,
}

impl<S, B> Service<Request<Incoming>> for Connected<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    B: Sendable,
{
    type Response = Response<Sent<B>>;
    type Error = Infallible;
    type Future = ConnectedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        let is_http1 = request.version() <= Version::HTTP_11;
        let (open, is_first, knows) = self.activity.begin();
        // Over HTTP/2 clients are told by GOAWAY, and what they have sent before they could read that is answered.
        if is_first || !is_http1 && !knows {
            request.extensions_mut().insert(Unaware);
        }
        request.extensions_mut().insert(self.peer);
        // Its calls may be conversations.
        let window = (!is_grpc(request.headers())).then_some(self.body);
        let request = request.map(|incoming| RequestBody::new(incoming, window));
        let http1 = is_http1.then(|| (self.life.clone(), self.activity.clone()));
        let (is_head, is_connect) = (request.method() == Method::HEAD, request.method() == Method::CONNECT);
        ConnectedFuture { response: self.inner.call(request), open: Some(open), http1, is_head, is_connect }
    }
}

pin_project! {
    struct ConnectedFuture<F> {
        #[pin]
        response: F,
        open: Option<Open>,
        // HTTP/1 has no other way to say that the connection is about to be closed, and its connections may be upgraded.
        http1: Option<(Lifecycle, Arc<Activity>)>,
        is_head: bool,
        is_connect: bool,
    }
}

impl<F, B> Future for ConnectedFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Sendable,
{
    type Output = Result<Response<Sent<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match ready!(this.response.poll(cx)) {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let Some(open) = this.open.take() else { return Poll::Pending };
        let place = response.extensions_mut().remove::<Place>();
        let Some((life, activity)) = this.http1 else {
            if !*this.is_head {
                return Poll::Ready(Ok(response.map(|body| Sent::new(body, open, place))));
            }
            // Nobody else sees to it that it has no body, as hyper does over HTTP/1.
            if let Some(bytes @ 1..) = response.body().size_hint().exact() {
                response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| bytes.into());
            }
            return Poll::Ready(Ok(response.map(|body| Sent::head(body, open))));
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS || *this.is_connect && response.status().is_success() {
            activity.upgrades();
        } else if life.phase() >= Phase::LameDuck {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response.map(|body| Sent::new(body, open, place))))
    }
}

/// Runs the streams of HTTP/2 under the life cycle, so that drain waits for them.
#[derive(Clone)]
pub(super) struct Tracked {
    life: Lifecycle,
    stall: Duration,
    least: usize,
}

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        drop(self.life.spawn("http2", Taken::new(stream, self.stall, self.least)));
    }
}
