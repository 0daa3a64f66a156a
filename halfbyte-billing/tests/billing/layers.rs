use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use halfbyte_core::problem::Kind;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::support::{Desk, Folder, answering, keyed, request};

#[tokio::test]
async fn a_request_without_a_principal_is_refused_with_401() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let response = desk.call("tracking", Request::new(())).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.extensions().get(), Some(&Kind::Unauthenticated));
}

#[tokio::test]
async fn a_boolean_feature_is_for_those_who_have_it() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert_eq!(desk.status("tracking", request("acme")).await, 200);
    desk.subscribe("globex", "starter").await;
    for stranger in ["globex", "nobody"] {
        let response = desk.call("tracking", request(stranger)).await;
        assert_eq!(response.status(), 403);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        assert!(body.contains("urn:halfbyte:problem:not-entitled") && body.contains("tracking"), "{body}");
    }
}

#[tokio::test]
async fn an_exhausted_quota_is_429_with_when_it_resets() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    for _ in 0..3 {
        assert_eq!(desk.status("labels", request("acme")).await, 200);
    }
    let response = desk.call("labels", request("acme")).await;
    assert_eq!(response.status(), 429);
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    assert!(header("ratelimit-policy").starts_with("\"labels\";q=3;w="), "{}", header("ratelimit-policy"));
    assert!(header("ratelimit").starts_with("\"labels\";r=0;t="), "{}", header("ratelimit"));
    assert!(header("retry-after").parse::<u64>().expect("a number") > 0);
}

#[tokio::test]
async fn refused_and_failed_requests_are_not_billed() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    for status in [400, 404, 500, 503] {
        assert_eq!(desk.status("labels", answering(request("acme"), status)).await, status);
    }
    assert_eq!(desk.used("acme").await, 0);
    for expected in [200, 200, 200, 429, 429] {
        assert_eq!(desk.status("labels", request("acme")).await, expected);
    }
    assert_eq!(desk.used("acme").await, 3);
}

#[tokio::test]
async fn a_client_that_hangs_up_before_the_answer_is_not_billed_and_its_unit_is_free_again() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    let handler =
        service_fn(|_request: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let app = desk.billing.entitle("labels").expect("there").layer(desk.billing.meter().layer(handler));
    for _ in 0..10 {
        let mut call = Box::pin(app.clone().oneshot(request("acme")));
        // Far enough for the reservation to be made.
        _ = tokio::time::timeout(std::time::Duration::from_millis(30), &mut call).await;
    }
    assert_eq!(desk.used("acme").await, 0);
    for _ in 0..3 {
        assert_eq!(desk.status("labels", request("acme")).await, 200);
    }
}

#[tokio::test]
async fn work_whose_use_cannot_be_recorded_is_answered_with_503_and_not_given_away() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let life = desk.life.clone();
    let handler = service_fn(move |_: Request<()>| {
        let life = life.clone();
        async move {
            // While the handler works, the process stops.
            assert!(life.stop_tasks(std::time::Duration::from_secs(5)).await);
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }
    });
    let app = desk.billing.entitle("labels").expect("there").layer(desk.billing.meter().layer(handler));
    assert_eq!(app.oneshot(request("acme")).await.expect("infallible").status(), 503);
    assert_eq!(Desk::open(&folder.home()).await.used("acme").await, 0);
}

#[tokio::test]
async fn a_reservation_that_no_meter_settles_is_not_billed() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    let app = desk.billing.entitle("labels").expect("there").layer(handler);
    for _ in 0..5 {
        assert_eq!(app.clone().oneshot(request("acme")).await.expect("infallible").status(), 200);
    }
    assert_eq!(desk.used("acme").await, 0);
}

#[tokio::test]
async fn a_repeated_key_counts_once_and_is_let_in_when_the_quota_is_used_up() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    for key in ["one", "one", "one", "two", "two", "three"] {
        assert_eq!(desk.status("labels", keyed("acme", key)).await, 200, "{key}");
    }
    assert_eq!(desk.used("acme").await, 3);
    assert_eq!(desk.status("labels", keyed("acme", "four")).await, 429);
    assert_eq!(desk.status("labels", keyed("acme", "two")).await, 200, "it was paid for");
    assert_eq!(desk.used("acme").await, 3);
}

#[tokio::test]
async fn one_tenant_cannot_use_up_anothers_keys() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    desk.subscribe("globex", "starter").await;
    assert_eq!(desk.status("labels", keyed("acme", "one")).await, 200);
    assert_eq!(desk.status("labels", keyed("globex", "one")).await, 200);
    assert_eq!((desk.used("acme").await, desk.used("globex").await), (1, 1));
}

#[tokio::test]
async fn any_bytes_are_a_key() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let long = "k".repeat(9000);
    for key in ["", " ", "\u{e9}", &long] {
        for _ in 0..2 {
            let mut request = request("acme");
            let value = http::HeaderValue::from_bytes(key.as_bytes()).expect("a header");
            request.headers_mut().insert("idempotency-key", value);
            assert_eq!(desk.status("labels", request).await, 200);
        }
    }
    assert_eq!(desk.used("acme").await, 4);
}

#[tokio::test]
async fn a_key_that_is_used_for_another_feature_counts_for_that_too() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "endless").await;
    assert_eq!(desk.status("labels", keyed("acme", "one")).await, 200);
    assert_eq!(desk.used("acme").await, 1);
    assert_eq!(desk.status("rush", keyed("acme", "one")).await, 200);
    assert_eq!((desk.used("acme").await, desk.billing.stats().conflicts), (1, 0));
}

/// Refuses to be called unless it was polled ready, as `tower::Service` allows it to.
#[derive(Debug)]
struct Strict {
    ready: bool,
    calls: Arc<AtomicU32>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, calls: self.calls.clone() }
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Full<Bytes>>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(Response::new(Full::default())))
    }
}

#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_that_is_called() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let calls = Arc::new(AtomicU32::new(0));
    let strict = Strict { ready: false, calls: calls.clone() };
    let mut app = desk.billing.entitle("labels").expect("there").layer(desk.billing.meter().layer(strict));
    // The first request waits for a tranche, the others do not.
    for _ in 0..5 {
        poll_fn(|cx| app.poll_ready(cx)).await.expect("ready");
        assert_eq!(app.call(request("acme")).await.expect("infallible").status(), 200);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn the_layers_fit_a_router_of_axum() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let router: axum::Router = axum::Router::new()
        .route("/labels", axum::routing::post(async || "made"))
        .layer(desk.billing.meter())
        .layer(desk.billing.entitle("labels").expect("there"));
    let (parts, ()) = request("acme").into_parts();
    let mut posted = Request::from_parts(parts, axum::body::Body::empty());
    *posted.method_mut() = http::Method::POST;
    *posted.uri_mut() = "/labels".parse().expect("a path");
    assert_eq!(router.oneshot(posted).await.expect("infallible").status(), 200);
    assert_eq!(desk.used("acme").await, 1);
}
