//! What telemetry goes through before it is queued, by signal, in one order: stamped with who calls, kept or forgotten,
//! freed of secrets, cut to its limits.

use std::sync::Arc;

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

    /// Spans that go to `end`; without one they are made all the same, since their ids stand in logs, in refusals and in
    /// calls to others.
    pub(crate) fn traces(
        &self,
        resource: &Resource,
        end: Option<impl SpanProcessor + 'static>,
    ) -> (SdkTracerProvider, Option<Counts>) {
        let keep = self.keep.as_ref().filter(|_| end.is_some());
        let mut traces = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(Recording::new(self.sampler, keep.is_some()))
            .with_span_limits(self.limits.span_limits());
        let mut counts = None;
        if let Some(end) = end {
            let end = Scrub::new(self.redaction.clone(), self.limits, end);
            traces = match keep {
                Some(keep) => {
                    let keeper = Keeper::new(keep, end);
                    counts = Some(keeper.counts());
                    traces.with_span_processor(self.stamp.clone().before(keeper))
                }
                None => traces.with_span_processor(self.stamp.clone().before(Sampled(end))),
            };
        }
        (traces.build(), counts)
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
}
