//! The span of a request: whose child it is, and what is current while the request is worked on.

use std::time::{Instant, SystemTime};

use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt as _, TraceFlags, TraceState};
use opentelemetry::{Context, KeyValue, SpanId, TraceId};

use super::facts::Facts;
use super::inbound::Inbound;
use super::instruments::Instruments;
use crate::instrumentation::Tracer;
use crate::trace::{self, Beginning, Decision};
use crate::wall;

/// What is current for a request.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) context: Context,
    /// Whether it is worth while to say anything to its span.
    pub(super) recording: bool,
    /// When the span started, if it was told.
    pub(super) began: Option<SystemTime>,
}

/// Starts the span of a request that came with an [`Inbound`]. `describe` makes the
/// attributes, which is done only if somebody is going to see them.
pub(super) fn start(
    instruments: &Instruments,
    facts: &Facts,
    inbound: Inbound,
    started: Instant,
    describe: impl Fn() -> Vec<KeyValue>,
) -> Current {
    match &instruments.instrumentation.tracer {
        Tracer::None => Current { context: inbound.into_parent(), recording: false, began: None },
        Tracer::Own(tracer) => own(tracer, instruments, facts, inbound, started, describe),
        tracer => foreign(tracer, instruments, facts, inbound, started, describe),
    }
}

/// With our own tracer, which decides before anything is made.
fn own(
    tracer: &trace::Tracer,
    instruments: &Instruments,
    facts: &Facts,
    Inbound { around, remote, linked }: Inbound,
    started: Instant,
    describe: impl Fn() -> Vec<KeyValue>,
) -> Current {
    let parent = remote.as_ref();
    let trace = trace::trace_of(parent);
    let context = match tracer.decide(trace, parent) {
        Decision::Record(context) => {
            let at = Some(wall::at(started));
            let (name, kind, attributes) = (instruments.span_name(facts), SpanKind::Server, describe());
            let span = tracer.start(context, parent, Beginning { name, kind, at, attributes, link: linked });
            return Current { context: around.with_span(span), recording: true, began: at };
        }
        Decision::Unseen(context) => context,
        Decision::Drop => match remote {
            Some(remote) if tracer.is_shut_down() || !remote.is_sampled() => remote,
            // A refusal always names a trace: that of the caller, or one that nobody else knows.
            None if tracer.is_shut_down() => unknown(),
            _ => trace::unrecorded(trace, parent),
        },
    };
    Current { context: around.with_remote_span_context(context), recording: false, began: None }
}

/// With a tracer of somebody else's, whose sampler nobody knows.
fn foreign(
    tracer: &Tracer,
    instruments: &Instruments,
    facts: &Facts,
    mut inbound: Inbound,
    started: Instant,
    describe: impl Fn() -> Vec<KeyValue>,
) -> Current {
    // Not sampled further up means, with almost every sampler, not recorded here: nothing is made for it then.
    let sampled_out = inbound.remote.as_ref().is_some_and(|remote| !remote.is_sampled());
    let expectation = if sampled_out { &instruments.unsampled } else { &instruments.roots };
    let linked = inbound.linked.take();
    let parent = inbound.into_parent();
    let expected = expectation.get();
    let began = expected.then(|| wall::at(started));
    let attributes = if expected { describe() } else { Vec::new() };
    let (name, kind) = (instruments.span_name(facts), SpanKind::Server);
    let mut span = tracer.start(Beginning { name, kind, at: began, attributes, link: linked }, &parent);
    let recording = span.is_recording();
    // Without an SDK no sampler has a say, and nobody would see the attributes of the next span either.
    expectation.set(if sampled_out { recording } else { span.span_context().is_valid() });
    if recording && !expected {
        span.set_attributes(describe());
    }
    let context = if recording {
        span.within(&parent)
    } else if parent.has_active_span() && !(parent.span().span_context().is_sampled() && span.span_context().is_valid())
    {
        parent
    } else if span.span_context().is_valid() {
        span.within(&parent)
    } else {
        parent.with_remote_span_context(unknown())
    };
    Current { context, recording, began }
}

fn unknown() -> SpanContext {
    let (trace, span) = (TraceId::from(fastrand::u128(1..)), SpanId::from(fastrand::u64(1..)));
    SpanContext::new(trace, span, TraceFlags::default(), false, TraceState::NONE)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use halfbyte_core::config::Config;
    use http::{Request, Response};
    use opentelemetry::InstrumentationScope;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use opentelemetry_sdk::trace::SpanLimits;
    use tower::{Layer as _, ServiceExt as _, service_fn};

    use super::*;
    use crate::keep::testing::Collected;
    use crate::keep::{Recording, Sampler};
    use crate::trace::{Pipeline, Shared, Stage};
    use crate::{Instrumentation, ServerLayer, TraceTrust};

    /// What was current for a request with a parent of these flags, and how many spans ended.
    async fn ask(sampler: &str, keeping: bool, flags: Option<&str>) -> (SpanContext, usize) {
        let collected = Collected::default();
        let end = Box::new(Shared(Arc::new(collected.clone())));
        (current(sampler, keeping, flags, Some(end)).await.0, collected.spans().len())
    }

    /// And whether it takes what it is told.
    async fn current(
        sampler: &str,
        keeping: bool,
        flags: Option<&str>,
        end: Option<Box<dyn Stage>>,
    ) -> (SpanContext, bool) {
        let variables = Config::parse([("OTEL_TRACES_SAMPLER", sampler)]).unwrap().other;
        let sampler = Recording::new(Sampler::read(&variables).unwrap(), keeping);
        let pipeline = Pipeline::new(sampler, SpanLimits::default(), end);
        let tracer = Tracer::Own(trace::Tracer::new(pipeline, None, InstrumentationScope::default()));
        let metrics = SdkMeterProvider::default();
        let instrumentation = Instrumentation { tracer, ..Instrumentation::metrics_only(&metrics) };
        let layer = ServerLayer::with(&instrumentation).trace_from(TraceTrust::danger_everybody());
        let seen = Mutex::new(None);
        let service = service_fn(async |_: Request<String>| {
            let current = Context::current();
            let span = current.span();
            *seen.lock().unwrap() = Some((span.span_context().clone(), span.is_recording()));
            Ok::<_, Infallible>(Response::new(String::new()))
        });
        let mut request = Request::new(String::new());
        if let Some(flags) = flags {
            let parent = format!("00-{:032x}-{:016x}-{flags}", 7, 9);
            request.headers_mut().insert("traceparent", parent.parse().unwrap());
        }
        drop(layer.layer(service).oneshot(request).await.unwrap());
        seen.into_inner().unwrap().unwrap()
    }

    #[tokio::test]
    async fn what_is_current_is_the_same_where_nobody_sees_the_span() {
        for (sampler, parent) in [
            ("parentbased_always_on", None),
            ("parentbased_always_on", Some("01")),
            ("parentbased_always_on", Some("00")),
            ("always_on", Some("00")),
            ("always_off", Some("03")),
            ("always_off", None),
        ] {
            let (seen, _) = ask(sampler, false, parent).await;
            let (unseen, is_recording) = current(sampler, false, parent, None).await;
            assert!(!is_recording, "{sampler} {parent:?}");
            assert_eq!(unseen.trace_flags(), seen.trace_flags(), "{sampler} {parent:?}");
            assert!(unseen.is_valid() && unseen.trace_id() != TraceId::INVALID);
            assert_eq!(unseen.span_id() == SpanId::from(9), seen.span_id() == SpanId::from(9), "{sampler} {parent:?}");
            assert_eq!(unseen.trace_id() == TraceId::from(7), parent.is_some(), "{sampler} {parent:?}");
        }
    }

    #[tokio::test]
    async fn the_sampler_decides_what_is_current_and_whether_there_is_a_span() {
        let remote = SpanId::from(9);
        for (sampler, keeping, parent, flags, goes_on, spans) in [
            ("parentbased_always_on", false, None, 3, false, 1),
            ("parentbased_always_on", false, Some("01"), 1, false, 1),
            ("parentbased_always_on", false, Some("03"), 3, false, 1),
            // Not recorded: what came goes on as it came.
            ("parentbased_always_on", false, Some("00"), 0, true, 0),
            ("parentbased_always_on", false, Some("02"), 2, true, 0),
            // Recorded, so that it can be kept, but not sampled.
            ("parentbased_always_on", true, Some("00"), 0, false, 1),
            ("parentbased_always_on", true, Some("02"), 2, false, 1),
            ("always_on", false, Some("00"), 1, false, 1),
            ("always_off", false, Some("00"), 0, true, 0),
            // The sampler is heard: nobody further down takes it for sampled.
            ("always_off", false, Some("01"), 0, false, 0),
            ("always_off", false, Some("03"), 2, false, 0),
            ("always_off", false, None, 2, false, 0),
            ("always_off", true, None, 2, false, 1),
        ] {
            let (current, ended) = ask(sampler, keeping, parent).await;
            let what = format!("{sampler} {keeping} {parent:?}: {current:?}");
            assert_eq!((current.trace_flags().to_u8(), ended), (flags, spans), "{what}");
            assert_eq!((current.is_valid(), current.span_id() == remote), (true, goes_on), "{what}");
            assert_eq!(current.trace_id() == TraceId::from(7), parent.is_some(), "{what}");
        }
    }
}
