//! What must not leak, does not: queries, credentials, headers.

use std::io;
use std::sync::{Arc, Mutex};

use halfbyte_observe::RequestIdLayer;
use http::Request;
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use tower::{ServiceBuilder, ServiceExt as _};
use tracing_subscriber::fmt::MakeWriter;

use crate::kit::{Body, Kit, finish, ok};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_request_is_one_line_of_the_log_and_its_secrets_are_nowhere() {
    let (kit, sink) = (Kit::new(), Sink::default());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(sink.clone()).finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let request = Request::post("http://me:s3cret@shop.example/labels?api_key=s3cret#s3cret")
        .header("authorization", "Bearer s3cret")
        .header("cookie", "session=s3cret")
        .header("baggage", "user=s3cret")
        .header("x-request-id", "order-42")
        .body(Body::from("s3cret"))
        .unwrap();
    let service = ServiceBuilder::new().layer(RequestIdLayer::new()).layer(kit.layer()).service_fn(ok);
    finish(service.oneshot(request).await.unwrap()).await;

    let log = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("INFO halfbyte::access: POST /labels 200 "), "{log}");
    assert!(log.contains("request_id=\"order-42\""), "{log}");
    let (span, series) = kit.once();
    for text in [log, format!("{span:?}"), format!("{series:?}")] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

/// Whatever it is named, and however it is encoded.
#[test]
fn a_live_secret_is_in_no_signal() {
    let live = [b"correct horse".as_slice(), b"4711471149"];
    let _known = live.map(halfbyte_core::fingerprint::register);
    let capture = halfbyte_observe::testing::capture();
    let _entered = capture.enter();
    let span = tracing::info_span!(
        "note",
        n = 4_711_471_149_i64,
        text = "it is correct horse",
        otel.name = "for correct%20horse"
    );
    span.in_scope(|| tracing::info!(n = 4_711_471_149_i64, list = ?["correct horse"], "dTpjb3JyZWN0IGhvcnNl"));
    let counter = capture.meter_provider().meter("test").u64_counter("notes").build();
    counter.add(1, &[KeyValue::new("of", "correct horse")]);
    drop(span);
    let said = format!("{:?} {:?} {:?}", capture.spans(), capture.logs(), capture.metrics());
    assert!(!said.contains("horse") && !said.contains("cnJlY3QgaG9yc2") && said.contains("[REDACTED]"), "{said}");
    assert!(!said.contains("4711471149"), "{said}");
}
