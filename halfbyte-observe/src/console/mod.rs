//! The log of the process: for people in development, for machines elsewhere.

mod clean;
mod escape;
mod filter;
mod json;
mod pretty;

use std::io::IsTerminal as _;

use halfbyte_core::Clock;
use halfbyte_core::config::Environment;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt};

use self::clean::Clean;
pub(crate) use self::filter::{logs, panics, spans};
use self::json::{Json, SpanFields};
use self::pretty::{Pretty, SpanPairs};
use crate::{Redaction, Settings};

/// Development: one readable line an event on standard error, which leaves standard output to the product.
/// Elsewhere: one JSON object a line on standard output, where collectors of logs read.
///
/// Secrets are removed from both. A line that cannot be written is lost, and says so nowhere: the stream that would be told is gone.
pub(crate) fn layer<S>(settings: &Settings) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let redaction = settings.redaction.clone();
    match settings.environment {
        Environment::Development => {
            let coloured = std::io::stderr().is_terminal() && settings.variables.get("NO_COLOR").is_none();
            readable(std::io::stderr, coloured, Clock::system(), redaction)
        }
        _ => {
            let json = Json::new(settings, Clock::system());
            let layer = fmt::layer().with_ansi(false).fmt_fields(SpanFields(redaction)).event_format(json);
            // It would print to standard error, which panics when that is closed.
            layer.log_internal_errors(false).boxed()
        }
    }
}

/// For people.
fn readable<S, W>(to: W, coloured: bool, clock: Clock, redaction: Redaction) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_ansi(coloured).fmt_fields(SpanPairs(redaction.clone()));
    let layer = layer.with_writer(Clean { to, redaction: redaction.clone() });
    layer.event_format(Pretty { clock, redaction }).log_internal_errors(false).boxed()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use halfbyte_core::ProductId;
    use halfbyte_core::config::Config;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    pub(super) struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(super) fn settings() -> Settings {
        Settings::new(&ProductId::new("parcel").unwrap(), "1.2.3", &Config::parse([("", ""); 0]).unwrap())
    }

    /// What `log` prints through the layer, on a paused clock.
    pub(super) fn printed_by(
        log: impl FnOnce(),
        layer: impl FnOnce(Sink) -> Box<dyn Layer<Registry> + Send + Sync>,
    ) -> String {
        let sink = Sink::default();
        let to = sink.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(to)), log);
        });
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }
}
