use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::all::Recorded;
use super::id;
use super::span::trace_flags;
use super::value::{Attributes, Scope, Value, attributes, resource, service};

/// A log record.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Log {
    /// 32 hexadecimal digits; `None` outside of a span.
    pub trace_id: Option<String>,
    /// 16 hexadecimal digits; `None` outside of a span.
    pub span_id: Option<String>,
    /// The flags of W3C trace context.
    pub flags: u8,
    /// `INFO`, `WARN` and so on.
    pub severity: String,
    /// 1 to 24, by the specification: INFO is 9, WARN 13, ERROR 17.
    pub severity_number: i32,
    /// Where in the program it is from: the `target` of a `tracing` event.
    pub target: String,
    /// The name of the event, if it is one.
    pub event_name: String,
    /// The message.
    pub body: String,
    /// When it happened, in nanoseconds since 1970; 0 when it does not say.
    pub time_nanos: u64,
    /// When telemetry saw it, in nanoseconds since 1970.
    pub observed_nanos: u64,
    /// `service.name` of the process that it is from.
    pub service: String,
    /// Its attributes.
    pub attributes: Attributes,
    /// What made it.
    pub scope: Scope,
    /// What is said of the process that it is from.
    pub resource: Attributes,
}

impl Recorded for Log {
    const WHAT: &'static str = "log record";

    fn called(&self) -> &str {
        &self.body
    }
}

pub(super) fn read(request: ExportLogsServiceRequest) -> Vec<Log> {
    let mut logs = Vec::new();
    for group in request.resource_logs {
        let resource = resource(group.resource);
        for scoped in group.scope_logs {
            let scope = Scope::read(scoped.scope, scoped.schema_url);
            logs.extend(scoped.log_records.into_iter().map(|record| one(record, &scope, &resource)));
        }
    }
    logs
}

fn one(record: LogRecord, scope: &Scope, resource: &Attributes) -> Log {
    Log {
        trace_id: id(&record.trace_id),
        span_id: id(&record.span_id),
        flags: trace_flags(record.flags),
        severity: record.severity_text,
        severity_number: record.severity_number,
        target: scope.name.clone(),
        event_name: record.event_name,
        body: Value::read(record.body).as_str().to_owned(),
        time_nanos: record.time_unix_nano,
        observed_nanos: record.observed_time_unix_nano,
        service: service(resource),
        attributes: attributes(record.attributes),
        scope: scope.clone(),
        resource: resource.clone(),
    }
}
