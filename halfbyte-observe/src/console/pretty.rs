use std::fmt::{self, Write as _};

use halfbyte_core::{Caller, Clock};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// `12:34:56.789  INFO parcel::labels: made a label id=42 tenant=acme`, with the spans around it before the message.
pub(super) struct Pretty {
    pub(super) clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Pretty
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let style = Style { on: to.has_ansi_escapes() };
        let mut line = Line::default();
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
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
    log_target: Option<String>,
    has_tenant: bool,
    /// `exception.stacktrace`, on lines of its own.
    trace: String,
}

impl Visit for Line {
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

impl Line {
    fn record(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.has_tenant |= field.name() == "tenant";
        let _infallible = match field.name() {
            "message" => write!(Escaped(&mut self.message), "{value}"),
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.fields, " {name}=").and_then(|()| write!(Escaped(&mut self.fields), "{value}")),
        };
    }
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
    use tracing_subscriber::Layer as _;

    use super::*;
    use crate::console::tests::{Sink, printed_by};

    fn printed(coloured: bool, log: impl FnOnce()) -> String {
        let noon: Timestamp = "2030-01-01T12:34:56.789Z".parse().unwrap();
        printed_by(log, |sink: Sink| {
            let pretty = Pretty { clock: Clock::manual(noon) };
            let layer = tracing_subscriber::fmt::layer().with_ansi(coloured).with_writer(move || sink.clone());
            layer.event_format(pretty).boxed()
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
