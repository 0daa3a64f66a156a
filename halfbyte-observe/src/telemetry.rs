use std::fmt;
use std::time::Duration;

use halfbyte_core::error_chain;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::export::{Courier, Providers};
use crate::{Signal, repeats};

/// How long a [`Telemetry`] that is dropped outside of a runtime waits for what is queued.
const ON_DROP: Duration = Duration::from_secs(1);

/// What [`init`](crate::init) has set up; keep it until the process ends, and [shut it down](Self::shutdown) last.
///
/// Dropping it without that starts to send what is queued. In a Tokio runtime it does not wait for the end of it,
/// since that would block a worker; elsewhere it waits up to a second.
#[derive(Debug)]
#[must_use = "dropping it shuts telemetry down"]
pub struct Telemetry {
    providers: Option<Providers>,
}

impl Telemetry {
    pub(crate) fn new(providers: Providers) -> Self {
        Self { providers: Some(providers) }
    }

    /// Sends what is queued, shuts all three signals down, and says what could not be sent. Ends within `budget`,
    /// whatever the collector does, and blocks no worker thread: the work is done on threads of its own. When the budget
    /// is over, what is still on its way is abandoned.
    ///
    /// Spans, measurements and events that come later are dropped. If the future is dropped, the work goes on without
    /// anyone who waits for it.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with its timer on.
    pub async fn shutdown(mut self, budget: Duration) -> Flushed {
        let Some(providers) = self.providers.take() else { return Flushed::default() };
        repeats::tell_all();
        let deadline = Instant::now() + budget;
        let mut flush = Flush::start(providers);
        while !flush.waiting.is_empty() {
            match tokio::time::timeout_at(deadline, flush.answers.recv()).await {
                Ok(Some(answer)) => flush.take(answer),
                Ok(None) => flush.give_up("the thread that sends it ended early"),
                Err(_) => flush.give_up(&format!("not sent within {budget:?}")),
            }
        }
        flush.end()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let Some(providers) = self.providers.take() else { return };
        repeats::tell_all();
        let mut flush = Flush::start(providers);
        if Handle::try_current().is_err() && flush.courier.is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let all = async { while flush.answers.recv().await.is_some() {} };
            if let Ok(runtime) = runtime {
                let _in_time = runtime.block_on(async { tokio::time::timeout(ON_DROP, all).await });
                if let Some(courier) = &flush.courier {
                    courier.stop();
                }
            }
        }
    }
}

type Answer = (Signal, OTelSdkResult);

/// One thread a signal, since the SDK's flush and shutdown block.
struct Flush {
    waiting: Vec<Signal>,
    answers: mpsc::UnboundedReceiver<Answer>,
    courier: Option<Courier>,
    failures: Vec<Failure>,
}

impl Flush {
    fn start(providers: Providers) -> Self {
        let Providers { traces, metrics, logs, courier } = providers;
        let (to, answers) = mpsc::unbounded_channel();
        let mut flush = Self { waiting: Vec::new(), answers, courier, failures: Vec::new() };
        if let Some(provider) = traces {
            let shutdown = provider.clone();
            flush.spawn(Signal::Traces, &to, move || provider.force_flush(), move || shutdown.shutdown());
        }
        if let Some(provider) = metrics {
            let shutdown = provider.clone();
            flush.spawn(Signal::Metrics, &to, move || provider.force_flush(), move || shutdown.shutdown());
        }
        if let Some(provider) = logs {
            let shutdown = provider.clone();
            flush.spawn(Signal::Logs, &to, move || provider.force_flush(), move || shutdown.shutdown());
        }
        flush
    }

    fn spawn(
        &mut self,
        signal: Signal,
        to: &mpsc::UnboundedSender<Answer>,
        flush: impl FnOnce() -> OTelSdkResult + Send + 'static,
        shutdown: impl FnOnce() -> OTelSdkResult + Send + 'static,
    ) {
        let to = to.clone();
        let work = move || {
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            // Only the flush tells whether the collector took it all: without a collector the SDK's shutdown says Ok.
            let flushed = flush();
            if flushed.is_err() {
                let _gone = to.send((signal, flushed));
                let _same_as_flush = shutdown();
            } else {
                let _gone = to.send((signal, shutdown()));
            }
        };
        match std::thread::Builder::new().name(format!("halfbyte-flush-{signal}")).spawn(work) {
            Ok(_detached) => self.waiting.push(signal),
            Err(error) => self.failures.push(Failure { signal, reason: error_chain(&error) }),
        }
    }

    fn take(&mut self, (signal, result): Answer) {
        self.waiting.retain(|waiting| *waiting != signal);
        if let Err(error) = result {
            let reason = self.courier.as_ref().and_then(Courier::last_error).unwrap_or_else(|| error_chain(&error));
            self.failures.push(Failure { signal, reason });
        }
    }

    fn give_up(&mut self, reason: &str) {
        let left = self.waiting.drain(..).map(|signal| Failure { signal, reason: reason.to_owned() });
        self.failures.extend(left);
    }

    fn end(self) -> Flushed {
        if let Some(courier) = &self.courier {
            courier.stop();
        }
        Flushed { failures: self.failures }
    }
}

/// What became of the telemetry that was queued when the process [shut down](Telemetry::shutdown).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    failures: Vec<Failure>,
}

/// A signal of which something could not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The signal.
    pub signal: Signal,
    /// Why, for people.
    pub reason: String,
}

impl Flushed {
    /// Whether all of it was sent; so too when there was nowhere to send it to.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    /// What could not be sent.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }
}

impl fmt::Display for Flushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_complete() {
            return f.write_str("all telemetry was sent");
        }
        for (index, Failure { signal, reason }) in self.failures.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{signal} could not be sent: {reason}")?;
        }
        Ok(())
    }
}
