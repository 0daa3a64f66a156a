//! What a 401 does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use halfbyte_secrets::inject::InjectLayer;
use halfbyte_secrets::{Ask, Error, ExposeSecret as _, Provider, Reading, Secrets, Stage};
use http::{HeaderName, Request};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::Layer as _;

use super::api::{Api, example, get, secret, status};
use crate::backend::Backend;
use crate::lifecycle;
use crate::scripted::Scripted;

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
    sleep(Duration::from_secs(5)).await;
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

/// Answers late to all but the first.
#[derive(Clone, Default)]
struct Slow(Backend, Arc<AtomicUsize>);

impl Provider for Slow {
    const NAME: &'static str = "slow";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        if self.1.fetch_add(1, Ordering::SeqCst) > 0 {
            sleep(Duration::from_secs(5)).await;
        }
        self.0.read(ask).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_held_for_two_seconds_at_most_and_the_rejection_goes_on() {
    let slow = Slow(Backend::holding("first"), Arc::default());
    let secret = Secrets::new(slow.clone(), &lifecycle()).get::<String>("token");
    secret.ready().await.expect("loaded");
    let api = Api::taking("second");
    slow.0.set("second");
    let layer = InjectLayer::new(secret.clone(), example());
    let began = Instant::now();
    assert_eq!(status(layer.layer(api.clone()), get("https://api.example.com/")).await.expect("sent"), 401);
    assert_eq!((began.elapsed().as_secs(), api.count()), (2, 1));

    // Who is sent once is answered as soon.
    let began = Instant::now();
    assert_eq!(status(layer.once().layer(api.clone()), get("https://api.example.com/")).await.expect("sent"), 401);
    assert_eq!((began.elapsed().as_secs(), secret.generation()), (2, 1));

    secret.changed(1).await;
    let service = InjectLayer::new(secret.clone(), example()).layer(api.clone());
    assert_eq!(status(service, get("https://api.example.com/")).await.expect("sent"), 200);
    assert_eq!((api.count(), slow.0.reads(), secret.generation()), (3, 2, 2));
}
