//! The random flag. The SDK neither sets it on the traces that it starts nor keeps it on spans that are not sampled, so
//! the spans that the layers make current say it themselves.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, SpanContext, Status};

use super::parent::RANDOM;

/// The context of a span as it has to go out: with the random flag of its trace.
///
/// A trace that goes on keeps the flag as its parent has it. One that starts here has it if `ids_are_random`, as those of
/// the SDK's default generator are in all their 16 bytes.
pub(crate) fn flagged(span: &SpanContext, parent: &SpanContext, ids_are_random: bool) -> SpanContext {
    let continues = parent.is_valid() && parent.trace_id() == span.trace_id();
    let random = if continues { parent.trace_flags() & RANDOM == RANDOM } else { ids_are_random };
    let others = span.trace_flags() & !RANDOM;
    let flags = if random { others | RANDOM } else { others };
    SpanContext::new(span.trace_id(), span.span_id(), flags, span.is_remote(), span.trace_state().clone())
}

/// A span that says of itself what [`flagged`] says of it, also to its children.
#[derive(Debug)]
pub(crate) struct Flagged<S> {
    span: S,
    context: SpanContext,
}

impl<S: Span> Flagged<S> {
    pub(crate) fn new(span: S, parent: &SpanContext, ids_are_random: bool) -> Self {
        let context = flagged(span.span_context(), parent, ids_are_random);
        Self { span, context }
    }
}

impl<S: Span> Span for Flagged<S> {
    fn span_context(&self) -> &SpanContext {
        &self.context
    }

    fn add_event_with_timestamp<T: Into<Cow<'static, str>>>(
        &mut self,
        name: T,
        timestamp: SystemTime,
        attributes: Vec<KeyValue>,
    ) {
        self.span.add_event_with_timestamp(name, timestamp, attributes);
    }

    fn is_recording(&self) -> bool {
        self.span.is_recording()
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        self.span.set_attribute(attribute);
    }

    fn set_status(&mut self, status: Status) {
        self.span.set_status(status);
    }

    fn update_name<T: Into<Cow<'static, str>>>(&mut self, new_name: T) {
        self.span.update_name(new_name);
    }

    fn add_link(&mut self, span_context: SpanContext, attributes: Vec<KeyValue>) {
        self.span.add_link(span_context, attributes);
    }

    fn end_with_timestamp(&mut self, timestamp: SystemTime) {
        self.span.end_with_timestamp(timestamp);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::Context;
    use opentelemetry::trace::{
        SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
    };
    use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

    use super::*;

    fn context(trace: u128, flags: u8) -> SpanContext {
        let flags = TraceFlags::new(flags);
        SpanContext::new(TraceId::from(trace), SpanId::from(1), flags, true, TraceState::NONE)
    }

    #[test]
    fn a_trace_that_goes_on_keeps_the_flag_and_one_that_starts_has_it_if_its_id_is_random() {
        for (span, parent, ids_are_random, expected) in [
            (context(1, 1), context(1, 3), true, 3),
            (context(1, 1), context(1, 1), true, 1),
            (context(1, 0), context(1, 2), false, 2),
            (context(1, 3), context(1, 1), true, 1),
            (context(1, 1), SpanContext::NONE, true, 3),
            (context(1, 0), SpanContext::NONE, true, 2),
            (context(1, 1), SpanContext::NONE, false, 1),
            (context(1, 1), context(2, 0), true, 3),
        ] {
            let flags = flagged(&span, &parent, ids_are_random).trace_flags().to_u8();
            assert_eq!(flags, expected, "{span:?} of {parent:?}");
        }
    }

    fn tracer(sampler: Sampler) -> SdkTracer {
        SdkTracerProvider::builder().with_sampler(sampler).build().tracer("test")
    }

    fn start(tracer: &SdkTracer, parent: &Context) -> Context {
        let span = tracer.start_with_context("span", parent);
        parent.with_span(Flagged::new(span, parent.span().span_context(), true))
    }

    #[test]
    fn children_of_the_sdk_inherit_the_flag() {
        for (sampler, flags) in [(Sampler::AlwaysOn, 3), (Sampler::AlwaysOff, 2)] {
            let tracer = tracer(sampler);
            let root = start(&tracer, &Context::new());
            let child = start(&tracer, &root);
            let grandchild = start(&tracer, &child);
            for context in [root, child, grandchild] {
                assert_eq!(context.span().span_context().trace_flags().to_u8(), flags);
            }
        }
        // Also those that somebody else starts.
        let tracer = tracer(Sampler::AlwaysOn);
        let theirs = tracer.start_with_context("theirs", &start(&tracer, &Context::new()));
        assert_eq!(theirs.span_context().trace_flags().to_u8(), 3);
    }

    #[test]
    fn a_remote_trace_without_the_flag_never_gets_it() {
        let tracer = tracer(Sampler::AlwaysOn);
        let remote = Context::new().with_remote_span_context(context(7, 1));
        assert_eq!(start(&tracer, &start(&tracer, &remote)).span().span_context().trace_flags().to_u8(), 1);
    }
}
