//! What telemetry goes through before it is queued, by signal, in one order: stamped with who calls, kept or forgotten,
//! freed of secrets, cut to its limits.

use std::sync::Arc;

use opentelemetry::InstrumentationScope;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLogRecord;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanProcessor};

use crate::export::Sampled;
use crate::keep::{Counts, Keeper, Limits, Recording, Sampler};
use crate::metrics::{ExemplarFilter, Exemplars};
use crate::redact::Scrub;
use crate::stamp::Stamp;
use crate::trace::{Pipeline, Shared, Stage, Tracer};
use crate::{Error, Keep, Redaction, Settings};

#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    sampler: Sampler,
    limits: Limits,
    stamp: Stamp,
    redaction: Redaction,
    keep: Option<Keep>,
    exemplars: Arc<Exemplars>,
}

/// What makes spans: tracers of the SDK for a product's own, and a cheaper one for what layers make. Both sample alike,
/// have the same limits, and go the same way.
#[derive(Clone, Debug)]
pub(crate) struct Traces {
    pub(crate) provider: SdkTracerProvider,
    pub(crate) pipeline: Arc<Pipeline>,
    /// What became of spans that were not sampled.
    pub(crate) kept: Option<Counts>,
}

impl Traces {
    pub(crate) fn tracer(&self, scope: InstrumentationScope) -> Tracer {
        Tracer::new(self.pipeline.clone(), Some(self.provider.clone()), scope)
    }
}

impl Chain {
    pub(crate) fn read(settings: &Settings) -> Result<Self, Error> {
        Ok(Self {
            sampler: Sampler::read(&settings.variables)?,
            limits: Limits::read(&settings.variables)?,
            stamp: Stamp::new(settings.users.clone()),
            redaction: settings.redaction.clone(),
            keep: settings.keep.clone(),
            exemplars: Arc::new(Exemplars::of(ExemplarFilter::read(&settings.variables)?)),
        })
    }

    pub(crate) fn exemplars(&self) -> Arc<Exemplars> {
        self.exemplars.clone()
    }

    /// What makes spans that go to `end`. Without one they have ids all the same, which stand in logs, in refusals and
    /// in calls to others.
    pub(crate) fn traces(&self, resource: &Resource, end: Option<impl SpanProcessor + 'static>) -> Traces {
        let keep = self.keep.as_ref().filter(|_| end.is_some());
        let (sampler, limits) = (Recording::new(self.sampler, keep.is_some()), self.limits.span_limits());
        let mut kept = None;
        let chain = end.map(|end| -> Box<dyn Stage> {
            let end = Scrub::new(self.redaction.clone(), self.limits, end);
            match keep {
                Some(keep) => {
                    let keeper = Keeper::new(keep, end);
                    kept = Some(keeper.counts());
                    Box::new(self.stamp.clone().before(keeper))
                }
                None => Box::new(self.stamp.clone().before(Sampled(end))),
            }
        });
        let pipeline = Pipeline::new(sampler.clone(), limits, chain);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(sampler)
            .with_span_limits(limits)
            .with_span_processor(Shared(pipeline.clone()))
            .build();
        Traces { provider, pipeline, kept }
    }

    /// A record that is being made on this thread.
    pub(crate) fn record(&self, record: &mut SdkLogRecord) {
        self.stamp.log(record);
    }

    /// A record as it is sent.
    pub(crate) fn message(&self, message: &mut LogRecord) {
        self.redaction.log(message);
        self.limits.log(message);
    }

    /// What was collected, once for each collection.
    pub(crate) fn metrics(&self, request: &mut ExportMetricsServiceRequest) {
        self.exemplars.attach(request);
        self.redaction.metrics(request);
    }

    /// What was collected for somebody who scrapes, who takes nothing away from those who come after.
    pub(crate) fn scraped(&self, request: &mut ExportMetricsServiceRequest) {
        self.exemplars.show(request);
        self.redaction.metrics(request);
        self.redaction.resource(request);
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Config;
    use halfbyte_core::{Caller, Principal, TenantId};
    use jiff::Timestamp;
    use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
    use opentelemetry::{Context, KeyValue};

    use super::*;
    use crate::instrumentation::Tracer as Either;
    use crate::keep::testing::{Collected, names};
    use crate::trace::Beginning;

    /// The spans of a layer and of a product's own code, in one trace that is not sampled.
    fn run(errs: bool) -> (Collected, Traces) {
        let off = Config::parse([("OTEL_TRACES_SAMPLER", "parentbased_always_off")]).unwrap().other;
        let (sampler, keep) = (Sampler::read(&off).unwrap(), Some(Keep::default()));
        let (chain, collected) = (Chain { sampler, keep, ..Chain::default() }, Collected::default());
        let traces = chain.traces(&Resource::builder_empty().build(), Some(collected.clone()));
        let own = Either::Own(traces.tracer(InstrumentationScope::default()));
        let start = |name: &'static str, parent: &Context| {
            own.start(Beginning::of(name.into(), SpanKind::Internal), parent).within(parent)
        };
        Caller::default().within(|| {
            let root = start("root", &Context::new());
            let theirs = root.with_span(traces.provider.tracer("theirs").start_with_context("theirs", &root));
            Caller::tell(&Principal::builder("ada", TenantId::new("acme").unwrap(), Timestamp::MAX).build());
            let inner = start("inner", &theirs);
            inner.span().set_attribute(KeyValue::new("password", "hunter2"));
            for context in [&inner, &theirs] {
                context.span().end();
            }
            if errs {
                root.span().set_status(Status::error("password=hunter2"));
            }
        });
        (collected, traces)
    }

    #[test]
    fn spans_of_both_tracers_are_stamped_kept_together_and_freed_of_secrets() {
        let (collected, traces) = run(true);
        assert_eq!(names(&collected), ["inner", "theirs", "root"]);
        let spans = collected.spans();
        let shown: Vec<_> = spans[0].attributes.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
        assert_eq!(shown, ["halfbyte.tenant=acme", "halfbyte.principal.kind=user", "password=REDACTED"]);
        assert_eq!(spans[2].status, Status::error("password=REDACTED"));
        assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
        assert_eq!(spans[1].parent_span_id, spans[2].span_context.span_id());
        assert_eq!(traces.kept.unwrap().read(), crate::Kept { kept: 3, ..Default::default() });
    }

    #[test]
    fn spans_of_both_tracers_are_forgotten_together() {
        let (collected, traces) = run(false);
        assert!(collected.spans().is_empty());
        assert_eq!(traces.kept.unwrap().read(), crate::Kept { discarded: 3, ..Default::default() });
    }
}
