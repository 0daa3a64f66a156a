//! A panic is one event, in the trace of the request, with a hook and without.

use std::convert::Infallible;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::FutureExt as _;
use halfbyte_core::config::Config;
use halfbyte_observe::testing::{All, Log, Receiver, capture};
use halfbyte_observe::{ServerLayer, panics};
use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt as _};

use crate::child::{self, assert_success};
use crate::kit::{Body, get};

/// A live secret of the process.
const TOKEN: &str = "hunter2-hunter2";

/// Panics while it unwinds, and sees to it.
struct Clumsy;

impl Drop for Clumsy {
    fn drop(&mut self) {
        let second = catch_unwind(|| panic!("the second"));
        assert!(second.is_err());
    }
}

async fn handle(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let outcome = async {
        if request.uri().path() == "/resumed" {
            let work = tokio::task::spawn_blocking(|| panic!("of a worker"));
            std::panic::resume_unwind(work.await.map(|never: Infallible| never).unwrap_err().into_panic());
        }
        let _clumsy = (request.uri().path() == "/clumsy").then(|| Clumsy);
        let _span = tracing::info_span!("print").entered();
        match request.uri().path() {
            "/value" => std::panic::panic_any(42),
            path => panic!("no paper for {path}"),
        }
    };
    // As the layer does that answers a refusal.
    let panic = AssertUnwindSafe(outcome).catch_unwind().await.map(|never: Infallible| never).unwrap_err();
    panics::caught(&*panic);
    Ok(Response::builder().status(500).body(Body::default()).unwrap())
}

async fn request(layer: ServerLayer, path: &str) {
    drop(ServiceBuilder::new().layer(layer).service_fn(handle).oneshot(get(path)).await.unwrap());
}

/// The role: all ways to panic, in a process with the hook.
pub async fn play(config: &Config) {
    let _token = halfbyte_core::fingerprint::register(TOKEN.as_bytes());
    let telemetry = halfbyte_observe::init(child::settings(config)).unwrap();
    halfbyte_observe::init(child::settings(config)).unwrap_err();
    for path in ["/first", "/value", "/clumsy", "/resumed"] {
        request(ServerLayer::new(), path).await;
    }
    let thread = std::thread::Builder::new().name("press".into());
    thread.spawn(|| panic!("of a thread, with {TOKEN}")).unwrap().join().unwrap_err();
    let flushed = telemetry.shutdown(Duration::from_secs(10)).await;
    assert!(flushed.is_complete(), "{flushed}");
}

fn panics_of(logs: All<Log>) -> All<Log> {
    logs.filtered(|log| log.target == "halfbyte::panic")
}

#[tokio::test]
async fn the_hook_reports_each_panic_once_in_its_trace() {
    let receiver = Receiver::start().await.unwrap();
    let endpoint = receiver.endpoint();
    let output = child::play("panic", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("HALFBYTE_ENV", "staging")]).await;
    assert_success(&output);
    let (logs, spans) = (panics_of(receiver.logs()), receiver.spans());
    let messages: Vec<_> = logs.iter().map(|log| log.attributes["exception.message"].to_string()).collect();
    let expected = [
        "no paper for /first",
        "(a value that is no text)",
        "no paper for /clumsy",
        "the second",
        "of a worker",
        "of a thread, with [REDACTED]",
    ];
    assert_eq!(messages, expected);

    for (log, span) in logs.iter().zip(spans.clone().filtered(|span| span.name == "print")).take(3) {
        assert_eq!((log.trace_id.as_ref(), log.span_id.as_ref()), (Some(&span.trace_id), Some(&span.span_id)));
        assert_eq!((log.severity.as_str(), log.event_name.as_str()), ("ERROR", "exception"));
        let [event] = &span.events[..] else { panic!("one event of {span:?}") };
        assert_eq!((event.name.as_str(), &event.attributes["exception.type"]), ("exception", &"panic".into()));
        for key in ["exception.type", "exception.message", "exception.stacktrace"] {
            assert_eq!(event.attributes[key], log.attributes[key], "{key}");
        }
        let trace = &log.attributes["exception.stacktrace"];
        assert!(trace.contains("observe::panics::handle") && trace.len() <= 16 << 10, "{trace}");
        assert_eq!(log.attributes["code.file.path"], "halfbyte-observe/tests/observe/panics.rs");
        assert!(log.attributes["code.line.number"].type_name() == "int");
    }
    let first = &logs[0];
    let line = first.attributes["code.line.number"].as_str();
    assert_eq!(first.body, format!("panicked at halfbyte-observe/tests/observe/panics.rs:{line}: no paper for /first"));
    // What unwound was out of the span that it began in.
    let second = spans.clone().find(|span| span.attributes.get("url.path").is_some_and(|path| path == "/clumsy"));
    assert_eq!(second.event("exception").unwrap().attributes["exception.message"], "the second");
    assert_eq!((logs[5].trace_id.as_ref(), &logs[5].attributes["thread.name"]), (None, &"press".into()));

    let lines = child::json_lines(&output);
    let lines: Vec<_> = lines.iter().filter(|line| line["target"] == "halfbyte::panic").collect();
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(lines[0]["trace_id"].as_str(), first.trace_id.as_deref());
    assert_eq!(lines[0]["fields"]["exception.type"], "panic");
    // The line of the log is all that is printed.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    let all = format!("{said}{}{:?}{:?}", String::from_utf8_lossy(&output.stdout), receiver.logs(), receiver.spans());
    assert!(!all.contains(TOKEN), "{all}");
}

#[tokio::test]
async fn a_panic_that_no_log_shows_is_printed_without_secrets() {
    let variables = [("HALFBYTE_ENV", "staging"), ("RUST_LOG", "off"), ("OTEL_SDK_DISABLED", "true")];
    let output = child::play("panic", &variables).await;
    assert_success(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    let (first, thread) = ("\nno paper for /first\n", "\nof a thread, with [REDACTED]\n");
    assert!(said.contains("thread 'press' panicked at halfbyte-observe/tests/observe/panics.rs:"), "{said}");
    assert_eq!([said.matches(first).count(), said.matches(thread).count()], [1, 1], "{said}");
    assert!(!format!("{said}{}", String::from_utf8_lossy(&output.stdout)).contains(TOKEN), "{said}");
}

#[tokio::test]
async fn without_a_hook_who_catches_it_reports_it() {
    let capture = capture();
    let _entered = capture.enter();
    for path in ["/first", "/value"] {
        let layer = ServerLayer::with(&capture.instrumentation());
        request(layer, path).await;
        let log = panics_of(capture.logs()).only();
        let server = capture.spans().find(|span| span.kind == "server");
        let message = if path == "/first" { "no paper for /first" } else { "(a value that is no text)" };
        assert_eq!((log.event_name.as_str(), log.body), ("exception", format!("panicked: {message}")));
        assert_eq!(log.span_id, Some(server.span_id.clone()));
        assert_eq!(server.events.len(), 1);
        assert_eq!(server.event("exception").unwrap().attributes["exception.message"], message);
        assert!(!log.attributes.contains_key("exception.stacktrace"));
        capture.clear();
    }
}

#[test]
fn a_panic_outside_of_any_span_is_a_line_of_the_log_alone() {
    let capture = capture();
    let _entered = capture.enter();
    panics::caught(&*catch_unwind(|| panic!("alone")).unwrap_err());
    assert_eq!(capture.logs().only().trace_id, None);
    assert!(capture.spans().is_empty());
}

/// The disk that the log goes to is full: what cannot be written is lost, and the product goes on.
#[test]
fn a_log_that_cannot_be_written_panics_nobody() {
    let mut product = Command::new(std::env::current_exe().unwrap());
    product.args(["--exact", "child::the_product", "--nocapture", "--test-threads", "1"]);
    product.env_clear().env("OBSERVE_ROLE", "serve").env("HALFBYTE_ENV", "development");
    product.stdout(Stdio::null()).stderr(File::options().write(true).open("/dev/full").unwrap());
    assert!(product.status().unwrap().success());
}
