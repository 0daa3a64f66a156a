//! Which trace a request belongs to, and what belongs to its span.

use std::convert::Infallible;

use halfbyte_core::TraceId;
use halfbyte_observe::{ServerLayer, TraceTrust};
use http::{Request, Response};
use opentelemetry::trace::{SpanId, TracerProvider as _};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::kit::{Body, Kit, finish, get};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Answers the trace id that a refusal of the request would carry.
async fn traced(_request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let trace = TraceId::current().expect("always there");
    Ok(Response::new(Body::from(trace.to_string())))
}

fn from(traceparent: &str) -> Request<Body> {
    let mut request = get("/");
    request.headers_mut().insert("traceparent", traceparent.parse().unwrap());
    request
}

#[tokio::test]
async fn an_inbound_trace_goes_on() {
    let kit = Kit::new();
    let response = kit.layer().layer(service_fn(traced)).oneshot(from(PARENT)).await.unwrap();
    assert_eq!(finish(response).await, TRACE);
    let span = kit.span();
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert!(span.parent_span_is_remote);
}

#[tokio::test]
async fn a_malformed_trace_context_is_ignored_and_a_new_trace_starts() {
    for malformed in ["", "nonsense", "00-4bf9-00f0-01", &PARENT.to_uppercase(), &PARENT.replacen("00", "ff", 1)] {
        let kit = Kit::new();
        let response = kit.layer().layer(service_fn(traced)).oneshot(from(malformed)).await.unwrap();
        let named = finish(response).await;
        let span = kit.span();
        assert_eq!(span.span_context.trace_id().to_string().as_bytes(), named);
        assert_ne!(named, TRACE, "{malformed}");
        assert_eq!(span.parent_span_id, SpanId::INVALID, "{malformed}");
    }
}

#[tokio::test]
async fn an_unsampled_parent_is_believed() {
    let kit = Kit::new();
    let response = kit.layer().layer(service_fn(traced)).oneshot(from(&PARENT.replace("-01", "-00"))).await.unwrap();
    assert_eq!(finish(response).await, TRACE);
    assert!(kit.spans().is_empty());
    assert_eq!(kit.durations()[0].count, 1, "what is not traced is still measured");
}

#[tokio::test]
async fn without_an_sdk_every_request_still_has_a_trace_id() {
    let layer = ServerLayer::new().trace_from(TraceTrust::danger_everybody());
    let service = ServiceBuilder::new().layer(layer).service_fn(traced);
    assert_eq!(finish(service.clone().oneshot(from(PARENT)).await.unwrap()).await, TRACE);
    let first = finish(service.clone().oneshot(get("/")).await.unwrap()).await;
    let second = finish(service.oneshot(get("/")).await.unwrap()).await;
    assert_eq!(first.len(), 32);
    assert_ne!(first, second);
    assert_ne!(first, "0".repeat(32));
}

#[tokio::test]
async fn spans_of_the_products_own_code_are_children_of_the_server_span() {
    let kit = Kit::new();
    let spans = tracing_opentelemetry::layer().with_tracer(kit.traces.tracer("tracing"));
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans));
    let handler = service_fn(async |_: Request<Body>| {
        // Across an await: the span must be current on every poll.
        tokio::task::yield_now().await;
        tracing::info_span!("print").in_scope(|| {});
        Ok::<_, Infallible>(Response::new(Body::default()))
    });
    finish(kit.layer().layer(handler).oneshot(from(PARENT)).await.unwrap()).await;
    let spans = kit.spans();
    let find = |name: &str| spans.iter().find(|span| span.name == name).expect(name);
    assert_eq!(spans.len(), 2);
    assert_eq!(find("print").parent_span_id, find("GET").span_context.span_id());
    assert_eq!(find("print").span_context.trace_id().to_string(), TRACE);
}
