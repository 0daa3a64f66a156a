use std::sync::LazyLock;
use std::time::Duration;

use halfbyte_core::client::Limits;
use http::Method;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    FutureExt as _, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, global};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tokio::net::TcpListener;
use url::Url;

use super::{Server, client, nobody, respond};

/// The client records with the global provider, which is set once for all tests.
static TRACES: LazyLock<(SdkTracerProvider, InMemorySpanExporter)> = LazyLock::new(|| {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    global::set_tracer_provider(provider.clone());
    global::set_text_map_propagator(AsItIs);
    (provider, exporter)
});

/// A trace of one test's own.
struct Trace(SpanContext, Context);

impl Trace {
    fn start() -> Self {
        let parent = TRACES.0.tracer("test").start("parent");
        let context = parent.span_context().clone();
        Self(context, Context::new().with_span(parent))
    }

    /// The spans of the client in the order in which they ended.
    fn spans(&self) -> Vec<SpanData> {
        let mut spans = TRACES.1.get_finished_spans().expect("exported");
        spans.retain(|span| span.span_context.trace_id() == self.0.trace_id() && span.name != "parent");
        spans
    }

    fn span(&self) -> SpanData {
        let [span] = <[SpanData; 1]>::try_from(self.spans()).expect("exactly one span");
        span
    }
}

/// Sends ids and flags as they are, also those that the SDK's own propagator leaves out.
#[derive(Debug)]
struct AsItIs;

const HEADER: &str = "x-trace";

impl TextMapPropagator for AsItIs {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        let span = context.span();
        let span = span.span_context();
        injector.set(HEADER, format!("{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags()));
    }

    fn extract_with_context(&self, context: &Context, _extractor: &dyn Extractor) -> Context {
        context.clone()
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&[])
    }
}

/// The ids of the trace and the span, and the flags.
fn arrived_with(headers: &http::HeaderMap) -> (TraceId, SpanId, u8) {
    let [trace, span, flags] = headers[HEADER].to_str().expect("text").split('-').collect::<Vec<_>>()[..] else {
        panic!("not ours")
    };
    let flags = u8::from_str_radix(flags, 16).expect("hex");
    (TraceId::from_hex(trace).expect("hex"), SpanId::from_hex(span).expect("hex"), flags)
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let mut found = span.attributes.iter().filter(|attribute| attribute.key.as_str() == key);
    let value = found.next().map(|attribute| attribute.value.to_string());
    assert!(found.next().is_none(), "{key} is there twice");
    value
}

#[tokio::test]
async fn each_attempt_is_a_span_and_its_context_goes_out_with_it() {
    let trace = Trace::start();
    let server = Server::start(|number, _| respond([503, 429, 404][number - 1], &[("retry-after", "0")], "")).await;
    let mut url = server.url("path?token=hunter2&hunter2#hunter2");
    url.set_username("ada").expect("set");
    url.set_password(Some("hunter2")).expect("set");
    client(Limits::default()).get(url).send().with_context(trace.1.clone()).await.expect("an answer");

    let (spans, arrived) = (trace.spans(), server.arrived());
    assert_eq!((spans.len(), arrived.len()), (3, 3));
    let port = server.url("").port().expect("a port").to_string();
    for (number, (span, arrived)) in spans.iter().zip(&arrived).enumerate() {
        assert_eq!((span.parent_span_id, &span.span_kind, &*span.name), (trace.0.span_id(), &SpanKind::Client, "GET"));
        assert_eq!(arrived_with(&arrived.headers), (trace.0.trace_id(), span.span_context.span_id(), 1));
        let status = ["503", "429", "404"][number];
        for (key, value) in [
            ("http.request.method", Some("GET")),
            ("http.request.method_original", None),
            ("http.request.resend_count", [None, Some("1"), Some("2")][number]),
            ("http.response.status_code", Some(status)),
            ("error.type", Some(status)),
            ("network.protocol.version", Some("1.1")),
            ("network.peer.address", Some("127.0.0.1")),
            ("network.peer.port", Some(&port)),
            ("server.address", Some("127.0.0.1")),
            ("server.port", Some(&port)),
            ("url.full", Some(&format!("http://REDACTED:REDACTED@127.0.0.1:{port}/path?token=REDACTED&REDACTED"))),
        ] {
            assert_eq!(attribute(span, key).as_deref(), value, "{key} of attempt {number}");
        }
        assert_eq!(span.status, Status::error(""));
        assert!(!format!("{span:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn from_400_up_an_attempt_has_failed() {
    for (status, error) in
        [(200, None), (204, None), (302, None), (400, Some("400")), (404, Some("404")), (500, Some("500"))]
    {
        let trace = Trace::start();
        let server = Server::start(move |_, _| respond(status, &[], "")).await;
        client(Limits::default()).get(server.url("")).send().with_context(trace.1.clone()).await.expect("an answer");
        let span = trace.span();
        assert_eq!(attribute(&span, "error.type").as_deref(), error, "{status}");
        assert_eq!(span.status, if error.is_some() { Status::error("") } else { Status::Unset }, "{status}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_known_is_other() {
    for (method, name, recorded, original) in [
        ("QUERY", "QUERY", "QUERY", None),
        ("BREW", "HTTP", "_OTHER", Some("BREW")),
        ("get", "HTTP", "_OTHER", Some("get")),
    ] {
        let trace = Trace::start();
        let server = Server::start(|_, _| respond(200, &[], "")).await;
        let method = Method::from_bytes(method.as_bytes()).expect("valid");
        let request = client(Limits::default()).request(method, server.url(""));
        request.send().with_context(trace.1.clone()).await.expect("an answer");
        let span = trace.span();
        assert_eq!((&*span.name, attribute(&span, "http.request.method").as_deref()), (name, Some(recorded)));
        assert_eq!(attribute(&span, "http.request.method_original").as_deref(), original);
    }
}

#[tokio::test]
async fn what_fails_without_an_answer_is_named_and_what_breaks_behind_one_too() {
    let slow = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let large = Server::start(|_, _| respond(200, &[], "x".repeat(101))).await;
    let refused = Server::start(|_, _| respond(500, &[], "x".repeat(101))).await;
    let url = |address| -> Url { format!("http://{address}/").parse().expect("a URL") };
    for (url, error, status) in [
        (url(nobody()), "connect", None),
        (url(slow.local_addr().expect("bound")), "timeout", None),
        (large.url(""), "too_large", Some("200")),
        (refused.url(""), "500", Some("500")),
    ] {
        let trace = Trace::start();
        let limits = Limits { attempts: 1, max_body: 100, timeout: Duration::from_millis(300), ..Limits::default() };
        client(limits).get(url).send().with_context(trace.1.clone()).await.expect_err(error);
        let span = trace.span();
        assert_eq!(attribute(&span, "error.type").as_deref(), Some(error));
        assert_eq!(attribute(&span, "http.response.status_code").as_deref(), status, "{error}");
        assert_eq!(span.status, Status::error(""), "{error}");
    }
}

#[tokio::test]
async fn an_attempt_that_is_dropped_is_cancelled() {
    let trace = Trace::start();
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("bound")).parse().expect("a URL");
    let call = client(Limits::default()).get(url).send().with_context(trace.1.clone());
    tokio::select! {
        biased;
        _ = call => panic!("nobody answers"),
        // Connected, and the request is on its way.
        accepted = silent.accept() => drop(accepted),
    }
    let span = trace.span();
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("cancelled"));
    assert_eq!(span.status, Status::error(""));
}

#[tokio::test]
async fn a_trace_goes_on_with_its_flags_also_when_the_span_is_not_recorded() {
    LazyLock::force(&TRACES);
    // By the default sampler a child is recorded exactly if its parent is.
    let trace_id = TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    for flags in [0, 2] {
        let flags = TraceFlags::new(flags);
        let parent = SpanContext::new(trace_id, SpanId::from(7), flags, true, TraceState::NONE);
        let trace = Trace(parent.clone(), Context::new().with_remote_span_context(parent));
        let server = Server::start(|_, _| respond(200, &[], "")).await;
        client(Limits::default()).get(server.url("")).send().with_context(trace.1.clone()).await.expect("an answer");
        let (arrived, span, arrived_flags) = arrived_with(&server.arrived()[0].headers);
        assert_eq!((arrived, arrived_flags), (trace_id, flags.to_u8()));
        assert_ne!(span, SpanId::from(7), "as the call's own");
        assert!(trace.spans().is_empty());
    }
}

#[tokio::test]
async fn where_nothing_is_recorded_the_span_around_is_left_alone() {
    let trace = Trace::start();
    let server = Server::start(|_, _| respond(500, &[], "")).await;
    let suppressed = trace.1.with_telemetry_suppressed();
    client(Limits::default()).get(server.url("")).send().with_context(suppressed).await.expect("an answer");
    assert!(trace.spans().is_empty());
    assert!(trace.1.span().is_recording(), "it has not ended");
    trace.1.span().end();
    let finished = TRACES.1.get_finished_spans().expect("exported");
    let parent = finished.iter().find(|span| span.span_context == trace.0).expect("ended now");
    assert!(parent.attributes.is_empty() && parent.status == Status::Unset);
}
