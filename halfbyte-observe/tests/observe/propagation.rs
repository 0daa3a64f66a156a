//! Which trace a request belongs to, and what belongs to its span.

use std::convert::Infallible;

use halfbyte_core::{PeerAddress, TraceId};
use halfbyte_observe::{BaggageKeys, Instrumentation, Propagators, ServerLayer, TraceTrust};
use http::{Request, Response};
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{SpanId, TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::trace::Sampler;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::kit::{Body, Kit, attribute, finish, get};

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
async fn a_trace_of_somebody_who_is_not_believed_is_linked_to_and_a_new_one_starts() {
    let inside = TraceTrust::networks(["10.0.0.0/8".parse().unwrap()]);
    for (trust, peer, believed) in [
        (TraceTrust::nobody(), Some("10.0.0.1:4711"), false),
        (inside.clone(), Some("10.0.0.1:4711"), true),
        (inside.clone(), Some("[::ffff:10.0.0.1]:4711"), true),
        (inside.clone(), Some("192.0.2.1:4711"), false),
        (inside, None, false),
        (TraceTrust::danger_everybody(), None, true),
    ] {
        let (kit, case) = (Kit::new(), format!("{trust:?} {peer:?}"));
        let mut request = from(PARENT);
        // What a proxy says does not count here: it goes by who is connected.
        request.headers_mut().insert("x-forwarded-for", "10.0.0.1".parse().unwrap());
        if let Some(peer) = peer {
            request.extensions_mut().insert(PeerAddress(peer.parse().unwrap()));
        }
        let layer = ServerLayer::with(&kit.instrumentation()).trace_from(trust);
        finish(layer.layer(service_fn(traced)).oneshot(request).await.unwrap()).await;
        let span = kit.span();
        assert_eq!(span.span_context.trace_id().to_string() == TRACE, believed, "{case}");
        assert_eq!(span.parent_span_id != SpanId::INVALID, believed, "{case}");
        let links: Vec<_> = span.links.iter().map(|link| link.span_context.clone()).collect();
        if believed {
            assert!(links.is_empty(), "{case}");
        } else {
            assert_eq!(links.len(), 1, "{case}");
            assert_eq!(links[0].trace_id().to_string(), TRACE);
            assert_eq!(links[0].span_id().to_string(), "00f067aa0ba902b7");
        }
    }
}

#[tokio::test]
async fn somebody_who_is_not_believed_cannot_keep_a_trace_from_being_sampled() {
    let kit = Kit::new();
    let layer = ServerLayer::with(&kit.instrumentation());
    finish(layer.layer(service_fn(traced)).oneshot(from(&PARENT.replace("-01", "-00"))).await.unwrap()).await;
    assert!(kit.span().span_context.is_sampled());
}

#[tokio::test]
async fn a_sampler_that_records_what_its_parent_did_not_gets_all_of_it() {
    let kit = Kit::with_sampler(Sampler::AlwaysOn);
    let layer = kit.layer();
    for _ in 0..3 {
        let request = from(&PARENT.replace("-01", "-00"));
        finish(layer.layer(service_fn(traced)).oneshot(request).await.unwrap()).await;
    }
    let spans = kit.spans();
    assert_eq!(spans.len(), 3);
    for span in spans {
        assert_eq!(span.span_context.trace_id().to_string(), TRACE);
        assert_eq!(attribute(&span, "url.path").as_deref(), Some("/"));
        assert_eq!(attribute(&span, "http.response.status_code").as_deref(), Some("200"));
    }
}

#[tokio::test]
async fn a_root_that_is_not_sampled_still_has_a_trace_of_its_own() {
    let kit = Kit::with_sampler(Sampler::AlwaysOff);
    let layer = kit.layer();
    let first = finish(layer.layer(service_fn(traced)).oneshot(get("/")).await.unwrap()).await;
    let second = finish(layer.layer(service_fn(traced)).oneshot(get("/")).await.unwrap()).await;
    assert_ne!(first, second);
    assert!(kit.spans().is_empty());
    assert_eq!(kit.durations()[0].count, 2);
}

#[tokio::test]
async fn after_the_end_of_the_sdk_every_request_still_has_a_trace_id() {
    let (kit, capture) = (Kit::of_sdk(), halfbyte_observe::testing::capture());
    kit.traces.shutdown().unwrap();
    capture.tracer_provider().shutdown().unwrap();
    let own = ServerLayer::with(&capture.instrumentation()).trace_from(TraceTrust::danger_everybody());
    for layer in [kit.layer(), own] {
        let service = ServiceBuilder::new().layer(layer).service_fn(traced);
        assert_eq!(finish(service.clone().oneshot(from(PARENT)).await.unwrap()).await, TRACE);
        let first = finish(service.clone().oneshot(get("/")).await.unwrap()).await;
        let second = finish(service.oneshot(get("/")).await.unwrap()).await;
        assert_eq!(first.len(), 32);
        assert_ne!(first, second);
        assert_ne!(first, "0".repeat(32));
    }
    assert!(capture.spans().is_empty());
}

#[tokio::test]
async fn spans_of_the_products_own_code_are_children_of_the_server_span() {
    for kit in [Kit::new(), Kit::of_sdk()] {
        are_children(kit).await;
    }
}

async fn are_children(kit: Kit) {
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

#[tokio::test]
async fn a_sampler_that_says_no_is_heard_also_where_the_parent_was_sampled() {
    let kit = Kit::with_sampler(Sampler::AlwaysOff);
    let service = service_fn(async |_: Request<Body>| {
        let said = Context::map_current(|context| {
            let span = context.span();
            let span = span.span_context();
            format!(
                "{} {} {}",
                span.trace_id(),
                span.span_id() == SpanId::from(0x00f0_67aa_0ba9_02b7),
                span.is_sampled()
            )
        });
        Ok::<_, Infallible>(Response::new(Body::from(said)))
    });
    let response = kit.layer().layer(service).oneshot(from(PARENT)).await.unwrap();
    assert_eq!(finish(response).await, format!("{TRACE} false false"));
    assert!(kit.spans().is_empty());
}

#[tokio::test]
async fn baggage_that_is_allowed_is_taken_up_from_whom_is_believed_also_without_a_trace() {
    let taken = async |instrumentation: &Instrumentation, trust: TraceTrust| {
        let propagators = Propagators::default().take_baggage(BaggageKeys::only(["experiment"]));
        let layer = ServerLayer::with(&instrumentation.clone().with_propagators(propagators)).trace_from(trust);
        let service = service_fn(async |_: Request<Body>| {
            let said = Context::map_current(|context| context.baggage().to_string());
            Ok::<_, Infallible>(Response::new(Body::from(said)))
        });
        let mut request = get("/");
        let line = b"name=J\xf6rg,experiment=b,other=1";
        request.headers_mut().insert("baggage", http::HeaderValue::from_bytes(line).unwrap());
        finish(layer.layer(service).oneshot(request).await.unwrap()).await
    };
    let (kit, metrics) = (Kit::new(), opentelemetry_sdk::metrics::SdkMeterProvider::default());
    for instrumentation in [kit.instrumentation(), Instrumentation::metrics_only(&metrics)] {
        assert_eq!(taken(&instrumentation, TraceTrust::danger_everybody()).await, "experiment=b");
        assert_eq!(taken(&instrumentation, TraceTrust::nobody()).await, "");
    }
}
