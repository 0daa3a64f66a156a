//! Providers of a test's own, so that tests run in parallel and see nothing of each other.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use halfbyte_observe::{Instrumentation, ServerLayer, TraceTrust};
use http::{Request, Response};
use http_body_util::Full;
use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, HistogramDataPoint, Metric, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SimpleSpanProcessor, SpanData};
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;

pub type Body = Full<Bytes>;

/// While there is but one subscriber, `tracing` asks only the thread that comes to an event first whether anybody wants
/// it, and keeps the answer: a test that logs would lose its events to one that does not.
static NOBODY: LazyLock<[Dispatch; 2]> = LazyLock::new(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::new())));

pub struct Kit {
    pub traces: SdkTracerProvider,
    pub metrics: SdkMeterProvider,
    spans: InMemorySpanExporter,
    measured: InMemoryMetricExporter,
    // None if spans are the SDK's.
    own: Option<Arc<SimpleSpanProcessor<InMemorySpanExporter>>>,
}

/// One series of the duration.
#[derive(Debug)]
pub struct Series {
    pub attributes: BTreeMap<String, String>,
    pub count: u64,
    pub sum: f64,
    pub bounds: Vec<f64>,
}

impl Kit {
    /// With the tracer that `init` installs.
    pub fn new() -> Self {
        let kit = Self::of_sdk();
        let own = Some(Arc::new(SimpleSpanProcessor::new(kit.spans.clone())));
        Self { own, ..kit }
    }

    /// With a tracer of the SDK.
    pub fn of_sdk() -> Self {
        Self::with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
    }

    /// As [`of_sdk`](Self::of_sdk).
    pub fn with_sampler(sampler: Sampler) -> Self {
        LazyLock::force(&NOBODY);
        let (spans, measured) = (InMemorySpanExporter::default(), InMemoryMetricExporter::default());
        Self {
            traces: SdkTracerProvider::builder().with_simple_exporter(spans.clone()).with_sampler(sampler).build(),
            metrics: SdkMeterProvider::builder().with_reader(PeriodicReader::builder(measured.clone()).build()).build(),
            spans,
            measured,
            own: None,
        }
    }

    pub fn instrumentation(&self) -> Instrumentation {
        match &self.own {
            Some(own) => Instrumentation::ending_in(own.clone(), &self.metrics),
            None => Instrumentation::new(&self.traces, &self.metrics),
        }
    }

    /// Believes everybody's trace context.
    pub fn layer(&self) -> ServerLayer {
        ServerLayer::with(&self.instrumentation()).trace_from(TraceTrust::danger_everybody())
    }

    pub fn spans(&self) -> Vec<SpanData> {
        self.spans.get_finished_spans().unwrap()
    }

    /// The one span that there is.
    pub fn span(&self) -> SpanData {
        let [span] = <[SpanData; 1]>::try_from(self.spans()).expect("exactly one span");
        span
    }

    pub fn durations(&self) -> Vec<Series> {
        self.durations_of("http.server.request.duration")
    }

    pub fn durations_of(&self, name: &str) -> Vec<Series> {
        let mut series = Vec::new();
        self.each(name, |metric| match metric.data() {
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                assert_eq!(metric.unit(), "s");
                series.extend(histogram.data_points().map(one));
            }
            other => panic!("not a histogram: {other:?}"),
        });
        series
    }

    /// The requests that are under way, by method and scheme.
    pub fn active(&self) -> BTreeMap<String, i64> {
        let mut active = BTreeMap::new();
        self.each("http.server.active_requests", |metric| match metric.data() {
            AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                assert_eq!((metric.unit(), sum.is_monotonic()), ("{request}", false));
                for point in sum.data_points() {
                    let attributes = attributes(point.attributes());
                    let text = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
                    active.insert(text.join(" "), point.value());
                }
            }
            other => panic!("not a sum: {other:?}"),
        });
        active
    }

    fn each(&self, name: &str, mut see: impl FnMut(&Metric)) {
        self.metrics.force_flush().unwrap();
        let collected = self.measured.get_finished_metrics().unwrap();
        let Some(last) = collected.last() else { return };
        let metrics = last.scope_metrics().flat_map(|scope| scope.metrics());
        metrics.filter(|metric| metric.name() == name).for_each(&mut see);
    }

    /// The request was accounted for once: one ended span, one duration. Answers both.
    pub fn once(&self) -> (SpanData, Series) {
        let mut durations = self.durations();
        assert_eq!(durations.iter().map(|series| series.count).sum::<u64>(), 1, "{durations:?}");
        (self.span(), durations.remove(0))
    }
}

fn one(point: &HistogramDataPoint<f64>) -> Series {
    Series {
        attributes: attributes(point.attributes()),
        count: point.count(),
        sum: point.sum(),
        bounds: point.bounds().collect(),
    }
}

fn attributes<'a>(pairs: impl Iterator<Item = &'a KeyValue>) -> BTreeMap<String, String> {
    pairs.map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
}

pub fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let mut found = span.attributes.iter().filter(|pair| pair.key.as_str() == key);
    let value = found.next().map(|pair| pair.value.to_string());
    assert!(found.next().is_none(), "{key} is there twice");
    value
}

pub fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::default()).unwrap()
}

pub async fn ok(_request: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body::from("hello")))
}

/// Takes a response to its end.
pub async fn finish<B: http_body::Body<Data = Bytes>>(response: Response<B>) -> Bytes
where
    B::Error: std::fmt::Debug,
{
    http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes()
}
