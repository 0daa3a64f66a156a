//! Secrets in outbound calls: where they go, and where they never go.

mod api;
mod refusals;
mod wire;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::StatusCode;
use halfbyte_secrets::inject::{Format, Hosts, Inject, InjectLayer};
use halfbyte_secrets::{Error, ErrorKind, Secrets};
use http::{Request, Response};
use tower::{Layer as _, Service, ServiceExt as _};

use self::api::{Api, KEY, example, get, rotated, secret, status, with};
use super::backend::Backend;
use super::{chain, lifecycle};

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
