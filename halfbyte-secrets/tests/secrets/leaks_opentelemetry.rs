//! Secrets in spans that code makes by the API of OpenTelemetry.

use std::process::Command;

use halfbyte_core::config::Config;
use halfbyte_secrets::testing::LeakTest;
use halfbyte_secrets::{ExposeSecret as _, Secrets};
use opentelemetry::global::{self, BoxedSpan};
use opentelemetry::trace::{
    Event, Link, Span as _, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider};

async fn value(secrets: &Secrets) -> String {
    let token = secrets.get::<String>("token");
    token.ready().await.expect("loaded");
    token.load().expect("loaded").expose_secret().clone()
}

/// Where the secret is found that `leak` tells the span of.
fn places(leak: impl FnOnce(&mut BoxedSpan, String) + Send) -> Vec<String> {
    let leaks = LeakTest::new().without_memory().run(|secrets| async move {
        let mut span = global::tracer("orders").start("charge");
        leak(&mut span, value(&secrets).await);
        span.end();
    });
    assert!(leaks.found().iter().all(|leak| leak.secret == "token"), "{leaks}");
    leaks.found().iter().map(|leak| leak.place.clone()).collect()
}

fn elsewhere() -> SpanContext {
    let (trace, span) = (TraceId::from_bytes([1; 16]), SpanId::from_bytes([1; 8]));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default())
}

type Leak = fn(&mut BoxedSpan, String);

#[test]
fn a_secret_that_a_span_is_told_of_is_found() {
    let table: [(&str, Leak); 10] = [
        ("the attribute `auth` of the", |span, token| {
            span.set_attribute(KeyValue::new("auth", format!("Bearer {token}")))
        }),
        ("the attribute `list` of the", |span, token| {
            let list = Value::Array(Array::String(vec![StringValue::from(token)]));
            span.set_attributes([KeyValue::new("list", list)]);
        }),
        ("the name of an attribute of the", |span, token| span.set_attribute(KeyValue::new(token, 1))),
        ("the name of an event of the", |span, token| span.add_event(token, Vec::new())),
        ("the attribute of an event `key` of the", |span, token| {
            span.add_event("event", vec![KeyValue::new("n", 1), KeyValue::new("key", token)]);
        }),
        ("the attribute of an event `exception.message` of the", |span, token| {
            span.record_error(&*Box::<dyn std::error::Error>::from(token));
        }),
        ("the attribute of a link `key` of the", |span, token| {
            span.add_link(elsewhere(), vec![KeyValue::new("key", token)])
        }),
        ("the status of the", |span, token| span.set_status(Status::error(token))),
        ("the name of the", |span, token| span.update_name(token)),
        ("the attribute `at` of the", |span, token| {
            // As code does that is handed no span.
            let context = Context::new().with_span(std::mem::replace(span, global::tracer("other").start("other")));
            context.span().set_attribute(KeyValue::new("at", token));
        }),
    ];
    for (place, leak) in table {
        assert_eq!(places(leak), [format!("{place} OpenTelemetry span charge (tracer orders)")]);
    }
    assert_eq!(places(|span, _| span.set_attribute(KeyValue::new("key", "nothing of it"))), [""; 0]);
}

#[test]
fn a_secret_that_a_span_is_made_with_is_found() {
    let leaks = LeakTest::new().without_memory().run(|secrets| async move {
        let token = value(&secrets).await;
        let tracer = global::tracer("orders");
        let attributes = || vec![KeyValue::new("key", token.clone())];
        drop(tracer.span_builder("a").with_attributes(attributes()).start(&tracer));
        drop(
            tracer
                .span_builder("b")
                .with_events(vec![Event::new("e", std::time::UNIX_EPOCH, attributes(), 0)])
                .start(&tracer),
        );
        drop(tracer.span_builder("c").with_links(vec![Link::new(elsewhere(), attributes(), 0)]).start(&tracer));
        drop(tracer.span_builder(token.clone()).with_attributes(attributes()).start(&tracer));
        let tracer = global::tracer(token.clone());
        drop(tracer.span_builder("d").with_attributes(attributes()).start(&tracer));
    });
    let places: Vec<_> = leaks.found().iter().map(|leak| leak.place.as_str()).collect();
    let expected = [
        "the attribute `key` of the OpenTelemetry span a (tracer orders)",
        "the attribute of an event `key` of the OpenTelemetry span b (tracer orders)",
        "the attribute of a link `key` of the OpenTelemetry span c (tracer orders)",
        "the name of the OpenTelemetry span (tracer orders)",
        "the attribute `key` of the OpenTelemetry span (tracer orders)",
        "the name of a tracer of OpenTelemetry",
        "the attribute `key` of the OpenTelemetry span d (tracer (secret))",
    ];
    assert_eq!(places, expected);
}

#[test]
fn not_more_than_32_places_are_told() {
    let places = places(|span, token| {
        (0..40).for_each(|n| span.set_attribute(KeyValue::new(format!("key{n}"), token.clone())));
    });
    assert_eq!(places.len(), 32);
    assert!(places[31].starts_with("the attribute `key31` "), "{}", places[31]);
}

#[test]
fn where_a_secret_is_in_the_name_of_an_attribute_it_is_not_repeated() {
    let places = places(|span, token| span.set_attribute(KeyValue::new(token.clone(), token)));
    let span = "of the OpenTelemetry span charge (tracer orders)";
    assert_eq!(places, [format!("the name of an attribute {span}"), format!("the attribute `(secret)` {span}")]);
}

/// The role of a process of its own, since the provider is the process's: does nothing unless it was started with it.
#[test]
fn the_process_that_has_a_provider() {
    let config = Config::from_env().expect("configured");
    let Some(sampler) = config.other.get("SAMPLER") else { return };
    let exporter = InMemorySpanExporter::default();
    let sampler = if sampler == "on" { Sampler::AlwaysOn } else { Sampler::AlwaysOff };
    let is_on = matches!(sampler, Sampler::AlwaysOn);
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).with_sampler(sampler).build();
    global::set_tracer_provider(provider);
    let leaks = LeakTest::new().without_memory().run(|secrets| async move {
        let token = value(&secrets).await;
        let mut span = global::tracer("orders").start("first");
        assert!(span.is_recording(), "so that it is told all");
        assert_eq!(span.span_context().is_sampled(), is_on);
        span.set_attribute(KeyValue::new("token", token));
        span.add_event("event", Vec::new());
        span.add_link(elsewhere(), Vec::new());
        span.set_status(Status::error("status"));
        span.update_name("second");
        span.end();
        assert!(span.is_recording(), "of the test");
    });
    assert_eq!(leaks.found().len(), 1, "{leaks}");
    let spans = exporter.get_finished_spans().expect("exported");
    assert_eq!(spans.len(), usize::from(is_on));
    for span in spans {
        assert_eq!((span.name.as_ref(), span.attributes.len()), ("second", 1));
        assert_eq!((span.events.len(), span.links.len(), span.status), (1, 1, Status::error("status")));
    }
    assert_eq!(global::tracer("orders").start("later").is_recording(), is_on);
}

#[test]
fn the_provider_that_was_there_has_all_spans_as_ever() {
    for sampler in ["on", "off"] {
        let mut process = Command::new(std::env::current_exe().expect("this one"));
        process.args(["--exact", "leaks_opentelemetry::the_process_that_has_a_provider", "--test-threads", "1"]);
        let output = process.env_clear().env("SAMPLER", sampler).output().expect("it ran");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
