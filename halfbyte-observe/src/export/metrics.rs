//! Metrics: collected from the SDK into the queue as encoded requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use halfbyte_core::error_chain;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, Gauge, Histogram, Metric, ResourceMetrics as ResourceMetricsMessage, ScopeMetrics, Sum,
    Summary,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument, InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Stream, Temporality,
};
use prost::Message as _;

use super::pack::{Packer, Speaker};
use super::plan::Plan;
use super::queue::{BATCH_BYTES, Queue};
use crate::chain::Chain;
use crate::spool::Batch;

/// How many series one metric has at most; what comes on top is one series with `otel.metric.overflow`.
const MOST_SERIES: usize = 2000;

/// A reader that the meter provider is built with. The export runtime collects with it, and so does who scrapes.
#[derive(Clone, Debug)]
pub(crate) struct Reader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reader: ManualReader,
    pipeline: OnceLock<Weak<Pipeline>>,
    shut_down: AtomicBool,
}

impl Reader {
    pub(super) fn new(temporality: Temporality) -> Self {
        let reader = ManualReader::builder().with_temporality(temporality).build();
        Self(Arc::new(Inner { reader, pipeline: OnceLock::new(), shut_down: AtomicBool::new(false) }))
    }

    /// Collects once; or why that cannot be done, for people.
    pub(crate) fn read(&self) -> Result<ExportMetricsServiceRequest, String> {
        if self.is_over() {
            return Err("telemetry was shut down".to_owned());
        }
        let mut metrics = ResourceMetrics::default();
        self.collect(&mut metrics).map_err(|error| error_chain(&error))?;
        Ok(ExportMetricsServiceRequest::from(&metrics))
    }

    /// Whether its provider was shut down or is gone: there is nothing any more, and that is in order.
    fn is_over(&self) -> bool {
        let gone = self.0.pipeline.get().is_none_or(|pipeline| pipeline.strong_count() == 0);
        gone || self.0.shut_down.load(Ordering::Acquire)
    }
}

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        // A provider registers its readers once.
        let _again = self.0.pipeline.set(pipeline.clone());
        self.0.reader.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.reader.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shut_down.store(true, Ordering::Release);
        self.0.reader.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.reader.temporality(kind)
    }
}

/// What measurements go to, and those who read there.
#[derive(Debug, Default)]
pub(super) struct Meters {
    pub(super) provider: Option<SdkMeterProvider>,
    pub(super) exported: Option<Reader>,
    pub(super) scraped: Option<Reader>,
}

impl Meters {
    /// A reader costs every measurement its own: who scrapes shares that of the export, unless what it reads is gone then.
    pub(super) fn build(plan: &Plan, resource: &Resource) -> Self {
        let exported = plan.metrics.as_ref().map(|_| Reader::new(plan.temporality));
        let shared = exported.clone().filter(|_| plan.temporality == Temporality::Cumulative);
        let scraped = plan.scraped.then(|| shared.clone().unwrap_or_else(|| Reader::new(Temporality::Cumulative)));
        let exponential = plan.exponential;
        let mut builder = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_view(move |instrument: &_| bounded(instrument, exponential));
        for reader in exported.iter().chain(scraped.iter().filter(|_| shared.is_none())) {
            builder = builder.with_reader(reader.clone());
        }
        let provider = (exported.is_some() || scraped.is_some()).then(|| builder.build());
        Self { provider, exported, scraped }
    }
}

/// The view that keeps every metric's number of series in bounds.
fn bounded(instrument: &Instrument, exponential: bool) -> Option<Stream> {
    let stream = Stream::builder().with_cardinality_limit(MOST_SERIES);
    let stream = match instrument.kind() {
        // The size and the scale that the specification has by default.
        InstrumentKind::Histogram if exponential => stream.with_aggregation(Aggregation::Base2ExponentialHistogram {
            max_size: 160,
            max_scale: 20,
            record_min_max: true,
        }),
        _ => stream,
    };
    stream.build().ok()
}

/// Collects once. All that leaves of metrics goes through here.
///
/// Answers why that cannot be done, for people. The SDK holds its locks while it runs the callbacks of the product: one that
/// panics leaves them poisoned, and one that waits makes all others wait who collect or make instruments.
pub(super) fn collect(reader: &Reader, queue: &Queue<Batch>, chain: &Chain, speaker: &Speaker) -> Result<(), String> {
    let mut request = match reader.read() {
        Ok(request) => request,
        Err(_) if reader.is_over() => return Ok(()),
        Err(why) => return Err(why),
    };
    chain.metrics(&mut request);
    for batch in encode(request, speaker) {
        let (items, bytes) = (batch.items, batch.payload.len());
        queue.push(batch, items, bytes);
    }
    Ok(())
}

fn encode(request: ExportMetricsServiceRequest, speaker: &Speaker) -> Vec<Batch> {
    type Scope = (Option<InstrumentationScope>, String);
    let mut packer = Packer::new(|groups: Vec<(Scope, Vec<Metric>)>| {
        let scope_metrics = groups
            .into_iter()
            .map(|((scope, schema_url), metrics)| ScopeMetrics { scope, metrics, schema_url })
            .collect();
        let resource_metrics = vec![ResourceMetricsMessage {
            resource: Some(speaker.resource.clone()),
            scope_metrics,
            schema_url: speaker.schema_url.clone(),
        }];
        ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
    });
    for scope in request.resource_metrics.into_iter().flat_map(|group| group.scope_metrics) {
        let key = (scope.scope, scope.schema_url);
        let mut waiting = scope.metrics;
        waiting.reverse();
        while let Some(mut metric) = waiting.pop() {
            let points = points(&metric);
            if points > 1 && metric.encoded_len() > BATCH_BYTES {
                let rest = split(&mut metric);
                waiting.extend([rest, metric]);
            } else if points > 0 {
                packer.push(key.clone(), metric, u64::try_from(points).unwrap_or(u64::MAX));
            }
        }
    }
    packer.finish()
}

fn points(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
        None => 0,
    }
}

/// Takes the second half of the data points out, as a metric of its own.
fn split(metric: &mut Metric) -> Metric {
    fn half<T>(points: &mut Vec<T>) -> Vec<T> {
        points.split_off(points.len() / 2)
    }
    let data = match &mut metric.data {
        Some(Data::Gauge(data)) => Some(Data::Gauge(Gauge { data_points: half(&mut data.data_points) })),
        Some(Data::Sum(data)) => Some(Data::Sum(Sum { data_points: half(&mut data.data_points), ..*data })),
        Some(Data::Histogram(data)) => {
            Some(Data::Histogram(Histogram { data_points: half(&mut data.data_points), ..*data }))
        }
        Some(Data::ExponentialHistogram(data)) => {
            Some(Data::ExponentialHistogram(ExponentialHistogram { data_points: half(&mut data.data_points), ..*data }))
        }
        Some(Data::Summary(data)) => Some(Data::Summary(Summary { data_points: half(&mut data.data_points) })),
        None => None,
    };
    Metric {
        name: metric.name.clone(),
        description: metric.description.clone(),
        unit: metric.unit.clone(),
        metadata: metric.metadata.clone(),
        data,
    }
}
