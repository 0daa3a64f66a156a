//! Which series of the duration there are, and how many.

use std::convert::Infallible;
use std::net::SocketAddr;

use halfbyte_core::{Caller, PeerAddress, Principal, TenantId};
use halfbyte_observe::{Instrumentation, Route, ServerLayer, TraceTrust};
use http::{Method, Request, Response, Version};
use http_body_util::BodyExt as _;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use crate::kit::{Body, Kit, attribute, finish, get, ok};

fn routed(n: usize) -> Request<Body> {
    let mut request = get("/labels/1");
    request.extensions_mut().insert(Route::new(format!("/labels/{n}/{{id}}")));
    request
}

#[tokio::test]
async fn more_routes_than_there_is_room_for_share_one_series_and_lose_nothing() {
    let kit = Kit::new();
    let layer = kit.layer();
    for n in 0..2_100 {
        finish(layer.layer(service_fn(ok)).oneshot(routed(n)).await.unwrap()).await;
    }
    let series = kit.durations();
    assert_eq!(series.len(), 2_001);
    let overflow = series.iter().find(|series| series.attributes.contains_key("otel.metric.overflow")).unwrap();
    assert_eq!(overflow.attributes["otel.metric.overflow"], "true");
    assert_eq!((overflow.attributes.len(), overflow.count), (1, 100));
    assert_eq!(series.iter().map(|series| series.count).sum::<u64>(), 2_100);
    let last = kit.spans().pop().unwrap();
    assert_eq!(last.name, "GET /labels/2099/{id}", "spans are not counted");
    assert_eq!(attribute(&last, "http.route").as_deref(), Some("/labels/2099/{id}"));
}

#[tokio::test]
async fn each_answer_to_a_route_is_a_series_and_paths_are_not() {
    let kit = Kit::new();
    let layer = kit.layer();
    for (path, status) in [("/a", 200), ("/b", 200), ("/c", 404), ("/d", 500), ("/e", 503), ("/f", 200)] {
        let service =
            service_fn(move |_: Request<Body>| async move { Response::builder().status(status).body(Body::default()) });
        finish(layer.layer(service).oneshot(get(path)).await.unwrap()).await;
    }
    let mut series: Vec<_> = kit
        .durations()
        .iter()
        .map(|one| {
            (one.attributes["http.response.status_code"].clone(), one.attributes.get("error.type").cloned(), one.count)
        })
        .collect();
    series.sort();
    let text = |text: &str| text.to_owned();
    assert_eq!(
        series,
        [
            (text("200"), None, 3),
            (text("404"), None, 1),
            (text("500"), Some(text("500")), 1),
            (text("503"), Some(text("503")), 1)
        ]
    );
}

#[tokio::test]
async fn schemes_versions_methods_and_endings_are_series_of_their_own() {
    let kit = Kit::new();
    let layer = kit.layer();
    let ask = |method: Method, uri: &str, version: Version| {
        Request::builder().method(method).uri(uri).version(version).body(Body::default()).unwrap()
    };
    for request in [
        ask(Method::GET, "http://shop/", Version::HTTP_11),
        ask(Method::GET, "https://shop/", Version::HTTP_11),
        ask(Method::GET, "http://shop/", Version::HTTP_2),
        ask(Method::PUT, "http://shop/", Version::HTTP_11),
    ] {
        finish(layer.layer(service_fn(ok)).oneshot(request).await.unwrap()).await;
    }
    // Neither of these has a status.
    let failing = service_fn(async |_: Request<Body>| Err::<Response<Body>, _>("no service today"));
    assert!(layer.layer(failing).oneshot(get("/")).await.is_err());
    drop(layer.layer(service_fn(ok)).call(get("/")));
    let series = kit.durations();
    assert!(series.iter().all(|series| series.count == 1), "{series:?}");
    assert_eq!(series.len(), 6);
}

async fn of_tenant(layer: &ServerLayer, tenant: Option<String>) {
    let service = service_fn(move |_: Request<Body>| {
        if let Some(tenant) = &tenant {
            let expires = "2030-01-01T00:00:00Z".parse().unwrap();
            Caller::tell(&Principal::builder("ada", TenantId::new(tenant).unwrap(), expires).build());
        }
        async { Ok::<_, Infallible>(Response::new(Body::default())) }
    });
    finish(layer.layer(service).oneshot(get("/")).await.unwrap()).await;
}

#[tokio::test]
async fn a_product_of_few_tenants_tells_durations_apart_by_them_up_to_its_cap() {
    let kit = Kit::new();
    let layer = kit.layer().tenants(2);
    of_tenant(&layer, None).await;
    for n in 0..10 {
        of_tenant(&layer, Some(format!("tenant-{n}"))).await;
    }
    let mut series: Vec<_> = kit
        .durations()
        .iter()
        .map(|series| (series.attributes.get("halfbyte.tenant").cloned(), series.count))
        .collect();
    series.sort();
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(series, [(None, 1), (named("_OTHER"), 8), (named("tenant-0"), 1), (named("tenant-1"), 1)]);
}

#[tokio::test]
async fn metrics_alone_depend_on_who_is_at_the_other_end_only_as_far_as_he_is_believed() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let near = "10.0.0.0/8".parse().unwrap();
    for (peer, scheme, trace) in [([10, 0, 0, 1], "https", true), ([192, 0, 2, 1], "http", false)] {
        let kit = Kit::new();
        let layer = ServerLayer::with(&Instrumentation::metrics_only(&kit.metrics));
        let layer = layer.trusted_proxies([near]).trace_from(TraceTrust::networks([near]));
        let current = service_fn(async |_: Request<Body>| {
            let has_parent = Context::current().span().span_context().is_valid();
            Ok::<_, Infallible>(Response::new(Body::from(has_parent.to_string())))
        });
        let mut request = get("/");
        request.headers_mut().insert("traceparent", parent.parse().unwrap());
        request.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
        request.extensions_mut().insert(PeerAddress(SocketAddr::from((peer, 4711))));
        let response = layer.layer(current).oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((body, &*kit.durations()[0].attributes["url.scheme"]), (trace.to_string().into(), scheme));
    }
}

#[tokio::test]
async fn metrics_alone_make_no_spans() {
    let kit = Kit::new();
    let layer = ServerLayer::with(&Instrumentation::metrics_only(&kit.metrics));
    finish(layer.layer(service_fn(ok)).oneshot(get("/")).await.unwrap()).await;
    assert!(kit.spans().is_empty());
    assert_eq!(kit.durations()[0].count, 1);
    assert_eq!(kit.active().into_values().collect::<Vec<_>>(), [0]);
}
