//! What must not leak, does not: queries, credentials, headers.

use std::io;
use std::sync::{Arc, Mutex};

use halfbyte_observe::RequestIdLayer;
use http::Request;
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
