//! Real servers and clients, and bodies of all kinds.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Redirect;
use axum::routing::any;
use halfbyte_secrets::inject::{Format, Hosts, InjectLayer};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tower::{Layer as _, Service as _, ServiceExt as _};
use tower_http::follow_redirect::FollowRedirect;

use super::api::{Api, KEY, example, secret, status};

/// Path and keys of a request.
type Came = (String, Vec<HeaderValue>);

/// What a server got.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Came>>>);

impl Log {
    fn note(&self, path: &str, headers: &HeaderMap) {
        let keys = headers.get_all(KEY).iter().cloned().collect();
        self.0.lock().expect("a lock").push((path.to_owned(), keys));
    }

    fn take(&self) -> Vec<Came> {
        std::mem::take(&mut *self.0.lock().expect("a lock"))
    }
}

/// A server that sends `/away` to `elsewhere`, and `/round` through there back to itself; takes the key `second`.
async fn serve(tasks: &mut JoinSet<()>, elsewhere: Option<SocketAddr>) -> (SocketAddr, Log) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let (address, log) = (listener.local_addr().expect("bound"), Log::default());
    let answer = async move |State(log): State<Log>, request: axum::extract::Request| {
        let path = request.uri().path().to_owned();
        log.note(&path, request.headers());
        let is_good = request.headers().get(KEY).is_some_and(|key| key == "second");
        let to = |path: &str, address: SocketAddr| Err(Redirect::temporary(&format!("http://{address}{path}")));
        let from = request.uri().query().and_then(|query| query.parse::<SocketAddr>().ok());
        match (&*path, elsewhere, from) {
            ("/away", Some(elsewhere), _) => to("/", elsewhere),
            ("/round", Some(elsewhere), _) => to(&format!("/back?{address}"), elsewhere),
            ("/back", _, Some(from)) => to("/home", from),
            _ if is_good || elsewhere.is_none() => Ok(StatusCode::OK),
            _ => Ok(StatusCode::UNAUTHORIZED),
        }
    };
    let router = Router::new().fallback(any(answer)).with_state(log.clone());
    tasks.spawn(async move { axum::serve(listener, router).await.expect("served") });
    (address, log)
}

fn keys(log: &Log, path: &str) -> Vec<Vec<HeaderValue>> {
    log.take().into_iter().filter(|(came, _)| came == path).map(|(_, keys)| keys).collect()
}

#[tokio::test]
async fn across_real_redirects_the_header_reaches_the_listed_host_alone() {
    let (backend, secret, _life) = secret("first").await;
    let mut tasks = JoinSet::new();
    let (evil, evil_log) = serve(&mut tasks, None).await;
    let (good, good_log) = serve(&mut tasks, Some(evil)).await;
    let layer = InjectLayer::new(secret, Hosts::new([good.to_string()]).expect("a host"))
        .format(Format::header(KEY))
        .danger_allow_plaintext();
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let client = FollowRedirect::new(layer.layer(client));
    let get = |path: &str| Request::get(format!("http://{good}{path}")).body(Full::default()).expect("a request");

    backend.set("second");
    assert_eq!(client.clone().oneshot(get("/")).await.expect("sent").status(), 200);
    assert_eq!(keys(&good_log, "/"), [["first"], ["second"]], "rejected, and sent once more");

    assert_eq!(client.clone().oneshot(get("/away")).await.expect("sent").status(), 200);
    assert_eq!(
        (keys(&good_log, "/away"), keys(&evil_log, "/")),
        (vec![vec!["second".parse().expect("a value")]], vec![vec![]])
    );

    assert_eq!(client.clone().oneshot(get("/round")).await.expect("sent").status(), 200);
    let log = good_log.take();
    assert!(log.iter().all(|(_, keys)| keys == &["second"]) && log.len() == 2, "{log:?}");
    assert_eq!(keys(&evil_log, "/back"), [[""; 0]]);

    // One that a caller puts on itself, as who follows redirects inside of something else would.
    let mut carried = get("/away");
    carried.headers_mut().insert(KEY, HeaderValue::from_static("second"));
    assert_eq!(client.oneshot(carried).await.expect("sent").status(), 200);
    assert_eq!(keys(&evil_log, "/"), [[""; 0]]);
}

#[tokio::test]
async fn a_large_body_goes_out_twice_and_the_first_answer_is_dropped() {
    struct Tracked(Arc<AtomicBool>);

    impl Drop for Tracked {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let (backend, secret, _life) = secret("first").await;
    backend.set("second");
    let (dropped, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let service = {
        let (dropped, calls) = (dropped.clone(), calls.clone());
        tower::service_fn(move |request: Request<Vec<u8>>| {
            let number = calls.fetch_add(1, Ordering::SeqCst);
            assert_eq!(request.body().len(), 100_000);
            assert_eq!(dropped.load(Ordering::SeqCst), number == 1, "dropped before the second call");
            let mut response = Response::new((number == 0).then(|| Tracked(dropped.clone())));
            if number == 0 {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            ready(Ok::<_, Infallible>(response))
        })
    };
    let service = InjectLayer::new(secret, example()).layer(service);
    let request = Request::post("https://api.example.com/").body(vec![0; 100_000]).expect("a request");
    assert_eq!(status(service, request).await.expect("sent"), 200);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_body_in_a_box_goes_once() {
    // What many services take; it is no `Clone`.
    let (_backend, secret, _life) = secret("first").await;
    let api = Api::taking("first");
    let service = InjectLayer::new(secret, example()).once().layer(api);
    let body = BoxBody::new(Full::new(bytes::Bytes::from_static(b"x")));
    let request = Request::post("https://api.example.com/").body(body).expect("a request");
    assert_eq!(status(service, request).await.expect("sent"), 200);
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn reqwest_sends_it_to_the_listed_host_repeats_and_follows_nothing() {
    let (backend, secret, _life) = secret("first").await;
    let mut tasks = JoinSet::new();
    let (evil, evil_log) = serve(&mut tasks, None).await;
    let (good, good_log) = serve(&mut tasks, Some(evil)).await;
    let layer = InjectLayer::new(secret, Hosts::new([good.to_string()]).expect("a host"))
        .format(Format::header(KEY))
        .danger_allow_plaintext();
    let plain = reqwest::Client::builder().no_proxy();
    let mut client = layer.client(plain).expect("a client");
    let request = |uri: String| reqwest::Request::new(http::Method::POST, uri.parse().expect("a URL"));

    backend.set("second");
    let mut post = request(format!("http://{good}/"));
    *post.body_mut() = Some("body".into());
    assert_eq!(client.ready().await.expect("ready").call(post).await.expect("sent").status(), 200);
    assert_eq!(keys(&good_log, "/"), [["first"], ["second"]]);

    let away = client.ready().await.expect("ready").call(request(format!("http://{good}/away"))).await.expect("sent");
    assert_eq!(away.status(), 307);
    let location = away.headers()["location"].to_str().expect("text").to_owned();
    let mut hop = request(location);
    hop.headers_mut().insert(KEY, HeaderValue::from_static("second"));
    let answer = client.ready().await.expect("ready").call(hop).await.expect("sent");
    assert_eq!((answer.status().as_u16(), keys(&evil_log, "/")), (200, vec![vec![]]));

    // `localhost` is another host than its address.
    let named = request(format!("http://localhost:{}/", good.port()));
    client.ready().await.expect("ready").call(named).await.expect("sent");
    assert_eq!(keys(&good_log, "/"), [[""; 0]]);
}
