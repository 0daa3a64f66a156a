//! The peers, each with what it needs, and the empty service that all of them stand in front of.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use halfbyte::observe::{Instrumentation, ServerLayer, TraceTrust};
use http::{Request, Response};
use http_body_util::Full;
use opentelemetry::propagation::TextMapCompositePropagator;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use tower::{Layer, Service, service_fn};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, registry};

pub type Body = Full<Bytes>;

/// Takes a request to the end of its response.
pub type Contestant = Box<dyn FnMut(Request<Body>)>;

/// Spans go nowhere, for all of them.
#[derive(Debug)]
pub struct Nowhere;

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

fn traces() -> SdkTracerProvider {
    SdkTracerProvider::builder().with_span_processor(Nowhere).build()
}

pub fn metrics() -> SdkMeterProvider {
    SdkMeterProvider::builder().with_reader(ManualReader::builder().build()).build()
}

/// What the peers look for: global providers, and a subscriber with the layer of tracing-opentelemetry. It does not see
/// this library's own line of the log, so that no contestant logs.
pub fn prepare() {
    use opentelemetry::trace::TracerProvider as _;
    let traces = traces();
    let spans = tracing_opentelemetry::layer().with_tracer(traces.tracer("bench"));
    let others = filter_fn(|metadata| !metadata.target().starts_with("halfbyte"));
    tracing::subscriber::set_global_default(registry().with(spans.with_filter(others))).expect("the first one");
    opentelemetry::global::set_tracer_provider(traces);
    opentelemetry::global::set_meter_provider(metrics());
    // The two that the specification has as the default.
    opentelemetry::global::set_text_map_propagator(TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
    ]));
}

async fn empty(_request: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Full::from("a label")))
}

pub fn bare() -> Contestant {
    contestant(service_fn(empty))
}

/// With the tracer that `init` installs: whole spans, as they are exported, are handed to the same processor.
pub fn ours() -> Contestant {
    let instrumentation = Instrumentation::ending_in(Arc::new(Nowhere), &metrics());
    contestant(ServerLayer::with(&instrumentation).trace_from(TraceTrust::danger_everybody()).layer(service_fn(empty)))
}

pub fn ours_metrics_only() -> Contestant {
    contestant(ServerLayer::with(&Instrumentation::metrics_only(&metrics())).layer(service_fn(empty)))
}

pub fn instrumentation_tower() -> Contestant {
    contestant(opentelemetry_instrumentation_tower::http::server::Layer::new().layer(service_fn(empty)))
}

pub fn tower_otel() -> Contestant {
    let meter = opentelemetry::global::meter("bench");
    let measured = tower_otel::metrics::HttpLayer::server(&meter).layer(service_fn(empty));
    contestant(tower_otel::trace::HttpLayer::server(tracing::Level::INFO).layer(measured))
}

pub fn axum_tracing() -> Contestant {
    contestant(axum_tracing_opentelemetry::middleware::OtelAxumLayer::default().layer(service_fn(empty)))
}

/// Nothing here ever waits, so a runtime is not needed.
fn contestant<S, B>(mut service: S) -> Contestant
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + 'static,
    B: http_body::Body<Data = Bytes>,
{
    Box::new(move |request| {
        let mut context = Context::from_waker(Waker::noop());
        let mut answer = pin!(service.call(request));
        let Poll::Ready(Ok(response)) = answer.as_mut().poll(&mut context) else { panic!("it waits") };
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut context) {}
    })
}
