//! The export thread, and the ends of it that the process holds.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halfbyte_core::error_chain;
use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::backlog::{Backlog, MOST_IN_MEMORY};
use super::driver::{Driver, Gather, Order, Report};
use super::metrics::{self, Meters, Reader};
use super::pack::Speaker;
use super::plan::{Plan, Route};
use super::queue::{Books, Limits, MOST_BYTES, Queue};
use super::records::{self, LogQueue};
use super::spans::{self, SpanQueue};
use super::stats::Stats;
use super::transport::Transport;
use super::{meters, stats::SignalStats};
use crate::chain::Chain;
use crate::{Error, Signal};

/// What one signal may take of the disk.
const MOST_ON_DISK: u64 = 256 << 20;

/// What it takes for telemetry to be exported: the ends of the three chains of processors, and the thread behind them.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// The last of the span processors. It takes whatever it is given: see [`Sampled`](super::Sampled).
    pub(crate) spans: Option<SpanQueue>,
    /// The last of the log processors.
    pub(crate) logs: Option<LogQueue>,
    /// With a reader of which the export thread collects.
    pub(crate) metrics: Option<SdkMeterProvider>,
    /// Another reader of it, or the same.
    pub(crate) scraped: Option<Reader>,
    pub(crate) export: Export,
    /// What is to be told once there is a log.
    pub(crate) complaints: Vec<String>,
}

/// The export thread, as those see it who flush it. It ends when this is dropped, at the latest.
#[derive(Debug)]
pub(crate) struct Export {
    ends: Vec<End>,
}

/// This end of one signal.
struct End {
    signal: Signal,
    orders: mpsc::UnboundedSender<Order>,
    books: Arc<dyn Books>,
}

/// What of one signal could not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsent {
    pub(crate) signal: Signal,
    pub(crate) items: u64,
    pub(crate) on_disk: u64,
    /// `None` if nothing but time was missing.
    pub(crate) why: Option<String>,
    /// More is missing, and nobody knows how much.
    pub(crate) uncollected: bool,
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Pipeline {
    /// Starts the thread. In `spool` each signal has a folder for what cannot be sent; without it that is held in memory.
    ///
    /// # Errors
    ///
    /// A file for TLS cannot be used, or the machine gives no thread. A disk that cannot be used is no error.
    pub(crate) fn start(plan: &Plan, resource: &Resource, chain: &Chain, spool: Option<&Path>) -> Result<Self, Error> {
        let (alarm, speaker) = (Arc::<Mutex<Alarm>>::default(), Speaker::from(resource));
        let mut build = Build { ends: Vec::new(), tasks: Vec::new(), alarm, spool, complaints: Vec::new() };

        let Meters { provider: metrics, exported, scraped } = Meters::build(plan, resource);
        let mut spans = None;
        if let Some(route) = &plan.traces {
            let speaker = speaker.clone();
            let encode = Box::new(move |batch| spans::encode(batch, &speaker));
            spans = Some(SpanQueue(build.signal(Signal::Traces, route, encode, |_| None)?));
        }
        let mut logs = None;
        if let Some(route) = &plan.logs {
            let speaker = speaker.clone();
            let encode = Box::new(move |batch| records::encode(batch, &speaker));
            let queue = build.signal(Signal::Logs, route, encode, |_| None)?;
            logs = Some(LogQueue { queue, chain: chain.clone() });
        }
        if let (Some(route), Some(reader)) = (&plan.metrics, exported) {
            let gather = |queue: &Arc<_>| {
                let (queue, chain) = (Arc::clone(queue), chain.clone());
                Some(Arc::new(move || metrics::collect(&reader, &queue, &chain, &speaker)) as Gather)
            };
            build.signal(Signal::Metrics, route, Box::new(|batches| batches), gather)?;
        }
        let Build { ends, tasks, complaints, .. } = build;
        if let Some(provider) = &metrics {
            for end in &ends {
                let route = match end.signal {
                    Signal::Traces => &plan.traces,
                    Signal::Metrics => &plan.metrics,
                    Signal::Logs => &plan.logs,
                };
                if let Some(route) = route {
                    meters::register(provider, end.signal, &route.to, &end.books);
                }
            }
        }
        start(tasks)?;
        Ok(Self { spans, logs, metrics, scraped, export: Export { ends }, complaints })
    }
}

struct Build<'a> {
    ends: Vec<End>,
    tasks: Vec<Task>,
    alarm: Arc<Mutex<Alarm>>,
    spool: Option<&'a Path>,
    complaints: Vec<String>,
}

impl Build<'_> {
    /// Answers the queue of the signal.
    fn signal<T: Send + 'static>(
        &mut self,
        signal: Signal,
        route: &Route,
        encode: Box<dyn FnMut(Vec<T>) -> Vec<crate::spool::Batch> + Send>,
        gather: impl FnOnce(&Arc<Queue<T>>) -> Option<Gather>,
    ) -> Result<Arc<Queue<T>>, Error> {
        let limits = Limits { entries: route.pace.queue, bytes: MOST_BYTES, batch: route.pace.batch };
        let queue = Arc::new(Queue::new(limits));
        let (orders, taken) = mpsc::unbounded_channel();
        let driver = Driver {
            signal,
            address: route.to.shown(),
            gather: gather(&queue),
            queue: queue.clone(),
            encode,
            delay: route.pace.delay,
            backlog: self.backlog(signal),
            transport: Transport::new(signal, &route.to)?,
            orders: taken,
            alarm: self.alarm.clone(),
        };
        self.tasks.push(Box::pin(driver.run()));
        self.ends.push(End { signal, orders, books: queue.clone() });
        Ok(queue)
    }

    /// A disk that cannot be used is said, and done without: telemetry is no reason for a product not to start.
    fn backlog(&mut self, signal: Signal) -> Backlog {
        let Some(spool) = self.spool else { return Backlog::in_memory(MOST_IN_MEMORY) };
        let folder = spool.join(signal.as_str());
        Backlog::on_disk(&folder, MOST_ON_DISK).unwrap_or_else(|error| {
            let (folder, why) = (folder.display(), error_chain(&error));
            self.complaints.push(format!("{signal} that cannot be sent are held in memory only: {folder}: {why}"));
            Backlog::in_memory(MOST_IN_MEMORY)
        })
    }
}

fn start(tasks: Vec<Task>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The threads that look names up and collect metrics; never let go, since they do nothing else.
        .on_thread_start(|| std::mem::forget(Context::enter_telemetry_suppressed_scope()))
        .build()
        .map_err(|error| Error::setup("the runtime that sends telemetry cannot be made", error))?;
    let work = async {
        // One that panics leaves the others alone.
        let mut running: JoinSet<()> = tasks.into_iter().collect();
        while running.join_next().await.is_some() {}
    };
    std::thread::Builder::new()
        .name("halfbyte-otlp".into())
        .spawn(move || {
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            runtime.block_on(work);
            // Does not wait for a name that is still being looked up, or for a callback that hangs.
            runtime.shutdown_background();
        })
        .map(drop)
        .map_err(|error| Error::setup("the thread that sends telemetry cannot be started", error))
}

impl Export {
    /// The books of all signals as they are now.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for end in &self.ends {
            let of: &mut SignalStats = match end.signal {
                Signal::Traces => &mut stats.traces,
                Signal::Metrics => &mut stats.metrics,
                Signal::Logs => &mut stats.logs,
            };
            *of = end.books.stats();
        }
        stats
    }

    /// Asks for everything that there is now to be sent within `budget`, a part of which is for keeping the rest. Does not
    /// wait for the answers.
    pub(crate) fn flush(&self, budget: Duration) -> Answers {
        self.order(budget, false, None)
    }

    /// As [`flush`](Self::flush), and nothing is taken in any more. `provider` is shut down after a last collection.
    pub(crate) fn shut_down(&self, budget: Duration, provider: Option<SdkMeterProvider>) -> Answers {
        self.order(budget, true, provider)
    }

    fn order(&self, budget: Duration, last: bool, mut provider: Option<SdkMeterProvider>) -> Answers {
        let until = std::time::Instant::now() + budget - (budget / 5).min(Duration::from_millis(500));
        let replies = self.ends.iter().map(|end| {
            let (reply, answer) = oneshot::channel();
            let provider = provider.take_if(|_| end.signal == Signal::Metrics);
            // If the thread is gone, so is the reply, which says it.
            let _gone = end.orders.send(Order { until, last, provider, reply });
            (end.signal, answer)
        });
        Answers { replies: replies.collect() }
    }

    /// What is not sent now, for a signal that did not answer.
    fn unsent(&self, signal: Signal) -> Unsent {
        let stats = self.ends.iter().find(|end| end.signal == signal).map(|end| end.books.stats()).unwrap_or_default();
        Unsent { signal, items: stats.unsent(), on_disk: 0, why: None, uncollected: false }
    }
}

/// What the signals will say to an order.
#[derive(Debug)]
pub(crate) struct Answers {
    replies: Vec<(Signal, oneshot::Receiver<Report>)>,
}

impl Answers {
    /// Waits for all of them, until `deadline`; answers what was not sent. Needs a runtime with a timer.
    pub(crate) async fn until(self, deadline: Instant, export: &Export) -> Vec<Unsent> {
        let mut failed = Vec::new();
        for (signal, reply) in self.replies {
            match tokio::time::timeout_at(deadline, reply).await {
                Ok(Ok(Report { unsent, on_disk, why, uncollected })) => {
                    failed.push(Unsent { signal, items: unsent, on_disk, why, uncollected })
                }
                Ok(Err(_)) => {
                    let why = Some("the thread that sends it has ended".to_owned());
                    failed.push(Unsent { why, ..export.unsent(signal) });
                }
                Err(_) => failed.push(export.unsent(signal)),
            }
        }
        failed.retain(|unsent| unsent.items > 0 || unsent.uncollected);
        failed
    }
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End").field("signal", &self.signal).finish_non_exhaustive()
    }
}
