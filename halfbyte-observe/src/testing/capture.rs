use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogProcessor, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanProcessor};
use tracing::Dispatch;
use tracing::dispatcher::DefaultGuard;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry;

use super::{All, Log, Metric, Span, log, metric, span};
use crate::chain::{Chain, Traces};
use crate::{Instrumentation, subscriber};

/// Captures all three signals of one test: no globals, so that tests run in parallel and see nothing of each other.
///
/// ```
/// use halfbyte_observe::testing::capture;
/// use tracing::instrument::WithSubscriber as _;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let capture = capture();
/// // Layers record with `capture.instrumentation()`; the product's own code is run within its subscriber.
/// let work = async {
///     let span = tracing::info_span!("print", copies = 2);
///     span.in_scope(|| tracing::warn!(label = 7, "the printer is low on paper"));
/// };
/// work.with_subscriber(capture.subscriber()).await;
///
/// let print = capture.spans().named("print");
/// assert_eq!(print.attributes["copies"], 2);
/// let log = capture.logs().only();
/// assert_eq!((log.body.as_str(), log.severity.as_str()), ("the printer is low on paper", "WARN"));
/// assert_eq!(log.span_id.as_ref(), Some(&print.span_id));
/// # }
/// ```
pub fn capture() -> Capture {
    let kept = Arc::new(Kept::default());
    let resource = Resource::builder_empty().with_service_name("captured").build();
    let chain = Chain::default();
    let end = Keep { kept: kept.clone(), resource: (&resource).into(), chain: chain.clone() };
    let traces = chain.traces(&resource, Some(end));
    let logs = SdkLoggerProvider::builder()
        .with_resource(resource.clone())
        .with_log_processor(Keep { kept: kept.clone(), resource: (&resource).into(), chain: chain.clone() })
        .build();
    let reader = Reader(Arc::new(ManualReader::builder().with_temporality(Temporality::Cumulative).build()));
    let metrics = SdkMeterProvider::builder().with_resource(resource).with_reader(reader.clone()).build();
    let layers = vec![subscriber::logs(&logs, LevelFilter::TRACE), subscriber::traces(&traces.provider)];
    let dispatch = Dispatch::new(registry().with(layers));
    Capture { kept, traces, metrics, reader, dispatch, chain }
}

/// What [`capture`] has begun. Everything is here as soon as it has happened; it ends with this.
pub struct Capture {
    kept: Arc<Kept>,
    traces: Traces,
    metrics: SdkMeterProvider,
    reader: Reader,
    dispatch: Dispatch,
    chain: Chain,
}

impl Capture {
    /// What layers and clients record with.
    pub fn instrumentation(&self) -> Instrumentation {
        Instrumentation::made_by(&self.traces, &self.metrics).with_exemplars(self.chain.exemplars())
    }

    /// Where spans are made: of every trace, unless a remote parent says that it is not sampled.
    pub fn tracer_provider(&self) -> &SdkTracerProvider {
        &self.traces.provider
    }

    /// Where instruments are made.
    pub fn meter_provider(&self) -> &SdkMeterProvider {
        &self.metrics
    }

    /// The layers that [`init`](crate::init) installs, but for the console: `tracing` spans from INFO up become spans,
    /// events of all levels become log records. For `tracing::instrument::WithSubscriber`, around each future that the
    /// test spawns.
    pub fn subscriber(&self) -> Dispatch {
        self.dispatch.clone()
    }

    /// Makes the [subscriber](Self::subscriber) that of this thread, until the guard is dropped. What is spawned on
    /// other threads is not captured.
    #[must_use = "it ends when the guard is dropped"]
    pub fn enter(&self) -> DefaultGuard {
        tracing::dispatcher::set_default(&self.dispatch)
    }

    /// The spans that have ended so far, in the order of their end.
    pub fn spans(&self) -> All<Span> {
        All(lock(&self.kept.spans).clone())
    }

    /// The log records so far.
    pub fn logs(&self) -> All<Log> {
        All(lock(&self.kept.logs).clone())
    }

    /// Every metric that was recorded, as it stands now: counts and sums go on from the beginning.
    ///
    /// # Panics
    ///
    /// The meter provider was shut down.
    pub fn metrics(&self) -> All<Metric> {
        let mut collected = ResourceMetrics::default();
        self.reader.collect(&mut collected).expect("the meter provider was not shut down");
        let mut request = ExportMetricsServiceRequest::from(&collected);
        self.chain.metrics(&mut request);
        All(metric::read(request))
    }

    /// Forgets the spans and log records so far.
    pub fn clear(&self) {
        lock(&self.kept.spans).clear();
        lock(&self.kept.logs).clear();
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (spans, logs) = (self.spans(), self.logs());
        f.debug_struct("Capture").field("spans", &spans.names()).field("logs", &logs.names()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Kept {
    spans: Mutex<Vec<Span>>,
    logs: Mutex<Vec<Log>>,
}

fn lock<T>(list: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads each span and each record through the messages of the protocol, as a receiver does.
#[derive(Debug)]
struct Keep {
    kept: Arc<Kept>,
    resource: ResourceAttributesWithSchema,
    chain: Chain,
}

impl SpanProcessor for Keep {
    fn on_start(&self, _span: &mut opentelemetry_sdk::trace::Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        let resource_spans = group_spans_by_resource_and_scope(vec![span], &self.resource);
        lock(&self.kept.spans).extend(span::read(ExportTraceServiceRequest { resource_spans }));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl LogProcessor for Keep {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.chain.record(record);
        let one = [(&*record, scope)];
        let mut resource_logs = group_logs_by_resource_and_scope(&LogBatch::new(&one), &self.resource);
        let scopes = resource_logs.iter_mut().flat_map(|resource| &mut resource.scope_logs);
        scopes.flat_map(|scope| &mut scope.log_records).for_each(|message| self.chain.message(message));
        lock(&self.kept.logs).extend(log::read(ExportLogsServiceRequest { resource_logs }));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The provider takes its reader for itself.
#[derive(Clone, Debug)]
struct Reader(Arc<ManualReader>);

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, into: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(into)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}
