//! A collection of metrics, which holds the SDK's locks while it asks callbacks, holds up neither requests nor calls.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use halfbyte_observe::ClientLayer;
use http::{Request, Response, Version};
use opentelemetry::metrics::MeterProvider as _;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::kit::{Body, Kit, finish};

fn ask(content_type: &str) -> Request<Body> {
    let request = Request::post("http://parcel.example.com/parcel.v1.Labels/Print").version(Version::HTTP_2);
    request.header("content-type", content_type).body(Body::default()).unwrap()
}

async fn answer(_request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let response = Response::builder().header("content-type", "application/grpc").header("grpc-status", "0");
    Ok(response.body(Body::default()).unwrap())
}

#[tokio::test]
async fn the_first_of_each_kind_ends_while_a_collection_waits_for_a_callback() {
    let kit = Kit::new();
    let (server, client) = (kit.layer(), ClientLayer::with_instrumentation(&kit.instrumentation()));
    let ((entered, enters), (leave, leaves)) = (mpsc::channel(), mpsc::channel::<()>());
    let (leaves, has_left) = (Mutex::new(leaves), Arc::new(AtomicBool::new(false)));
    let left = has_left.clone();
    let meter = kit.metrics.meter("product");
    let slow = meter.u64_observable_gauge("slow").with_callback(move |_| {
        let _or_nobody_asks = entered.send(());
        // Not for ever, so that one who waits for it fails, and does not hang.
        let _told = leaves.lock().unwrap().recv_timeout(Duration::from_secs(20));
        left.store(true, Ordering::SeqCst);
    });
    slow.build();
    let metrics = kit.metrics.clone();
    let collection = thread::spawn(move || metrics.force_flush());
    enters.recv().unwrap();
    for content_type in ["text/plain", "application/grpc"] {
        finish(server.layer(service_fn(answer)).oneshot(ask(content_type)).await.unwrap()).await;
        finish(client.layer(service_fn(answer)).oneshot(ask(content_type)).await.unwrap()).await;
        assert!(!has_left.load(Ordering::SeqCst), "{content_type}");
    }
    drop(leave);
    collection.join().unwrap().unwrap();
    for kind in ["http.server.request", "rpc.server.call", "http.client.request", "rpc.client.call"] {
        assert_eq!(kit.durations_of(&format!("{kind}.duration")).len(), 1, "{kind}");
    }
}
