use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use opentelemetry::metrics::Meter;
use opentelemetry::trace::SpanContext;
use opentelemetry::{KeyValue, Value};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as ProtoKeyValue};
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric};

use super::durations::BOUNDARIES;
use super::{Durations, ExemplarFilter};
use crate::wall;

/// The exemplars of a process's duration histograms, which the SDK does not keep: measurements that point at the trace
/// in which they were made. Of each series and bucket the last one since the last export.
#[derive(Default)]
pub(crate) struct Exemplars {
    filter: ExemplarFilter,
    sources: Mutex<Vec<Weak<Durations>>>,
    /// Those that stay.
    shared: Mutex<Vec<Arc<Durations>>>,
}

impl Exemplars {
    pub(crate) fn of(filter: ExemplarFilter) -> Self {
        Self { filter, ..Self::default() }
    }

    pub(crate) fn filter(&self) -> ExemplarFilter {
        self.filter
    }

    /// From now on, those of `durations` too, as long as it is there.
    pub(crate) fn add(&self, durations: &Arc<Durations>) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|source| source.strong_count() > 0);
        sources.push(Arc::downgrade(durations));
    }

    /// The histogram of that name for all layers that record with `meter`, which is the same each time. It stays, so that
    /// what was measured by a layer that is gone is exported with its exemplars.
    pub(crate) fn shared(&self, meter: &Meter, name: &'static str, description: &'static str) -> Arc<Durations> {
        if let Some(known) = self.known(name) {
            return known;
        }
        // Not under the lock: the SDK waits here for a collection that is under way, and for each callback in it.
        let durations = Durations::new(meter, self.filter, name, description);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.iter().find(|known| known.name == name) {
            return known.clone();
        }
        self.add(&durations);
        shared.push(durations.clone());
        durations
    }

    fn known(&self, name: &str) -> Option<Arc<Durations>> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.iter().find(|known| known.name == name).cloned()
    }

    /// Puts what there is on the data points of the same metric and attributes, and forgets it: call it once for each
    /// export. Metrics of other instrumentation scopes are left alone.
    pub(crate) fn attach(&self, request: &mut ExportMetricsServiceRequest) {
        self.put(request, Reservoir::take);
    }

    /// As [`attach`](Self::attach), and forgets nothing: also what was exported before, until there is something newer.
    pub(crate) fn show(&self, request: &mut ExportMetricsServiceRequest) {
        self.put(request, Reservoir::last);
    }

    fn put(&self, request: &mut ExportMetricsServiceRequest, read: fn(&Reservoir) -> Vec<Exemplar>) {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut of_metric: HashMap<&str, HashMap<String, Vec<Exemplar>>> = HashMap::new();
        for durations in sources.iter().filter_map(Weak::upgrade) {
            for series in durations.all() {
                let Some(reservoir) = series.reservoir.get() else { continue };
                let exemplars = read(reservoir);
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

/// A sampled measurement of each bucket of a series: one of the last tenth of a second in which there was any.
pub(super) struct Reservoir {
    created: Instant,
    slots: [Slot; BOUNDARIES.len() + 1],
}

#[derive(Default)]
struct Slot {
    /// Until when the sample stays, in nanoseconds since the reservoir was created; 0 is none.
    stays: AtomicU64,
    sample: Mutex<Option<Sample>>,
}

/// So that a bucket that is hit all the time costs no more than a look.
const STAYS: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
struct Sample {
    seconds: f64,
    at: Instant,
    trace: [u8; 16],
    span: [u8; 8],
    is_exported: bool,
}

impl Reservoir {
    pub(super) fn new(created: Instant) -> Self {
        Self { created, slots: Default::default() }
    }

    /// Keeps it, unless there is one that is hardly older, or another thread is at it at the same instant.
    pub(super) fn offer(&self, seconds: f64, at: Instant, span: &SpanContext) {
        let slot = &self.slots[BOUNDARIES.partition_point(|boundary| *boundary < seconds)];
        let age = at.saturating_duration_since(self.created);
        if nanos(age) < slot.stays.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(mut sample) = slot.sample.try_lock() {
            let (trace, span) = (span.trace_id().to_bytes(), span.span_id().to_bytes());
            *sample = Some(Sample { seconds, at, trace, span, is_exported: false });
            slot.stays.store(nanos(age + STAYS), Ordering::Relaxed);
        }
    }

    fn take(&self) -> Vec<Exemplar> {
        let samples = self.slots.iter().filter_map(|slot| {
            slot.stays.store(0, Ordering::Relaxed);
            let mut sample = slot.sample.lock().unwrap_or_else(PoisonError::into_inner);
            let new = sample.as_mut().filter(|sample| !sample.is_exported)?;
            new.is_exported = true;
            Some(*new)
        });
        samples.map(Sample::exemplar).collect()
    }

    fn last(&self) -> Vec<Exemplar> {
        let samples = self.slots.iter().filter_map(|slot| *slot.sample.lock().unwrap_or_else(PoisonError::into_inner));
        samples.map(Sample::exemplar).collect()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Sample {
    fn exemplar(self) -> Exemplar {
        Exemplar {
            filtered_attributes: Vec::new(),
            time_unix_nano: unix_nanos(wall::at(self.at)),
            span_id: self.span.to_vec(),
            trace_id: self.trace.to_vec(),
            value: Some(ExemplarValue::AsDouble(self.seconds)),
        }
    }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    nanos(since_epoch)
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

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::{Histogram, HistogramBuilder, InstrumentProvider, SyncInstrument};
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

    use super::*;
    use crate::Instrumentation;

    const NAME: &str = "http.server.request.duration";

    struct Bench {
        exported: InMemoryMetricExporter,
        provider: SdkMeterProvider,
        instrumentation: Instrumentation,
        durations: Arc<Durations>,
        began: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let exported = InMemoryMetricExporter::default();
            let reader = PeriodicReader::builder(exported.clone()).build();
            let provider = SdkMeterProvider::builder().with_reader(reader).build();
            let instrumentation = Instrumentation::metrics_only(&provider);
            let durations = Durations::new(&instrumentation.meter, instrumentation.exemplars.filter(), NAME, "");
            instrumentation.exemplars.add(&durations);
            Self { exported, provider, instrumentation, durations, began: Instant::now() }
        }

        /// In each turn a second later.
        fn record(&self, status: i64, millis: u64, trace: u128, sampled: bool) {
            let later = Duration::from_secs(u64::try_from(trace).expect("small"));
            self.record_at(later, status, millis, trace, sampled);
        }

        fn record_at(&self, later: Duration, status: i64, millis: u64, trace: u128, sampled: bool) {
            let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
            let ids = (TraceId::from(trace), SpanId::from(7));
            let span = SpanContext::new(ids.0, ids.1, flags, false, TraceState::NONE);
            let attributes = || vec![KeyValue::new("z", "last"), KeyValue::new("http.response.status_code", status)];
            let key = u128::try_from(status).expect("positive");
            let took = Duration::from_millis(millis);
            self.durations.record(Some(key), attributes, (took, || self.began + later), &span);
        }

        fn export(&self) -> ExportMetricsServiceRequest {
            self.exported.reset();
            self.provider.force_flush().expect("in memory");
            let collected = self.exported.get_finished_metrics().expect("in memory");
            let mut request = ExportMetricsServiceRequest::from(collected.last().expect("something was recorded"));
            self.instrumentation.exemplars.attach(&mut request);
            request
        }
    }

    fn points(request: &ExportMetricsServiceRequest) -> Vec<&HistogramDataPoint> {
        let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        let metrics = scopes.flat_map(|scope| &scope.metrics);
        metrics
            .flat_map(|metric| match &metric.data {
                Some(Data::Histogram(histogram)) => &histogram.data_points[..],
                other => panic!("not a histogram: {other:?}"),
            })
            .collect()
    }

    /// By trace, with the value in milliseconds.
    fn exemplars(point: &HistogramDataPoint) -> Vec<(u128, f64)> {
        let one = |exemplar: &Exemplar| {
            let Some(ExemplarValue::AsDouble(seconds)) = exemplar.value else { panic!("no value: {exemplar:?}") };
            let trace = exemplar.trace_id.clone().try_into().expect("16 bytes");
            assert_eq!(exemplar.span_id, [0, 0, 0, 0, 0, 0, 0, 7]);
            (u128::from_be_bytes(trace), seconds * 1_000.0)
        };
        point.exemplars.iter().map(one).collect()
    }

    #[test]
    fn each_bucket_has_the_last_sampled_measurement_on_the_point_of_its_series() {
        let bench = Bench::new();
        bench.record(200, 1, 1, true);
        bench.record(200, 2, 2, true);
        bench.record(200, 60, 3, true);
        bench.record(200, 90_000, 4, true);
        bench.record(500, 1, 5, true);
        bench.record(404, 1, 6, false);
        let request = bench.export();
        let points = points(&request);
        let of = |status: i64| {
            let is = |point: &&&HistogramDataPoint| {
                proto_identity(&point.attributes)
                    == identity(&[KeyValue::new("http.response.status_code", status), KeyValue::new("z", "last")])
            };
            points.iter().find(is).expect("a point of that status")
        };
        assert_eq!(exemplars(of(200)), [(2, 2.0), (3, 60.0), (4, 90_000.0)]);
        assert_eq!(exemplars(of(500)), [(5, 1.0)]);
        assert_eq!(exemplars(of(404)), [], "what is not sampled points at nothing");
        let (second, fifth) = (of(200).exemplars[0].time_unix_nano, of(500).exemplars[0].time_unix_nano);
        assert!((2_000_000_000..4_000_000_000).contains(&(fifth - second)), "{second} {fifth}");
    }

    #[test]
    fn what_was_exported_is_not_exported_again() {
        let bench = Bench::new();
        bench.record(200, 1, 1, true);
        assert_eq!(points(&bench.export())[0].exemplars.len(), 1);
        assert!(points(&bench.export())[0].exemplars.is_empty());
        // However soon.
        bench.record(200, 1, 1, true);
        assert_eq!(exemplars(points(&bench.export())[0]), [(1, 1.0)]);
    }

    #[test]
    fn one_that_is_hardly_older_stays() {
        let bench = Bench::new();
        for (millis_later, trace) in [(0, 1), (99, 2)] {
            bench.record_at(Duration::from_millis(millis_later), 200, 1, trace, true);
        }
        assert_eq!(exemplars(points(&bench.export())[0]), [(1, 1.0)]);
        for (millis_later, trace) in [(120, 3), (150, 4), (221, 5)] {
            bench.record_at(Duration::from_millis(millis_later), 200, 1, trace, true);
        }
        assert_eq!(exemplars(points(&bench.export())[0]), [(5, 1.0)]);
    }

    #[test]
    fn a_metric_of_another_scope_is_left_alone() {
        use opentelemetry::metrics::MeterProvider as _;
        let bench = Bench::new();
        for other in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let other = bench.provider.meter(other).f64_histogram(NAME).build();
            other.record(0.001, &[KeyValue::new("z", "last"), KeyValue::new("http.response.status_code", 200)]);
        }
        bench.record(200, 1, 1, true);
        let request = bench.export();
        let mut with = 0;
        for scope in &request.resource_metrics[0].scope_metrics {
            let Some(Data::Histogram(histogram)) = &scope.metrics[0].data else { panic!("not a histogram") };
            let ours = scope.scope.as_ref().is_some_and(|scope| scope.name == crate::SCOPE);
            assert_eq!(histogram.data_points[0].exemplars.len(), usize::from(ours));
            with += histogram.data_points[0].exemplars.len();
        }
        assert_eq!(with, 1);
    }

    #[test]
    fn what_belongs_to_no_series_of_ours_is_measured_and_points_at_nothing() {
        let bench = Bench::new();
        let span = SpanContext::new(TraceId::from(9), SpanId::from(7), TraceFlags::SAMPLED, false, TraceState::NONE);
        let (attributes, took) = (|| vec![KeyValue::new("http.route", "/one/of/many")], Duration::from_millis(1));
        bench.durations.record(None, attributes, (took, Instant::now), &span);
        let request = bench.export();
        let points = points(&request);
        assert_eq!((points[0].count, points[0].exemplars.len()), (1, 0));
    }

    /// An SDK that says whether others could go on while it made an instrument.
    struct Watching(Arc<Exemplars>, AtomicU64);

    impl InstrumentProvider for Watching {
        fn f64_histogram(&self, _builder: HistogramBuilder<'_, Histogram<f64>>) -> Histogram<f64> {
            self.1.fetch_add(1, Ordering::Relaxed);
            assert!(self.0.shared.try_lock().is_ok() && self.0.sources.try_lock().is_ok());
            Histogram::new(Arc::new(Nothing))
        }
    }

    struct Nothing;

    impl SyncInstrument<f64> for Nothing {
        fn measure(&self, _seconds: f64, _attributes: &[KeyValue]) {}
    }

    #[test]
    fn no_lock_is_held_while_the_sdk_makes_an_instrument_and_it_makes_one_of_each_name() {
        let exemplars = Arc::new(Exemplars::default());
        let watching = Arc::new(Watching(exemplars.clone(), AtomicU64::new(0)));
        let meter = Meter::new(watching.clone());
        let [first, again, other] = ["d", "d", "e"].map(|name| exemplars.shared(&meter, name, ""));
        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &other));
        assert_eq!(watching.1.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn attributes_are_the_same_whatever_their_order_and_differ_by_kind() {
        let (a, b) = (KeyValue::new("a", 1), KeyValue::new("b", "2"));
        assert_eq!(identity(&[a.clone(), b.clone()]), identity(&[b.clone(), a.clone()]));
        assert_ne!(identity(&[KeyValue::new("a", 1)]), identity(&[KeyValue::new("a", "1")]));
        assert_ne!(identity(&[KeyValue::new("a", true)]), identity(&[KeyValue::new("a", "true")]));
        assert_ne!(identity(&[KeyValue::new("a", "b1:c"), b.clone()]), identity(&[KeyValue::new("a", "b"), b]));
        assert_ne!(identity(&[KeyValue::new("a", 1.5)]), identity(&[a]));
    }
}
