use std::fmt;

use halfbyte_core::Clock;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// One object a line: `timestamp`, `level`, `target`, `message`; `trace_id` and `span_id` in a span; the fields of the
/// event under `fields`, the `tracing` spans around it under `spans`, outermost first.
pub(super) struct Json {
    pub(super) clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let meta = event.metadata();
        let mut object = Map::new();
        object.insert("timestamp".into(), format!("{:.6}", self.clock.now()).into());
        object.insert("level".into(), meta.level().as_str().into());
        object.insert("target".into(), line.log_target.unwrap_or_else(|| meta.target().into()));
        object.insert("message".into(), line.message);
        Context::map_current(|context| {
            let span = context.span();
            let span = span.span_context();
            if span.is_valid() {
                object.insert("trace_id".into(), span.trace_id().to_string().into());
                object.insert("span_id".into(), span.span_id().to_string().into());
            }
        });
        if !line.fields.is_empty() {
            object.insert("fields".into(), line.fields.into());
        }
        let spans: Vec<Value> = ctx
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
            .map(|span| {
                let extensions = span.extensions();
                let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.as_str());
                json!({ "name": span.name(), "fields": serde_json::from_str(fields).unwrap_or_else(|_| json!({})) })
            })
            .collect();
        if !spans.is_empty() {
            object.insert("spans".into(), spans.into());
        }
        writeln!(to, "{}", Value::Object(object))
    }
}

#[derive(Default)]
struct Line {
    message: Value,
    fields: Map<String, Value>,
    log_target: Option<Value>,
}

impl Line {
    fn record(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = value,
            // Records of the `log` crate arrive with their origin in fields.
            "log.target" => self.log_target = Some(value),
            name if name.starts_with("log.") => {}
            name => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, value.into());
    }
}
