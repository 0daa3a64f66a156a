//! A tracer behind the interface of OpenTelemetry that costs less than the SDK's: it decides before it makes anything, knows
//! the random flag, and hands a span that has ended to the same chain as the SDK's tracers do.

mod shared;
mod span;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, TraceFlags, TraceId};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, SdkTracerProvider, Span as SdkSpan, SpanData, SpanLimits, SpanProcessor,
};

pub(crate) use self::shared::Shared;
pub(crate) use self::span::{Beginning, Span};
use crate::keep::Recording;
use crate::propagation::RANDOM;

/// A span processor that is told of the spans of a [`Tracer`] as well.
pub(crate) trait Stage: SpanProcessor {
    /// What [`on_start`](SpanProcessor::on_start) is for those of the SDK. The parent is there if it is valid.
    fn starting(&self, _span: &mut Span, _parent: Option<&SpanContext>) {}
}

/// What spans are made by and go through, whichever tracer they are of.
pub(crate) struct Pipeline {
    sampler: Recording,
    limits: SpanLimits,
    // Without it spans are made all the same, for their ids.
    chain: Option<Box<dyn Stage>>,
    is_shut_down: AtomicBool,
}

impl Pipeline {
    pub(crate) fn new(sampler: Recording, limits: SpanLimits, chain: Option<Box<dyn Stage>>) -> Arc<Self> {
        Arc::new(Self { sampler, limits, chain, is_shut_down: AtomicBool::new(false) })
    }

    fn is_shut_down(&self) -> bool {
        self.is_shut_down.load(Ordering::Relaxed)
    }
}

/// Spans of the SDK's tracers.
impl SpanProcessor for Pipeline {
    fn on_start(&self, span: &mut SdkSpan, parent: &Context) {
        if let Some(chain) = &self.chain {
            chain.on_start(span, parent);
        }
    }

    fn on_end(&self, span: SpanData) {
        if let Some(chain) = &self.chain {
            chain.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.chain.as_ref().map_or(Ok(()), |chain| chain.force_flush())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.is_shut_down.store(true, Ordering::Relaxed);
        self.chain.as_ref().map_or(Ok(()), |chain| chain.shutdown_with_timeout(timeout))
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("sampler", &self.sampler).field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// Makes spans.
#[derive(Clone, Debug)]
pub(crate) struct Tracer(Arc<Source>);

/// What all spans of a tracer share.
#[derive(Debug)]
struct Source {
    pipeline: Arc<Pipeline>,
    scope: InstrumentationScope,
    // The last one of it that is dropped shuts the pipeline down.
    _provider: Option<SdkTracerProvider>,
}

impl Tracer {
    /// `provider` is one whose spans go through the pipeline as well.
    pub(crate) fn new(
        pipeline: Arc<Pipeline>,
        provider: Option<SdkTracerProvider>,
        scope: InstrumentationScope,
    ) -> Self {
        Self(Arc::new(Source { pipeline, scope, _provider: provider }))
    }

    /// After that no span is made.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.0.pipeline.is_shut_down()
    }

    /// The context of a span of `trace` that is to be recorded, if it is. A parent is valid.
    #[inline]
    pub(crate) fn record(&self, trace: TraceId, parent: Option<&SpanContext>) -> Option<SpanContext> {
        if self.is_shut_down() {
            return None;
        }
        let sampled = self.0.pipeline.sampler.decide(parent.map(SpanContext::is_sampled), trace)?;
        // The SDK keeps what other flags there are.
        let flags = parent.map_or(RANDOM, SpanContext::trace_flags).with_sampled(sampled);
        Some(context(trace, parent, flags))
    }

    /// Starts a span that is to be recorded, with the context that [`record`](Self::record) has answered.
    #[inline]
    pub(crate) fn start(&self, context: SpanContext, parent: Option<&SpanContext>, beginning: Beginning) -> Span {
        let mut span = Span::new(&self.0, context, parent, beginning);
        if let Some(chain) = &self.0.pipeline.chain {
            chain.starting(&mut span, parent);
        }
        span
    }
}

/// The trace that a span with this parent belongs to.
pub(crate) fn trace_of(parent: Option<&SpanContext>) -> TraceId {
    parent.map_or_else(|| RandomIdGenerator::default().new_trace_id(), SpanContext::trace_id)
}

/// The context of a span that is not recorded: nothing of the parent's flags but that the trace id is random.
pub(crate) fn unrecorded(trace: TraceId, parent: Option<&SpanContext>) -> SpanContext {
    let flags = parent.map_or(RANDOM, SpanContext::trace_flags) & RANDOM;
    context(trace, parent, flags)
}

fn context(trace: TraceId, parent: Option<&SpanContext>, flags: TraceFlags) -> SpanContext {
    // As many random bits, of the same source, as the SDK's.
    let span = RandomIdGenerator::default().new_span_id();
    let state = parent.map(|parent| parent.trace_state().clone()).unwrap_or_default();
    SpanContext::new(trace, span, flags, false, state)
}
