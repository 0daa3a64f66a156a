//! What a request costs in allocations, beyond those of the service itself.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use halfbyte_core::PeerAddress;
use halfbyte_observe::{Instrumentation, Route, ServerLayer, TraceTrust};
use http::{Request, Response};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use tower::{Layer as _, Service, service_fn};

use crate::kit::{Body, ok};

#[derive(Debug)]
struct Nowhere;

impl SpanProcessor for Nowhere {
    fn on_start(&self, _span: &mut Span, _parent: &opentelemetry::Context) {}

    fn on_end(&self, _span: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: std::time::Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn metrics() -> SdkMeterProvider {
    SdkMeterProvider::builder().with_reader(ManualReader::builder().build()).build()
}

fn both() -> [ServerLayer; 2] {
    let traces = SdkTracerProvider::builder().with_span_processor(Nowhere).build();
    let own = Instrumentation::ending_in(Arc::new(Nowhere), &metrics());
    [own, Instrumentation::new(&traces, &metrics())]
        .map(|instrumentation| ServerLayer::with(&instrumentation).trace_from(TraceTrust::danger_everybody()))
}

fn request(flags: Option<&str>) -> Request<Body> {
    let mut request = Request::post("/labels/4711")
        .header("host", "parcel.example.com:8443")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0)")
        .body(Body::default())
        .unwrap();
    if let Some(flags) = flags {
        let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        request.headers_mut().insert("traceparent", parent.parse().unwrap());
    }
    request.extensions_mut().insert(PeerAddress(SocketAddr::from(([192, 0, 2, 1], 4711))));
    request.extensions_mut().insert(Route::new("/labels/{id}"));
    request
}

/// The allocations of one request, once all is warm.
fn allocations<S, B>(mut service: S, flags: Option<&str>) -> u64
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
{
    let mut run = |request| {
        let mut context = Context::from_waker(Waker::noop());
        let mut answer = pin!(service.call(request));
        let Poll::Ready(Ok(response)) = answer.as_mut().poll(&mut context) else { panic!("it waits") };
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut context) {}
    };
    for _ in 0..10 {
        run(request(flags));
    }
    let input = request(flags);
    measure(|| run(input)).count_total
}

#[test]
fn a_sampled_request_allocates_four_times_and_once_more_with_the_tracer_of_an_sdk() {
    let bare = allocations(service_fn(ok), Some("01"));
    assert_eq!(both().map(|layer| allocations(layer.layer(service_fn(ok)), Some("01")) - bare), [4, 5]);
}

#[test]
fn a_request_whose_parent_is_not_sampled_allocates_once() {
    let bare = allocations(service_fn(ok), Some("00"));
    assert_eq!(both().map(|layer| allocations(layer.layer(service_fn(ok)), Some("00")) - bare), [1, 1]);
}

#[test]
fn metrics_alone_allocate_nothing() {
    let bare = allocations(service_fn(ok), None);
    let layer = ServerLayer::with(&Instrumentation::metrics_only(&metrics()));
    assert_eq!(allocations(layer.layer(service_fn(ok)), None), bare);
}
