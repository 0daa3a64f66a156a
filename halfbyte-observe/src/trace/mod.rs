//! A tracer behind the interface of OpenTelemetry that costs less than the SDK's: it decides before it makes anything, knows
//! the random flag, and hands a span that has ended to the same chain as the SDK's tracers do.

mod shared;
mod span;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, TraceFlags, TraceId};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
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
    /// What [`on_start`](SpanProcessor::on_start) is for those of the SDK: it may add to the attributes. The parent is there
    /// if it is valid.
    fn starting(&self, _span: &SpanContext, _parent: Option<&SpanContext>, _attributes: &mut Vec<KeyValue>) {}
}

/// What spans are made by and go through, whichever tracer they are of.
pub(crate) struct Pipeline {
    sampler: Recording,
    limits: SpanLimits,
    // Without it nothing is recorded by our own tracer, and what it makes are ids.
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

/// What becomes of a span that somebody wants.
pub(crate) enum Decision {
    /// It is to be recorded, with this context.
    Record(SpanContext),
    /// It would be, if anything came behind: this context, with the flags that it would have, is all that there is of it.
    Unseen(SpanContext),
    /// The sampler wants none.
    Drop,
}

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

    /// What becomes of a span of `trace`. A parent is valid.
    #[inline]
    pub(crate) fn decide(&self, trace: TraceId, parent: Option<&SpanContext>) -> Decision {
        let pipeline = &self.0.pipeline;
        if pipeline.is_shut_down() {
            return Decision::Drop;
        }
        let Some(sampled) = pipeline.sampler.decide(parent.map(SpanContext::is_sampled), trace) else {
            return Decision::Drop;
        };
        // The SDK keeps what other flags there are.
        let flags = parent.map_or(RANDOM, SpanContext::trace_flags).with_sampled(sampled);
        let context = context(trace, parent, flags);
        if pipeline.chain.is_some() { Decision::Record(context) } else { Decision::Unseen(context) }
    }

    /// Starts a span that is to be [recorded](Decision::Record) with `context`.
    #[inline]
    pub(crate) fn start(&self, context: SpanContext, parent: Option<&SpanContext>, mut beginning: Beginning) -> Span {
        if let Some(chain) = &self.0.pipeline.chain {
            chain.starting(&context, parent, &mut beginning.attributes);
        }
        // The last thing, so that it is made where it is moved to.
        Span::new(&self.0, context, parent, beginning)
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

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Config;
    use opentelemetry::trace::{
        Link, Span as _, SpanBuilder, SpanId, SpanKind, Status, TraceContextExt as _, TraceState, Tracer as _,
        TracerProvider as _,
    };
    use opentelemetry_sdk::trace::SdkTracer;
    use proptest::prelude::*;

    use super::*;
    use crate::instrumentation::{Started, Tracer as Either};
    use crate::keep::testing::Collected;
    use crate::keep::{Limits, Sampler};

    /// Both tracers of one pipeline, and what reaches its end.
    fn both(variables: &[(&str, &str)], keeping: bool) -> (Tracer, SdkTracer, Arc<Pipeline>, Collected) {
        let variables = Config::parse(variables.iter().copied()).unwrap().other;
        let (sampler, limits) = (Sampler::read(&variables).unwrap(), Limits::read(&variables).unwrap().span_limits());
        let (sampler, collected) = (Recording::new(sampler, keeping), Collected::default());
        let end = Shared(Arc::new(collected.clone()));
        let (tracer, sdk, pipeline) = ending_in(Some(Box::new(end)), sampler, limits);
        (tracer, sdk, pipeline, collected)
    }

    fn ending_in(
        end: Option<Box<dyn Stage>>,
        sampler: Recording,
        limits: SpanLimits,
    ) -> (Tracer, SdkTracer, Arc<Pipeline>) {
        let pipeline = Pipeline::new(sampler.clone(), limits, end);
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_span_limits(limits)
            .with_span_processor(Shared(pipeline.clone()))
            .build();
        let (scope, sdk) = (InstrumentationScope::builder("test").build(), provider.tracer("test"));
        (Tracer::new(pipeline.clone(), Some(provider), scope), sdk, pipeline)
    }

    fn parent(of: Option<(bool, u8)>) -> Context {
        let Some((remote, flags)) = of else { return Context::new() };
        let state = TraceState::from_key_value([("a", "b")]).unwrap();
        let (trace, span) = (TraceId::from(7), SpanId::from(9));
        Context::new().with_remote_span_context(SpanContext::new(trace, span, TraceFlags::new(flags), remote, state))
    }

    fn own(tracer: &Tracer, name: &'static str, parent: &Context) -> Started {
        Either::Own(tracer.clone()).start(Beginning::of(name.into(), SpanKind::Internal), parent)
    }

    /// Without what is random, and what only a tracer of our own says.
    fn seen(mut span: SpanData) -> SpanData {
        let context = &span.span_context;
        let flags = context.trace_flags() & TraceFlags::SAMPLED;
        let trace = if span.parent_span_id == SpanId::INVALID { TraceId::from(1) } else { context.trace_id() };
        span.span_context =
            SpanContext::new(trace, SpanId::from(1), flags, context.is_remote(), context.trace_state().clone());
        span
    }

    #[derive(Clone, Debug)]
    enum Step {
        Attribute(u8),
        Status(u8),
        Name,
        Event(usize),
        Link(usize),
        End,
    }

    fn attributes(count: usize) -> Vec<KeyValue> {
        (0..count as i64).map(|number| KeyValue::new("n", number)).collect()
    }

    fn take(context: &Context, steps: &[Step]) {
        let (span, at) = (context.span(), std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(5));
        for step in steps {
            match step {
                Step::Attribute(value) => span.set_attribute(KeyValue::new("key", i64::from(*value))),
                Step::Status(0) => span.set_status(Status::Ok),
                Step::Status(1) => span.set_status(Status::error("one")),
                Step::Status(_) => span.set_status(Status::Unset),
                Step::Name => span.update_name("other"),
                Step::Event(count) => span.add_event_with_timestamp("event", at, attributes(*count)),
                Step::Link(count) => {
                    span.add_link(parent(Some((true, 1))).span().span_context().clone(), attributes(*count))
                }
                Step::End => span.end_with_timestamp(at),
            }
        }
        span.end_with_timestamp(at);
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => any::<u8>().prop_map(Step::Attribute),
            2 => (0_u8..3).prop_map(Step::Status),
            1 => Just(Step::Name),
            4 => (0_usize..5).prop_map(Step::Event),
            4 => (0_usize..5).prop_map(Step::Link),
            1 => Just(Step::End),
        ]
    }

    proptest! {
        /// The SDK is the model: whatever happens to a span of either, the end of the chain sees the same.
        #[test]
        fn it_makes_the_spans_that_the_sdk_makes(
            name in prop::sample::select(vec!["always_on", "always_off", "parentbased_always_on", "parentbased_always_off"]),
            keeping in any::<bool>(),
            of in prop::option::of((any::<bool>(), 0_u8..4)),
            first in 0_usize..6,
            linked in any::<bool>(),
            steps in prop::collection::vec(step(), 0..20),
        ) {
            let limits = [
                ("OTEL_TRACES_SAMPLER", name), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "4"),
                ("OTEL_SPAN_EVENT_COUNT_LIMIT", "2"), ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "3"),
                ("OTEL_SPAN_LINK_COUNT_LIMIT", "2"), ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "1"),
            ];
            let (tracer, sdk, _, collected) = both(&limits, keeping);
            let (parent, start) = (parent(of), std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1));
            let other = SpanContext::new(TraceId::from(3), SpanId::from(4), TraceFlags::SAMPLED, true, TraceState::NONE);
            let link = linked.then_some(other);
            let builder = SpanBuilder::from_name("span").with_kind(SpanKind::Server).with_start_time(start)
                .with_attributes(attributes(first)).with_links(link.clone().map(Link::with_context).into_iter().collect());
            let (attributes, at) = (attributes(first), Some(start));
            let beginning = Beginning { attributes, at, link, ..Beginning::of("span".into(), SpanKind::Server) };
            let ours = Either::Own(tracer).start(beginning, &parent);
            let theirs = sdk.build_with_context(builder, &parent);
            prop_assert_eq!(ours.is_recording(), theirs.is_recording());
            let (said, saying) = (ours.span_context().clone(), theirs.span_context().clone());
            prop_assert_eq!(said.is_sampled(), saying.is_sampled());
            prop_assert_eq!(said.trace_state(), saying.trace_state());
            prop_assert_eq!((said.is_valid(), said.is_remote()), (true, false));
            prop_assert_eq!(said.trace_id() == saying.trace_id(), parent.has_active_span());
            // The random flag, which the SDK neither sets nor always keeps.
            let random = of.is_none_or(|(_, flags)| flags & 2 == 2);
            prop_assert_eq!(said.trace_flags() & RANDOM == RANDOM, random);
            take(&ours.within(&parent), &steps);
            take(&parent.with_span(theirs), &steps);
            let mut spans: Vec<SpanData> = collected.spans().into_iter().map(seen).collect();
            let theirs = spans.pop();
            prop_assert_eq!(spans.pop(), theirs);
            prop_assert!(spans.is_empty());
        }
    }

    #[test]
    fn where_nothing_comes_behind_there_is_no_span_but_its_context_has_the_flags_that_it_would_have() {
        for (name, keeping) in
            [("always_on", false), ("always_off", false), ("always_off", true), ("parentbased_always_on", false)]
        {
            for of in [None, Some((true, 0)), Some((true, 1)), Some((false, 3))] {
                let variables = [("OTEL_TRACES_SAMPLER", name)];
                let (seen, _, _, _collected) = both(&variables, keeping);
                let sampler = seen.0.pipeline.sampler.clone();
                let (unseen, sdk, _) = ending_in(None, sampler, SpanLimits::default());
                let parent = parent(of);
                let [seen, unseen] = [seen, unseen].map(|tracer| own(&tracer, "span", &parent));
                assert!(!unseen.is_recording(), "{name} {keeping} {of:?}");
                let (context, would_be) = (unseen.span_context().clone(), seen.span_context());
                let of_both = |see: fn(&SpanContext) -> (TraceFlags, bool, TraceState)| (see(&context), see(would_be));
                let (is, would_be) =
                    of_both(|context| (context.trace_flags(), context.is_valid(), context.trace_state().clone()));
                assert_eq!(is, would_be, "{name} {keeping} {of:?}");
                let within = unseen.within(&parent);
                assert_eq!(within.span().span_context(), &context);
                // What a product makes in it goes on with its trace, and is sampled alike.
                let child = sdk.start_with_context("child", &within);
                assert_eq!(child.span_context().trace_id(), context.trace_id());
                assert_eq!(child.span_context().is_sampled(), context.is_sampled(), "{name} {keeping} {of:?}");
            }
        }
    }

    #[test]
    fn a_span_that_is_dropped_has_ended_and_one_that_has_ended_records_no_more() {
        let (tracer, _, _, collected) = both(&[], false);
        let before = opentelemetry::time::now();
        drop(own(&tracer, "dropped", &Context::new()).within(&Context::new()));
        let mut started = own(&tracer, "ended", &Context::new());
        let Started::Own(span) = &mut started else { panic!("it is recorded") };
        assert!(span.is_recording());
        span.end();
        assert!(!span.is_recording());
        drop(started);
        let spans = collected.spans();
        assert_eq!((&*spans[0].name, &*spans[1].name, spans.len()), ("dropped", "ended", 2));
        assert!(spans[0].end_time >= before);
        assert_ne!(spans[0].span_context.trace_id(), spans[1].span_context.trace_id());
    }

    #[test]
    fn after_the_end_of_its_pipeline_nothing_is_made_and_nothing_that_is_open_goes_on() {
        let (tracer, sdk, pipeline, collected) = both(&[], true);
        let open = own(&tracer, "open", &Context::new()).within(&Context::new());
        pipeline.shutdown_with_timeout(Duration::ZERO).unwrap();
        assert!(collected.is_shut_down());
        assert!(matches!(own(&tracer, "late", &Context::new()), Started::None));
        open.span().end();
        assert!(collected.spans().is_empty());
        drop((sdk, tracer));
    }

    #[test]
    fn nothing_is_made_where_telemetry_is_suppressed() {
        let (tracer, ..) = both(&[], true);
        assert!(matches!(own(&tracer, "own", &Context::new().with_telemetry_suppressed()), Started::None));
    }

    #[test]
    fn the_end_of_the_provider_is_that_of_the_tracer_and_the_tracer_keeps_the_provider() {
        let (tracer, sdk, pipeline, collected) = both(&[], true);
        drop(sdk);
        own(&tracer, "own", &Context::new()).within(&Context::new()).span().end();
        assert_eq!(collected.spans().len(), 1);
        drop(tracer);
        assert!(pipeline.is_shut_down());
    }
}
