use halfbyte_core::client::Limits;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{
    FutureExt as _, Span as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};

use super::{Server, client, respond};

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

fn attribute(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn each_call_is_a_span_and_its_context_goes_out_with_it() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    global::set_tracer_provider(provider.clone());
    global::set_text_map_propagator(TraceContextPropagator::new());
    let server =
        Server::start(|number, _| respond(if number == 1 { 503 } else { 404 }, &[("retry-after", "0")], "")).await;

    let parent = provider.tracer("test").start("parent");
    let parent_context = parent.span_context().clone();
    let current = Context::new().with_span(parent);
    let request = client(Limits::default()).get(server.url("path?token=hunter2"));
    request.send().with_context(current).await.expect("an answer");

    let spans = exporter.get_finished_spans().expect("exported");
    let trace = parent_context.trace_id();
    let ours: Vec<_> =
        spans.iter().filter(|span| span.span_context.trace_id() == trace && span.name != "parent").collect();
    let [span] = ours[..] else { panic!("one span a call, not {}: {ours:?}", ours.len()) };
    assert_eq!((span.parent_span_id, &span.span_kind), (parent_context.span_id(), &SpanKind::Client));
    assert_eq!((&*span.name, attribute(span, "http.request.method")), ("GET", "GET".to_owned()));
    assert_eq!(attribute(span, "url.full"), server.url("path").as_str());
    assert_eq!(attribute(span, "http.response.status_code"), "404");
    assert_eq!(attribute(span, "error.type"), "404");
    assert_eq!(attribute(span, "http.request.resend_count"), "1");
    assert_eq!(attribute(span, "server.port"), server.url("").port().expect("a port").to_string());
    assert!(!format!("{span:?}").contains("hunter2"));

    let arrived = server.arrived();
    assert_eq!(arrived.len(), 2);
    for attempt in arrived {
        let context = opentelemetry::propagation::TextMapPropagator::extract(
            &TraceContextPropagator::new(),
            &Headers(&attempt.headers),
        );
        assert_eq!(*context.span().span_context().trace_id().to_string(), *trace.to_string());
        assert_eq!(context.span().span_context().span_id(), span.span_context.span_id());
    }
}
