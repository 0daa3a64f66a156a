//! What the thread of a test logs.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use halfbyte_core::{Clock, Lifecycle};
use halfbyte_identity::access::{Policies, SourceFile};
use tracing::subscriber::DefaultGuard;

/// Holds what is logged while it lives; runtimes of one thread only.
pub struct Log {
    text: Lines,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Other tests log meanwhile, and a line whose very first use falls together with the arrival of a listener may be taken for
    /// one that nobody listens to. So each line is used first, and asked about again after.
    pub async fn capture() -> Self {
        let life = Lifecycle::new(Clock::system());
        let file = |text: &str| [SourceFile::new("p.cedar", text)];
        Policies::files(file("permit(")).start(&life).ready().await.expect_err("bad");
        let permit = "permit (principal is HalfByte::Role, action, resource);";
        Policies::files(file(permit)).start(&life).ready().await.expect("good");

        let text = Lines::default();
        let writer = text.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .with_max_level(tracing::Level::TRACE)
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        tracing::callsite::rebuild_interest_cache();
        Self { text, _guard: guard }
    }

    /// How many events of that level hold that text.
    pub fn count(&self, level: &str, part: &str) -> usize {
        let text = self.text.0.lock().expect("unpoisoned");
        let text = String::from_utf8_lossy(&text);
        // An event may be of several lines: what is wrong with a set is.
        let mut of_level = false;
        let mut count = 0;
        for line in text.lines() {
            if let Some(other) = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"]
                .into_iter()
                .find(|other| line.contains(&format!(" {other} ")))
            {
                of_level = level.is_empty() || other == level;
            }
            count += usize::from(of_level && line.contains(part));
        }
        count
    }
}
