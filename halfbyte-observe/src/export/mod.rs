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

use self::metrics::Meters;
pub(crate) use self::metrics::Reader;
pub(crate) use self::pipeline::{Export, Pipeline, Unsent};
pub(crate) use self::plan::Plan;
pub(crate) use self::spans::Sampled;
use self::spans::SpanQueue;
pub use self::stats::{Dropped, SignalStats, Stats};
use crate::Error;
use crate::chain::{Chain, Traces};
use crate::keep::Counts;

/// What collects the signals. Spans have a provider also when they go nowhere: their ids stand in logs, in refusals
/// and in calls to others, whose traces then hang together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Providers {
    pub(crate) traces: Option<Traces>,
    pub(crate) metrics: Option<SdkMeterProvider>,
    pub(crate) logs: Option<SdkLoggerProvider>,
}

/// What [`Providers::build`] answers.
#[derive(Debug, Default)]
pub(crate) struct Built {
    pub(crate) providers: Providers,
    /// What metrics are scraped with.
    pub(crate) scraped: Option<Reader>,
    pub(crate) export: Option<Export>,
    /// What is to be told once there is a log.
    pub(crate) complaints: Vec<String>,
}

impl Providers {
    /// Providers in front of a pipeline of their own. `spool` is the folder for what a collector cannot be given.
    pub(crate) fn build(plan: &Plan, resource: &Resource, chain: &Chain, spool: Option<&Path>) -> Result<Built, Error> {
        if plan.disabled {
            return Ok(Built::default());
        }
        if plan.is_empty() {
            let traces = chain.traces(resource, None::<SpanQueue>);
            let Meters { provider: metrics, scraped, .. } = Meters::build(plan, resource);
            let providers = Self { traces: Some(traces), metrics, logs: None };
            return Ok(Built { providers, scraped, ..Built::default() });
        }
        let Pipeline { spans, logs, metrics, scraped, export, complaints } =
            Pipeline::start(plan, resource, chain, spool)?;
        let traces = chain.traces(resource, spans);
        let logs = logs.map(|queue| {
            SdkLoggerProvider::builder().with_resource(resource.clone()).with_log_processor(queue).build()
        });
        let providers = Self { traces: Some(traces), metrics, logs };
        Ok(Built { providers, scraped, export: Some(export), complaints })
    }

    /// What became of spans that were not sampled.
    pub(crate) fn kept(&self) -> Option<&Counts> {
        self.traces.as_ref()?.kept.as_ref()
    }

    /// Nothing is made any more, but for measurements: those end with the last collection. Never blocks.
    pub(crate) fn shut_down(&self) {
        // Fails if it was done before, which is as good.
        let _again = self.traces.as_ref().map(|traces| traces.provider.shutdown());
        let _again = self.logs.as_ref().map(SdkLoggerProvider::shutdown);
    }
}
