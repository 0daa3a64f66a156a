//! The listeners and their connections, from ready to closed.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use halfbyte_core::lifecycle::{Check, Phase};
use halfbyte_core::{BoxError, Lifecycle, PeerAddress};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::Service;

use crate::contract::Limits;
use crate::error::{Error, ErrorKind};
use crate::platform::{Held, Platform};
use crate::{admin, drain};

/// How long a connection that was just accepted may take to send its request in a drain.
const LINGER: Duration = Duration::from_millis(100);

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// A service that can be put behind a listener.
pub trait Servable<B>:
    Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S, B> Servable<B> for S where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// A body that can be sent.
pub trait Sendable: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}

impl<B> Sendable for B where B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}

pub(crate) async fn run<S: Servable<B>, B: Sendable>(platform: &Platform, service: S) -> Result<(), Error> {
    // Whoever has made the routes has said by now all that they ask.
    let actions = platform.declared().actions();
    platform.policies().check(&actions)?;
    let Some(Held { telemetry, public, admin }) = platform.take_held() else {
        return Err(Error::new(ErrorKind::Unavailable, "the platform serves once; it has been served before"));
    };
    let life = platform.lifecycle();
    let mut background = JoinSet::new();
    background.spawn(platform.policies().clone().watch(actions));
    background.spawn(admin::serve(platform.clone(), admin.listen()?));
    background.spawn(drain::conduct(life.clone(), drain::Signals::listen()?, platform.config().lame_duck));

    let limits = platform.limits();
    warm_up(life, limits.warm_up).await;
    let public = public.listen()?;
    life.enter(Phase::Ready);
    tracing::info!(product = platform.product().as_str(), public = %platform.address(), admin = %platform.admin_address(), "ready");
    let finished = accept(life, &limits, public, service).await;
    let flushed = drain::flush(platform, &limits, telemetry).await;
    background.shutdown().await;
    match (finished, flushed) {
        (true, true) => Ok(()),
        (false, _) => Err(Error::new(ErrorKind::Drain, "requests were still running when their time was up")),
        (true, false) => Err(Error::new(ErrorKind::Drain, "not everything could be written out in time")),
    }
}

/// Waits until every part is there or has failed once: a process whose backend is away serves without it, and one that is
/// merely young does not refuse its first requests.
async fn warm_up(life: &Lifecycle, budget: Duration) {
    let settled = |check: &Check| check.ready || check.detail.is_some();
    let all = async {
        while !life.health().report().iter().all(settled) && life.phase() == Phase::Starting {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if timeout(budget, all).await.is_err() {
        tracing::warn!(?budget, "some parts have not answered yet; serving without them");
    }
}

/// Accepts until draining, then waits for the requests in flight; answers whether all ended in time.
async fn accept<S: Servable<B>, B: Sendable>(
    life: &Lifecycle,
    limits: &Limits,
    listener: TcpListener,
    service: S,
) -> bool {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut builder = auto::Builder::new(Tracked(life.clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.next_head).max_buf_size(MAX_HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30));
    let first_byte = limits.first_byte;
    let serve = |connections: &mut JoinSet<()>, stream: TcpStream, peer, permit| {
        prepare(&stream);
        let service = TowerToHyperService::new(FromPeer { inner: service.clone(), peer });
        let (builder, watcher, life) = (builder.clone(), graceful.watcher(), life.clone());
        connections.spawn(async move {
            let _permit: OwnedSemaphorePermit = permit;
            // A connection that does not say what it wants costs no more than its socket, and that not for long.
            let speaks = tokio::select! {
                said = timeout(first_byte, says_its_protocol(&stream)) => matches!(said, Ok(Ok(true))),
                () = lingered(&life) => false,
            };
            if !speaks {
                return;
            }
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    };
    let draining = life.reached(Phase::Draining);
    tokio::pin!(draining);
    let mut failing = false;
    loop {
        tokio::select! {
            () = &mut draining => break,
            Some(_ended) = connections.join_next() => {}
            accepted = next_connection(&listener, &permits) => match accepted {
                Ok((stream, peer, permit)) => {
                    failing = false;
                    serve(&mut connections, stream, peer, permit);
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors, mostly: old connections must end before new ones can come.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "connections cannot be accepted");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    // Those that came before the door was closed get an answer.
    while let Some(Ok((stream, peer, permit))) = next_connection(&listener, &permits).now_or_never() {
        serve(&mut connections, stream, peer, permit);
    }
    drop(listener);
    lingered(life).await;
    let all = async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    };
    let finished = timeout(limits.drain_in_flight, all).await.is_ok();
    if !finished {
        tracing::error!(budget = ?limits.drain_in_flight, "requests in flight were cut off");
    }
    finished
}

/// Waits until HTTP/1 and HTTP/2 can be told apart, since hyper has no limit on that; false if the client went away.
async fn says_its_protocol(stream: &TcpStream) -> io::Result<bool> {
    const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut head = [0; HTTP2.len()];
    loop {
        match stream.peek(&mut head).await? {
            0 => return Ok(false),
            read if read < HTTP2.len() && HTTP2.starts_with(&head[..read]) => {
                // What is there stays readable, so there is nothing to be woken by.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => return Ok(true),
        }
    }
}

/// Resolves a moment into draining: who was at the door when it closed has been answered by then.
async fn lingered(life: &Lifecycle) {
    life.reached(Phase::Draining).await;
    tokio::time::sleep(LINGER).await;
}

/// A place for a connection first, then the connection: the ones that there is no place for wait in the kernel.
async fn next_connection(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, PeerAddress, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, PeerAddress(peer), permit))
}

/// Whether the client went away before it was accepted, which is no trouble of the listener.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection could not be told not to wait");
    }
}

/// Tells each request of a connection who is at the other end.
#[derive(Clone)]
struct FromPeer<S> {
    inner: S,
    peer: PeerAddress,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for FromPeer<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> S::Future {
        request.extensions_mut().insert(self.peer);
        self.inner.call(request)
    }
}

/// Runs what HTTP/2 spawns under the life cycle, so that drain waits for it.
#[derive(Clone)]
struct Tracked(Lifecycle);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.0.spawn("http2", future));
    }
}
