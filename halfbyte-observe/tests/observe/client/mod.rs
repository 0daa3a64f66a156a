//! The client layer: what it records of calls, and what it sends along.

mod endings;
mod exemplars;
mod grpc;
mod http;
mod propagation;
mod reqwest;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::{Request, Response};
use bytes::Bytes;
use halfbyte_observe::{ClientLayer, Instrumentation};
use http_body_util::Full;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SimpleSpanProcessor, SpanData};

type Body = Full<Bytes>;

/// Providers of a test's own.
struct Recorder {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
    spans: InMemorySpanExporter,
    measured: InMemoryMetricExporter,
    // None if spans are the SDK's.
    own: Option<Arc<SimpleSpanProcessor<InMemorySpanExporter>>>,
}

/// One series of a duration.
#[derive(Debug)]
struct Series {
    metric: String,
    attributes: BTreeMap<String, String>,
    count: u64,
    bounds: Vec<f64>,
}

impl Recorder {
    /// With the tracer that `init` installs.
    fn new() -> Self {
        let recorder = Self::sampling(Sampler::AlwaysOn);
        let own = Some(Arc::new(SimpleSpanProcessor::new(recorder.spans.clone())));
        Self { own, ..recorder }
    }

    /// With a tracer of the SDK.
    fn sampling(sampler: Sampler) -> Self {
        let (spans, measured) = (InMemorySpanExporter::default(), InMemoryMetricExporter::default());
        let traces = SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(spans.clone()).build();
        let reader = PeriodicReader::builder(measured.clone()).build();
        Self { traces, metrics: SdkMeterProvider::builder().with_reader(reader).build(), spans, measured, own: None }
    }

    fn instrumentation(&self) -> Instrumentation {
        match &self.own {
            Some(own) => Instrumentation::ending_in(own.clone(), &self.metrics),
            None => Instrumentation::new(&self.traces, &self.metrics),
        }
    }

    fn layer(&self) -> ClientLayer {
        ClientLayer::with_instrumentation(&self.instrumentation())
    }

    fn spans(&self) -> Vec<SpanData> {
        self.spans.get_finished_spans().unwrap()
    }

    fn durations(&self) -> Vec<Series> {
        self.metrics.force_flush().unwrap();
        let collected = self.measured.get_finished_metrics().unwrap();
        let mut series = Vec::new();
        for metric in collected.last().iter().flat_map(|last| last.scope_metrics()).flat_map(|scope| scope.metrics()) {
            assert_eq!(metric.unit(), "s");
            let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else {
                panic!("not a histogram: {metric:?}")
            };
            series.extend(histogram.data_points().map(|point| Series {
                metric: metric.name().to_owned(),
                attributes: point.attributes().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect(),
                count: point.count(),
                bounds: point.bounds().collect(),
            }));
        }
        series
    }

    /// The call was accounted for once: one ended span, one duration. Answers both.
    fn once(&self) -> (SpanData, Series) {
        let mut durations = self.durations();
        assert_eq!(durations.iter().map(|series| series.count).sum::<u64>(), 1, "{durations:?}");
        let [span] = <[SpanData; 1]>::try_from(self.spans()).expect("exactly one span");
        (span, durations.remove(0))
    }
}

/// All attributes of a span, none of them twice.
fn attributes(span: &SpanData) -> BTreeMap<String, String> {
    let pairs: BTreeMap<_, _> =
        span.attributes.iter().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect();
    assert_eq!(pairs.len(), span.attributes.len(), "{:?}", span.attributes);
    pairs
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::default()).unwrap()
}

fn ok() -> Response<Body> {
    Response::new(Body::from("hello"))
}

async fn finish<B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>>(response: Response<B>) -> Bytes {
    http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes()
}
