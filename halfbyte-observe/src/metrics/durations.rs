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

/// As many as the SDK keeps of a metric, unless a view says otherwise.
const CAP: usize = 2_000;

/// A histogram of durations whose series are bound once and found by a number that stands for their attributes.
pub(crate) struct Durations {
    pub(super) name: &'static str,
    filter: ExemplarFilter,
    histogram: Histogram<f64>,
    series: Table<Series>,
    /// All that is measured when there are too many series.
    overflow: OnceLock<Series>,
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
        Arc::new(Self { name, filter, histogram, series: Table::new(CAP), overflow: OnceLock::new() })
    }

    /// Records `took`, measured `at` then. `key` stands for the attributes, which are asked for when it is the first time; None if they are
    /// too many to be told apart. Where the filter
    /// takes `span`, the measurement is an exemplar that points at it.
    pub(crate) fn record(
        &self,
        key: Option<u128>,
        attributes: impl FnOnce() -> Vec<KeyValue>,
        (took, at): (Duration, impl FnOnce() -> Instant),
        span: &SpanContext,
    ) {
        let series = key.and_then(|key| self.one(key, attributes)).unwrap_or_else(|| self.overflow());
        let seconds = took.as_secs_f64();
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

    fn overflow(&self) -> &Series {
        self.overflow.get_or_init(|| self.bind(0, vec![KeyValue::new("otel.metric.overflow", true)]))
    }

    fn bind(&self, key: u128, attributes: Vec<KeyValue>) -> Series {
        Series { key, bound: self.histogram.bind(&attributes), attributes, reservoir: OnceLock::new() }
    }

    /// As [`record`](Self::record) where no number stands for the attributes: they are compared, and are to be in the same
    /// order each time. All that a histogram measures comes in one of these two ways.
    pub(crate) fn record_listed(&self, attributes: &[KeyValue], (took, at): (Duration, Instant), span: &SpanContext) {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let (hash, make) = (HASHER.hash_one(attributes), || self.bind(0, attributes.to_vec()));
        let place = self.series.find_or_insert(hash, |series| series.attributes == attributes, make);
        let series = place.and_then(|place| self.series.get(place)).unwrap_or_else(|| self.overflow());
        let seconds = took.as_secs_f64();
        series.bound.record(seconds);
        if self.filter.takes(span) {
            series.reservoir.get_or_init(|| Box::new(Reservoir::new(at))).offer(seconds, at, span);
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Series> {
        self.series.values().chain(self.overflow.get())
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
    use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};

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
}
