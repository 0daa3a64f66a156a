use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

use crate::Redaction;

/// Removes secrets from lines on their way to `to`, which the layer writes as a whole each.
pub(super) struct Clean<M> {
    pub(super) to: M,
    pub(super) redaction: Redaction,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Clean<M> {
    type Writer = Cleaning<'a, M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Cleaning { to: self.to.make_writer(), redaction: &self.redaction }
    }
}

pub(super) struct Cleaning<'a, W> {
    to: W,
    redaction: &'a Redaction,
}

impl<W: Write> Write for Cleaning<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match str::from_utf8(line) {
            Ok(text) => self.to.write_all(self.redaction.text(text).as_bytes())?,
            Err(_) => self.to.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::Clock;
    use proptest::prelude::*;
    use tracing_subscriber::{Layer as _, fmt};

    use super::super::json::{Json, SpanFields};
    use super::super::readable;
    use super::super::tests::{printed_by, settings};
    use super::*;

    fn json(log: impl FnOnce()) -> String {
        printed_by(log, |sink| {
            let json = Json::new(&settings(), Clock::system());
            let fields = SpanFields(Redaction::default());
            fmt::layer()
                .with_ansi(false)
                .fmt_fields(fields)
                .with_writer(move || sink.clone())
                .event_format(json)
                .boxed()
        })
    }

    fn log() {
        let span = tracing::info_span!("sign_in", password = "hunter2");
        span.in_scope(|| {
            tracing::warn!(
                token = "s3cret",
                pin = 7,
                header = "Bearer abcdefghijkl1",
                "GET /?code=4711x&page=2 password=pw0rd"
            );
        });
    }

    #[test]
    fn secrets_are_on_neither_console() {
        let live = "a live \"secret\"";
        let _known = [live, "4711471148"].map(|live| halfbyte_core::fingerprint::register(live.as_bytes()));
        let log = || {
            log();
            let span = tracing::info_span!("sign_in", note = live);
            span.in_scope(|| tracing::info!(list = ?[live], note = live, n = 4_711_471_148_u64, "page=2 of {live}"));
        };
        let json = || json(log);
        let pretty = |coloured| {
            printed_by(log, |sink| readable(move || sink.clone(), coloured, Clock::system(), Redaction::default()))
        };
        for line in [json(), pretty(false), pretty(true)] {
            assert!(line.contains("page=2 of [REDACTED]") && !line.contains("a live"), "{line}");
            assert!(!line.contains("4711471148"), "{line}");
            for secret in ["hunter2", "s3cret", "abcdefghijkl1", "4711x", "pw0rd"] {
                assert!(!line.contains(secret), "{secret} in {line}");
            }
            assert!(line.contains("page=2") && line.contains("sign_in"), "{line}");
        }
    }

    proptest! {
        #[test]
        fn a_line_of_json_stays_one_without_secrets(
            text in ".{0,40}",
            word in "[a-z]{1,8}(=|: |\":\"|\": )?",
            number in any::<i64>(),
            nested in prop::collection::vec("[a-z\":={},/?@&]{0,12}", 0..4),
        ) {
            let line = json(|| {
                tracing::info!(token = text.as_str(), password = number, session = ?nested, secret = true,
                    "{word}password={text} token: {nested:?} https://a:{word}@b/?sig={text}");
            });
            let read: Result<serde_json::Value, _> = serde_json::from_str(&line);
            prop_assert!(read.is_ok(), "{:?}: {}", read, line);
        }
    }
}
