//! What goes out with a call.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use halfbyte_observe::{BaggageKeys, ClientLayer, Instrumentation, Propagators};
use http::{HeaderMap, Request};
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{
    FutureExt as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Sampler;
use tower::{ServiceBuilder, ServiceExt as _};

use super::{Body, Recorder, finish, get, ok};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn remote(flags: u8, state: &str) -> Context {
    let (trace, span) = (TraceId::from_hex(TRACE).unwrap(), SpanId::from_hex("00f067aa0ba902b7").unwrap());
    let state = if state.is_empty() { TraceState::NONE } else { state.parse().unwrap() };
    let context = SpanContext::new(trace, span, TraceFlags::new(flags), true, state);
    Context::new().with_remote_span_context(context)
}

/// The headers with which a call arrives, and the span that was current when it was made.
async fn sent(layer: ClientLayer, request: Request<Body>, within: Context) -> (HeaderMap, SpanContext) {
    let seen = Arc::new(Mutex::new(None));
    let see = seen.clone();
    let service = ServiceBuilder::new().layer(layer).service_fn(move |request: Request<Body>| {
        let current = Context::current().span().span_context().clone();
        *see.lock().unwrap() = Some((request.headers().clone(), current));
        async { Ok::<_, Infallible>(ok()) }
    });
    let call = async move { finish(service.oneshot(request).await.unwrap()).await };
    call.with_context(within).await;
    seen.lock().unwrap().take().unwrap()
}

fn parent(context: &SpanContext, flags: &str) -> String {
    format!("00-{}-{}-{flags}", context.trace_id(), context.span_id())
}

#[tokio::test]
async fn a_call_belongs_to_the_trace_that_it_is_made_in_and_says_so() {
    let recorder = Recorder::new();
    let (headers, current) = sent(recorder.layer(), get("/"), remote(1, "a=1,b=2")).await;
    let (span, _) = recorder.once();
    assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(headers["traceparent"], parent(&span.span_context, "01"));
    assert_eq!(headers["tracestate"], "a=1,b=2");
    assert_eq!(current.span_id(), span.span_context.span_id(), "what the client does is part of the span");
}

#[tokio::test]
async fn a_trace_goes_on_also_when_the_span_is_not_recorded() {
    for (flags, expected) in [(0, "00"), (2, "02"), (1, "00"), (3, "02")] {
        let recorder = Recorder::sampling(Sampler::AlwaysOff);
        let (headers, current) = sent(recorder.layer(), get("/"), remote(flags, "a=1")).await;
        assert!(recorder.spans().is_empty());
        assert_eq!(recorder.durations()[0].count, 1, "what is not traced is still measured");
        assert_eq!(headers["traceparent"], parent(&current, expected));
        assert_eq!((current.trace_id().to_string().as_str(), headers["tracestate"].as_bytes()), (TRACE, &b"a=1"[..]));
    }
}

#[tokio::test]
async fn a_trace_that_starts_here_says_that_its_id_is_random() {
    for (sampler, flags) in [(Sampler::AlwaysOn, "03"), (Sampler::AlwaysOff, "02")] {
        let (headers, current) = sent(Recorder::sampling(sampler).layer(), get("/"), Context::new()).await;
        assert_eq!(headers["traceparent"], parent(&current, flags));
        assert!(!headers.contains_key("tracestate"));
    }
}

#[tokio::test]
async fn after_the_end_of_the_sdk_the_trace_that_is_there_goes_on_and_its_span_is_left_alone() {
    let recorder = Recorder::sampling(Sampler::AlwaysOn);
    let theirs = Recorder::new();
    recorder.traces.shutdown().unwrap();
    let outer = Context::new().with_span(theirs.traces.tracer("test").start("outer"));
    let (headers, _) = sent(recorder.layer(), get("/"), outer.clone()).await;
    assert_eq!(headers["traceparent"], parent(outer.span().span_context(), "01"));
    assert!(theirs.spans().is_empty(), "it goes on");
    outer.span().end();
    assert!(theirs.spans()[0].attributes.is_empty());
}

#[tokio::test]
async fn with_what_the_process_has_a_trace_goes_on() {
    // Another test may have set a global provider; the trace is the same with and without one.
    let (headers, _) =
        sent(ClientLayer::with_instrumentation(&Instrumentation::process()), get("/"), remote(1, "")).await;
    assert!(headers["traceparent"].to_str().unwrap().starts_with(&format!("00-{TRACE}-")));
}

#[tokio::test]
async fn what_telemetry_sends_is_passed_on_as_it_is() {
    let recorder = Recorder::new();
    let suppressed = remote(1, "").with_telemetry_suppressed();
    let (headers, _) = sent(recorder.layer(), get("/"), suppressed).await;
    assert!(headers.is_empty());
    assert!(recorder.spans().is_empty() && recorder.durations().is_empty());
}

#[tokio::test]
async fn headers_that_were_copied_from_a_request_are_replaced() {
    let mut request = get("/");
    for (name, value) in [
        ("traceparent", "00-11111111111111111111111111111111-2222222222222222-01"),
        ("tracestate", "old=1"),
        ("tracestate", "older=1"),
        ("baggage", "user=ada"),
        ("x-other", "stays"),
    ] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let (headers, current) = sent(Recorder::new().layer(), request, remote(1, "")).await;
    assert_eq!(headers["traceparent"], parent(&current, "01"));
    let mut left: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["traceparent", "x-other"]);
}

#[tokio::test]
async fn baggage_goes_out_only_where_its_key_is_allowed() {
    for (propagators, expected) in [
        (Propagators::default(), None),
        (Propagators::default().take_baggage(BaggageKeys::danger_all()), None),
        (Propagators::default().send_baggage(BaggageKeys::only(["experiment"])), Some("experiment=new%20one")),
        (Propagators::none().send_baggage(BaggageKeys::danger_all()), None),
    ] {
        let instrumentation = Recorder::new().instrumentation().with_propagators(propagators.clone());
        let layer = ClientLayer::with_instrumentation(&instrumentation);
        let pairs = [KeyValue::new("experiment", "new one"), KeyValue::new("user", "ada")];
        let (headers, _) = sent(layer, get("/"), remote(1, "").with_baggage(pairs)).await;
        assert_eq!(headers.get("baggage").map(|value| value.to_str().unwrap()), expected);
        assert_eq!(
            headers.contains_key("traceparent"),
            propagators != Propagators::none().send_baggage(BaggageKeys::danger_all())
        );
    }
}
