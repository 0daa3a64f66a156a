//! The layer that puts a token on outgoing requests.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request as Served;
use halfbyte_core::BoxError;
use halfbyte_core::client::Client;
use halfbyte_identity::TokenSource;
use halfbyte_identity::outbound::{CallError, TokenLayer};
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use tokio::task::JoinSet;
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::follow_redirect::policy::Limited;

use super::scripted::{Scripted, bearer};
use crate::support::{Heard, Server};

/// A server of another product: it remembers the `Authorization` of each call and answers as it is told.
struct Other {
    host: String,
    seen: Arc<Mutex<Vec<Option<String>>>>,
    _server: Server,
}

impl Other {
    async fn start(answer: impl Fn(Option<&str>) -> (StatusCode, String) + Clone + Send + Sync + 'static) -> Self {
        let listener = Server::listener().await;
        let host = listener.local_addr().expect("an address").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let memory = seen.clone();
        let handler = move |request: Served| {
            let header = request.headers().get(AUTHORIZATION).map(|value| value.to_str().expect("text").to_owned());
            let (status, to) = answer(header.as_deref());
            memory.lock().expect("not poisoned").push(header);
            async move { (status, [("location", to)], "") }
        };
        Self { host, seen, _server: Server::start(listener, Router::new().fallback(handler)) }
    }

    async fn welcoming() -> Self {
        Self::start(|_| (StatusCode::OK, String::new())).await
    }

    /// One that does not take the first token of [`bearer`].
    async fn distrusting() -> Self {
        Self::start(|header| match header {
            Some("Bearer t-0") | None => (StatusCode::UNAUTHORIZED, String::new()),
            Some(_) => (StatusCode::OK, String::new()),
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/labels", self.host)
    }

    fn seen(&self) -> Vec<Option<String>> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

fn sent(tokens: &[&str]) -> Vec<Option<String>> {
    tokens.iter().map(|token| Some(format!("Bearer {token}"))).collect()
}

fn to(url: &str) -> Request<String> {
    Request::post(url).body("what is sent".to_owned()).expect("a request")
}

/// A service that sends over real HTTP, and follows no redirect.
fn http() -> impl Service<
    Request<String>,
    Response = Response<String>,
    Error = BoxError,
    Future = impl Future<Output = Result<Response<String>, BoxError>> + Send + use<>,
> + Clone
+ Send {
    let client = Client::new().expect("a client");
    service_fn(move |request: Request<String>| over_http(client.clone(), request))
}

async fn over_http(client: Client, request: Request<String>) -> Result<Response<String>, BoxError> {
    let mut call = client.request(request.method().clone(), request.uri().to_string().parse()?).json(request.body());
    if let Some(header) = request.headers().get(AUTHORIZATION) {
        call = call.sensitive(AUTHORIZATION, header.to_str()?);
    }
    let answer = call.send().await?;
    let mut response = Response::new(String::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    Ok(response)
}

/// A source whose token was had a second ago, so that it may be renewed.
async fn warm(issuer: &Scripted) -> TokenSource {
    let tokens = issuer.client().tokens("clinic", &[]);
    tokens.token().await.expect("granted");
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    tokens
}

#[tokio::test]
async fn the_token_goes_to_the_hosts_named_and_other_requests_leave_without_any() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let (clinic, stranger) = (Other::welcoming().await, Other::welcoming().await);
    let tokens = issuer.client().tokens("clinic", &[]);
    let layer = TokenLayer::new(tokens, [&clinic.host]).expect("hosts");
    let service = layer.layer(http());
    for host in [&stranger, &clinic] {
        let mut request = to(&host.url());
        request.headers_mut().insert(AUTHORIZATION, "Basic bWluZTptaW5l".parse().expect("a value"));
        let response = service.clone().oneshot(request).await.expect("called");
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!((stranger.seen(), clinic.seen()), (vec![None], sent(&["t-0"])));
    assert_eq!(issuer.calls(), 1);
}

#[tokio::test]
async fn a_redirect_to_another_host_drops_the_token_and_one_back_has_it_again() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let clinic = Other::welcoming().await;
    let there = clinic.url();
    let stranger = Other::start(move |_| (StatusCode::TEMPORARY_REDIRECT, there.clone())).await;
    let there = stranger.url();
    let first = Other::start(move |_| (StatusCode::TEMPORARY_REDIRECT, there.clone())).await;
    let tokens = issuer.client().tokens("clinic", &[]);
    let layer = TokenLayer::new(tokens, [&first.host, &clinic.host]).expect("hosts");
    // A policy that carries every header along, wherever it leads.
    let service =
        ServiceBuilder::new().layer(FollowRedirectLayer::with_policy(Limited::new(5))).layer(layer).service(http());
    let mut request = Request::get(first.url()).body(String::new()).expect("a request");
    request.headers_mut().insert(AUTHORIZATION, "Bearer carried-along".parse().expect("a value"));
    let response = service.oneshot(request).await.expect("called");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!((first.seen(), stranger.seen(), clinic.seen()), (sent(&["t-0"]), vec![None], sent(&["t-0"])));
}

#[tokio::test]
async fn a_401_is_retried_once_with_a_fresh_token_and_the_same_body() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let clinic = Other::distrusting().await;
    let tokens = warm(&issuer).await;
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let memory = bodies.clone();
    let client = Client::new().expect("a client");
    let inner = service_fn(move |request: Request<String>| {
        memory.lock().expect("not poisoned").push((request.method().clone(), request.body().clone()));
        over_http(client.clone(), request)
    });
    let layer = TokenLayer::new(tokens, [&clinic.host]).expect("hosts").retrying();
    let response = layer.layer(inner).oneshot(to(&clinic.url())).await.expect("called");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(clinic.seen(), sent(&["t-0", "t-1"]));
    let bodies = bodies.lock().expect("not poisoned").clone();
    assert_eq!((bodies.len(), &bodies[0]), (2, &bodies[1]));
    assert_eq!(issuer.calls(), 2);
}

#[tokio::test]
async fn a_401_to_the_fresh_token_as_well_is_the_answer() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let clinic = Other::start(|_| (StatusCode::UNAUTHORIZED, String::new())).await;
    let tokens = warm(&issuer).await;
    let layer = TokenLayer::new(tokens, [&clinic.host]).expect("hosts").retrying();
    let service = layer.layer(http());
    let response = service.clone().oneshot(to(&clinic.url())).await.expect("called");
    assert_eq!((response.status(), clinic.seen()), (StatusCode::UNAUTHORIZED, sent(&["t-0", "t-1"])));
    // The token is one of just now: the issuer is left in peace, and nothing is sent twice.
    service.oneshot(to(&clinic.url())).await.expect("called");
    assert_eq!((clinic.seen(), issuer.calls()), (sent(&["t-0", "t-1", "t-1"]), 2));
}

#[tokio::test]
async fn many_who_meet_a_401_at_once_renew_the_token_once() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let clinic = Other::distrusting().await;
    let tokens = warm(&issuer).await;
    let layer = TokenLayer::new(tokens, [&clinic.host]).expect("hosts").retrying();
    let service = layer.layer(http());
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        calls.spawn(service.clone().oneshot(to(&clinic.url())));
    }
    for outcome in calls.join_all().await {
        assert_eq!(outcome.expect("called").status(), StatusCode::OK);
    }
    assert_eq!(issuer.calls(), 2);
    let old = clinic.seen().iter().filter(|seen| seen.as_deref() == Some("Bearer t-0")).count();
    assert_eq!(clinic.seen().len(), 50 + old);
}

#[tokio::test]
async fn what_cannot_be_sent_twice_is_not_and_its_token_is_renewed_for_the_next_one() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let clinic = Other::distrusting().await;
    let tokens = warm(&issuer).await;
    let layer = TokenLayer::new(tokens, [&clinic.host]).expect("hosts");
    for layer in [layer.clone(), layer.retrying_with(|_| None)] {
        let response = layer.layer(http()).oneshot(to(&clinic.url())).await.expect("called");
        assert_eq!(response.status(), if clinic.seen().len() == 1 { 401 } else { 200 });
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((clinic.seen(), issuer.calls()), (sent(&["t-0", "t-1"]), 2));
}

#[tokio::test]
async fn a_401_stays_one_when_no_fresh_token_is_to_be_had() {
    let issuer = Scripted::start(|serial, _| if serial == 0 { bearer(0) } else { (400, String::new()) }).await;
    let clinic = Other::distrusting().await;
    let tokens = warm(&issuer).await;
    let layer = TokenLayer::new(tokens, [&clinic.host]).expect("hosts").retrying();
    let response = layer.layer(http()).oneshot(to(&clinic.url())).await.expect("called");
    assert_eq!((response.status(), clinic.seen()), (StatusCode::UNAUTHORIZED, sent(&["t-0"])));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let issuer = Scripted::start(|_, _| (401, r#"{"error": "invalid_client"}"#.to_owned())).await;
    let clinic = Other::welcoming().await;
    let tokens = issuer.client().tokens("clinic", &[]);
    let layer = TokenLayer::new(tokens, [&clinic.host]).expect("hosts").retrying();
    let error = layer.layer(http()).oneshot(to(&clinic.url())).await.expect_err("no token");
    assert!(matches!(error, CallError::Token(_)), "{error:?}");
    assert!(halfbyte_core::error_chain(&error).contains("invalid_client"), "{}", halfbyte_core::error_chain(&error));
    assert_eq!(clinic.seen(), []);
}

#[tokio::test]
async fn the_header_is_sensitive_and_the_token_is_shown_by_nothing() {
    let heard = Heard::listen();
    let issuer = Scripted::start(|_, _| {
        (200, r#"{"access_token": "the-layers-token", "token_type": "Bearer", "expires_in": 60}"#.to_owned())
    })
    .await;
    let tokens = issuer.client().tokens("clinic", &[]);
    let layer = TokenLayer::new(tokens, ["clinic.example.com"]).expect("hosts");
    let service = layer.layer(service_fn(async |request: Request<String>| {
        let header = &request.headers()[AUTHORIZATION];
        assert!(header.is_sensitive() && header == "Bearer the-layers-token");
        Err::<Response<String>, BoxError>(format!("{request:?}").into())
    }));
    let shown = format!("{service:?}", service = layer.layer(()));
    let error = service.oneshot(to("https://clinic.example.com/")).await.expect_err("as told");
    for shown in [shown, format!("{error:?}"), halfbyte_core::error_chain(&error), heard.text()] {
        assert!(!shown.contains("the-layers-token"), "{shown}");
    }
}

/// A service with one place, that must be had before it is called.
struct OnePlace {
    ready: bool,
    misused: Arc<AtomicUsize>,
}

impl Clone for OnePlace {
    fn clone(&self) -> Self {
        Self { ready: false, misused: self.misused.clone() }
    }
}

impl Service<Request<String>> for OnePlace {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        if !std::mem::take(&mut self.ready) {
            self.misused.fetch_add(1, Ordering::SeqCst);
        }
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        std::future::ready(Ok(response))
    }
}

#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_that_is_called_each_time() {
    let issuer = Scripted::start(|serial, _| bearer(serial)).await;
    let tokens = warm(&issuer).await;
    let misused = Arc::new(AtomicUsize::new(0));
    let layer = TokenLayer::new(tokens, ["clinic.example.com"]).expect("hosts").retrying();
    let mut service = layer.layer(OnePlace { ready: false, misused: misused.clone() });
    for url in ["https://clinic.example.com/", "https://elsewhere.example.com/", "https://clinic.example.com/"] {
        service.ready().await.expect("ready").call(to(url)).await.expect("called");
    }
    assert_eq!((misused.load(Ordering::SeqCst), issuer.calls()), (0, 2));
}
