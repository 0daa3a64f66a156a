use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};
use opentelemetry::trace::SpanContext;

use super::exemplars::Reservoir;
use super::table::hash_of_key;
use super::{ExemplarFilter, Table};

/// The boundaries that the conventions for HTTP and for RPC advise, in seconds.
pub(crate) const BOUNDARIES: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Half of what the SDK keeps of a metric, unless a view says otherwise. What is bound has its place for good, whatever
/// the temporality; the other half is for what comes later, of which the SDK forgets with delta what is not measured
/// any more.
const BOUND: usize = 1_000;

/// A histogram of durations whose first series are bound once and found by a number that stands for their attributes. What
/// belongs to none of them is recorded by its attributes, and the SDK decides whether it is a series or overflows.
pub(crate) struct Durations {
    pub(super) name: &'static str,
    filter: ExemplarFilter,
    histogram: Histogram<f64>,
    series: Table<Series>,
}

pub(super) struct Series {
    key: u128,
    bound: BoundHistogram<f64>,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) reservoir: OnceLock<Box<Reservoir>>,
}

impl Durations {
    pub(crate) fn new(
        meter: &Meter,
        filter: ExemplarFilter,
        name: &'static str,
        description: &'static str,
    ) -> Arc<Self> {
        let histogram = meter
            .f64_histogram(name)
            .with_description(description)
            .with_unit("s")
            .with_boundaries(BOUNDARIES.to_vec())
            .build();
        Arc::new(Self { name, filter, histogram, series: Table::new(BOUND) })
    }

    /// Records `took`, measured `at` then. `key` stands for the attributes, which are asked for when it is the first time;
    /// None if they are too many to be told apart by a number. Where the filter takes `span`, the measurement is an
    /// exemplar that points at it, if its series is one of the bound ones.
    pub(crate) fn record(
        &self,
        key: Option<u128>,
        attributes: impl Fn() -> Vec<KeyValue>,
        took: (Duration, impl FnOnce() -> Instant),
        span: &SpanContext,
    ) {
        let series = key.and_then(|key| self.one(key, &attributes));
        self.put(series, attributes, took, span);
    }

    /// As [`record`](Self::record) where no number stands for the attributes: they are compared, and are to be in the same
    /// order each time. All that a histogram measures comes in one of these two ways.
    pub(crate) fn record_listed(&self, attributes: &[KeyValue], (took, at): (Duration, Instant), span: &SpanContext) {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let (hash, make) = (HASHER.hash_one(attributes), || self.bind(0, attributes.to_vec()));
        let place = self.series.find_or_insert(hash, |series| series.attributes == attributes, make);
        self.put(place.and_then(|place| self.series.get(place)), || attributes, (took, || at), span);
    }

    fn put<A: AsRef<[KeyValue]>>(
        &self,
        series: Option<&Series>,
        attributes: impl FnOnce() -> A,
        (took, at): (Duration, impl FnOnce() -> Instant),
        span: &SpanContext,
    ) {
        let seconds = took.as_secs_f64();
        let Some(series) = series else { return self.histogram.record(seconds, attributes().as_ref()) };
        series.bound.record(seconds);
        if self.filter.takes(span) {
            let at = at();
            series.reservoir.get_or_init(|| Box::new(Reservoir::new(at))).offer(seconds, at, span);
        }
    }

    fn one(&self, key: u128, attributes: impl FnOnce() -> Vec<KeyValue>) -> Option<&Series> {
        let (hash, is) = (hash_of_key(key), |series: &Series| series.key == key);
        if let Some((_, known)) = self.series.look_up(hash, is) {
            return Some(known);
        }
        self.series.get(self.series.find_or_insert(hash, is, || self.bind(key, attributes()))?)
    }

    fn bind(&self, key: u128, attributes: Vec<KeyValue>) -> Series {
        Series { key, bound: self.histogram.bind(&attributes), attributes, reservoir: OnceLock::new() }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Series> {
        self.series.values()
    }
}

impl fmt::Debug for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durations").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
    use opentelemetry_sdk::metrics::{
        InMemoryMetricExporter, InMemoryMetricExporterBuilder, ManualReader, PeriodicReader, SdkMeterProvider,
        Temporality,
    };

    use super::*;

    #[test]
    fn attributes_that_are_listed_are_a_series_that_is_bound_once_and_found_without_allocating() {
        let provider = SdkMeterProvider::builder().with_reader(ManualReader::builder().build()).build();
        let durations = Durations::new(&provider.meter("test"), ExemplarFilter::default(), "d", "");
        let listed = |host: &'static str, status: i64| {
            [KeyValue::new("server.address", host), KeyValue::new("http.response.status_code", status)]
        };
        let record = |attributes: &[KeyValue]| {
            durations.record_listed(attributes, (Duration::from_millis(1), Instant::now()), &SpanContext::NONE);
        };
        let (a, b) = (listed("a", 200), listed("b", 200));
        for attributes in [&a, &b, &listed("a", 404), &a] {
            record(attributes);
        }
        assert_eq!(durations.all().count(), 3);
        assert_eq!(allocation_counter::measure(|| [&a, &b].into_iter().for_each(|known| record(known))).count_total, 0);
        assert_eq!(durations.all().count(), 3);
    }

    /// How many series were exported, how many of them overflow, and how much was measured in all.
    fn exported((provider, exporter): &(SdkMeterProvider, InMemoryMetricExporter)) -> (usize, usize, u64) {
        exporter.reset();
        provider.force_flush().unwrap();
        let (mut series, mut overflows, mut count) = (0, 0, 0);
        for collected in exporter.get_finished_metrics().unwrap() {
            for metric in collected.scope_metrics().flat_map(|scope| scope.metrics()) {
                let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else {
                    panic!("not a histogram: {metric:?}")
                };
                for point in histogram.data_points() {
                    series += 1;
                    overflows += point.attributes().filter(|pair| pair.key.as_str() == "otel.metric.overflow").count();
                    count += point.count();
                }
            }
        }
        (series, overflows, count)
    }

    #[test]
    fn what_is_new_after_too_many_is_a_series_again_once_the_sdk_has_forgotten_others() {
        let host = |n: i64| [KeyValue::new("server.address", "a"), KeyValue::new("server.port", n)];
        let at = (Duration::from_millis(1), Instant::now());
        let listed = |durations: &Durations, n: i64| durations.record_listed(&host(n), at, &SpanContext::NONE);
        let keyed = |durations: &Durations, n: i64| {
            let key = u128::try_from(n).unwrap();
            durations.record(Some(key), || host(n).to_vec(), (at.0, || at.1), &SpanContext::NONE);
        };
        let unkeyed = |durations: &Durations, n: i64| {
            durations.record(None, || host(n).to_vec(), (at.0, || at.1), &SpanContext::NONE);
        };
        type Way<'a> = &'a dyn Fn(&Durations, i64);
        let ways: [Way<'_>; 3] = [&listed, &keyed, &unkeyed];
        for (way, record) in ways.into_iter().enumerate() {
            for (temporality, later) in [(Temporality::Delta, (1, 0, 1)), (Temporality::Cumulative, (2_001, 1, 2_101))]
            {
                let exporter = InMemoryMetricExporterBuilder::new().with_temporality(temporality).build();
                let reader = PeriodicReader::builder(exporter.clone()).build();
                let sdk = (SdkMeterProvider::builder().with_reader(reader).build(), exporter);
                let durations = Durations::new(&sdk.0.meter("test"), ExemplarFilter::default(), "d", "");
                (0..2_100).for_each(|n| record(&durations, n));
                assert_eq!(exported(&sdk), (2_001, 1, 2_100), "{way} {temporality:?}: as many as the SDK keeps");
                // What was not measured since then is forgotten with this one.
                exported(&sdk);
                record(&durations, 10_000);
                assert_eq!(exported(&sdk), later, "{way} {temporality:?}");
            }
        }
    }
}
