use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1 as proto;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;

use super::all::Recorded;
use super::id;
use super::value::{Attributes, Scope, Value, attributes, resource, service};

/// A metric, as it stood when it was collected.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// What it is called.
    pub name: String,
    /// Its unit, such as `s` or `By`.
    pub unit: String,
    /// What it is said to be.
    pub description: String,
    /// `gauge`, `sum` (also of an up-down-counter), `histogram`, `exponential_histogram`, `summary` or `empty`.
    pub kind: &'static str,
    /// `delta` or `cumulative`; empty for a gauge and a summary, which have none.
    pub temporality: &'static str,
    /// Whether it is a sum that only grows.
    pub is_monotonic: bool,
    /// One for each set of attributes.
    pub points: Vec<Point>,
    /// `service.name` of the process that it is from.
    pub service: String,
    /// What made it.
    pub scope: Scope,
    /// What is said of the process that it is from.
    pub resource: Attributes,
}

/// One series of a metric, as it stood when it was collected.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Point {
    /// What tells it from the other series.
    pub attributes: Attributes,
    /// Since when it counts, in nanoseconds since 1970.
    pub start_nanos: u64,
    /// When it was collected, in nanoseconds since 1970.
    pub time_nanos: u64,
    /// The value of a gauge or of a sum: an `int` or a `double`. `None` of the others.
    pub value: Option<Value>,
    /// How many measurements a histogram or a summary holds.
    pub count: u64,
    /// The sum of the measurements that a histogram or a summary holds.
    pub sum: Option<f64>,
    /// The smallest of them.
    pub min: Option<f64>,
    /// The largest of them.
    pub max: Option<f64>,
    /// The boundaries of a histogram's buckets.
    pub bounds: Vec<f64>,
    /// How many measurements each bucket holds; one more than there are boundaries. Of an exponential histogram the
    /// buckets of positive values.
    pub buckets: Vec<u64>,
    /// Scale, offset of the first positive bucket and count of zeros, of an exponential histogram.
    pub exponential: Option<(i32, i32, u64)>,
    /// Examples of what was measured.
    pub exemplars: Vec<Exemplar>,
    /// Bit 0: no value was recorded.
    pub flags: u32,
}

/// One measurement, with the span that it was made in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exemplar {
    /// 32 hexadecimal digits; `None` outside of a span.
    pub trace_id: Option<String>,
    /// 16 hexadecimal digits; `None` outside of a span.
    pub span_id: Option<String>,
    /// What was measured: an `int` or a `double`.
    pub value: Value,
    /// When, in nanoseconds since 1970.
    pub time_nanos: u64,
    /// Attributes of the measurement that are not those of the series.
    pub attributes: Attributes,
}

impl Metric {
    /// The series that has these attributes, and perhaps more.
    pub fn point(&self, attributes: &[(&str, &str)]) -> Option<&Point> {
        let has = |point: &Point, key: &str, value: &str| point.attributes.get(key).is_some_and(|own| own == value);
        self.points.iter().find(|point| attributes.iter().all(|(key, value)| has(point, key, value)))
    }

    /// How many measurements all series of a histogram hold together.
    pub fn count(&self) -> u64 {
        self.points.iter().map(|point| point.count).sum()
    }

    /// The values of all series of a gauge or of a sum together.
    pub fn total(&self) -> f64 {
        self.points.iter().filter_map(|point| point.value.as_ref()?.as_str().parse::<f64>().ok()).sum()
    }
}

impl Recorded for Metric {
    const WHAT: &'static str = "metric";

    fn called(&self) -> &str {
        &self.name
    }
}

pub(super) fn read(request: ExportMetricsServiceRequest) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for group in request.resource_metrics {
        let resource = resource(group.resource);
        for scoped in group.scope_metrics {
            let scope = Scope::read(scoped.scope, scoped.schema_url);
            metrics.extend(scoped.metrics.into_iter().map(|metric| one(metric, &scope, &resource)));
        }
    }
    metrics
}

fn one(metric: proto::Metric, scope: &Scope, resource: &Attributes) -> Metric {
    let (kind, temporality, is_monotonic, points) = match metric.data {
        None => ("empty", "", false, Vec::new()),
        Some(Data::Gauge(gauge)) => ("gauge", "", false, map(gauge.data_points, number)),
        Some(Data::Sum(sum)) => {
            ("sum", temporality(sum.aggregation_temporality), sum.is_monotonic, map(sum.data_points, number))
        }
        Some(Data::Histogram(of)) => {
            ("histogram", temporality(of.aggregation_temporality), false, map(of.data_points, histogram))
        }
        Some(Data::ExponentialHistogram(of)) => {
            let points = map(of.data_points, exponential);
            ("exponential_histogram", temporality(of.aggregation_temporality), false, points)
        }
        Some(Data::Summary(summary)) => ("summary", "", false, map(summary.data_points, quantiles)),
    };
    Metric {
        name: metric.name,
        unit: metric.unit,
        description: metric.description,
        kind,
        temporality,
        is_monotonic,
        points,
        service: service(resource),
        scope: scope.clone(),
        resource: resource.clone(),
    }
}

fn map<T>(points: Vec<T>, one: impl FnMut(T) -> Point) -> Vec<Point> {
    points.into_iter().map(one).collect()
}

fn temporality(code: i32) -> &'static str {
    match proto::AggregationTemporality::try_from(code) {
        Ok(proto::AggregationTemporality::Delta) => "delta",
        Ok(proto::AggregationTemporality::Cumulative) => "cumulative",
        Ok(proto::AggregationTemporality::Unspecified) | Err(_) => "unspecified",
    }
}

fn number(point: proto::NumberDataPoint) -> Point {
    Point {
        attributes: attributes(point.attributes),
        start_nanos: point.start_time_unix_nano,
        time_nanos: point.time_unix_nano,
        value: point.value.map(|value| match value {
            proto::number_data_point::Value::AsInt(value) => value.into(),
            proto::number_data_point::Value::AsDouble(value) => value.into(),
        }),
        exemplars: exemplars(point.exemplars),
        flags: point.flags,
        ..Point::default()
    }
}

fn histogram(point: proto::HistogramDataPoint) -> Point {
    Point {
        attributes: attributes(point.attributes),
        start_nanos: point.start_time_unix_nano,
        time_nanos: point.time_unix_nano,
        count: point.count,
        sum: point.sum,
        min: point.min,
        max: point.max,
        bounds: point.explicit_bounds,
        buckets: point.bucket_counts,
        exemplars: exemplars(point.exemplars),
        flags: point.flags,
        ..Point::default()
    }
}

fn exponential(point: proto::ExponentialHistogramDataPoint) -> Point {
    let positive = point.positive.unwrap_or_default();
    Point {
        attributes: attributes(point.attributes),
        start_nanos: point.start_time_unix_nano,
        time_nanos: point.time_unix_nano,
        count: point.count,
        sum: point.sum,
        min: point.min,
        max: point.max,
        exponential: Some((point.scale, positive.offset, point.zero_count)),
        buckets: positive.bucket_counts,
        exemplars: exemplars(point.exemplars),
        flags: point.flags,
        ..Point::default()
    }
}

fn quantiles(point: proto::SummaryDataPoint) -> Point {
    Point {
        attributes: attributes(point.attributes),
        start_nanos: point.start_time_unix_nano,
        time_nanos: point.time_unix_nano,
        count: point.count,
        sum: Some(point.sum),
        flags: point.flags,
        ..Point::default()
    }
}

fn exemplars(exemplars: Vec<proto::Exemplar>) -> Vec<Exemplar> {
    let one = |exemplar: proto::Exemplar| Exemplar {
        trace_id: id(&exemplar.trace_id),
        span_id: id(&exemplar.span_id),
        value: match exemplar.value {
            Some(proto::exemplar::Value::AsInt(value)) => value.into(),
            Some(proto::exemplar::Value::AsDouble(value)) => value.into(),
            None => Value::read(None),
        },
        time_nanos: exemplar.time_unix_nano,
        attributes: attributes(exemplar.filtered_attributes),
    };
    exemplars.into_iter().map(one).collect()
}
