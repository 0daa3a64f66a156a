//! What a handler is told, and what it may say.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use halfbyte_billing::{Basis, Decision, Entitled, FeatureName};
use http::{Extensions, Request, Response};
use http_body_util::Full;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Desk, Folder, keyed, request, tenant};

struct Labels;

impl FeatureName for Labels {
    const NAME: &'static str = "labels";
}

struct Rush;

impl FeatureName for Rush {
    const NAME: &'static str = "rush";
}

struct Tracking;

impl FeatureName for Tracking {
    const NAME: &'static str = "tracking";
}

type Answer = Result<Response<Full<Bytes>>, Infallible>;

fn good() -> Answer {
    Ok(Response::new(Full::default()))
}

/// Calls a handler through the layers of labels, three units at a time.
async fn call<T: Send + 'static>(
    desk: &Desk,
    request: Request<()>,
    handle: impl Fn(&Extensions) -> T + Send + Sync + 'static,
) -> Option<T> {
    let told = Arc::new(Mutex::new(None));
    let (tell, handle) = (told.clone(), Arc::new(handle));
    let handler = service_fn(move |request: Request<()>| {
        *tell.lock().expect("not poisoned") = Some(handle(request.extensions()));
        std::future::ready(good())
    });
    let entitle = desk.billing.entitle("labels").expect("there").units(|_| 3);
    entitle.layer(desk.billing.meter().layer(handler)).oneshot(request).await.expect("infallible");
    told.lock().expect("not poisoned").take()
}

fn labels(extensions: &Extensions) -> Entitled<Labels> {
    Entitled::of(extensions).expect("it went through the layer")
}

#[tokio::test]
async fn a_handler_is_told_what_is_reserved_and_what_is_left() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let entitled = call(&desk, request("acme"), labels).await.expect("called");
    assert_eq!((entitled.reserved(), entitled.remaining(), entitled.basis()), (3, Some(497), Basis::Live));
    assert!(!entitled.is_repetition());
    let text = format!("{entitled:?}");
    assert!(text.contains("labels") && text.contains("497"), "{text}");
    let allow = desk.billing.check(&tenant("acme"), "labels");
    assert!(matches!(allow, Decision::Allow { remaining: Some(497), basis: Basis::Live, .. }), "{allow:?}");
}

#[tokio::test]
async fn a_handler_is_told_of_a_repetition_that_nothing_is_reserved_for() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    let first = call(&desk, keyed("acme", "one"), labels).await.expect("called");
    assert_eq!((first.is_repetition(), first.reserved()), (false, 3));
    let again = call(&desk, keyed("acme", "one"), labels).await.expect("called");
    assert_eq!((again.is_repetition(), again.reserved(), again.remaining()), (true, 0, Some(0)));
    assert!(!again.settle_units(5), "it has been paid for");
    assert!(call(&desk, keyed("acme", "two"), labels).await.is_none(), "it is refused");
    assert_eq!(desk.used("acme").await, 3);
}

#[tokio::test]
async fn the_last_word_of_a_handler_is_what_counts() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let mut used = 0;
    for (said, units) in [(&[][..], 3), (&[1_u64][..], 1), (&[7, 5], 5), (&[0], 0)] {
        let say = move |extensions: &Extensions| said.iter().all(|units| labels(extensions).settle_units(*units));
        assert_eq!(call(&desk, request("acme"), say).await, Some(true));
        used += units;
        assert_eq!(desk.used("acme").await, used, "{said:?}");
    }
    let late = call(&desk, request("acme"), labels).await.expect("called");
    assert!(!late.settle_units(1));
    assert_eq!(desk.used("acme").await, used + 3);
}

#[tokio::test]
async fn the_word_of_a_handler_goes_before_what_the_meter_would_count() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let handler = service_fn(async |request: Request<()>| {
        assert!(labels(request.extensions()).settle_units(5));
        good()
    });
    let meter = desk.billing.meter().units_of_response(|_| Some(9));
    let app = desk.billing.entitle("labels").expect("there").layer(meter.layer(handler));
    assert_eq!(app.oneshot(request("acme")).await.expect("infallible").status(), 200);
    assert_eq!(desk.used("acme").await, 5);
}

#[tokio::test]
async fn a_boolean_feature_has_nothing_to_settle() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let handler = service_fn(async |request: Request<()>| {
        let entitled = Entitled::<Tracking>::of(request.extensions()).expect("it went through the layer");
        assert_eq!((entitled.reserved(), entitled.remaining(), entitled.is_repetition()), (0, None, false));
        assert!(!entitled.settle_units(1));
        assert!(Entitled::<Labels>::of(request.extensions()).is_none());
        good()
    });
    let app = desk.billing.entitle("tracking").expect("there").layer(desk.billing.meter().layer(handler));
    assert_eq!(app.oneshot(request("acme")).await.expect("infallible").status(), 200);
    assert_eq!(desk.used("acme").await, 0);
}

#[tokio::test]
async fn two_features_around_one_handler_are_each_told_of_and_settled() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "endless").await;
    let handler = service_fn(async |request: Request<()>| {
        let rush = Entitled::<Rush>::of(request.extensions()).expect("it went through the layer");
        assert_eq!((labels(request.extensions()).reserved(), rush.reserved()), (10, 1));
        assert!(rush.settle_units(4));
        good()
    });
    let (outer, inner) =
        (desk.billing.entitle("labels").expect("there").units(|_| 10), desk.billing.entitle("rush").expect("there"));
    let meter = desk.billing.meter();
    let pairs = outer.layer(meter.layer(inner.layer(meter.layer(handler))));
    assert_eq!(pairs.oneshot(request("acme")).await.expect("infallible").status(), 200);
    assert_eq!((desk.used("acme").await, desk.used_of("acme", "rush").await), (10, 4));
    let nested = outer.layer(inner.layer(meter.layer(meter.layer(handler))));
    assert_eq!(nested.oneshot(request("acme")).await.expect("infallible").status(), 200);
    assert_eq!((desk.used("acme").await, desk.used_of("acme", "rush").await), (20, 8));
}

#[tokio::test]
async fn clones_of_a_request_are_settled_once() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let inner = desk.billing.meter().layer(service_fn(async |_: Request<()>| good()));
    // As a layer does that tries again.
    let handler = service_fn(move |request: Request<()>| {
        let inner = inner.clone();
        async move {
            for _ in 0..3 {
                inner.clone().oneshot(request.clone()).await.expect("infallible");
            }
            good()
        }
    });
    let app = desk.billing.entitle("labels").expect("there").layer(handler);
    assert_eq!(app.oneshot(request("acme")).await.expect("infallible").status(), 200);
    assert_eq!(desk.used("acme").await, 1);
}

#[tokio::test]
async fn units_of_a_cancelled_request_are_free_again_also_while_its_extensions_are_kept() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    let handler = service_fn(move |request: Request<()>| {
        keep.lock().expect("not poisoned").push(labels(request.extensions()));
        std::future::pending::<Answer>()
    });
    let app = desk.billing.entitle("labels").expect("there").layer(desk.billing.meter().layer(handler));
    for round in 1..=5 {
        let mut call = Box::pin(app.clone().oneshot(request("acme")));
        while kept.lock().expect("not poisoned").len() < round {
            _ = tokio::time::timeout(Duration::from_millis(1), &mut call).await;
        }
    }
    assert!(kept.lock().expect("not poisoned").iter().all(|entitled| !entitled.settle_units(1)));
    for _ in 0..3 {
        assert_eq!(desk.status("labels", request("acme")).await, 200);
    }
    assert_eq!(desk.used("acme").await, 3);
}

#[tokio::test]
async fn a_handler_that_panics_is_not_billed_and_its_units_are_free_again() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    let handler = service_fn(async |request: Request<()>| -> Answer {
        assert!(request.headers().contains_key("fine"), "the test says so");
        good()
    });
    let app = desk.billing.entitle("labels").expect("there").layer(desk.billing.meter().layer(handler));
    for _ in 0..5 {
        let call = desk.life.spawn("request", app.clone().oneshot(request("acme")));
        call.await.expect_err("it panicked");
    }
    assert_eq!(desk.used("acme").await, 0);
    for _ in 0..3 {
        assert_eq!(desk.status("labels", request("acme")).await, 200);
    }
}

#[tokio::test]
async fn a_decision_says_how_long_the_store_has_not_been_heard_of() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert!(desk.life.stop_tasks(Duration::from_secs(5)).await);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(7)).await;
    let decision = desk.billing.check(&tenant("acme"), "tracking");
    assert!(
        matches!(decision, Decision::Allow { basis: Basis::Stale(age), remaining: None, .. } if age.as_secs() >= 7),
        "{decision:?}"
    );
}

#[cfg(feature = "axum")]
mod with_axum {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use halfbyte_core::problem::Kind;

    use super::*;

    async fn make(entitled: Entitled<Labels>) -> String {
        assert!(entitled.settle_units(2));
        format!("{} reserved", entitled.reserved())
    }

    fn incoming() -> Request<Body> {
        request("acme").map(|()| Body::empty())
    }

    #[tokio::test]
    async fn a_handler_takes_it_as_an_argument() {
        let folder = Folder::new();
        let desk = Desk::with_plan(&folder.home(), "pro").await;
        let router: Router = Router::new()
            .route("/", get(make))
            .layer(desk.billing.meter())
            .layer(desk.billing.entitle("labels").expect("there").units(|_| 5));
        let response = router.oneshot(incoming()).await.expect("infallible");
        assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.expect("read"), "5 reserved");
        assert_eq!(desk.used("acme").await, 2);
    }

    #[tokio::test]
    async fn a_handler_without_the_layer_is_the_products_fault_and_500() {
        let folder = Folder::new();
        let desk = Desk::with_plan(&folder.home(), "pro").await;
        let router: Router = Router::new()
            .route("/", get(make))
            .layer(desk.billing.meter())
            .layer(desk.billing.entitle("tracking").expect("there"));
        let response = router.oneshot(incoming()).await.expect("infallible");
        assert_eq!((response.status().as_u16(), response.extensions().get()), (500, Some(&Kind::Internal)));
    }
}
