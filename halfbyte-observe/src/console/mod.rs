//! The log of the process: for people in development, for machines elsewhere.

mod filter;
mod json;
mod pretty;

use std::io::IsTerminal as _;

use halfbyte_core::Clock;
use halfbyte_core::config::{Environment, Variables};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt};

pub(crate) use self::filter::{logs, spans};
use self::json::Json;
use self::pretty::Pretty;

/// Development: one readable line an event on standard error, which leaves standard output to the product.
/// Elsewhere: one JSON object a line on standard output, where collectors of logs read.
pub(crate) fn layer<S>(environment: Environment, variables: &Variables) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    match environment {
        Environment::Development => {
            let coloured = std::io::stderr().is_terminal() && variables.get("NO_COLOR").is_none();
            let pretty = Pretty { clock: Clock::system() };
            fmt::layer().with_writer(std::io::stderr).with_ansi(coloured).event_format(pretty).boxed()
        }
        _ => {
            let json = Json { clock: Clock::system() };
            fmt::layer().with_ansi(false).fmt_fields(JsonFields::new()).event_format(json).boxed()
        }
    }
}
