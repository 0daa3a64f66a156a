//! The metrics of this process as a page that Prometheus scrapes.
//!
//! They are those of the OpenTelemetry SDK, the same that are exported over OTLP, whether or not there is a collector: asked
//! for by [`Settings::scraped`](crate::Settings::scraped), rendered by [`Scraper`].
//!
//! Names follow the specification's "Prometheus and OpenMetrics Compatibility": `http.server.request.duration` in `s` is
//! `http_server_request_duration_seconds`, a monotonic sum ends with `_total`, units in braces are dropped. Series have
//! `otel_scope_name` and `otel_scope_version` besides their attributes, and the resource is `target_info`. Attributes are freed
//! of secrets as in any other signal. Exemplars are shown in OpenMetrics. A histogram with exponential buckets is shown by
//! powers of two. What cannot be shown (two metrics of one name and different types, and what is beyond 32 MiB) is left out
//! whole, and counted by `halfbyte_scrape_left_out`.

mod family;
mod names;
mod page;
#[cfg(test)]
mod tests;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::Context;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::chain::Chain;
use crate::export::Reader;

/// What a page has at most, about: more is not what anybody scrapes.
const MOST_BYTES: usize = 32 << 20;

/// What [`init`](crate::init) has set up.
static PROCESS: OnceLock<Scraper> = OnceLock::new();

/// The two texts that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The text exposition format 0.0.4, which everybody reads.
    #[default]
    Text,
    /// OpenMetrics 1.0, which has exemplars and units.
    OpenMetrics,
}

impl Format {
    /// What the `Accept` header of a scrape asks for; the text format unless it prefers OpenMetrics.
    ///
    /// ```
    /// use halfbyte_observe::prometheus::Format;
    ///
    /// let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    /// assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
    /// assert_eq!(Format::accepted("*/*"), Format::Text);
    /// ```
    pub fn accepted(accept: &str) -> Self {
        let (mut text, mut open) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0_f32, "");
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = value.trim().trim_matches('"'),
                    _ => {}
                }
            }
            match media.as_str() {
                "application/openmetrics-text" if matches!(version, "" | "1.0.0" | "0.0.1") => open = quality.max(open),
                "text/plain" | "text/*" | "*/*" if matches!(version, "" | "0.0.4") => text = quality.max(text),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Collects the metrics of the process into a page. Clones take turns.
#[derive(Clone)]
pub struct Scraper(Arc<Inner>);

struct Inner {
    reader: Reader,
    chain: Chain,
    turn: Arc<Semaphore>,
}

impl Scraper {
    pub(crate) fn new(reader: Reader, chain: Chain) -> Self {
        Self(Arc::new(Inner { reader, chain, turn: Arc::new(Semaphore::new(1)) }))
    }

    /// That of this process; `None` before [`init`](crate::init), without [`Settings::scraped`](crate::Settings::scraped), and with
    /// `OTEL_SDK_DISABLED`.
    pub fn process() -> Option<Self> {
        PROCESS.get().cloned()
    }

    /// Makes this the one of the process; the first one stays.
    pub(crate) fn install(self) {
        let _first_stays = PROCESS.set(self);
    }

    /// The page as of now, within `budget`.
    ///
    /// Collecting runs the callbacks of observable instruments, which are the product's: it is done on a thread of its own, which
    /// ends with it. One scrape is made at a time, and others wait for their turn. One whose callbacks do not return holds up
    /// those that come later, and no thread of the runtime. If the future is dropped, the scrape goes on to its end without
    /// anyone who waits for it.
    ///
    /// # Errors
    ///
    /// It took longer; a callback panicked, now or before; telemetry was shut down.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with its timer on.
    pub async fn scrape(&self, format: Format, budget: Duration) -> Result<String, ScrapeError> {
        let until = Instant::now() + budget.min(Duration::from_secs(3600));
        let late = |_| ScrapeError(format!("metrics were not collected within {budget:?}"));
        let Ok(turn) = timeout_at(until, self.0.turn.clone().acquire_owned()).await.map_err(late)? else {
            return Err(ScrapeError("metrics are collected no more".to_owned()));
        };
        let (reply, answer) = oneshot::channel();
        let inner = self.0.clone();
        let work = move || {
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            let page = catch_unwind(AssertUnwindSafe(|| inner.page(format)));
            drop(turn);
            let _nobody_waits = reply.send(page.unwrap_or_else(|_reported| Err("a callback panicked".to_owned())));
        };
        let thread = std::thread::Builder::new().name("halfbyte-scrape".into()).spawn(work);
        thread.map_err(|error| ScrapeError(format!("the machine gives no thread: {error}")))?;
        match timeout_at(until, answer).await.map_err(late)? {
            Ok(page) => page.map_err(|why| ScrapeError(format!("metrics cannot be collected: {why}"))),
            Err(_) => Err(ScrapeError("metrics cannot be collected".to_owned())),
        }
    }
}

impl Inner {
    fn page(&self, format: Format) -> Result<String, String> {
        let mut request = self.reader.read()?;
        self.chain.scraped(&mut request);
        Ok(page::page(&request, format, MOST_BYTES))
    }
}

impl fmt::Debug for Scraper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scraper").finish_non_exhaustive()
    }
}

/// There is no page, for a reason that is for people: see [`Scraper::scrape`].
#[derive(Clone, PartialEq, Eq)]
pub struct ScrapeError(String);

impl fmt::Display for ScrapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ScrapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScrapeError").field(&self.0).finish()
    }
}

impl std::error::Error for ScrapeError {}
