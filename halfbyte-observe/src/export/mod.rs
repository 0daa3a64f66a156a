//! How telemetry leaves the process, and why nothing of it is lost.
//!
//! A span processor, a log processor and a metric reader put what the SDK made into one bounded [queue](queue) a signal,
//! without ever waiting. One thread with a runtime of its own, on which telemetry is suppressed, takes it out in batches,
//! [encodes](pack) them, and [sends](sender) them; what a collector does not take now waits in a [backlog], on disk
//! where there is one. The queue's lock also guards the [books](stats) of its signal.

mod alarm;
mod answer;
mod backlog;
mod destination;
mod driver;
#[cfg(feature = "grpc")]
mod grpc;
mod http;
mod meters;
mod metrics;
mod pack;
mod pipeline;
mod plan;
mod queue;
mod records;
mod sender;
mod spans;
mod stats;
mod transport;

#[cfg(all(test, feature = "testing"))]
mod tests;

use std::path::Path;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

pub(crate) use self::pipeline::{Export, Pipeline, Unsent};
pub(crate) use self::plan::Plan;
pub(crate) use self::spans::Sampled;
pub use self::stats::{Dropped, SignalStats, Stats};
use crate::Error;

/// What collects the signals. Spans have a provider also when they go nowhere: their ids stand in logs, in refusals
/// and in calls to others, whose traces then hang together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Providers {
    pub(crate) traces: Option<SdkTracerProvider>,
    pub(crate) metrics: Option<SdkMeterProvider>,
    pub(crate) logs: Option<SdkLoggerProvider>,
}

impl Providers {
    /// Providers in front of a pipeline of their own. `spool` is the folder for what a collector cannot be given.
    pub(crate) fn build(
        plan: &Plan,
        resource: &Resource,
        spool: Option<&Path>,
    ) -> Result<(Self, Option<Export>), Error> {
        if plan.disabled {
            return Ok((Self::default(), None));
        }
        let mut traces = SdkTracerProvider::builder().with_resource(resource.clone());
        if plan.is_empty() {
            return Ok((Self { traces: Some(traces.build()), ..Self::default() }, None));
        }
        let Pipeline { spans, logs, metrics, export } = Pipeline::start(plan, resource, spool)?;
        if let Some(queue) = spans {
            traces = traces.with_span_processor(Sampled(queue));
        }
        let logs = logs.map(|queue| {
            SdkLoggerProvider::builder().with_resource(resource.clone()).with_log_processor(queue).build()
        });
        Ok((Self { traces: Some(traces.build()), metrics, logs }, Some(export)))
    }

    /// Nothing is made any more, but for measurements: those end with the last collection. Never blocks.
    pub(crate) fn shut_down(&self) {
        // Fails if it was done before, which is as good.
        let _again = self.traces.as_ref().map(SdkTracerProvider::shutdown);
        let _again = self.logs.as_ref().map(SdkLoggerProvider::shutdown);
    }
}
