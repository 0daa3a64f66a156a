use std::borrow::Cow;
use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::mem;

use halfbyte_core::fingerprint::is_number;
use halfbyte_core::{Caller, Clock, error_chain};
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::field::{Field, FieldSet, Visit};
use tracing::span::Record;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::escape::Escape;
use crate::redact::REDACTED;
use crate::{Redaction, Settings};

/// The most that a line is long, in bytes. What takes it to its end stays well below: collectors of logs cut lines, or
/// drop them, from this length on.
#[cfg(test)]
const MOST: usize = 64 << 10;
const MESSAGE: usize = 30 << 10;
const FIELDS: usize = 24 << 10;
const SPANS: usize = 6 << 10;
const TARGET: usize = 256;
/// More of one value than any part of a line takes, so that what is cut off in the midst of a secret is never shown.
const RAW: usize = 48 << 10;

/// One object a line: `timestamp`, `level`, `target`, `message`; `trace_id`, `span_id` and `trace_flags` in a span;
/// `tenant` and `principal_kind` once it is known who calls; `product` and `version`; the fields of the event under
/// `fields`, the `tracing` spans around it under `spans`, outermost first; `truncated` when something was left out.
pub(super) struct Json {
    clock: Clock,
    /// `,"product":"parcel","version":"1.2.3"`
    process: String,
    redaction: Redaction,
}

impl Json {
    pub(super) fn new(settings: &Settings, clock: Clock) -> Self {
        let mut process = String::new();
        for (name, value) in [("product", settings.product.as_str()), ("version", &settings.version)] {
            let _cut =
                write!(process, ",\"{name}\":\"").and_then(|()| Escape::new(&mut process, TARGET).write_str(value));
            process.push('"');
        }
        Self { clock, process, redaction: settings.redaction.clone() }
    }
}

thread_local! {
    /// The buffers of the last line. Away while a line is made, which a line within a line finds empty ones for.
    static BUFFERS: Cell<Option<Line>> = const { Cell::new(None) };
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let meta = event.metadata();
        let mut line = BUFFERS.try_with(Cell::take).ok().flatten().unwrap_or_default();
        line.clear();
        event.record(&mut Fields { line: &mut line, set: Some(meta.fields()), redaction: &self.redaction });
        if line.target.is_empty() {
            let _cut = Escape::new(&mut line.target, TARGET).write_str(meta.target());
        }
        write!(to, "{{\"timestamp\":\"{:.6}\",\"level\":\"{}\"", self.clock.now(), meta.level())?;
        write!(to, ",\"target\":\"{}\",\"message\":\"{}\"", line.target, line.message)?;
        trace(&mut to)?;
        caller(&mut to)?;
        to.write_str(&self.process)?;
        if !line.fields.is_empty() {
            write!(to, ",\"fields\":{{{}}}", line.fields)?;
        }
        let complete = spans(ctx, &mut line.spans);
        if !line.spans.is_empty() {
            write!(to, ",\"spans\":[{}]", line.spans)?;
        }
        if line.cut || !complete {
            to.write_str(",\"truncated\":true")?;
        }
        to.write_str("}\n")?;
        // A thread that ends needs them no more.
        let _ended = BUFFERS.try_with(|buffers| buffers.set(Some(line)));
        Ok(())
    }
}

/// By the names that the specification gives them in formats other than OTLP.
fn trace(to: &mut Writer<'_>) -> fmt::Result {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        if !span.is_valid() {
            return Ok(());
        }
        let (trace, flags) = (span.trace_id(), span.trace_flags().to_u8());
        write!(to, ",\"trace_id\":\"{trace}\",\"span_id\":\"{}\",\"trace_flags\":\"{flags:02x}\"", span.span_id())
    })
}

/// Neither can hold what would have to be escaped.
fn caller(to: &mut Writer<'_>) -> fmt::Result {
    Caller::with_current(|principal| match principal {
        Some(principal) => {
            let (tenant, kind) = (principal.tenant().as_str(), principal.kind().as_str());
            write!(to, ",\"tenant\":\"{tenant}\",\"principal_kind\":\"{kind}\"")
        }
        None => Ok(()),
    })
}

/// Answers whether all of them fitted.
fn spans<S, N>(ctx: &FmtContext<'_, S, N>, to: &mut String) -> bool
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
        let extensions = span.extensions();
        // JSON already, but for the characters that JSON lets through.
        let fields = extensions.get::<FormattedFields<N>>().map_or("{}", |fields| fields.as_str());
        let fields = if fields.is_empty() { "{}" } else { fields };
        let before = to.len();
        let separator = if before == 0 { "" } else { "," };
        let _infallible = write!(to, "{separator}{{\"name\":\"{}\",\"fields\":", span.name());
        for c in fields.chars() {
            if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                let _infallible = write!(to, "\\u{:04x}", u32::from(c));
            } else {
                to.push(c);
            }
        }
        to.push('}');
        if to.len() > SPANS {
            to.truncate(before);
            return false;
        }
    }
    true
}

/// The parts of a line that an event fills, escaped.
#[derive(Default)]
struct Line {
    target: String,
    message: String,
    fields: String,
    spans: String,
    /// A value before it is freed of secrets.
    raw: String,
    cut: bool,
}

impl Line {
    fn clear(&mut self) {
        let Self { target, message, fields, spans, raw: _, cut } = self;
        [target, message, fields, spans].into_iter().for_each(String::clear);
        *cut = false;
    }
}

struct Fields<'a> {
    line: &'a mut Line,
    /// Of an event, by which two fields of one name are told apart.
    set: Option<&'a FieldSet>,
    redaction: &'a Redaction,
}

impl Fields<'_> {
    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // A value that logs while it is written takes the line's buffer, and this one finds an empty one.
        let mut raw = Bounded { text: mem::take(&mut self.line.raw), cut: false };
        raw.text.clear();
        let _cut = raw.write_fmt(value);
        self.line.cut |= raw.cut;
        let name = field.name();
        let clean = if name != "message" && self.redaction.names_a_secret(name) {
            Cow::Borrowed(REDACTED)
        } else {
            self.redaction.text(&raw.text)
        };
        match name {
            "message" => self.line.cut |= write_cut(&mut self.line.message, MESSAGE, &clean),
            // Records of the `log` crate arrive with their origin in fields.
            "log.target" => {
                write_cut(&mut self.line.target, TARGET, &clean);
            }
            _ => {
                if let Some(most) = self.begin(field) {
                    self.line.fields.push('"');
                    self.line.cut |= write_cut(&mut self.line.fields, most, &clean);
                    self.line.fields.push('"');
                }
            }
        }
        drop(clean);
        self.line.raw = raw.text;
    }

    /// A value that needs no quotes.
    fn plain(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        match field.name() {
            "message" | "log.target" => self.text(field, value),
            name if self.redaction.names_a_secret(name) => self.text(field, value),
            _ => {
                if self.begin(field).is_some() {
                    let _infallible = self.line.fields.write_fmt(value);
                }
            }
        }
    }

    fn number(&mut self, field: &Field, value: impl Into<i128> + fmt::Display + Copy) {
        if is_number(value) {
            self.text(field, format_args!("{value}"));
        } else {
            self.plain(field, format_args!("{value}"));
        }
    }

    /// Writes the name; `None` if the field is left out. Else how long its value may be.
    fn begin(&mut self, field: &Field) -> Option<usize> {
        let name = field.name();
        if name.starts_with("log.") {
            return None;
        }
        // So that a number has room too.
        let most = FIELDS.checked_sub(self.line.fields.len() + 6 * name.len() + 64);
        let Some(most) = most else {
            self.line.cut = true;
            return None;
        };
        let separator = if self.line.fields.is_empty() { "" } else { "," };
        self.line.fields.push_str(separator);
        self.line.fields.push('"');
        let _fits = Escape::new(&mut self.line.fields, 6 * name.len()).write_str(name);
        // Two fields of one name would be two readings of one line.
        let others = self.set.into_iter().flat_map(FieldSet::iter);
        let earlier = others.take(field.index()).filter(|other| other.name() == name).count();
        if earlier > 0 {
            let _infallible = write!(self.line.fields, "#{}", earlier + 1);
        }
        self.line.fields.push_str("\":");
        Some(most)
    }
}

fn write_cut(to: &mut String, most: usize, value: &str) -> bool {
    let mut escape = Escape::new(to, most);
    let _cut = escape.write_str(value);
    escape.was_cut()
}

/// What a value writes before it is freed of secrets, as much as could be shown of it.
struct Bounded {
    text: String,
    cut: bool,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = RAW.saturating_sub(self.text.len());
        self.text.push_str(&text[..text.floor_char_boundary(left)]);
        self.cut |= text.len() > left;
        if self.cut { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Writes the fields of spans as an object of JSON, without secrets.
pub(super) struct SpanFields(pub(super) Redaction);

impl SpanFields {
    fn object<R: RecordFields>(&self, fields: &R) -> String {
        let mut line = Line::default();
        fields.record(&mut Fields { line: &mut line, set: None, redaction: &self.0 });
        // The conventional field of that name is one like any other here.
        let separator = if line.message.is_empty() || line.fields.is_empty() { "" } else { "," };
        let message = if line.message.is_empty() { String::new() } else { format!("\"message\":\"{}\"", line.message) };
        format!("{{{message}{separator}{}}}", line.fields)
    }
}

impl<'a> FormatFields<'a> for SpanFields {
    fn format_fields<R: RecordFields>(&self, mut to: Writer<'a>, fields: R) -> fmt::Result {
        to.write_str(&self.object(&fields))
    }

    fn add_fields(&self, current: &'a mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let added = self.object(fields);
        if current.fields.is_empty() {
            current.fields = added;
            return Ok(());
        }
        // What is recorded again counts.
        let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).map_err(|_| fmt::Error);
        let mut all = read(&current.fields)?;
        all.extend(read(&added)?);
        current.fields = Value::Object(all).to_string();
        Ok(())
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field, format_args!("{}", error_chain(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for the others. With an exponent no number is long.
        if value.is_finite() {
            self.plain(field, format_args!("{value:?}"));
        } else {
            self.text(field, format_args!("{value}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::{Principal, PrincipalKind, TenantId};
    use jiff::Timestamp;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    use proptest::prelude::*;
    use serde_json::json;
    use tracing_subscriber::Layer as _;

    use super::*;
    use crate::console::tests::{Sink, printed_by, settings};

    /// The one line that `log` prints.
    fn line(log: impl FnOnce()) -> (String, Value) {
        let text = printed_by(log, |sink: Sink| {
            let clock = Clock::manual("2030-01-01T12:34:56.789Z".parse().expect("valid"));
            let json = Json::new(&settings(), clock);
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || sink.clone());
            layer.fmt_fields(SpanFields(Redaction::default())).event_format(json).boxed()
        });
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
        assert!(text.len() <= MOST, "{}", text.len());
        assert!(!text.trim_end().contains(char::is_control), "{text}");
        let value = serde_json::from_str(&text).expect("JSON");
        (text, value)
    }

    #[test]
    fn an_event_is_one_object() {
        let (text, _) = line(|| {
            let span = tracing::info_span!("order", id = 7);
            span.in_scope(|| tracing::info!(target: "parcel", weight = 1.5, to = "Oslo", express = true, "made it"));
        });
        assert_eq!(
            text,
            concat!(
                r#"{"timestamp":"2030-01-01T12:34:56.789000Z","level":"INFO","target":"parcel","message":"made it","#,
                r#""product":"parcel","version":"1.2.3","fields":{"weight":1.5,"to":"Oslo","express":true},"#,
                r#""spans":[{"name":"order","fields":{"id":7}}]}"#,
                "\n"
            )
        );
    }

    #[test]
    fn it_names_the_span_and_who_calls() {
        let (trace, span) = (TraceId::from(0xabc), SpanId::from(0xde));
        let context = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE);
        let tenant = TenantId::new("acme").expect("valid");
        let builder = Principal::builder("someone@acme.example", tenant, Timestamp::MAX);
        let principal = builder.kind(PrincipalKind::Service).build();
        let (text, line) = line(|| {
            let _attached = Context::new().with_remote_span_context(context).attach();
            Caller::default().within(|| {
                Caller::tell(&principal);
                tracing::warn!("careful");
            });
        });
        assert_eq!(line["trace_id"], "00000000000000000000000000000abc");
        assert_eq!((&line["span_id"], &line["trace_flags"]), (&json!("00000000000000de"), &json!("01")));
        assert_eq!((&line["tenant"], &line["principal_kind"]), (&json!("acme"), &json!("service")));
        assert!(!text.contains("someone"));
    }

    #[test]
    fn two_fields_of_one_name_are_told_apart() {
        let (text, line) = line(|| tracing::info!(a = 1, a = 2, level = "x", message = "m"));
        assert_eq!(line["fields"], json!({ "a": 1, "a#2": 2, "level": "x" }));
        assert_eq!((text.matches("\"a\":").count(), &line["level"]), (1, &json!("INFO")));
    }

    #[test]
    fn numbers_that_json_does_not_have_are_texts() {
        let (_, line) =
            line(|| tracing::info!(a = f64::NAN, b = f64::INFINITY, c = 1e300, d = u64::MAX, e = i128::MAX));
        assert_eq!(
            line["fields"],
            json!({ "a": "NaN", "b": "inf", "c": 1e300, "d": u64::MAX, "e": i128::MAX.to_string() })
        );
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = crate::Error::setup("no thread", std::io::Error::other("out of memory"));
        let (_, line) = line(|| tracing::error!(error = &error as &(dyn Error + 'static), "failed"));
        assert_eq!(line["fields"]["error"], "no thread: out of memory");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_says_so() {
        let long = "\"".repeat(100_000);
        let (_, cut) = line(|| {
            let span = tracing::info_span!("s", long);
            span.in_scope(|| tracing::info!(a = long, b = long, n = 1, "{long}"));
        });
        assert_eq!(cut["truncated"], true);
        assert!(cut["message"].as_str().is_some_and(|text| text.ends_with('…') && text.len() > 10_000));
        assert!(cut["fields"]["a"].as_str().is_some_and(|text| text.ends_with('…')));
        assert_eq!((cut["fields"].get("n"), cut.get("spans")), (None, None));
        let (_, left_out) = line(|| tracing::info!(a = "x".repeat(FIELDS - 70), n = 1, "y"));
        assert_eq!((left_out["fields"].get("n"), &left_out["truncated"]), (None, &json!(true)));
        let (_, whole) = line(|| tracing::info!(a = "x".repeat(1_000), "y"));
        assert_eq!(whole.get("truncated"), None);
    }

    #[test]
    fn a_value_that_logs_while_it_is_written_makes_two_lines() {
        struct Chatty;
        impl fmt::Debug for Chatty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Not heard in a scope, but the buffers are away all the same.
                BUFFERS.with(|buffers| assert!(buffers.take().is_none()));
                f.write_str("chatty")
            }
        }
        drop(line(|| tracing::info!("first")));
        let (_, line) = line(|| tracing::info!(who = ?Chatty, "second"));
        assert_eq!((&line["message"], &line["fields"]["who"]), (&json!("second"), &json!("chatty")));
    }

    proptest! {
        #[test]
        fn whatever_is_logged_is_one_line_that_says_the_same(text in "\\PC{0,50}|(?s).{0,50}", other in any::<String>()) {
            let (_, line) = line(|| {
                let span = tracing::info_span!("s", other);
                span.in_scope(|| tracing::info!(field = text, debug = ?other, "{text}{other}"));
            });
            prop_assert_eq!(&line["message"], &json!(format!("{text}{other}")));
            prop_assert_eq!(&line["fields"], &json!({ "field": text, "debug": format!("{other:?}") }));
            prop_assert_eq!(&line["spans"][0]["fields"]["other"], &json!(other));
        }
    }
}
