//! The layers of `tracing` that make spans and log records out of what a product writes.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::console;

pub(crate) type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Spans of the product's own, as children of the request's.
pub(crate) fn traces<S>(provider: &SdkTracerProvider) -> BoxedLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("tracing"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    spans.with_filter(console::spans()).boxed()
}

/// Events as log records.
pub(crate) fn logs<S>(
    provider: &SdkLoggerProvider,
    filter: impl tracing_subscriber::layer::Filter<S> + Send + Sync + 'static,
) -> BoxedLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    OpenTelemetryTracingBridge::new(provider).with_filter(filter).boxed()
}
