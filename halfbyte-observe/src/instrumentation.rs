use std::fmt;
use std::sync::{Arc, OnceLock};

use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::{Span, SpanBuilder, SpanContext, TraceContextExt as _, Tracer as _, TracerProvider};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan};

/// What [`init`](crate::init) has set up for this process.
static PROCESS: OnceLock<Instrumentation> = OnceLock::new();

/// What the layers record with: that of the [process](Self::process), of a test, or of providers of your own.
///
/// Cloning is cheap, and clones record into the same.
#[derive(Clone, Debug)]
pub struct Instrumentation {
    pub(crate) tracer: Tracer,
    pub(crate) meter: Meter,
}

impl Instrumentation {
    /// What [`init`](crate::init) has set up; before it, the global providers of OpenTelemetry.
    pub fn process() -> Self {
        PROCESS.get().cloned().unwrap_or_else(|| Self {
            tracer: Tracer::Global(Arc::new(global::tracer_with_scope(scope()))),
            meter: global::meter_with_scope(scope()),
        })
    }

    /// Providers of your own SDK.
    pub fn new(traces: &SdkTracerProvider, metrics: &impl MeterProvider) -> Self {
        Self { tracer: Tracer::Sdk(traces.tracer_with_scope(scope())), meter: metrics.meter_with_scope(scope()) }
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

    /// `parent` with this as its span.
    pub(crate) fn within(self, parent: &Context) -> Context {
        match self {
            Self::Sdk(span) => parent.with_span(span),
            Self::Boxed(span) => parent.with_span(span),
        }
    }
}
