//! A metric of OpenTelemetry as lines of text.

use std::collections::HashSet;
use std::fmt::Write as _;

use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    DataPointFlags, Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint,
};

use super::Format;
use super::names::{escape, labels, pairs};

/// What Prometheus calls the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

impl Kind {
    /// None for what there is no such type for, and what does not come of a reader that is cumulative.
    pub(super) fn of(data: &Data) -> Option<Self> {
        match data {
            Data::Sum(sum) if sum.is_monotonic => Some(Self::Counter),
            Data::Sum(_) | Data::Gauge(_) => Some(Self::Gauge),
            Data::Histogram(_) | Data::ExponentialHistogram(_) => Some(Self::Histogram),
            Data::Summary(_) => None,
        }
    }

    /// What stands behind the name of the family in the names of its samples.
    pub(super) fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["_total"],
            Self::Gauge => &[""],
            Self::Histogram => &["_bucket", "_sum", "_count"],
            Self::Info => &["_info"],
        }
    }

    fn word(self, format: Format) -> &'static str {
        match (self, format) {
            (Self::Counter, _) => "counter",
            (Self::Gauge, _) | (Self::Info, Format::Text) => "gauge",
            (Self::Histogram, _) => "histogram",
            (Self::Info, Format::OpenMetrics) => "info",
        }
    }
}

/// All series of one name.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) kind: Kind,
    pub(super) unit: String,
    pub(super) help: String,
    pub(super) lines: String,
    /// The labels of those that are there: two series of the same ones make a page that is not read.
    seen: HashSet<String>,
}

impl Family {
    pub(super) fn new(kind: Kind, unit: String, help: String) -> Self {
        Self { kind, unit, help, lines: String::new(), seen: HashSet::new() }
    }

    /// Its head and its lines.
    pub(super) fn write(&self, page: &mut String, name: &str, format: Format) {
        // The older format knows nothing of families: it describes samples.
        let described = match (format, self.kind) {
            (Format::Text, Kind::Counter) => format!("{name}_total"),
            (Format::Text, Kind::Info) => format!("{name}_info"),
            _ => name.to_owned(),
        };
        let _never_fails = writeln!(page, "# TYPE {described} {}", self.kind.word(format));
        if format == Format::OpenMetrics && !self.unit.is_empty() {
            let _never_fails = writeln!(page, "# UNIT {described} {}", self.unit);
        }
        if !self.help.is_empty() {
            let _never_fails = write!(page, "# HELP {described} ");
            escape(page, &self.help, format == Format::OpenMetrics);
            page.push('\n');
        }
        page.push_str(&self.lines);
    }

    /// Adds the points of a metric, each with the labels of its `scope`.
    pub(super) fn add(&mut self, name: &str, data: &Data, scope: &Labels<'_>, format: Format) {
        match data {
            Data::Gauge(gauge) => gauge.data_points.iter().for_each(|point| self.number(name, point, scope)),
            Data::Sum(sum) => sum.data_points.iter().for_each(|point| self.number(name, point, scope)),
            Data::Histogram(of) => {
                of.data_points
                    .iter()
                    .for_each(|point| self.histogram(name, &Distribution::explicit(point), scope, format));
            }
            Data::ExponentialHistogram(of) => of
                .data_points
                .iter()
                .for_each(|point| self.histogram(name, &Distribution::exponential(point), scope, format)),
            Data::Summary(_) => {}
        }
    }

    /// Adds one series that says something by its labels alone.
    pub(super) fn info(&mut self, name: &str, labels: &str) {
        let _never_fails = writeln!(self.lines, "{name}_info{} 1", braced(labels, ""));
    }

    fn number(&mut self, name: &str, point: &NumberDataPoint, scope: &Labels<'_>) {
        let value = match point.value {
            _ if is_empty(point.flags) => return,
            Some(Value::AsInt(value)) => value.to_string(),
            Some(Value::AsDouble(value)) => number(value),
            None => return,
        };
        let labels = labels(pairs(&point.attributes).chain(scope.iter().copied()), &[]);
        let suffix = self.kind.suffixes()[0];
        let braced = braced(&labels, "");
        if self.seen.insert(labels) {
            let _never_fails = writeln!(self.lines, "{name}{suffix}{braced} {value}");
        }
    }

    fn histogram(&mut self, name: &str, of: &Distribution<'_>, scope: &Labels<'_>, format: Format) {
        let labels = labels(pairs(of.attributes).chain(scope.iter().copied()), &["le"]);
        if is_empty(of.flags) || self.seen.contains(&labels) {
            return;
        }
        let (mut below, mut so_far) = (f64::NEG_INFINITY, 0);
        let last = (f64::INFINITY, of.count - of.finite.iter().map(|(_, count)| count).sum::<u64>().min(of.count));
        for (bound, count) in of.finite.iter().copied().chain([last]) {
            so_far += count;
            let le = match format {
                Format::Text => number(bound),
                // A number with a point in it.
                Format::OpenMetrics if bound.is_finite() => format!("{bound:?}"),
                Format::OpenMetrics => number(bound),
            };
            let _never_fails = write!(self.lines, "{name}_bucket{} {so_far}", braced(&labels, &le));
            if format == Format::OpenMetrics {
                let within = |value: f64| below < value && value <= bound;
                let exemplar = of.exemplars.iter().rfind(|exemplar| measured(exemplar).is_some_and(within));
                exemplar.into_iter().for_each(|exemplar| self.exemplar(exemplar));
            }
            self.lines.push('\n');
            below = bound;
        }
        let braced = braced(&labels, "");
        if let Some(sum) = of.sum {
            let _never_fails = writeln!(self.lines, "{name}_sum{braced} {}", number(sum));
        }
        let _never_fails = writeln!(self.lines, "{name}_count{braced} {}", of.count);
        self.seen.insert(labels);
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        let Some(value) = measured(exemplar) else { return };
        self.lines.push_str(" # {trace_id=\"");
        hex(&mut self.lines, &exemplar.trace_id);
        self.lines.push_str("\",span_id=\"");
        hex(&mut self.lines, &exemplar.span_id);
        let (seconds, nanos) = (exemplar.time_unix_nano / 1_000_000_000, exemplar.time_unix_nano % 1_000_000_000);
        let _never_fails = write!(self.lines, "\"}} {} {seconds}.{nanos:09}", number(value));
    }
}

/// Labels that all series of a scope have.
pub(super) type Labels<'a> = [(&'a str, &'a opentelemetry_proto::tonic::common::v1::AnyValue)];

/// A point of either kind of histogram.
struct Distribution<'a> {
    attributes: &'a [opentelemetry_proto::tonic::common::v1::KeyValue],
    /// By upper bound, in their order; each with what is in it alone. What is beyond them is not among them.
    finite: Vec<(f64, u64)>,
    count: u64,
    sum: Option<f64>,
    exemplars: &'a [Exemplar],
    flags: u32,
}

impl<'a> Distribution<'a> {
    fn explicit(point: &'a HistogramDataPoint) -> Self {
        let finite = point.explicit_bounds.iter().copied().zip(point.bucket_counts.iter().copied());
        Self {
            attributes: &point.attributes,
            finite: finite.filter(|(bound, _)| bound.is_finite()).collect(),
            count: point.count,
            sum: point.sum,
            exemplars: &point.exemplars,
            flags: point.flags,
        }
    }

    /// As powers of two, which are bounds at every scale: so the series stay the same when the scale changes.
    fn exponential(point: &'a ExponentialHistogramDataPoint) -> Self {
        let mut finite = Vec::new();
        let negative = point.negative.as_ref().map_or(0, |buckets| buckets.bucket_counts.iter().sum());
        if negative + point.zero_count > 0 {
            finite.push((0.0, negative + point.zero_count));
        }
        let none = Buckets::default();
        let positive = point.positive.as_ref().unwrap_or(&none);
        for (bucket, count) in (i64::from(positive.offset)..).zip(positive.bucket_counts.iter().copied()) {
            let exponent = match u32::try_from(point.scale) {
                Ok(scale) => -(-(bucket + 1) >> scale.min(62)),
                Err(_) => (bucket + 1) << point.scale.unsigned_abs().min(20),
            };
            let Some(exponent) = i32::try_from(exponent).ok().filter(|exponent| *exponent < 1024) else { break };
            let bound = 2_f64.powi(exponent);
            match finite.last_mut() {
                Some((last, sum)) if *last >= bound => *sum += count,
                _ => finite.push((bound, count)),
            }
        }
        Self {
            attributes: &point.attributes,
            finite,
            count: point.count,
            sum: point.sum,
            exemplars: &point.exemplars,
            flags: point.flags,
        }
    }
}

fn is_empty(flags: u32) -> bool {
    i32::try_from(flags).is_ok_and(|flags| flags & DataPointFlags::NoRecordedValueMask as i32 != 0)
}

fn measured(exemplar: &Exemplar) -> Option<f64> {
    match exemplar.value? {
        ExemplarValue::AsDouble(value) => Some(value),
        #[expect(clippy::cast_precision_loss, reason = "the format has no other number")]
        ExemplarValue::AsInt(value) => Some(value as f64),
    }
}

/// `{labels,le="..."}`, or nothing at all.
fn braced(labels: &str, le: &str) -> String {
    match (labels, le) {
        ("", "") => String::new(),
        (labels, "") => format!("{{{labels}}}"),
        ("", le) => format!("{{le=\"{le}\"}}"),
        (labels, le) => format!("{{{labels},le=\"{le}\"}}"),
    }
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

fn hex(into: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _never_fails = write!(into, "{byte:02x}");
    }
}
