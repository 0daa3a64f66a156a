use std::fmt;
use std::sync::{Arc, OnceLock};
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

    pub(super) fn all(&self) -> impl Iterator<Item = &Series> {
        self.series.values().chain(self.overflow.get())
    }
}

impl fmt::Debug for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durations").field("name", &self.name).finish_non_exhaustive()
    }
}
