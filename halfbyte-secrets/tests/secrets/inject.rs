//! Secrets in outbound calls: where they go, where they never go, and what a 401 does.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Redirect;
use axum::routing::any;
use halfbyte_core::{BoxError, Lifecycle};
use halfbyte_secrets::inject::{Format, Hosts, Inject, InjectLayer};
use halfbyte_secrets::{Error, ErrorKind, ExposeSecret as _, Secret, Secrets, Stage};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tower::{Layer as _, Service, ServiceExt as _};
use tower_http::follow_redirect::FollowRedirect;

use super::backend::Backend;
use super::scripted::Scripted;
use super::{chain, lifecycle};

const KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A secret that is loaded, and what it comes from.
async fn secret(value: &str) -> (Backend, Secret<String>, Lifecycle) {
    let (backend, lifecycle) = (Backend::holding(value), lifecycle());
    let secret = Secrets::new(backend.clone(), &lifecycle).get("token");
    secret.ready().await.expect("loaded");
    (backend, secret, lifecycle)
}

async fn rotated(backend: &Backend, secret: &Secret<String>, value: &str) {
    let seen = secret.generation();
    backend.set(value);
    secret.changed(seen).await;
}

fn example() -> Hosts {
    Hosts::new(["api.example.com"]).expect("a host")
}

/// Answers 200 to who has this token, and 401 to others; keeps the requests that came.
#[derive(Clone, Default)]
struct Api {
    token: Arc<Mutex<String>>,
    came: Arc<Mutex<Vec<Request<()>>>>,
    other_status: Option<StatusCode>,
}

impl Api {
    fn taking(token: &str) -> Self {
        let api = Self::default();
        api.take(token);
        api
    }

    fn take(&self, token: &str) {
        *self.token.lock().expect("a lock") = format!("Bearer {token}");
    }

    fn answering(other_status: StatusCode) -> Self {
        Self { other_status: Some(other_status), ..Self::default() }
    }

    /// The values of a header of the last request.
    fn last(&self, name: &HeaderName) -> Vec<HeaderValue> {
        let came = self.came.lock().expect("a lock");
        came.last().expect("a request").headers().get_all(name).iter().cloned().collect()
    }

    fn count(&self) -> usize {
        self.came.lock().expect("a lock").len()
    }
}

impl<B> Service<Request<B>> for Api {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let token = request.headers().get("authorization").cloned();
        let is_good = token.is_some_and(|token| token.as_bytes() == self.token.lock().expect("a lock").as_bytes());
        self.came.lock().expect("a lock").push(request.map(drop));
        let mut response = Response::new(());
        if !is_good {
            *response.status_mut() = self.other_status.unwrap_or(StatusCode::UNAUTHORIZED);
        }
        ready(Ok(response))
    }
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a request")
}

fn with(uri: &str, name: HeaderName, values: &[&'static str]) -> Request<()> {
    let mut request = get(uri);
    for value in values {
        request.headers_mut().append(name.clone(), HeaderValue::from_static(value));
    }
    request
}

async fn status<S, R, B>(service: S, request: R) -> Result<StatusCode, BoxError>
where
    S: Service<R, Response = Response<B>, Error = BoxError>,
{
    Ok(service.oneshot(request).await?.status())
}

#[tokio::test(start_paused = true)]
async fn a_listed_host_gets_the_header_in_place_of_any_other_and_it_is_sensitive() {
    let (backend, secret, _life) = secret("hunter2").await;
    let api = Api::taking("hunter2");
    let service = InjectLayer::new(secret.clone(), example()).layer(api.clone());
    let request = with("https://API.example.com/v1", http::header::AUTHORIZATION, &["mine", "mine too"]);
    assert_eq!(status(service.clone(), request).await.expect("sent"), 200);
    let [value] = api.last(&http::header::AUTHORIZATION).try_into().expect("one value");
    assert!(value.is_sensitive() && !format!("{:?}", api.came).contains("hunter2"));

    status(service.clone(), get("https://api.example.com:443/")).await.expect("sent");
    let again = api.last(&http::header::AUTHORIZATION).remove(0);
    assert_eq!(again.as_bytes().as_ptr(), value.as_bytes().as_ptr(), "made once for a generation");

    rotated(&backend, &secret, "hunter3").await;
    status(service, get("https://api.example.com/")).await.expect("sent");
    assert_eq!(api.last(&http::header::AUTHORIZATION)[0], "Bearer hunter3");
}

#[tokio::test(start_paused = true)]
async fn another_host_gets_nothing_and_loses_what_carries_the_secret() {
    let (backend, secret, _life) = secret("hunter1").await;
    let api = Api::answering(StatusCode::OK);
    let hosts = Hosts::new(["api.example.com", "[::1]:8443"]).expect("hosts");
    let layer = InjectLayer::new(secret.clone(), hosts).format(Format::header(KEY));
    let service = layer.layer(api.clone());
    status(service.clone(), get("https://api.example.com/")).await.expect("sent");
    rotated(&backend, &secret, "hunter2").await;
    status(service.clone(), get("https://[::1]:8443/")).await.expect("sent");
    assert_eq!(api.last(&KEY), ["hunter2"]);
    for uri in [
        "https://evil.com/",
        "https://api.example.com@evil.com/",
        "https://api.example.com:8443/",
        "https://api.example.com./",
        "https://www.api.example.com/",
        "http://api.example.com/",
        "https://[::1]/",
        "https://[::2]:8443/",
        "/v1",
    ] {
        status(service.clone(), get(uri)).await.expect("sent");
        assert!(api.last(&KEY).is_empty(), "{uri}");
        let carried = with(uri, KEY, &["hunter2", "mine", "hunter1", "key=hunter2"]);
        status(service.clone(), carried).await.expect("sent");
        assert_eq!(api.last(&KEY), ["mine"], "{uri}");
        status(service.clone(), with(uri, KEY, &["a", "b"])).await.expect("sent");
        assert_eq!(api.last(&KEY), ["a", "b"], "{uri}");
    }
    // Also for a layer that has not made a header yet.
    let api = Api::answering(StatusCode::OK);
    let fresh = layer.clone().danger_allow_plaintext().layer(api.clone());
    status(fresh, with("https://evil.com/", KEY, &["hunter1", "hunter2"])).await.expect("sent");
    assert!(api.last(&KEY).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_too_old_to_be_sent_is_still_taken_off() {
    let (backend, secret, _life) = secret("hunter2").await;
    let api = Api::answering(StatusCode::OK);
    let service = InjectLayer::new(secret.clone(), example()).format(Format::header(KEY)).layer(api.clone());
    status(service.clone(), get("https://api.example.com/")).await.expect("sent");
    backend.fail(ErrorKind::Unavailable);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let error = status(service.clone(), get("https://api.example.com/")).await.expect_err("too old");
    assert!(error.downcast_ref::<Error>().is_some_and(Error::is_temporary), "{error:?}");
    status(service, with("https://evil.com/", KEY, &["hunter2"])).await.expect("sent");
    assert!(api.last(&KEY).is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_its_secret_a_request_is_not_sent() {
    let (backend, life) = (Backend::default(), lifecycle());
    let secret = Secrets::new(backend.clone(), &life).get::<String>("token");
    let api = Api::taking("hunter2");
    let service = InjectLayer::new(secret.clone(), example()).layer(api.clone());
    let error = status(service.clone(), get("https://api.example.com/")).await.expect_err("not loaded");
    assert!(error.downcast_ref::<Error>().is_some_and(|error| error.is_pending() && error.is_temporary()), "{error:?}");
    assert_eq!(status(service.clone(), get("https://evil.com/")).await.expect("it does not need it"), 401);

    backend.set("hunter2\n");
    secret.changed(0).await;
    let error = status(service, get("https://api.example.com/")).await.expect_err("no header");
    let typed = error.downcast_ref::<Error>().expect("typed");
    assert!(typed.kind() == ErrorKind::Malformed && !typed.is_temporary());
    assert!(!format!("{} {typed:?}", chain(typed)).contains("hunter2"));
    assert_eq!(api.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_401_rejects_the_value_and_the_request_is_sent_once_more_with_the_next() {
    let (backend, secret, _life) = secret("first").await;
    let api = Api::taking("second");
    let service = InjectLayer::new(secret.clone(), example()).layer(api.clone());
    backend.set("second");
    let request = Request::post("https://api.example.com/orders").header("x-mine", "1").body(String::from("body"));
    assert_eq!(status(service.clone(), request.expect("a request")).await.expect("sent"), 200);
    assert_eq!((api.count(), backend.reads(), secret.generation()), (2, 2, 2));
    let came = api.came.lock().expect("a lock").pop().expect("the second");
    assert_eq!(
        (came.method().as_str(), came.uri().path(), &came.headers()["x-mine"]),
        ("POST", "/orders", &"1".parse().expect("a value"))
    );

    // A second 401 is the answer.
    api.take("fourth");
    backend.set("third");
    assert_eq!(status(service.clone(), get("https://api.example.com/")).await.expect("sent"), 401);
    assert_eq!(api.count(), 1 + 2);

    // Nothing newer: the 401 is the answer, and soon nobody is asked any more.
    for _ in 0..20 {
        assert_eq!(status(service.clone(), get("https://api.example.com/")).await.expect("sent"), 401);
    }
    assert_eq!(api.count(), 1 + 2 + 20);
    assert!(backend.reads() < 15, "{} reads", backend.reads());
}

#[tokio::test(start_paused = true)]
async fn a_second_401_rejects_the_pending_value_too_so_that_the_current_one_is_back() {
    let backend = Scripted::holding("current");
    backend.set(Stage::Pending, "pending");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("key");
    secret.ready().await.expect("it is there");
    // A server that takes neither, as one can that an outsider makes to say so.
    let api = Api::taking("nothing");
    let service = InjectLayer::new(secret.clone(), example()).layer(api.clone());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(status(service.clone(), get("https://api.example.com/")).await.expect("sent"), 401);
    assert_eq!(api.last(&HeaderName::from_static("authorization")), ["Bearer pending"]);
    tokio::time::timeout(Duration::from_secs(2), secret.changed(2)).await.expect("nobody rejects once more");
    assert_eq!(secret.load().expect("it is there").expose_secret(), "current");
}

#[tokio::test(start_paused = true)]
async fn other_refusals_and_other_hosts_reject_nothing() {
    let (backend, secret, _life) = secret("first").await;
    let api = Api::answering(StatusCode::FORBIDDEN);
    let service = InjectLayer::new(secret.clone(), example()).layer(api.clone());
    assert_eq!(status(service, get("https://api.example.com/")).await.expect("sent"), 403);
    let api = Api::taking("nothing");
    let service = InjectLayer::new(secret, example()).layer(api.clone());
    assert_eq!(status(service, get("https://evil.com/")).await.expect("sent"), 401);
    assert_eq!((api.count(), backend.reads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn once_a_body_that_cannot_be_sent_twice_is_sent_once_and_the_value_rejected() {
    struct Stream;

    let (backend, secret, _life) = secret("first").await;
    let api = Api::taking("second");
    let service = InjectLayer::new(secret.clone(), example()).once().layer(api.clone());
    backend.set("second");
    let request = || Request::post("https://api.example.com/").body(Stream).expect("a request");
    assert_eq!(status(service.clone(), request()).await.expect("sent"), 401);
    assert_eq!(status(service, request()).await.expect("sent"), 200);
    assert_eq!((api.count(), backend.reads()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn fifty_requests_that_are_refused_make_one_read() {
    let (backend, secret, _life) = secret("first").await;
    let api = Api::taking("second");
    let service = InjectLayer::new(secret, example()).layer(api.clone());
    backend.set("second");
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        tasks.spawn(status(service.clone(), get("https://api.example.com/")));
    }
    for answer in tasks.join_all().await {
        assert_eq!(answer.expect("sent"), 200);
    }
    assert_eq!(backend.reads(), 2);
    assert!(api.count() <= 100);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_in_the_middle_leaves_the_others_alone() {
    let (backend, secret, _life) = secret("first").await;
    let api = Api::taking("second");
    let service = InjectLayer::new(secret.clone(), example()).layer(api.clone());
    backend.set("second");
    for millis in [0, 1, 500, 999, 1000] {
        let call = status(service.clone(), get("https://api.example.com/"));
        let _given_up = tokio::time::timeout(Duration::from_millis(millis), call).await;
    }
    assert_eq!(status(service, get("https://api.example.com/")).await.expect("sent"), 200);
    assert!(backend.reads() <= 3, "{} reads", backend.reads());
}

/// Fails a call that it was not polled ready for.
struct Careful {
    is_ready: bool,
    api: Api,
}

impl Clone for Careful {
    fn clone(&self) -> Self {
        Self { is_ready: false, api: self.api.clone() }
    }
}

impl Service<Request<()>> for Careful {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without having been ready");
        self.api.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_that_is_called_is_the_one_that_is_ready() {
    let (backend, secret, _life) = secret("first").await;
    let careful = Careful { is_ready: false, api: Api::taking("second") };
    let mut service = InjectLayer::new(secret, example()).layer(careful);
    backend.set("second");
    for uri in ["https://api.example.com/", "https://evil.com/", "https://api.example.com/"] {
        service.ready().await.expect("ready").call(get(uri)).await.expect("sent");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_printed_holds_the_secret() {
    let (_backend, secret, _life) = secret("hunter2").await;
    let layer = InjectLayer::new(secret, example()).format(Format::basic("user").expect("a name"));
    let service = layer.layer(tower::service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(())))));
    service.clone().oneshot(get("https://api.example.com/")).await.expect("sent");
    let named: Inject<(), String> = layer.layer(());
    let printed = format!("{layer:?} {named:#?}");
    assert!(printed.contains("token") && printed.contains("api.example.com"), "{printed}");
    assert!(!printed.contains("hunter2") && !printed.contains("dXNlcjpodW50ZXIy"), "{printed}");
}

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
