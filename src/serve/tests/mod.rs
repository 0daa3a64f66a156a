//! The listener on real sockets, with limits that are short enough to wait for.

mod clients;
mod drain;
mod limits;
mod silent;
mod slow;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use halfbyte_core::lifecycle::Phase;
use halfbyte_core::{Clock, Lifecycle};
use http::{HeaderValue, Request, Response, StatusCode};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tower::ServiceExt as _;

use super::{RequestBody, accept};
use crate::bound::Bound;
use crate::contract::{Contract, Limits};
use crate::layers::{self, DrainGateLayer, LoadShedLayer};
use crate::progress::Progress;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A listener that serves until it is drained.
struct Served {
    life: Lifecycle,
    address: SocketAddr,
    /// How many bodies of `/endless` and `/large` there are.
    endless: watch::Receiver<usize>,
    load: LoadShedLayer,
    serving: JoinHandle<u64>,
}

/// Those of the contract, but for what tests wait for.
fn short() -> Limits {
    Limits {
        first_byte: 500 * MILLISECOND,
        body: 500 * MILLISECOND,
        stall: 500 * MILLISECOND,
        drain_in_flight: 1500 * MILLISECOND,
        ..Contract::V1.limits()
    }
}

impl Served {
    async fn start(limits: Limits) -> Self {
        let life = Lifecycle::new(Clock::system());
        let progress = Progress::new(life.clone(), limits.warm_up);
        let bound = Bound::new("HALFBYTE_LISTEN", SocketAddr::from(([127, 0, 0, 1], 0)), None).unwrap();
        let (address, listener) = (bound.address(), bound.listen().unwrap());
        let (endless, count) = watch::channel(0);
        let load = LoadShedLayer::new(1024, Duration::from_secs(1));
        let routes = routes(&life, endless).layer(load.clone()).layer(DrainGateLayer::new(life.clone()));
        // What is refused before the routes, of which the router makes an answer to HEAD itself.
        let service = tower::service_fn(move |request: Request<RequestBody>| {
            let routes = routes.clone();
            async move {
                match request.uri().path() {
                    "/refused" => Ok(Response::new(Body::from("no"))),
                    _ => routes.oneshot(request).await,
                }
            }
        });
        let for_serving = life.clone();
        let serving = life.spawn("serving", async move {
            accept::until_drained(&for_serving, &progress, limits, listener, None, service).await
        });
        life.enter(Phase::Ready);
        Self { life, address, endless: count, load, serving }
    }

    fn drain(&self) {
        self.life.enter(Phase::Draining);
    }

    /// How many connections were cut off.
    async fn cut(self) -> u64 {
        tokio::time::timeout(Duration::from_secs(30), self.serving).await.expect("the drain hangs").unwrap()
    }

    async fn endless(&mut self, count: usize) {
        let wait = self.endless.wait_for(|now| *now == count);
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the bodies are not as many").unwrap();
    }
}

/// Counts itself as long as it is there.
struct Counted(watch::Sender<usize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Counted {
    fn new(count: watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

/// What a response has in memory.
struct Large(Vec<u8>, #[expect(dead_code, reason = "it is counted as long as this is there")] Counted);

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// More than the kernels and HTTP/2 take of what nobody reads.
const LARGE: usize = 4 << 20;

fn routes(life: &Lifecycle, endless: watch::Sender<usize>) -> Router {
    let (told, large) = (life.clone(), endless.clone());
    Router::new()
        .route("/", get("hello").post(async |body: Bytes| body))
        // Twenty times a line, for a second.
        .route(
            "/second",
            get(async || {
                Body::from_stream(stream::iter(0..20).then(async |_| {
                    sleep(50 * MILLISECOND).await;
                    Ok::<_, std::convert::Infallible>("line\n")
                }))
            }),
        )
        // A line now and then.
        .route(
            "/forever",
            get(async || {
                Body::from_stream(stream::iter(0..).then(async |_| {
                    sleep(50 * MILLISECOND).await;
                    Ok::<_, std::convert::Infallible>("line\n")
                }))
            }),
        )
        // One frame, and then nothing.
        .route(
            "/paused/{bytes}",
            get(async |axum::extract::Path(bytes): axum::extract::Path<usize>| {
                let frame = stream::once(async move { Ok::<_, std::convert::Infallible>(vec![7; bytes]) });
                Body::from_stream(frame.chain(stream::pending()))
            }),
        )
        // As much as the client takes.
        .route(
            "/endless",
            get(async move || {
                let counted = Counted::new(endless);
                Body::from_stream(stream::iter(0..).map(move |_| {
                    let _lives_as_long_as_the_body = &counted;
                    Ok::<_, std::convert::Infallible>(vec![7; 16 * 1024])
                }))
            }),
        )
        // How long it has waited for its body, which it has polled as part of this.
        .route("/waited", axum::routing::post(waited))
        // One frame.
        .route(
            "/large/{bytes}",
            get(async move |axum::extract::Path(bytes): axum::extract::Path<usize>| {
                Bytes::from_owner(Large(vec![7; bytes], Counted::new(large)))
            }),
        )
        // Echoes, and says good-bye when the drain begins, or does not care.
        .route("/polite", get(move |request| upgrade(request, Some(told.clone()))))
        .route("/deaf", get(async |request| upgrade(request, None).await))
}

async fn waited(request: Request<Body>) -> String {
    let (mut all, mut waited) = (Box::pin(axum::body::to_bytes(request.into_body(), 1024)), Duration::ZERO);
    std::future::poll_fn(|cx| {
        let (polled, time) = layers::waited(|| all.as_mut().poll(cx));
        waited += time;
        polled
    })
    .await
    .unwrap();
    format!("{}ms", waited.as_millis())
}

/// What a product does for a protocol of its own, as axum does for WebSockets.
async fn upgrade(mut request: Request<Body>, life: Option<Lifecycle>) -> Response<Body> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let upgrade = hyper::upgrade::on(&mut request);
    #[expect(clippy::disallowed_methods, reason = "as axum does, where nobody can wait for it")]
    tokio::spawn(async move {
        let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
        let told = async {
            match &life {
                Some(life) => life.reached(Phase::Draining).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(told);
        let mut byte = [0];
        loop {
            tokio::select! {
                read = io.read(&mut byte) => match read {
                    Ok(1..) => io.write_all(&byte).await.unwrap(),
                    _ => return,
                },
                () = &mut told => return io.write_all(b"bye").await.unwrap(),
            }
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
    response.headers_mut().insert("upgrade", HeaderValue::from_static("echo"));
    response
}
