use std::collections::{BTreeMap, HashSet};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope};

use super::Format;
use super::family::{Family, Kind};
use super::names::{self, labels, pairs};

/// How many metrics are not on the page.
const LEFT_OUT: &str = "halfbyte_scrape_left_out";

/// What was collected as one page of at most about `most` bytes.
pub(super) fn page(request: &ExportMetricsServiceRequest, format: Format, most: usize) -> String {
    let mut families = Families { most, ..Families::default() };
    let mut target = Family::new(Kind::Info, String::new(), "What this process is.".to_owned());
    if let Some(resource) = request.resource_metrics.iter().find_map(|of| of.resource.as_ref()) {
        target.info("target", &labels(pairs(&resource.attributes), &[]));
    }
    families.bytes = target.lines.len();
    families.by_name.insert("target".to_owned(), target);
    for of_scope in request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics) {
        let scope = scope(of_scope.scope.as_ref(), &of_scope.schema_url);
        let scope: Vec<_> = scope.iter().map(|(key, value)| (key.as_str(), value)).collect();
        for metric in &of_scope.metrics {
            let Some((data, kind)) = metric.data.as_ref().and_then(|data| Some((data, Kind::of(data)?))) else {
                continue;
            };
            let unit = names::unit(&metric.unit, kind);
            let name = names::family(&metric.name, &unit, kind);
            let help = &metric.description;
            families.add(
                &name,
                || Family::new(kind, unit, help.clone()),
                kind,
                |family, name| {
                    family.add(name, data, &scope, format);
                },
            );
        }
    }
    families.finish(format)
}

/// By which Prometheus tells apart what different libraries call the same.
fn scope(scope: Option<&InstrumentationScope>, schema_url: &str) -> Vec<(String, AnyValue)> {
    let text = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
    let mut found = Vec::new();
    if let Some(scope) = scope {
        found.extend([("otel_scope_name", &scope.name), ("otel_scope_version", &scope.version)]);
    }
    let schema_url = schema_url.to_owned();
    found.push(("otel_scope_schema_url", &schema_url));
    let fixed = found.into_iter().filter(|(_, value)| !value.is_empty());
    let mut all: Vec<_> = fixed.map(|(name, value)| (name.to_owned(), text(value))).collect();
    let own = scope.into_iter().flat_map(|scope| pairs(&scope.attributes));
    all.extend(own.map(|(key, value)| (format!("otel_scope_{key}"), value.clone())));
    all
}

#[derive(Default)]
struct Families {
    by_name: BTreeMap<String, Family>,
    /// Of those that are too large for the page.
    dropped: HashSet<String>,
    left_out: u64,
    bytes: usize,
    most: usize,
}

impl Families {
    /// The first of a name says what it is. What is of another type then is left out, and so is what the page has no
    /// room for, whole: part of a family would be wrong numbers.
    fn add(&mut self, name: &str, new: impl FnOnce() -> Family, kind: Kind, lines: impl FnOnce(&mut Family, &str)) {
        let family = self.by_name.entry(name.to_owned()).or_insert_with(new);
        if family.kind != kind || self.dropped.contains(name) {
            self.left_out += 1;
            return;
        }
        let before = family.lines.len();
        lines(family, name);
        self.bytes += family.lines.len() - before;
        if self.bytes > self.most {
            self.bytes -= family.lines.len();
            family.lines = String::new();
            self.left_out += 1;
            self.dropped.insert(name.to_owned());
        }
    }

    fn finish(mut self, format: Format) -> String {
        let (mut page, mut taken) = (String::with_capacity(self.bytes + self.bytes / 8), HashSet::new());
        for (name, family) in &self.by_name {
            if family.lines.is_empty() {
                continue;
            }
            // `a_count` is also the count of a histogram `a`.
            let own = family.kind.suffixes().iter().copied().chain([""]);
            let samples: Vec<String> = own.map(|suffix| format!("{name}{suffix}")).collect();
            if name == LEFT_OUT || samples.iter().any(|sample| taken.contains(sample)) {
                self.left_out += 1;
                continue;
            }
            taken.extend(samples);
            family.write(&mut page, name, format);
        }
        let help = "Metrics that have a name which is taken, or that this page has no room for.";
        let mut left_out = Family::new(Kind::Gauge, String::new(), help.to_owned());
        left_out.lines = format!("{LEFT_OUT} {}\n", self.left_out);
        left_out.write(&mut page, LEFT_OUT, format);
        if format == Format::OpenMetrics {
            page.push_str("# EOF\n");
        }
        page
    }
}
