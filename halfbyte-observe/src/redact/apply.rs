//! The rules applied to each of the three signals.

use std::borrow::Cow;

use halfbyte_core::fingerprint::{self, is_number};
use opentelemetry::trace::Status;
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as ProtoKeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, metric};
use opentelemetry_sdk::trace::SpanData;

use super::{REDACTED, Redaction, Rules, text};

/// How deep values may be nested; what is deeper is removed.
const DEEPEST: usize = 16;

/// What is to be done with a value, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    /// Nothing: this crate makes it, of a few words that it knows.
    Leave,
    /// Looked through.
    Search,
    /// Looked through as the query of a URL.
    Query,
    /// Removed.
    Remove,
}

impl Redaction {
    /// Removes secrets from the name, the status, the attributes, the events and the links.
    pub(crate) fn span(&self, span: &mut SpanData) {
        let rules = &*self.0;
        rules.cow(&mut span.name);
        rules.attributes(&mut span.attributes);
        for event in &mut span.events.events {
            rules.cow(&mut event.name);
            rules.attributes(&mut event.attributes);
        }
        for link in &mut span.links.links {
            rules.attributes(&mut link.attributes);
        }
        if let Status::Error { description } = &mut span.status {
            rules.cow(description);
        }
    }

    /// Removes secrets from the body and the attributes.
    pub(crate) fn log(&self, record: &mut LogRecord) {
        if let Some(body) = &mut record.body {
            self.0.any("", body, DEEPEST);
        }
        self.0.list(&mut record.attributes, DEEPEST);
    }

    /// Removes secrets from the attributes of data points and exemplars.
    pub(crate) fn metrics(&self, request: &mut ExportMetricsServiceRequest) {
        let scopes = request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
        for data in scopes.flat_map(|scope| &mut scope.metrics).filter_map(|metric| metric.data.as_mut()) {
            self.metric(data);
        }
    }

    /// Removes secrets from the attributes of the resource.
    pub(crate) fn resource(&self, request: &mut ExportMetricsServiceRequest) {
        for resource in request.resource_metrics.iter_mut().filter_map(|metrics| metrics.resource.as_mut()) {
            self.0.list(&mut resource.attributes, DEEPEST);
        }
    }

    fn metric(&self, data: &mut metric::Data) {
        let point = |attributes: &mut Vec<ProtoKeyValue>, exemplars: &mut [Exemplar]| {
            self.0.list(attributes, DEEPEST);
            exemplars.iter_mut().for_each(|exemplar| self.0.list(&mut exemplar.filtered_attributes, DEEPEST));
        };
        match data {
            metric::Data::Gauge(gauge) => {
                gauge.data_points.iter_mut().for_each(|found| point(&mut found.attributes, &mut found.exemplars));
            }
            metric::Data::Sum(sum) => {
                sum.data_points.iter_mut().for_each(|found| point(&mut found.attributes, &mut found.exemplars));
            }
            metric::Data::Histogram(histogram) => {
                histogram.data_points.iter_mut().for_each(|found| point(&mut found.attributes, &mut found.exemplars));
            }
            metric::Data::ExponentialHistogram(histogram) => {
                histogram.data_points.iter_mut().for_each(|found| point(&mut found.attributes, &mut found.exemplars));
            }
            metric::Data::Summary(summary) => {
                summary.data_points.iter_mut().for_each(|found| point(&mut found.attributes, &mut []));
            }
        }
    }
}

impl Rules {
    fn treatment(&self, key: &str) -> Treatment {
        // By length first, which tells most names apart.
        match key.len() {
            10 if matches!(key, "http.route" | "url.scheme") => Treatment::Leave,
            15 | 16 | 19 | 23 | 24
                if matches!(
                    key,
                    "halfbyte.tenant"
                        | "halfbyte.refusal"
                        | "http.request.method"
                        | "halfbyte.principal.kind"
                        | "network.protocol.version"
                ) =>
            {
                Treatment::Leave
            }
            9 if key == "url.query" => Treatment::Query,
            _ if self.names_a_secret(key) => Treatment::Remove,
            _ => Treatment::Search,
        }
    }

    fn attributes(&self, attributes: &mut [KeyValue]) {
        for KeyValue { key, value, .. } in attributes {
            match (self.treatment(key.as_str()), value) {
                (Treatment::Leave, _) | (_, Value::Bool(_) | Value::Array(Array::Bool(_))) => {}
                (Treatment::Remove, value) => *value = REDACTED.into(),
                (treatment, Value::String(value)) => {
                    if let Cow::Owned(redacted) = self.searched(treatment, value.as_str()) {
                        *value = redacted.into();
                    }
                }
                (treatment, Value::Array(Array::String(values))) => {
                    for value in values {
                        if let Cow::Owned(redacted) = self.searched(treatment, value.as_str()) {
                            *value = redacted.into();
                        }
                    }
                }
                (_, value @ Value::I64(_)) if matches!(*value, Value::I64(number) if is_number(number)) => {
                    *value = fingerprint::REDACTED.into();
                }
                _ => {}
            }
        }
    }

    fn list(&self, list: &mut [ProtoKeyValue], deep: usize) {
        for ProtoKeyValue { key, value, .. } in list {
            if let Some(value) = value {
                self.any(key, value, deep);
            }
        }
    }

    fn any(&self, key: &str, value: &mut AnyValue, deep: usize) {
        let treatment = if key.is_empty() { Treatment::Search } else { self.treatment(key) };
        self.treat(treatment, value, deep);
    }

    fn treat(&self, treatment: Treatment, any: &mut AnyValue, deep: usize) {
        let Some(value) = &mut any.value else { return };
        match (treatment, value) {
            (Treatment::Leave, _) | (_, any_value::Value::BoolValue(_)) => {}
            (Treatment::Remove, value) => *value = any_value::Value::StringValue(REDACTED.to_owned()),
            (treatment, any_value::Value::StringValue(value)) => {
                if let Cow::Owned(redacted) = self.searched(treatment, value) {
                    *value = redacted;
                }
            }
            (treatment, any_value::Value::BytesValue(bytes)) => {
                let redacted = str::from_utf8(bytes).ok().map(|text| self.searched(treatment, text));
                if let Some(Cow::Owned(redacted)) = redacted {
                    *bytes = redacted.into_bytes();
                }
            }
            (_, value @ (any_value::Value::ArrayValue(_) | any_value::Value::KvlistValue(_))) if deep == 0 => {
                *value = any_value::Value::StringValue(REDACTED.to_owned());
            }
            (treatment, any_value::Value::ArrayValue(array)) => {
                array.values.iter_mut().for_each(|value| self.treat(treatment, value, deep - 1));
            }
            (_, value @ any_value::Value::IntValue(_)) if matches!(*value, any_value::Value::IntValue(number) if is_number(number)) =>
            {
                *value = any_value::Value::StringValue(fingerprint::REDACTED.to_owned());
            }
            (_, any_value::Value::KvlistValue(list)) => self.list(&mut list.values, deep - 1),
            (
                _,
                any_value::Value::IntValue(_)
                | any_value::Value::DoubleValue(_)
                | any_value::Value::StringValueStrindex(_),
            ) => {}
        }
    }

    fn searched<'a>(&self, treatment: Treatment, value: &'a str) -> Cow<'a, str> {
        text::redact(self, value, treatment == Treatment::Query)
    }

    fn cow(&self, value: &mut Cow<'static, str>) {
        if let Cow::Owned(redacted) = text::redact(self, value, false) {
            *value = redacted.into();
        }
    }
}
