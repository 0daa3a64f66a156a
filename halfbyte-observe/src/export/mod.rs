//! The providers of the three signals, and how what they collect leaves the process.

mod courier;
mod plan;

use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

pub(crate) use self::courier::Courier;
use self::plan::Destination;
pub(crate) use self::plan::Plan;
use crate::Error;

/// What collects the signals. Spans have a provider also when they go nowhere: their ids stand in logs, in refusals
/// and in calls to others, whose traces then hang together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Providers {
    pub(crate) traces: Option<SdkTracerProvider>,
    pub(crate) metrics: Option<SdkMeterProvider>,
    pub(crate) logs: Option<SdkLoggerProvider>,
    pub(crate) courier: Option<Courier>,
}

impl Providers {
    pub(crate) fn build(plan: &Plan, resource: &Resource) -> Result<Self, Error> {
        if plan.disabled {
            return Ok(Self::default());
        }
        let mut traces = SdkTracerProvider::builder().with_resource(resource.clone());
        if plan.is_empty() {
            return Ok(Self { traces: Some(traces.build()), ..Self::default() });
        }
        let courier = Courier::start()?;
        if let Some(to) = &plan.traces {
            let exporter = to.apply(SpanExporter::builder().with_http(), &courier).build().map_err(unusable)?;
            traces = traces.with_batch_exporter(exporter);
        }
        let metrics = plan.metrics.as_ref().map(|to| {
            let exporter = to.apply(MetricExporter::builder().with_http(), &courier).build().map_err(unusable)?;
            let provider = SdkMeterProvider::builder().with_resource(resource.clone());
            Ok(provider.with_periodic_exporter(exporter).build())
        });
        let logs = plan.logs.as_ref().map(|to| {
            let exporter = to.apply(LogExporter::builder().with_http(), &courier).build().map_err(unusable)?;
            let provider = SdkLoggerProvider::builder().with_resource(resource.clone());
            Ok(provider.with_batch_exporter(exporter).build())
        });
        Ok(Self {
            traces: Some(traces.build()),
            metrics: metrics.transpose()?,
            logs: logs.transpose()?,
            courier: Some(courier),
        })
    }
}

impl Destination {
    fn apply<B: WithExportConfig + WithHttpConfig>(&self, builder: B, courier: &Courier) -> B {
        builder
            .with_endpoint(&self.endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(self.timeout)
            .with_http_client(courier.client(self.timeout))
    }
}

fn unusable(error: ExporterBuildError) -> Error {
    Error::configuration("OTEL_EXPORTER_OTLP_*", error)
}
