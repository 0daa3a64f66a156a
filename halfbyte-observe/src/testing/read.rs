//! From the messages of the protocol to plain values.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{span, status};

/// A span that arrived.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// 16 hexadecimal digits; `None` at the root of a trace.
    pub parent_span_id: Option<String>,
    /// What it is called.
    pub name: String,
    /// `service.name` of the process that it is from.
    pub service: String,
    /// `server`, `client`, `internal`, `producer` or `consumer`.
    pub kind: &'static str,
    /// Nanoseconds since 1970.
    pub start_nanos: u64,
    /// Nanoseconds since 1970.
    pub end_nanos: u64,
    /// Whether its status is Error.
    pub is_error: bool,
    /// Every value as text.
    pub attributes: BTreeMap<String, String>,
    /// What is said of the process that it is from.
    pub resource: BTreeMap<String, String>,
}

impl Span {
    /// How long it took.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.end_nanos.saturating_sub(self.start_nanos))
    }
}

/// A log record that arrived.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Log {
    /// 32 hexadecimal digits; `None` outside of a span.
    pub trace_id: Option<String>,
    /// 16 hexadecimal digits; `None` outside of a span.
    pub span_id: Option<String>,
    /// `INFO`, `WARN` and so on.
    pub severity: String,
    /// Where in the program it is from: the `target` of a `tracing` event.
    pub target: String,
    /// The message.
    pub body: String,
    /// `service.name` of the process that it is from.
    pub service: String,
    /// Every value as text.
    pub attributes: BTreeMap<String, String>,
}

pub(super) fn spans(request: ExportTraceServiceRequest) -> impl Iterator<Item = Span> {
    request.resource_spans.into_iter().flat_map(|group| {
        let resource = resource(group.resource);
        group.scope_spans.into_iter().flat_map(|scope| scope.spans).map(move |span| Span {
            kind: kind(span.kind()),
            is_error: span.status.as_ref().is_some_and(|status| status.code() == status::StatusCode::Error),
            trace_id: hex(&span.trace_id).unwrap_or_default(),
            span_id: hex(&span.span_id).unwrap_or_default(),
            parent_span_id: hex(&span.parent_span_id),
            name: span.name,
            service: service(&resource),
            start_nanos: span.start_time_unix_nano,
            end_nanos: span.end_time_unix_nano,
            attributes: attributes(span.attributes),
            resource: resource.clone(),
        })
    })
}

pub(super) fn metric_names(request: ExportMetricsServiceRequest) -> impl Iterator<Item = String> {
    let scopes = request.resource_metrics.into_iter().flat_map(|group| group.scope_metrics);
    scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name)
}

pub(super) fn logs(request: ExportLogsServiceRequest) -> impl Iterator<Item = Log> {
    request.resource_logs.into_iter().flat_map(|group| {
        let service = service(&resource(group.resource));
        group.scope_logs.into_iter().flat_map(move |scope| {
            let (service, target) = (service.clone(), scope.scope.map(|scope| scope.name).unwrap_or_default());
            scope.log_records.into_iter().map(move |record| Log {
                trace_id: hex(&record.trace_id),
                span_id: hex(&record.span_id),
                severity: record.severity_text,
                target: target.clone(),
                body: text(record.body),
                service: service.clone(),
                attributes: attributes(record.attributes),
            })
        })
    })
}

fn kind(kind: span::SpanKind) -> &'static str {
    match kind {
        span::SpanKind::Server => "server",
        span::SpanKind::Client => "client",
        span::SpanKind::Producer => "producer",
        span::SpanKind::Consumer => "consumer",
        span::SpanKind::Internal | span::SpanKind::Unspecified => "internal",
    }
}

fn resource(resource: Option<Resource>) -> BTreeMap<String, String> {
    attributes(resource.map(|resource| resource.attributes).unwrap_or_default())
}

fn service(resource: &BTreeMap<String, String>) -> String {
    resource.get("service.name").cloned().unwrap_or_default()
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    list.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(any_value::Value::IntValue(value)) => value.to_string(),
        Some(any_value::Value::DoubleValue(value)) => value.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

/// `None` where the protocol has no id.
fn hex(bytes: &[u8]) -> Option<String> {
    bytes.iter().any(|byte| *byte != 0).then(|| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
    })
}
