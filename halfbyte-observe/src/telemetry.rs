use std::fmt;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::export::{Export, Providers, Unsent};
use crate::keep::Counts;
use crate::{Instrumentation, Kept, Signal, Stats, repeats};

/// How long a [`Telemetry`] that is dropped outside of a runtime waits for what is queued.
const ON_DROP: Duration = Duration::from_secs(1);

/// More is as good as for ever, and a time so far off can be reckoned with.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What [`init`](crate::init) has set up; keep it until the process ends, and [shut it down](Self::shutdown) last.
///
/// Dropping it without that starts to send what is queued. In a Tokio runtime it does not wait for the end of it,
/// since that would block a worker; elsewhere it waits up to a second.
///
/// The callbacks of observable instruments run on a thread of telemetry (that of the export, or of a
/// [scrape](crate::prometheus::Scraper)), one collection at a time. One that waits holds up
/// metrics, and whoever makes an instrument meanwhile, and nothing else. One that panics ends the metrics of the process, since
/// the SDK holds its locks while it runs them: that is logged once, is the `last_error` of [`Stats::metrics`], and
/// fails every [flush](Self::flush).
#[derive(Debug)]
#[must_use = "dropping it shuts telemetry down"]
pub struct Telemetry {
    inner: Option<Inner>,
    instrumentation: Instrumentation,
}

#[derive(Debug)]
struct Inner {
    providers: Providers,
    export: Option<Export>,
}

impl Telemetry {
    pub(crate) fn new(providers: Providers, export: Option<Export>, instrumentation: Instrumentation) -> Self {
        Self { inner: Some(Inner { providers, export }), instrumentation }
    }

    /// What layers and clients record with, which [`Instrumentation::process`] answers from now on too.
    pub fn instrumentation(&self) -> &Instrumentation {
        &self.instrumentation
    }

    /// What became of spans that were not sampled; see [`Keep`](crate::Keep). What was kept of them is part of
    /// [`Stats::traces`] as well.
    pub fn kept(&self) -> Kept {
        let counts = self.inner.as_ref().and_then(|inner| inner.providers.kept());
        counts.map(Counts::read).unwrap_or_default()
    }

    /// What spans that are not sampled take of memory until it is decided whether they are kept, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.inner.as_ref().and_then(|inner| inner.providers.kept()).map_or(0, Counts::bytes)
    }

    /// What became of all that was made so far. The books are exact at any time, and cost three short locks.
    pub fn stats(&self) -> Stats {
        self.export().map(Export::stats).unwrap_or_default()
    }

    /// Collects the metrics, and sends what is queued of all three signals and what is in their backlogs. Ends within
    /// `budget`, whatever the collector does, and blocks no worker thread. What is not sent by then is not lost by that:
    /// it is tried on. Ends early when all the rest is safely on disk and the collector does not take it now.
    ///
    /// If the future is dropped, the work goes on without anyone who waits for it.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with its timer on.
    pub async fn flush(&self, budget: Duration) -> Flushed {
        let Some(export) = self.export() else { return Flushed::default() };
        let budget = budget.min(FOR_EVER);
        let deadline = Instant::now() + budget;
        let unsent = export.flush(budget).until(deadline, export).await;
        Flushed::new(unsent, budget, export.stats())
    }

    /// Sends what is queued and what is in the backlogs, shuts all three signals down, and says what could not be sent.
    /// Ends within `budget`, whatever the collector does, and blocks no worker thread: the work is done on a thread of its
    /// own. Half a second of the budget, or a fifth of a small one, is kept for getting the rest to disk, from where the
    /// next process of the product sends it; without a disk it is dropped.
    ///
    /// Spans, measurements and events that come later are dropped. If the future is dropped, the work goes on without
    /// anyone who waits for it.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with its timer on.
    pub async fn shutdown(mut self, budget: Duration) -> Flushed {
        let Some(Inner { providers, export }) = self.inner.take() else { return Flushed::default() };
        repeats::tell_all();
        let budget = budget.min(FOR_EVER);
        let deadline = Instant::now() + budget;
        providers.shut_down();
        let Some(export) = export else { return Flushed::default() };
        let unsent = export.shut_down(budget, providers.metrics).until(deadline, &export).await;
        Flushed::new(unsent, budget, export.stats())
    }

    fn export(&self) -> Option<&Export> {
        self.inner.as_ref()?.export.as_ref()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let Some(Inner { providers, export }) = self.inner.take() else { return };
        repeats::tell_all();
        providers.shut_down();
        let Some(export) = export else { return };
        let answers = export.shut_down(ON_DROP, providers.metrics);
        if Handle::try_current().is_err()
            && let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build()
        {
            let _nobody_asks = runtime.block_on(answers.until(Instant::now() + ON_DROP, &export));
        }
    }
}

/// What became of the telemetry that there was when it was [flushed](Telemetry::flush), or when the process
/// [shut down](Telemetry::shutdown).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    failures: Vec<Failure>,
    stats: Stats,
}

/// A signal of which something could not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The signal.
    pub signal: Signal,
    /// Why, for people.
    pub reason: String,
    /// How many of its spans, data points or log records were not sent, as far as is known: also 0 when metrics could not be
    /// collected, since a callback of an observable instrument panicked or did not return.
    pub unsent: u64,
    /// How many of those are safe on disk, and are sent later.
    pub spooled: u64,
    uncollected: bool,
}

impl Flushed {
    fn new(unsent: Vec<Unsent>, budget: Duration, stats: Stats) -> Self {
        let failure = |Unsent { signal, items, on_disk, why, uncollected }| {
            let reason = why.unwrap_or_else(|| format!("not sent within {budget:?}"));
            Failure { signal, reason, unsent: items, spooled: on_disk.min(items), uncollected }
        };
        Self { failures: unsent.into_iter().map(failure).collect(), stats }
    }

    /// Whether all of it was sent; so too when there was nowhere to send it to.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    /// Whether all of it was sent or is safe on disk.
    pub fn is_safe(&self) -> bool {
        self.failures.iter().all(|failure| failure.spooled == failure.unsent && !failure.uncollected)
    }

    /// What could not be sent.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// What became of all that this process has made; after a shutdown these are its last words.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

impl fmt::Display for Flushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_complete() {
            return f.write_str("all telemetry was sent");
        }
        for (index, Failure { signal, reason, unsent, spooled, .. }) in self.failures.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let items = signal.items();
            write!(f, "{separator}{signal} could not be sent: {reason} ({unsent} {items}, {spooled} of them on disk)")?;
        }
        Ok(())
    }
}
