//! What is live is masked, wherever it turns up.

use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halfbyte_core::config::Config;
use halfbyte_core::fingerprint::{REMEMBERED, mask, register};
use halfbyte_secrets::firewall::{self, MaskLayer, MaskWriter, Masked};
use halfbyte_secrets::zeroize::Zeroize;
use halfbyte_secrets::{ExposeSecret as _, Json, SecretUrl, Secrets};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use serde::Deserialize;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_opentelemetry::{OpenTelemetrySpanExt as _, SetParentError};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

use super::backend::Backend;
use super::lifecycle;

#[tokio::test(start_paused = true)]
async fn a_secret_is_known_from_when_it_is_served_and_so_is_the_one_before_it() {
    let backend = Backend::holding("the-first-of-two\n");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("token");
    assert_eq!(mask("the-first-of-two"), "the-first-of-two");
    secret.ready().await.expect("loaded");
    assert_eq!(mask("<the-first-of-two>"), "<[REDACTED]>");
    backend.set("the-second-of-two");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let second = secret.refresh(1).await.expect("refreshed");
    assert_eq!((second.generation(), second.expose_secret().as_str()), (2, "the-second-of-two"));
    assert_eq!(mask("the-first-of-two, the-second-of-two"), "[REDACTED], [REDACTED]");
    assert!(secret.previous().is_some());
    // Not only because those that are gone are remembered for a while.
    for n in 0..=REMEMBERED {
        drop(register(format!("one of many others: {n}").as_bytes()));
    }
    assert_eq!(mask("the-first-of-two, the-second-of-two"), "[REDACTED], [REDACTED]");
}

#[derive(Deserialize)]
struct Credential {
    password: String,
}

impl Zeroize for Credential {
    fn zeroize(&mut self) {
        self.password.zeroize();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_secret_within_a_secret_is_known_by_itself() {
    let url = "postgres://an-ordinary-user:pass%2Fword-1@db.example/orders?sslmode=verify-full&token=abc-123-def";
    let url = Secrets::new(Backend::holding(url), &lifecycle()).get::<SecretUrl>("url");
    let json = r#"{"username":"another-user","password":"pass-word-2","nested":["pass-word-3"]}"#;
    let json = Secrets::new(Backend::holding(json), &lifecycle()).get::<Json<Credential>>("json");
    url.ready().await.expect("loaded");
    json.ready().await.expect("loaded");
    assert_eq!(json.load().expect("loaded").expose_secret().0.password, "pass-word-2");
    let said =
        "pass%2Fword-1 pass/word-1 abc-123-def verify-full an-ordinary-user another-user pass-word-2 pass-word-3";
    let [r, rest] = ["[REDACTED]", "verify-full an-ordinary-user another-user"];
    assert_eq!(mask(said), format!("{r} {r} {r} {rest} {r} {r}"));
}

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

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().expect("not poisoned"))).expect("text")
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
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

#[test]
fn a_writer_masks_whole_lines_however_they_come_apart() {
    let _known = register(b"a-secret-in-pieces");
    let sink = Sink::default();
    let mut writer = Masked::new(sink.clone());
    for piece in ["<a-secret-", "in-pieces>", "\n<a-secret-in-pieces>\nrest a-sec", "ret-in-pieces"] {
        writer.write_all(piece.as_bytes()).expect("written");
    }
    assert_eq!(sink.take(), "<[REDACTED]>\n<[REDACTED]>\n");
    writer.flush().expect("flushed");
    assert_eq!(sink.take(), "rest [REDACTED]");
    writer.write_all(b"a-secret-in-pieces").expect("written");
    drop(writer);
    assert_eq!(sink.take(), "[REDACTED]");
}

/// The role of a process of its own, since hooks are the process's: does nothing unless it was started with it.
#[test]
fn the_process_that_panics() {
    let config = Config::from_env().expect("configured");
    let Some(value) = config.other.get("PANIC_WITH") else { return };
    let _known = register(value.as_bytes());
    firewall::install_panic_hook();
    let printer = std::thread::Builder::new().name("printer".into());
    let value = value.to_owned();
    printer.spawn(move || panic!("no paper, and {value}")).expect("started").join().expect_err("it panicked");
    std::thread::spawn(|| std::panic::panic_any(7)).join().expect_err("it panicked");
}

#[test]
fn a_panic_is_printed_once_without_live_secrets() {
    for backtrace in ["0", "1"] {
        let mut process = Command::new(std::env::current_exe().expect("this one"));
        process.args(["--exact", "firewall::the_process_that_panics", "--nocapture", "--test-threads", "1"]);
        process.env_clear().env("PANIC_WITH", "hunter2-hunter2").env("RUST_BACKTRACE", backtrace);
        let output = process.output().expect("it ran");
        assert!(output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("hunter2"), "{said}");
        let [first, second] = ["no paper, and [REDACTED]\n", "(a value that is no text)\n"];
        assert!(said.contains("\nthread 'printer' panicked at halfbyte-secrets/tests/secrets/firewall.rs:"), "{said}");
        assert_eq!([said.matches(first).count(), said.matches(second).count()], [1, 1], "{said}");
        assert_eq!(said.contains("stack backtrace:\n"), backtrace == "1", "{said}");
        assert_eq!(said.contains("note: run with `RUST_BACKTRACE=1`"), backtrace == "0", "{said}");
    }
}
