use std::fmt;
use std::sync::{Arc, OnceLock};

use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::metrics::noop::NoopMeterProvider;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::{Link, Span, SpanBuilder, SpanContext, TraceContextExt as _, Tracer as _, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan, SpanLimits, SpanProcessor};

#[cfg(feature = "testing")]
use crate::chain::Traces;
use crate::export::Providers;
use crate::keep::{Recording, Sampler};
use crate::metrics::Exemplars;
use crate::propagation::{Flagged, flagged};
use crate::trace::{self, Beginning, Decision, Pipeline, Shared};
use crate::{Propagators, Redaction, Settings, UserHasher};

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
    pub(crate) redaction: Redaction,
    pub(crate) exemplars: Arc<Exemplars>,
    pub(crate) users: Option<UserHasher>,
}

impl Instrumentation {
    /// What [`init`](crate::init) has set up; before it, the global providers of OpenTelemetry.
    pub fn process() -> Self {
        PROCESS.get().cloned().unwrap_or_else(|| {
            let tracer = Arc::new(global::tracer_with_scope(scope()));
            Self::of(Tracer::Global(tracer), global::meter_with_scope(scope()))
        })
    }

    /// Providers of your own SDK. Its trace ids are taken to be random, as its default generator makes them: the traces
    /// that start here say so to whom they call.
    pub fn new(traces: &SdkTracerProvider, metrics: &impl MeterProvider) -> Self {
        Self::of(Tracer::Sdk(traces.tracer_with_scope(scope())), metrics.meter_with_scope(scope()))
    }

    /// Spans of layers are made as [`init`](crate::init) has it: by a tracer of this library, which costs less than
    /// the SDK's, and are handed to `end` when they have ended. They are sampled as `parentbased_always_on` has it, with
    /// the limits of the specification; those that are not sampled are not made.
    ///
    /// It is meant for tests, for benchmarks and for a pipeline of your own, since nothing is done of what
    /// [`init`](crate::init) does to spans on their way:
    ///
    /// - They are not stamped: what a layer does not say itself, such as `halfbyte.tenant` of a call, is not there.
    /// - They are not redacted: what looks like a secret is in them. [`with_redaction`](Self::with_redaction) is for what
    ///   layers take from requests alone.
    /// - Values have any length, and no variable such as `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT` is read.
    /// - `end` is told of no resource, and of nothing that starts, since that is no span of the SDK. It is not shut down
    ///   with this: flush it and shut it down yourself.
    pub fn ending_in<P: SpanProcessor + 'static>(end: Arc<P>, metrics: &impl MeterProvider) -> Self {
        let sampler = Recording::new(Sampler::default(), false);
        let pipeline = Pipeline::new(sampler, SpanLimits::default(), Some(Box::new(Shared(end))));
        Self::of(Tracer::Own(trace::Tracer::new(pipeline, None, scope())), metrics.meter_with_scope(scope()))
    }

    #[cfg(feature = "testing")]
    pub(crate) fn made_by(traces: &Traces, metrics: &impl MeterProvider) -> Self {
        Self::of(Tracer::Own(traces.tracer(scope())), metrics.meter_with_scope(scope()))
    }

    /// Metrics alone: requests make no spans, and belong to a trace only if they came with one.
    pub fn metrics_only(metrics: &impl MeterProvider) -> Self {
        Self::of(Tracer::None, metrics.meter_with_scope(scope()))
    }

    fn of(tracer: Tracer, meter: Meter) -> Self {
        Self {
            tracer,
            meter,
            propagators: Arc::default(),
            redaction: Redaction::default(),
            exemplars: Arc::default(),
            users: None,
        }
    }

    /// The same with other headers.
    #[must_use]
    pub fn with_propagators(mut self, propagators: Propagators) -> Self {
        self.propagators = Arc::new(propagators);
        self
    }

    /// The same with rules of your own for what layers take from requests.
    #[must_use]
    pub fn with_redaction(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    /// The same, with the exemplars of its durations where an exporter finds them.
    #[cfg(feature = "testing")]
    pub(crate) fn with_exemplars(mut self, exemplars: Arc<Exemplars>) -> Self {
        self.exemplars = exemplars;
        self
    }

    /// Spans of requests name the user as `enduser.pseudo.id`, by a hash. Without this they name no user.
    #[must_use]
    pub fn pseudonyms(mut self, users: UserHasher) -> Self {
        self.users = Some(users);
        self
    }

    /// That of what [`init`](crate::init) builds.
    pub(crate) fn of_process(
        providers: &Providers,
        propagators: Propagators,
        settings: &Settings,
        exemplars: Arc<Exemplars>,
    ) -> Self {
        let tracer = match &providers.traces {
            Some(traces) => Tracer::Own(traces.tracer(scope())),
            None => Tracer::None,
        };
        let meter = match &providers.metrics {
            Some(metrics) => metrics.meter_with_scope(scope()),
            None => NoopMeterProvider::new().meter_with_scope(scope()),
        };
        Self {
            tracer,
            meter,
            propagators: Arc::new(propagators),
            redaction: settings.redaction.clone(),
            exemplars,
            users: settings.users.clone(),
        }
    }

    /// Makes this the one of the process; the first one stays.
    pub(crate) fn install(self) {
        let _first_stays = PROCESS.set(self);
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(crate::SCOPE).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// A tracer: ours, or one of somebody else's, of which the SDK's spares its spans a box.
#[derive(Clone)]
pub(crate) enum Tracer {
    Own(trace::Tracer),
    Sdk(SdkTracer),
    Global(Arc<BoxedTracer>),
    None,
}

impl Tracer {
    /// Starts a span that is not current yet.
    pub(crate) fn start(&self, beginning: Beginning, parent: &Context) -> Started {
        match self {
            Self::Own(tracer) => Started::own(tracer, beginning, parent),
            Self::Sdk(tracer) => Started::Sdk(tracer.build_with_context(builder(beginning), parent)),
            Self::Global(tracer) => Started::Boxed(tracer.build_with_context(builder(beginning), parent)),
            Self::None => Started::None,
        }
    }
}

fn builder(Beginning { name, kind, at, attributes, link }: Beginning) -> SpanBuilder {
    SpanBuilder {
        name,
        span_kind: Some(kind),
        start_time: at,
        attributes: Some(attributes),
        links: link.map(|link| vec![Link::with_context(link)]),
        events: None,
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracer")
    }
}

/// A span before it is shared.
pub(crate) enum Started {
    Own(trace::Span),
    /// Nobody will see it, but it has an id.
    Unrecorded(SpanContext),
    Sdk(SdkSpan),
    Boxed(BoxedSpan),
    /// There are to be none.
    None,
}

static NONE: SpanContext = SpanContext::NONE;

impl Started {
    fn own(tracer: &trace::Tracer, beginning: Beginning, parent: &Context) -> Self {
        if parent.is_telemetry_suppressed() || tracer.is_shut_down() {
            return Self::None;
        }
        let span = parent.span();
        let before = Some(span.span_context()).filter(|before| before.is_valid());
        let trace = trace::trace_of(before);
        match tracer.decide(trace, before) {
            Decision::Record(context) => Self::Own(tracer.start(context, before, beginning)),
            Decision::Unseen(context) => Self::Unrecorded(context),
            Decision::Drop => Self::Unrecorded(trace::unrecorded(trace, before)),
        }
    }

    pub(crate) fn span_context(&self) -> &SpanContext {
        match self {
            Self::Own(span) => span.span_context(),
            Self::Unrecorded(context) => context,
            Self::Sdk(span) => span.span_context(),
            Self::Boxed(span) => span.span_context(),
            Self::None => &NONE,
        }
    }

    /// Whether attributes that are set on it go anywhere.
    pub(crate) fn is_recording(&self) -> bool {
        match self {
            Self::Sdk(span) => span.is_recording(),
            Self::Boxed(span) => span.is_recording(),
            Self::Own(_) => true,
            Self::Unrecorded(_) | Self::None => false,
        }
    }

    /// Before it is shared, this takes no lock.
    pub(crate) fn set_attributes(&mut self, attributes: Vec<KeyValue>) {
        match self {
            Self::Sdk(span) => span.set_attributes(attributes),
            Self::Boxed(span) => span.set_attributes(attributes),
            Self::Own(span) => span.set_attributes(attributes),
            Self::Unrecorded(_) | Self::None => {}
        }
    }

    /// `parent` with this as its span, which keeps the random flag of the trace, or starts a trace with it.
    pub(crate) fn within(self, parent: &Context) -> Context {
        match self {
            Self::Own(span) => parent.with_span(span),
            Self::Unrecorded(context) => parent.with_remote_span_context(context),
            Self::Sdk(span) => within(span, parent, true),
            // Of an SDK that is not ours nobody knows how it makes its ids.
            Self::Boxed(span) => within(span, parent, false),
            Self::None => parent.clone(),
        }
    }
}

fn within<S: Span + Send + Sync + 'static>(span: S, parent: &Context, ids_are_random: bool) -> Context {
    let before = parent.span();
    let before = before.span_context();
    if span.is_recording() {
        parent.with_span(Flagged::new(span, before, ids_are_random))
    } else {
        // Nothing is ever said to it, so its context is all there is.
        parent.with_remote_span_context(flagged(span.span_context(), before, ids_are_random))
    }
}
