//! What layers of `tracing-subscriber` are given of live secrets: nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use halfbyte_core::fingerprint::register;
use halfbyte_secrets::firewall::{MaskLayer, MaskWriter};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_opentelemetry::{OpenTelemetrySpanExt as _, SetParentError};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

use super::mask_writer::Sink;

/// What a layer was given: each field with how it was recorded, and what it is a part of.
#[derive(Clone, Default)]
struct Given(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Fields {
    fn add(&mut self, how: &str, field: &Field, value: impl std::fmt::Display) {
        self.0.push_str(&format!(" {}={how}:{value}", field.name()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add("debug", field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add("str", field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add("u64", field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add("bool", field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add("error", field, value);
    }
}

impl Given {
    fn note(&self, what: &str, is_root: bool, parent: Option<&Id>, record: impl FnOnce(&mut Fields)) {
        let mut fields = Fields(what.to_owned());
        record(&mut fields);
        let root = if is_root { " at the root" } else { "" };
        let parent = if parent.is_some() { " of a parent" } else { "" };
        self.0.lock().expect("not poisoned").push(format!("{}{root}{parent}", fields.0));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("not poisoned"))
    }
}

impl<S: Subscriber> Layer<S> for Given {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.note("span", attributes.is_root(), attributes.parent(), |fields| attributes.record(fields));
    }

    fn on_record(&self, _: &Id, record: &Record<'_>, _: Context<'_, S>) {
        self.note("record", false, None, |fields| record.record(fields));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.note("event", event.is_root(), event.parent(), |fields| event.record(fields));
    }
}

struct Failed(&'static str, Option<Box<Failed>>);

/// Not of its source, which is to be looked at by itself.
impl std::fmt::Debug for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Failed({:?})", self.0)
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|source| source as _)
    }
}

#[test]
fn a_layer_gets_events_and_spans_without_live_secrets_and_all_else_as_it_is() {
    let _known = [register(b"an-open-secret"), register(b"1234567890123")];
    let given = Given::default();
    let layer = MaskLayer::new(given.clone()).with_filter(LevelFilter::DEBUG);
    let _default = tracing_subscriber::registry().with(layer).set_default();
    let value = "an-open-secret";

    tracing::info!(n = 7_u64, on = true, text = "text", list = ?["a"], "nothing is {}", "secret");
    let error = Failed("outer", None);
    tracing::info!(error = &error as &dyn std::error::Error);
    assert_eq!(
        given.take(),
        [
            "event message=debug:nothing is secret n=u64:7 on=bool:true text=str:text list=debug:[\"a\"]",
            "event error=error:outer",
        ]
    );

    tracing::info!(n = 7_u64, on = true, text = value, "the token is {value}!");
    tracing::info!(list = ?[value, "b"], n = 7_u64);
    tracing::info!(shown = %value);
    tracing::info!(bytes = value.as_bytes());
    tracing::info!(number = 1_234_567_890_123_u64);
    tracing::info!(number = -1_234_567_890_123_i64);
    let error = Failed("outer", Some(Box::new(Failed("no an-open-secret", None))));
    tracing::info!(error = &error as &dyn std::error::Error);
    tracing::info!(parent: None, { value }, "");
    tracing::trace!(value, "filtered");
    assert_eq!(
        given.take(),
        [
            "event message=debug:the token is [REDACTED]! n=u64:7 on=bool:true text=str:[REDACTED]",
            "event list=debug:[\"[REDACTED]\", \"b\"] n=u64:7",
            "event shown=debug:[REDACTED]",
            "event bytes=str:[REDACTED]",
            "event number=debug:[REDACTED]",
            "event number=debug:-[REDACTED]",
            "event error=debug:outer: no [REDACTED]",
            "event message=debug: value=str:[REDACTED] at the root",
        ]
    );

    let root = tracing::info_span!(parent: None, "root", value, later = tracing::field::Empty);
    root.record("later", format!("<{value}>"));
    root.in_scope(|| drop(tracing::info_span!("child", value)));
    drop(tracing::info_span!(parent: &root, "child", value, n = 7_u64));
    tracing::info!(parent: &root, { value }, "");
    assert_eq!(
        given.take(),
        [
            "span value=str:[REDACTED] at the root",
            "record later=str:<[REDACTED]>",
            "span value=str:[REDACTED]",
            "span value=str:[REDACTED] n=u64:7 of a parent",
            "event message=debug: value=str:[REDACTED] of a parent",
        ]
    );
}

/// Says nothing of its secret but in its `Debug`.
struct Frank(&'static str);

impl std::fmt::Debug for Frank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::fmt::Display for Frank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it failed")
    }
}

impl std::error::Error for Frank {}

#[test]
fn each_field_is_looked_at_by_itself_and_as_what_it_is() {
    let _known = [register(b"a-frank-secret"), register(b"87654321.25")];
    let given = Given::default();
    let _default = tracing_subscriber::registry().with(MaskLayer::new(given.clone())).set_default();
    let (bytes, value) = (b"plain".as_slice(), "a-frank-secret");
    tracing::info!(n = 87_654_321.25_f64);
    tracing::info!(n = 87_654_321.5_f64);
    tracing::info!(error = &Frank("a-frank-secret") as &dyn std::error::Error);
    tracing::info!(bytes, value);
    // Split over two fields it is none, and both stay as they are.
    tracing::info!(half = %"a-frank-", error = &Frank("secret") as &dyn std::error::Error);
    assert_eq!(
        given.take(),
        [
            "event n=debug:[REDACTED]",
            "event n=debug:87654321.5",
            "event error=debug:it failed",
            "event bytes=debug:[70 6c 61 69 6e] value=str:[REDACTED]",
            "event half=debug:a-frank- error=error:it failed",
        ]
    );
}

/// Notes what it is told, and wants nothing of some targets.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<&'static str>>>, Arc<AtomicBool>);

impl Told {
    fn note(&self, what: &'static str) {
        self.0.lock().expect("not poisoned").push(what);
    }
}

impl<S: Subscriber> Layer<S> for Told {
    fn on_register_dispatch(&self, _: &tracing::Dispatch) {
        self.note("dispatch");
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target() == "never" {
            self.1.store(true, Ordering::Relaxed);
        }
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !["never", "disabled"].contains(&metadata.target())
    }

    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        event.metadata().target() != "event disabled"
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn on_follows_from(&self, _: &Id, _: &Id, _: Context<'_, S>) {
        self.note("follows");
    }

    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        self.note("event");
    }

    fn on_enter(&self, _: &Id, _: Context<'_, S>) {
        self.note("enter");
    }

    fn on_exit(&self, _: &Id, _: Context<'_, S>) {
        self.note("exit");
    }

    fn on_close(&self, _: Id, _: Context<'_, S>) {
        self.note("close");
    }
}

#[test]
fn a_layer_is_told_and_asked_all_that_it_would_be_without_the_mask() {
    let log = || {
        let (span, other) = (tracing::info_span!("span"), tracing::info_span!("other"));
        span.follows_from(&other);
        drop(other);
        span.in_scope(|| tracing::info!("event"));
        tracing::info!(target: "never", "event");
        tracing::info!(target: "disabled", "event");
        tracing::info!(target: "event disabled", "event");
    };
    let told = |dispatch: &dyn Fn(Told) -> tracing::Dispatch| {
        let told = Told::default();
        let dispatch = dispatch(told.clone());
        tracing::dispatcher::with_default(&dispatch, log);
        assert!(told.1.load(Ordering::Relaxed), "it is asked about places in the code");
        std::mem::take(&mut *told.0.lock().expect("not poisoned"))
    };
    let bare = told(&|layer| tracing_subscriber::registry().with(layer).into());
    let masked = told(&|layer| tracing_subscriber::registry().with(MaskLayer::new(layer)).into());
    assert_eq!(bare, ["dispatch", "follows", "close", "enter", "event", "exit", "close"]);
    assert_eq!(bare, masked);
    let bare = tracing_subscriber::registry().with(Told::default());
    let masked = tracing_subscriber::registry().with(MaskLayer::new(Told::default()));
    assert_eq!((bare.max_level_hint(), masked.max_level_hint()), (Some(LevelFilter::INFO), Some(LevelFilter::INFO)));
}

/// Each format, with the filter around the layer and within it.
#[test]
fn what_layers_print_has_no_live_secret_in_its_lines_its_spans_or_its_errors() {
    let value = "a \"quoted\" secret";
    let _known = register(value.as_bytes());
    let log = || {
        let span = tracing::info_span!("job", value);
        let _entered = span.enter();
        let error = Failed("outer", Some(Box::new(Failed("a \"quoted\" secret", None))));
        tracing::info!(value, list = ?[value], error = &error as &dyn std::error::Error, "it is {value}");
    };
    let (sink, filter) = (Sink::default(), LevelFilter::INFO);
    let to = || {
        let sink = sink.clone();
        move || sink.clone()
    };
    let registry = tracing_subscriber::registry;
    tracing::subscriber::with_default(registry().with(MaskLayer::new(fmt::layer().with_writer(to()))), log);
    let plain = sink.take();
    let json = MaskLayer::new(fmt::layer().json().with_writer(to())).with_filter(filter);
    tracing::subscriber::with_default(registry().with(json), log);
    let json = sink.take();
    let within = MaskLayer::new(fmt::layer().pretty().with_writer(to()).with_filter(filter));
    tracing::subscriber::with_default(registry().with(within), log);
    let pretty = sink.take();
    let bytes = fmt::layer().json().with_writer(MaskWriter::new(to()));
    tracing::subscriber::with_default(registry().with(bytes), log);
    let bytes = sink.take();
    for said in [plain, json, pretty, bytes] {
        assert!(said.contains("it is [REDACTED]") && !said.contains("quoted"), "{said}");
    }
}

#[test]
fn what_a_layer_offers_by_downcasting_is_not_found_and_what_it_writes_is_masked() {
    let _known = register(b"a-secret-of-a-trace");
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let opentelemetry = || tracing_opentelemetry::layer().with_tracer(provider.tracer("a"));
    let registry = tracing_subscriber::registry;
    let log = || tracing::info_span!("job", token = "a-secret-of-a-trace").set_parent(opentelemetry::Context::new());
    let bare = tracing::subscriber::with_default(registry().with(opentelemetry()), log);
    let masked = tracing::Dispatch::new(registry().with(MaskLayer::new(opentelemetry())));
    let within = tracing::dispatcher::with_default(&masked, log);
    assert!(bare.is_ok() && matches!(within, Err(SetParentError::LayerNotFound)), "{bare:?} {within:?}");
    let shown =
        exporter.get_finished_spans().expect("exported").into_iter().map(|span| format!("{:?}", span.attributes));
    let shown: Vec<_> = shown.collect();
    assert_eq!(shown.len(), 2);
    assert!(shown[0].contains("a-secret-of-a-trace"), "{shown:?}");
    assert!(shown[1].contains("[REDACTED]") && !shown[1].contains("a-secret-of-a-trace"), "{shown:?}");
    let writer = tracing::Dispatch::new(registry().with(MaskLayer::new(fmt::layer())));
    assert!(writer.downcast_ref::<MaskLayer<fmt::Layer<Registry>>>().is_some());
    assert!(writer.downcast_ref::<fmt::Layer<Registry>>().is_none());
}
