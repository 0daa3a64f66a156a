use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use halfbyte_core::Clock;
use opentelemetry::trace::SpanContext;
use opentelemetry::{KeyValue, Value};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as ProtoKeyValue};
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric};

use super::Durations;
use super::durations::BOUNDARIES;

/// The exemplars of a process's duration histograms, which the SDK does not keep: measurements that point at the trace
/// in which they were made. Of each series and bucket the last one since the last export.
#[derive(Default)]
pub(crate) struct Exemplars {
    sources: Mutex<Vec<Weak<Durations>>>,
}

impl Exemplars {
    /// From now on, those of `durations` too, as long as it is there.
    pub(crate) fn add(&self, durations: &Arc<Durations>) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|source| source.strong_count() > 0);
        sources.push(Arc::downgrade(durations));
    }

    /// Puts what there is on the data points of the same metric and attributes, and forgets it: call it once for each
    /// export. Metrics of other instrumentation scopes are left alone.
    pub(crate) fn attach(&self, request: &mut ExportMetricsServiceRequest) {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut of_metric: HashMap<&str, HashMap<String, Vec<Exemplar>>> = HashMap::new();
        let clock = Translation::now();
        for durations in sources.iter().filter_map(Weak::upgrade) {
            for series in durations.all() {
                let Some(reservoir) = series.reservoir.get() else { continue };
                let exemplars = reservoir.take(&clock);
                if !exemplars.is_empty() {
                    let of_series = of_metric.entry(durations.name).or_default();
                    of_series.entry(identity(&series.attributes)).or_default().extend(exemplars);
                }
            }
        }
        if of_metric.is_empty() {
            return;
        }
        let scopes = request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
        let ours = scopes.filter(|metrics| metrics.scope.as_ref().is_some_and(|scope| scope.name == crate::SCOPE));
        for metric in ours.flat_map(|metrics| &mut metrics.metrics) {
            if let Some(of_series) = of_metric.get_mut(metric.name.as_str()) {
                put(metric, of_series);
            }
        }
    }
}

impl fmt::Debug for Exemplars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exemplars").finish_non_exhaustive()
    }
}

fn put(metric: &mut Metric, of_series: &mut HashMap<String, Vec<Exemplar>>) {
    match &mut metric.data {
        Some(Data::Histogram(histogram)) => {
            for point in &mut histogram.data_points {
                point.exemplars.extend(of_series.remove(&proto_identity(&point.attributes)).unwrap_or_default());
            }
        }
        // By a view.
        Some(Data::ExponentialHistogram(histogram)) => {
            for point in &mut histogram.data_points {
                point.exemplars.extend(of_series.remove(&proto_identity(&point.attributes)).unwrap_or_default());
            }
        }
        _ => {}
    }
}

/// The last sampled measurement of each bucket of a series.
#[derive(Default)]
pub(super) struct Reservoir([Mutex<Option<Sample>>; BOUNDARIES.len() + 1]);

#[derive(Clone, Copy)]
struct Sample {
    seconds: f64,
    at: Instant,
    trace: [u8; 16],
    span: [u8; 8],
}

impl Reservoir {
    /// Keeps it, unless another thread is at it at the same instant.
    pub(super) fn offer(&self, seconds: f64, span: &SpanContext) {
        let bucket = BOUNDARIES.partition_point(|boundary| *boundary < seconds);
        if let Ok(mut slot) = self.0[bucket].try_lock() {
            let (trace, span) = (span.trace_id().to_bytes(), span.span_id().to_bytes());
            *slot = Some(Sample { seconds, at: Instant::now(), trace, span });
        }
    }

    fn take(&self, clock: &Translation) -> Vec<Exemplar> {
        let samples = self.0.iter().filter_map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        samples.map(|sample| sample.exemplar(clock)).collect()
    }
}

impl Sample {
    fn exemplar(self, clock: &Translation) -> Exemplar {
        Exemplar {
            filtered_attributes: Vec::new(),
            time_unix_nano: clock.unix_nanos(self.at),
            span_id: self.span.to_vec(),
            trace_id: self.trace.to_vec(),
            value: Some(ExemplarValue::AsDouble(self.seconds)),
        }
    }
}

/// From the clock that is cheap to read to the one that an export needs.
struct Translation {
    wall: SystemTime,
    at: Instant,
}

impl Translation {
    fn now() -> Self {
        Self { wall: Clock::default().now().into(), at: Instant::now() }
    }

    fn unix_nanos(&self, at: Instant) -> u64 {
        let ago = self.at.saturating_duration_since(at);
        let since_epoch = self.wall.checked_sub(ago).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since_epoch.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or_default()
    }
}

/// The attributes as one text, whatever their order.
fn identity(attributes: &[KeyValue]) -> String {
    joined(attributes.iter().map(|KeyValue { key, value, .. }| {
        let value = match value {
            Value::I64(value) => format!("i{value}"),
            Value::Bool(value) => format!("b{value}"),
            Value::F64(value) => format!("f{value}"),
            other => format!("s{}", other.as_str()),
        };
        (key.as_str(), value)
    }))
}

fn proto_identity(attributes: &[ProtoKeyValue]) -> String {
    joined(attributes.iter().map(|pair| {
        let value = match &pair.value {
            Some(AnyValue { value: Some(ProtoValue::IntValue(value)) }) => format!("i{value}"),
            Some(AnyValue { value: Some(ProtoValue::BoolValue(value)) }) => format!("b{value}"),
            Some(AnyValue { value: Some(ProtoValue::DoubleValue(value)) }) => format!("f{value}"),
            Some(AnyValue { value: Some(ProtoValue::StringValue(value)) }) => format!("s{value}"),
            _ => String::new(),
        };
        (pair.key.as_str(), value)
    }))
}

fn joined<'a>(pairs: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    pairs.iter().fold(String::new(), |mut text, (key, value)| {
        // With lengths, no text can look like a pair of another.
        let _never_fails = write!(text, "{}:{key}{}:{value}", key.len(), value.len());
        text
    })
}
