//! Durations point at the span that they are of, and there are only so many of them.

use std::convert::Infallible;
use std::time::Duration;

use halfbyte_observe::ClientLayer;
use halfbyte_observe::testing::{Capture, Point, capture};
use http::{Request, Response};
use opentelemetry::Context;
use opentelemetry::trace::{
    FutureExt as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use tower::{ServiceBuilder, ServiceExt as _};

use super::{Body, Recorder, finish, get, ok};

async fn call(layer: &ClientLayer, request: Request<Body>) {
    let answer = async |_: Request<Body>| {
        Ok::<_, Infallible>(Response::builder().header("grpc-status", "0").body(Body::default()).unwrap())
    };
    finish(ServiceBuilder::new().layer(layer.clone()).service_fn(answer).oneshot(request).await.unwrap()).await;
}

fn rpc() -> Request<Body> {
    let request = Request::post("http://ledger.example.com/pkg.Echo/Say").header("content-type", "application/grpc");
    request.body(Body::default()).unwrap()
}

fn point(capture: &Capture, metric: &str, attributes: &[(&str, &str)]) -> Point {
    capture.metrics().named(metric).point(attributes).expect("a series of it").clone()
}

#[tokio::test]
async fn a_duration_of_either_protocol_points_at_the_span_of_the_call() {
    let capture = capture();
    let layer = ClientLayer::with_instrumentation(&capture.instrumentation());
    for (request, metric) in
        [(get("http://parcel.example.com/"), "http.client.request.duration"), (rpc(), "rpc.client.call.duration")]
    {
        capture.clear();
        call(&layer, request).await;
        let [span] = &capture.spans()[..] else { panic!("one span") };
        let point = point(&capture, metric, &[]);
        let [exemplar] = &point.exemplars[..] else { panic!("one exemplar of {metric}: {point:?}") };
        let of_span = (Some(&span.trace_id), Some(&span.span_id));
        assert_eq!((exemplar.trace_id.as_ref(), exemplar.span_id.as_ref()), of_span, "{metric}");
        assert!(exemplar.attributes.is_empty() && point.count == 1 && exemplar.value == point.sum.unwrap());
    }
}

#[tokio::test]
async fn it_was_measured_when_the_call_ended() {
    let capture = capture();
    let layer = ClientLayer::with_instrumentation(&capture.instrumentation());
    let slow = async |_: Request<Body>| {
        tokio::time::sleep(Duration::from_millis(60)).await;
        Ok::<_, Infallible>(ok())
    };
    let service = ServiceBuilder::new().layer(layer).service_fn(slow);
    finish(service.oneshot(get("http://parcel.example.com/")).await.unwrap()).await;
    let exemplar = &point(&capture, "http.client.request.duration", &[]).exemplars[0];
    let began = capture.spans().named("GET").start_nanos;
    assert!(exemplar.time_nanos.saturating_sub(began) > 30_000_000, "{} {began}", exemplar.time_nanos);
}

#[tokio::test]
async fn it_is_on_the_series_of_its_call_and_not_on_another() {
    let capture = capture();
    let layer = ClientLayer::with_instrumentation(&capture.instrumentation());
    let hosts = ["a.example.com", "b.example.com"];
    for host in hosts {
        call(&layer, get(&format!("http://{host}/"))).await;
    }
    let metric = capture.metrics().named("http.client.request.duration");
    for (host, span) in hosts.into_iter().zip(capture.spans().iter()) {
        let point = metric.point(&[("server.address", host)]).expect("a series of it");
        let exemplars: Vec<_> = point.exemplars.iter().map(|exemplar| exemplar.span_id.as_ref()).collect();
        assert_eq!(exemplars, [Some(&span.span_id)], "{host}");
    }
}

#[tokio::test]
async fn what_is_not_sampled_is_measured_and_points_at_nothing() {
    let capture = capture();
    let layer = ClientLayer::with_instrumentation(&capture.instrumentation());
    let parent = SpanContext::new(TraceId::from(1), SpanId::from(1), TraceFlags::default(), true, TraceState::NONE);
    call(&layer, get("http://parcel.example.com/")).with_context(Context::new().with_remote_span_context(parent)).await;
    assert!(capture.spans().is_empty());
    let point = point(&capture, "http.client.request.duration", &[]);
    assert_eq!((point.count, point.exemplars.len()), (1, 0));
}

#[tokio::test]
async fn layers_share_the_series_and_what_one_measured_that_is_gone_still_points_at_its_span() {
    let capture = capture();
    for _ in 0..2 {
        let layer = ClientLayer::with_instrumentation(&capture.instrumentation());
        call(&layer, get("http://parcel.example.com/")).await;
    }
    let point = point(&capture, "http.client.request.duration", &[]);
    assert_eq!(point.count, 2);
    let spans = capture.spans();
    let of = |span_id: &Option<String>| spans.iter().any(|span| span_id.as_ref() == Some(&span.span_id));
    assert!(!point.exemplars.is_empty() && point.exemplars.iter().all(|exemplar| of(&exemplar.span_id)));
}

#[tokio::test]
async fn more_servers_than_there_is_room_for_share_one_series_and_lose_nothing() {
    let recorder = Recorder::new();
    let layer = recorder.layer();
    for n in 0..2_100 {
        let service = ServiceBuilder::new().layer(layer.clone());
        let service = service.service_fn(async |_: Request<Body>| Ok::<_, Infallible>(ok()));
        finish(service.oneshot(get(&format!("http://host-{n}.example.com/"))).await.unwrap()).await;
    }
    let series = recorder.durations();
    assert_eq!(series.len(), 2_001);
    let overflow = series.iter().find(|series| series.attributes.contains_key("otel.metric.overflow")).unwrap();
    assert_eq!((overflow.attributes.len(), overflow.count), (1, 100));
    assert_eq!(series.iter().map(|series| series.count).sum::<u64>(), 2_100);
}
