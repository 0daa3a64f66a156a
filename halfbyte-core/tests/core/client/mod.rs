//! The outbound client against a real server on this machine.

mod failures;
mod limits;
mod metrics;
mod retries;
mod tracing;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use halfbyte_core::client::{Client, Limits};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use url::Url;

/// What a request was when it arrived.
#[derive(Clone, Debug, PartialEq)]
struct Arrived {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A server that answers by the number of the request, from 1, and remembers what arrived. It ends when it is dropped.
struct Server {
    url: Url,
    state: Handle,
    _running: JoinSet<()>,
}

type Answer = dyn Fn(usize, &Arrived) -> Response + Send + Sync;

#[derive(Clone)]
struct Handle {
    answer: Arc<Answer>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    count: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: impl Fn(usize, &Arrived) -> Response + Send + Sync + 'static) -> Self {
        let state = Handle { answer: Arc::new(answer), arrived: Arc::default(), count: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("bound")).parse().expect("a URL");
        let router = Router::new().fallback(handle).with_state(state.clone());
        let mut running = JoinSet::new();
        running.spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self { url, state, _running: running }
    }

    fn url(&self, rest: &str) -> Url {
        self.url.join(rest).expect("a URL")
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.state.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self) -> usize {
        self.state.count.load(Ordering::SeqCst)
    }
}

async fn handle(State(state): State<Handle>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let arrived = Arrived { method, path: uri.to_string(), headers, body };
    state.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(arrived.clone());
    let number = state.count.fetch_add(1, Ordering::SeqCst) + 1;
    (state.answer)(number, &arrived)
}

fn respond(status: u16, headers: &[(&str, &str)], body: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).expect("a response")
}

/// An address on this machine where nobody listens, not even another test: it is taken as long as there are tests.
fn nobody() -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let address = socket.local_addr().expect("bound");
    std::mem::forget(socket);
    address
}

fn client(limits: Limits) -> Client {
    Client::with_limits(limits).expect("a client")
}
