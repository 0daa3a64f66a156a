use std::fmt::{self, Write as _};

use halfbyte_core::{Caller, Clock};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::Redaction;
use crate::redact::REDACTED;

/// `12:34:56.789  INFO parcel::labels: made a label id=42 tenant=acme`, with the spans around it before the message.
pub(super) struct Pretty {
    pub(super) clock: Clock,
    pub(super) redaction: Redaction,
}

impl<S, N> FormatEvent<S, N> for Pretty
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let style = Style { on: to.has_ansi_escapes() };
        let mut line = Line::new(&self.redaction);
        event.record(&mut line);
        let meta = event.metadata();
        let target = line.log_target.as_deref().unwrap_or_else(|| meta.target());
        let time = self.clock.now().strftime("%H:%M:%S%.3f");
        write!(to, "{} {} {}: ", style.dim(&time), style.level(*meta.level()), style.dim(&target))?;
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            write!(to, "{}", span.name())?;
            let extensions = span.extensions();
            match extensions.get::<FormattedFields<N>>() {
                Some(fields) if !fields.is_empty() => write!(to, "{{{fields}}}: ")?,
                _ => to.write_str(": ")?,
            }
        }
        Caller::with_current(|principal| match principal {
            Some(principal) if !line.has_tenant => write!(line.fields, " tenant={}", principal.tenant().as_str()),
            _ => Ok(()),
        })?;
        writeln!(to, "{}{}", line.message, style.dim(&line.fields))?;
        // Many lines, each further in than any that begins an event.
        own_frames(&line.trace).try_for_each(|frame| writeln!(to, "    {}", style.dim(&frame)))
    }
}

/// Of a backtrace what people look for: not the frames of the standard library and of dependencies, by where their sources
/// are. Telemetry has them all. What is no frame stays.
fn own_frames(trace: &str) -> impl Iterator<Item = &str> {
    let mut lines = trace.lines().peekable();
    std::iter::from_fn(move || {
        let name = lines.next()?;
        let at = lines.next_if(|line| line.trim_start().starts_with("at "));
        let foreign = at.is_some_and(|at| ["/rustc/", "/registry/src/"].iter().any(|source| at.contains(source)));
        Some([Some(name), at].map(|line| line.filter(|_| !foreign)))
    })
    .flatten()
    .flatten()
}

/// The message, and the fields as ` name=value`. What could break the line or drive the terminal is escaped.
struct Line<'a> {
    redaction: &'a Redaction,
    message: String,
    fields: String,
    log_target: Option<String>,
    has_tenant: bool,
    /// `exception.stacktrace`, on lines of its own.
    trace: String,
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            // Records of the `log` crate arrive with their origin in fields.
            "log.target" => self.log_target = Some(value.to_owned()),
            "message" => self.record(field, format_args!("{value}")),
            "exception.stacktrace" => {
                for line in value.lines() {
                    let _infallible = Escaped(&mut self.trace).write_str(line);
                    self.trace.push('\n');
                }
            }
            _ => self.record(field, format_args!("{value:?}")),
        }
    }
}

impl<'a> Line<'a> {
    fn new(redaction: &'a Redaction) -> Self {
        let [message, fields, trace] = Default::default();
        Self { redaction, message, fields, log_target: None, has_tenant: false, trace }
    }

    fn record(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.has_tenant |= field.name() == "tenant";
        match field.name() {
            "message" => clean(&mut self.message, self.redaction, value),
            name if name.starts_with("log.") => {}
            name => pair(&mut self.fields, self.redaction, name, value),
        }
    }
}

/// Writes the fields of spans as `name=value`, without secrets. Without colours too: an escape between a name and its value
/// would hide from whoever looks at the text later what the value is of.
pub(super) struct SpanPairs(pub(super) Redaction);

impl<'a> FormatFields<'a> for SpanPairs {
    fn format_fields<R: RecordFields>(&self, mut to: Writer<'a>, fields: R) -> fmt::Result {
        let mut pairs = Pairs { redaction: &self.0, text: String::new() };
        fields.record(&mut pairs);
        to.write_str(pairs.text.trim_start())
    }
}

struct Pairs<'a> {
    redaction: &'a Redaction,
    text: String,
}

impl Visit for Pairs<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        pair(&mut self.text, self.redaction, field.name(), format_args!("{value:?}"));
    }
}

/// Writes ` name=value`.
fn pair(to: &mut String, redaction: &Redaction, name: &str, value: fmt::Arguments<'_>) {
    to.extend([" ", name, "="]);
    if redaction.names_a_secret(name) {
        // In quotes, so that what looks at the whole line again sees where it ends.
        to.extend(["\"", REDACTED, "\""]);
    } else {
        clean(to, redaction, value);
    }
}

/// Writes a value without secrets and without what could break the line or drive the terminal.
fn clean(to: &mut String, redaction: &Redaction, value: fmt::Arguments<'_>) {
    let mut raw = String::new();
    // A value that cannot be formatted is as good as one that ends there.
    let _cut = raw.write_fmt(value);
    let _infallible = Escaped(to).write_str(&redaction.text(&raw));
}

struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() {
                self.0.extend(c.escape_default());
            } else {
                self.0.push(c);
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Style {
    on: bool,
}

impl Style {
    fn dim(self, text: &dyn fmt::Display) -> String {
        if self.on { format!("\x1b[2m{text}\x1b[0m") } else { text.to_string() }
    }

    fn level(self, level: Level) -> String {
        let colour = match level {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG => 34,
            Level::TRACE => 35,
        };
        if self.on { format!("\x1b[{colour}m{level:>5}\x1b[0m") } else { format!("{level:>5}") }
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::{Principal, TenantId};
    use jiff::Timestamp;

    use super::*;
    use crate::console::readable;
    use crate::console::tests::{Sink, printed_by};

    fn printed(coloured: bool, log: impl FnOnce()) -> String {
        let noon: Timestamp = "2030-01-01T12:34:56.789Z".parse().unwrap();
        printed_by(log, |sink: Sink| {
            readable(move || sink.clone(), coloured, Clock::manual(noon), Redaction::default())
        })
    }

    #[test]
    fn the_tenant_is_named_at_the_end_once() {
        let principal = Principal::builder("ada", TenantId::new("acme").unwrap(), Timestamp::MAX).build();
        let lines = printed(false, || {
            Caller::default().within(|| {
                Caller::tell(&principal);
                tracing::info!(target: "parcel", id = 7, "one");
                tracing::info!(target: "parcel", tenant = "acme", "two");
            });
        });
        assert_eq!(
            lines,
            "12:34:56.789  INFO parcel: one id=7 tenant=acme\n12:34:56.789  INFO parcel: two tenant=\"acme\"\n"
        );
    }

    #[test]
    fn the_backtrace_of_a_panic_has_lines_of_its_own() {
        let lines = printed(false, || {
            tracing::error!(target: "p", { exception.stacktrace = "0: main\n\x1b[2J at x.rs" }, "broken");
        });
        assert_eq!(lines, "12:34:56.789 ERROR p: broken\n    0: main\n    \\u{1b}[2J at x.rs\n");
    }

    #[test]
    fn of_a_backtrace_people_see_their_own_frames() {
        let trace = "   0: shop::pay\n             at src/shop.rs:7:3\n   1: core::ops::call_once\n             \
                     at /rustc/5980/library/core/src/ops.rs:250:5\n   2: tokio::run\n             \
                     at /home/me/.cargo/registry/src/index/tokio-1/src/run.rs:1:1\n   3: main\n";
        let shown: Vec<_> = own_frames(trace).map(str::trim_start).collect();
        assert_eq!(shown, ["0: shop::pay", "at src/shop.rs:7:3", "3: main"]);
    }

    #[test]
    fn an_event_is_one_readable_line() {
        let line = printed(false, || {
            let span = tracing::info_span!("order", id = 7);
            span.in_scope(|| tracing::info!(target: "parcel", weight = 1.5, to = "Oslo", "made a label"));
        });
        assert_eq!(line, "12:34:56.789  INFO parcel: order{id=7}: made a label weight=1.5 to=\"Oslo\"\n");
    }

    #[test]
    fn the_fields_of_a_span_are_told_apart_also_when_they_come_later() {
        let line = printed(false, || {
            let span = tracing::info_span!("order", id = 7, to = "Oslo\x1b", weight = tracing::field::Empty);
            span.record("weight", 1.5);
            span.in_scope(|| tracing::info!(target: "parcel", "made"));
        });
        assert_eq!(line, "12:34:56.789  INFO parcel: order{id=7 to=\"Oslo\\u{1b}\" weight=1.5}: made\n");
    }

    #[test]
    fn secrets_are_gone_whatever_the_colours_and_before_the_line_is_whole() {
        for coloured in [true, false] {
            let line = printed(coloured, || {
                let span = tracing::info_span!("sign_in", password = "hunter2", token = tracing::field::Empty, n = 1);
                span.record("token", tracing::field::debug(["two words", "abc9"]));
                let _entered = tracing::info_span!(parent: &span, "call", header = "Bearer abcdefghijkl1").entered();
                tracing::warn!(session = ?["two words", "abc9"], secret = 4711, "GET /?code=4711x password=pw0rd");
            });
            for secret in ["hunter2", "two words", "abc9", "abcdefghijkl1", "4711", "pw0rd"] {
                assert!(!line.contains(secret), "{secret} in {line}");
            }
            assert!(line.contains("sign_in{password=\"REDACTED\" n=1 token=\"REDACTED\"}: call"), "{line}");
        }
    }

    #[test]
    fn what_is_logged_cannot_forge_a_line_or_drive_the_terminal() {
        let line = printed(false, || {
            let name = "x\n12:00:00.000 ERROR parcel: \x1b[2Jforged";
            tracing::info!(target: "parcel", who = %name, "hello {name}");
        });
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(!line.contains('\x1b'), "{line}");
    }

    #[test]
    fn colours_are_there_only_when_asked_for() {
        assert!(printed(true, || tracing::warn!("careful")).contains("\x1b[33m"));
        assert!(!printed(false, || tracing::warn!("careful")).contains('\x1b'));
    }
}
