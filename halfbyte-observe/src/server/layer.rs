use std::sync::Arc;

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::metrics::{Histogram, Meter, MeterProvider};
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use tower_layer::Layer;

use super::Server;

const SCOPE: &str = env!("CARGO_PKG_NAME");

/// The boundaries that the semantic conventions advise, in seconds.
const BOUNDARIES: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Makes one server span and one measurement of `http.server.request.duration` per request; see the
/// [crate's documentation](crate) for all that it records.
///
/// What it records with is fetched when it is made: make it after [`init`](crate::init). Without `init` it costs
/// little, and still gives each request a [`TraceId`](halfbyte_core::TraceId).
#[derive(Clone, Debug)]
pub struct ServerLayer(pub(super) Arc<Instruments>);

#[derive(Debug)]
pub(super) struct Instruments {
    pub(super) tracer: BoxedTracer,
    pub(super) duration: Histogram<f64>,
}

impl ServerLayer {
    /// A layer that records with the global providers, which [`init`](crate::init) sets.
    pub fn new() -> Self {
        Self::build(global::tracer(SCOPE), &global::meter(SCOPE))
    }

    /// A layer that records with providers of your own, such as those of a test.
    pub fn with_providers<P>(traces: &P, metrics: &impl MeterProvider) -> Self
    where
        P: TracerProvider<Tracer: Tracer<Span: Span + Send + Sync + 'static> + Send + Sync + 'static>,
    {
        Self::build(BoxedTracer::new(Box::new(traces.tracer(SCOPE))), &metrics.meter(SCOPE))
    }

    fn build(tracer: BoxedTracer, meter: &Meter) -> Self {
        let duration = meter
            .f64_histogram("http.server.request.duration")
            .with_description("Duration of HTTP server requests.")
            .with_unit("s")
            .with_boundaries(BOUNDARIES.to_vec())
            .build();
        Self(Arc::new(Instruments { tracer, duration }))
    }
}

impl Default for ServerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Server { inner, instruments: self.0.clone() }
    }
}
