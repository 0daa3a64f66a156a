use std::fmt;
use std::sync::{Arc, OnceLock};

use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::{Span, SpanBuilder, SpanContext, TraceContextExt as _, Tracer as _, TracerProvider};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan};

use crate::Propagators;
use crate::propagation::{Flagged, flagged};

/// What [`init`](crate::init) has set up for this process.
static PROCESS: OnceLock<Instrumentation> = OnceLock::new();

/// What the layers record with: that of the [process](Self::process), of a test, or of providers of your own.
///
/// Cloning is cheap, and clones record into the same.
#[derive(Clone, Debug)]
pub struct Instrumentation {
    pub(crate) tracer: Tracer,
    pub(crate) meter: Meter,
    pub(crate) propagators: Arc<Propagators>,
}

impl Instrumentation {
    /// What [`init`](crate::init) has set up; before it, the global providers of OpenTelemetry.
    pub fn process() -> Self {
        PROCESS.get().cloned().unwrap_or_else(|| Self {
            tracer: Tracer::Global(Arc::new(global::tracer_with_scope(scope()))),
            meter: global::meter_with_scope(scope()),
            propagators: Arc::default(),
        })
    }

    /// Providers of your own SDK. Its trace ids are taken to be random, as its default generator makes them: the traces
    /// that start here say so to whom they call.
    pub fn new(traces: &SdkTracerProvider, metrics: &impl MeterProvider) -> Self {
        Self {
            tracer: Tracer::Sdk(traces.tracer_with_scope(scope())),
            meter: metrics.meter_with_scope(scope()),
            propagators: Arc::default(),
        }
    }

    /// The same with other headers.
    pub fn with_propagators(mut self, propagators: Propagators) -> Self {
        self.propagators = Arc::new(propagators);
        self
    }

    /// Makes this the one of the process; the first one stays.
    pub(crate) fn install(self) {
        let _first_stays = PROCESS.set(self);
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// A tracer. The SDK's own spares its spans a box.
#[derive(Clone)]
pub(crate) enum Tracer {
    Sdk(SdkTracer),
    Global(Arc<BoxedTracer>),
}

impl Tracer {
    /// Starts a span that is not current yet.
    pub(crate) fn start(&self, builder: SpanBuilder, parent: &Context) -> Started {
        match self {
            Self::Sdk(tracer) => Started::Sdk(tracer.build_with_context(builder, parent)),
            Self::Global(tracer) => Started::Boxed(tracer.build_with_context(builder, parent)),
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracer")
    }
}

/// A span before it is shared.
pub(crate) enum Started {
    Sdk(SdkSpan),
    Boxed(BoxedSpan),
}

impl Started {
    pub(crate) fn span_context(&self) -> &SpanContext {
        match self {
            Self::Sdk(span) => span.span_context(),
            Self::Boxed(span) => span.span_context(),
        }
    }

    /// Whether attributes that are set on it go anywhere.
    pub(crate) fn is_recording(&self) -> bool {
        match self {
            Self::Sdk(span) => span.is_recording(),
            Self::Boxed(span) => span.is_recording(),
        }
    }

    /// `parent` with this as its span, which keeps the random flag of the trace, or starts a trace with it.
    pub(crate) fn within(self, parent: &Context) -> Context {
        let span = parent.span();
        let before = span.span_context();
        // Of an SDK that is not ours nobody knows how it makes its ids.
        let ids_are_random = matches!(self, Self::Sdk(_));
        match self {
            // Nothing is ever said to it, so its context is all there is.
            _ if !self.is_recording() => {
                parent.with_remote_span_context(flagged(self.span_context(), before, ids_are_random))
            }
            Self::Sdk(span) => parent.with_span(Flagged::new(span, before, ids_are_random)),
            Self::Boxed(span) => parent.with_span(Flagged::new(span, before, ids_are_random)),
        }
    }
}
