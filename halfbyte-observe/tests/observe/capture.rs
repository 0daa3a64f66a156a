//! What a test captures is its own, and the same that a collector would get.

use std::convert::Infallible;

use halfbyte_observe::ServerLayer;
use halfbyte_observe::testing::{Capture, capture};
use http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use tower::{ServiceBuilder, ServiceExt as _};
use tracing::instrument::WithSubscriber as _;

use crate::kit::{Body, finish, get};

fn layer(capture: &Capture) -> ServerLayer {
    ServerLayer::with(&capture.instrumentation())
}

async fn handle(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let span = tracing::info_span!("print", copies = 2);
    span.in_scope(|| tracing::info!(label = request.uri().path(), "made a label"));
    tokio::task::yield_now().await;
    Ok(Response::new(Body::from("done")))
}

async fn one_request(capture: &Capture, path: &str) {
    let service = ServiceBuilder::new().layer(layer(capture)).service_fn(handle);
    finish(service.oneshot(get(path)).await.unwrap()).await;
}

fn assert_one_request(capture: &Capture, path: &str) {
    let (server, print) = (capture.spans().find(|span| span.kind == "server"), capture.spans().named("print"));
    assert!(print.is_child_of(&server) && server.parent_span_id.is_none());
    assert_eq!(server.attributes["url.path"], path);
    assert_eq!(server.attributes["http.response.status_code"], 200);
    assert_eq!(server.scope.name, "halfbyte-observe");
    assert_eq!(print.attributes["copies"], 2);
    let made = capture.logs().named("made a label");
    assert_eq!((made.trace_id, made.span_id), (Some(server.trace_id.clone()), Some(print.span_id)));
    assert_eq!(made.attributes["label"], path);
    let access = capture.logs().find(|log| log.target == "halfbyte::access");
    assert_eq!(access.span_id, Some(server.span_id));
    let duration = capture.metrics().named("http.server.request.duration");
    assert_eq!((duration.kind, duration.unit.as_str(), duration.count()), ("histogram", "s", 1));
    assert_eq!(duration.points[0].attributes["http.response.status_code"], 200);
    assert_eq!(duration.points[0].bounds.len() + 1, duration.points[0].buckets.len());
}

#[tokio::test]
async fn a_request_is_captured_in_all_three_signals() {
    let capture = capture();
    let _entered = capture.enter();
    one_request(&capture, "/a").await;
    assert_one_request(&capture, "/a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tests_at_the_same_time_see_nothing_of_each_other() {
    let mut tests = tokio::task::JoinSet::new();
    for n in 0..8 {
        tests.spawn(async move {
            let (capture, path) = (capture(), format!("/{n}"));
            one_request(&capture, &path).with_subscriber(capture.subscriber()).await;
            assert_one_request(&capture, &path);
            assert_eq!((capture.spans().len(), capture.logs().len(), capture.metrics().len()), (2, 2, 2));
        });
    }
    tests.join_all().await;
}

#[test]
fn what_happens_outside_is_not_captured() {
    let capture = capture();
    drop(capture.enter());
    tracing::error!("nobody hears this");
    assert!(capture.logs().is_empty() && capture.spans().is_empty() && capture.metrics().is_empty());
}

#[test]
fn instruments_of_the_product_are_captured_as_they_stand() {
    let capture = capture();
    let meter = capture.meter_provider().meter("labels");
    let (printed, load) = (meter.u64_counter("printed").build(), meter.f64_gauge("load").build());
    for (times, kind) in [(3, "small"), (1, "large"), (2, "small")] {
        printed.add(times, &[KeyValue::new("kind", kind)]);
    }
    load.record(0.5, &[]);
    let sum = capture.metrics().named("printed");
    assert_eq!((sum.kind, sum.temporality, sum.is_monotonic, sum.total()), ("sum", "cumulative", true, 6.0));
    assert!(sum.point(&[("kind", "small")]).unwrap().value.as_ref().unwrap() == &5);
    assert_eq!(capture.metrics().named("load").points[0].value, Some(0.5.into()));
    printed.add(1, &[KeyValue::new("kind", "large")]);
    assert_eq!(capture.metrics().named("printed").total(), 7.0);
}

#[test]
fn what_was_captured_can_be_forgotten() {
    let capture = capture();
    let _entered = capture.enter();
    tracing::info_span!("first").in_scope(|| tracing::info!("one"));
    capture.clear();
    tracing::info_span!("second").in_scope(|| tracing::info!("two"));
    assert_eq!((capture.spans().only().name, capture.logs().only().body), ("second".into(), "two".into()));
}
