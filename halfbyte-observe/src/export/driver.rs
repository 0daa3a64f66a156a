//! Runs the [`Sender`] of one signal on the export thread: gives it what is queued, does what it decides, and tells it
//! what came of that.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::error_chain;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::alarm::Alarm;
use super::answer::Answer;
use super::backlog::Backlog;
use super::queue::{Books as _, Queue};
use super::sender::{Action, Input, Sender};
use super::stats::SignalStats;
use super::transport::{Sending, Transport};
use crate::Signal;
use crate::spool::Batch;

/// Asks for everything that there is now to be sent.
pub(super) struct Order {
    /// When it is over with sending. Of the machine's clock, since the one who asks may have another one.
    pub(super) until: std::time::Instant,
    /// Nothing is taken in any more, and what is not sent by then goes to disk or is dropped.
    pub(super) last: bool,
    /// What measurements come from. It ends with the last order, where collections are made, since it waits for them.
    pub(super) provider: Option<SdkMeterProvider>,
    pub(super) reply: oneshot::Sender<Report>,
}

/// What could not be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// How many items, lost ones among them.
    pub(super) unsent: u64,
    /// How many of those are on disk.
    pub(super) on_disk: u64,
    /// Why; `None` if nothing has failed so far.
    pub(super) why: Option<String>,
    /// What was measured could not be had at all, so that nobody knows how much that is.
    pub(super) uncollected: bool,
}

/// Brings what was measured to the queue; what went wrong, for people, if that is so for good. Runs code of the product.
pub(super) type Gather = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// An order under way.
struct Pending {
    order: Order,
    /// The first collection that was begun after it came.
    collection: u64,
    /// It is done when so many items are [settled]; `None` until that collection is over.
    target: Option<u64>,
    /// What had gone wrong before.
    lost: u64,
    failed: u64,
}

pub(super) struct Driver<T> {
    pub(super) signal: Signal,
    /// Where to, for people.
    pub(super) address: String,
    pub(super) queue: Arc<Queue<T>>,
    pub(super) encode: Box<dyn FnMut(Vec<T>) -> Vec<Batch> + Send>,
    /// Runs before the queue is emptied; `None` where the product fills the queue itself.
    pub(super) gather: Option<Gather>,
    pub(super) delay: Duration,
    pub(super) backlog: Backlog,
    pub(super) transport: Transport,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) alarm: Arc<Mutex<Alarm>>,
}

/// What changes while it runs.
struct Run<T> {
    driver: Driver<T>,
    sender: Sender,
    sending: Option<Sending>,
    begun: Instant,
    /// Encoded and given to nobody yet.
    ready: VecDeque<Batch>,
    /// When the queue is emptied next.
    due: Instant,
    /// When it is looked next for what others have left.
    adopts: Instant,
    /// How many entries are to be taken though they are no whole batch.
    sweep: usize,
    failed: u64,
    /// Why it last failed.
    why: String,
    pending: Vec<Pending>,
    collecting: Collecting,
    /// Nobody is left to give an order.
    alone: bool,
}

/// The collection under way: beside this thread, since a callback of the product may sleep, and others are sent from here.
#[derive(Default)]
struct Collecting {
    /// At most one.
    task: JoinSet<Result<(), String>>,
    /// How many were begun.
    begun: u64,
    /// Ends with the next one.
    ending: Option<SdkMeterProvider>,
    /// Why nothing is collected any more.
    broken: Option<String>,
    complained: bool,
}

impl<T: Send + 'static> Driver<T> {
    /// Runs until the last order, or until nobody is left to give one.
    pub(super) async fn run(self) {
        let now = Instant::now();
        let mut run = Run {
            sender: Sender::new(fastrand::Rng::new()),
            sending: None,
            begun: now,
            ready: VecDeque::new(),
            due: now + self.delay,
            adopts: now + ADOPT_EVERY,
            sweep: 0,
            failed: 0,
            why: String::new(),
            pending: Vec::new(),
            collecting: Collecting::default(),
            alone: false,
            driver: self,
        };
        let (left, corrupt) = (run.driver.backlog.items(), run.driver.backlog.take_corrupt());
        run.step(Input::Found { left, corrupt });
        run.run().await;
    }
}

impl<T: Send + 'static> Run<T> {
    async fn run(mut self) {
        loop {
            while !self.alone {
                match self.driver.orders.try_recv() {
                    Ok(order) => self.take_order(order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => self.alone = true,
                }
            }
            if self.answer_orders() {
                return;
            }
            if self.alone && !self.pending.iter().any(|pending| pending.order.last) {
                return self.close();
            }
            if self.adopts <= Instant::now() && self.may_adopt() {
                self.adopt();
            }
            if self.feed() {
                // Other signals have their turn on this thread.
                tokio::task::yield_now().await;
            }
            let wakes = self.wakes();
            tokio::select! {
                biased;
                order = self.driver.orders.recv(), if !self.alone => match order {
                    Some(order) => self.take_order(order),
                    None => self.alone = true,
                },
                answer = answer(&mut self.sending) => self.hear(answer),
                Some(collected) = self.collecting.task.join_next() => self.hear_collection(collected),
                () = sleep_until(wakes) => self.step(Input::Tick),
                () = self.driver.queue.ready() => {}
            }
        }
    }

    /// When there is something to do though nothing happens. In the past if there is something now.
    fn wakes(&self) -> Instant {
        let pause = self.driver.queue.book(|books| self.sender.wakes(books));
        let orders = self.pending.iter().map(|pending| Instant::from_std(pending.order.until)).min();
        let more = self.wants_more().then(Instant::now);
        let adopts = self.may_adopt().then_some(self.adopts);
        [pause, orders, more, adopts].into_iter().flatten().fold(self.due, Instant::min)
    }

    /// What comes in while somebody waits for the rest would be counted as part of that.
    fn may_adopt(&self) -> bool {
        self.pending.is_empty() && self.sender.may_find()
    }

    /// Looks for what processes have left that went when this one was there: in a rolling deployment the new one is first.
    fn adopt(&mut self) {
        self.adopts = Instant::now() + ADOPT_EVERY;
        if let Some(corrupt) = self.driver.backlog.adopt() {
            self.step(Input::Found { left: self.driver.backlog.items(), corrupt });
            let evicted = self.driver.backlog.trim();
            self.step(Input::Stored { items: 0, evicted, left: self.driver.backlog.items() });
        }
    }

    /// Whether the sender takes something, and there is something.
    fn wants_more(&self) -> bool {
        let queue = &self.driver.queue;
        let some = !self.ready.is_empty()
            || queue.has_full_batch()
            || ((self.sweep > 0 || !self.pending.is_empty()) && queue.len() > 0);
        some && self.sender.takes(queue.has_pressure())
    }

    /// Gives the sender one batch, if it takes one and there is one. Answers whether that was so.
    fn feed(&mut self) -> bool {
        if self.due <= Instant::now() {
            self.gather();
        }
        if !self.wants_more() {
            return false;
        }
        if self.ready.is_empty() {
            self.ready = self.encode();
        }
        if let Some(batch) = self.ready.pop_front() {
            self.step(Input::New(batch));
        }
        true
    }

    fn gather(&mut self) {
        self.due = Instant::now() + self.driver.delay;
        // The next attempt may be far off.
        self.complain();
        match self.driver.gather {
            Some(_) => self.collect(),
            None => self.sweep = self.driver.queue.len(),
        }
    }

    /// Begins a collection, unless one is under way.
    fn collect(&mut self) {
        let Some(gather) = self.driver.gather.clone().filter(|_| self.collecting.task.is_empty()) else { return };
        self.collecting.begun += 1;
        let ending = self.collecting.ending.take();
        self.collecting.task.spawn_blocking(move || {
            // Its provider ends also when it panics.
            let collected = catch_unwind(AssertUnwindSafe(&*gather));
            end(ending);
            collected.unwrap_or_else(|_reported| Err(PANICKED.to_owned()))
        });
    }

    fn hear_collection(&mut self, collected: Result<Result<(), String>, JoinError>) {
        let broken = collected.unwrap_or_else(|error| Err(error_chain(&error))).err();
        if let Some(why) = &broken
            && !std::mem::replace(&mut self.collecting.complained, true)
        {
            tracing::warn!(target: "halfbyte::telemetry", "metrics are not collected: {why}");
        }
        // The first reason is the one that tells something; what comes later is that of a lock.
        self.collecting.broken = broken.map(|why| self.collecting.broken.take().unwrap_or(why));
        let begun = self.collecting.begun;
        self.sweep = self.driver.queue.len();
        if self.pending.iter().any(|pending| pending.order.last && pending.collection <= begun) {
            self.driver.queue.close();
        }
        self.driver.queue.book(|books| {
            books.last_error = self.collecting.broken.clone().or(books.last_error.take());
            let waiting = self.pending.iter_mut().filter(|pending| pending.target.is_none());
            waiting.filter(|pending| pending.collection <= begun).for_each(|pending| {
                pending.target = Some(settled(books) + books.unsent());
            });
        });
        if self.pending.iter().any(|pending| pending.collection > begun) {
            self.collect();
        }
    }

    fn encode(&mut self) -> VecDeque<Batch> {
        let (entries, items) = self.driver.queue.take();
        self.sweep = self.sweep.saturating_sub(entries.len());
        let encode = &mut self.driver.encode;
        let batches = catch_unwind(AssertUnwindSafe(|| encode(entries))).unwrap_or_default();
        let encoded: u64 = batches.iter().map(|batch| batch.items).sum();
        self.driver.queue.book(|books| {
            books.in_flight -= items - encoded;
            books.dropped.encode += items - encoded;
        });
        batches.into()
    }

    fn hear(&mut self, answer: Answer) {
        self.sending = None;
        let (signal, address) = (self.driver.signal, self.driver.address.clone());
        let failure = match &answer {
            Answer::Accepted { .. } => None,
            Answer::Later { why, .. } | Answer::Refused { why } => Some(why.clone()),
        };
        self.failed += u64::from(failure.is_some());
        self.step(Input::Answer(answer));
        let alarm = self.driver.alarm.clone();
        let mut alarm = alarm.lock().unwrap_or_else(PoisonError::into_inner);
        // Telemetry is suppressed on this thread: what is said here is on the console and nowhere else.
        match failure {
            None => {
                if alarm.worked(signal) {
                    tracing::info!(target: "halfbyte::telemetry", %address, "telemetry is delivered again");
                }
            }
            Some(why) => {
                alarm.failed(signal, self.begun);
                self.why = why;
            }
        }
        drop(alarm);
        self.complain();
    }

    /// Says that the collector is away, when it has been for long enough.
    fn complain(&mut self) {
        let (signal, address) = (self.driver.signal, &self.driver.address);
        let due = self.driver.alarm.lock().unwrap_or_else(PoisonError::into_inner).is_due(signal, Instant::now());
        if let Some(lasts) = due {
            let stats = self.driver.queue.stats();
            tracing::warn!(
                target: "halfbyte::telemetry",
                %signal,
                %address,
                waiting = stats.unsent(),
                on_disk = self.driver.backlog.safe(),
                dropped = stats.dropped.total(),
                "telemetry has not been delivered for {} s: {}",
                lasts.as_secs(),
                self.why,
            );
        }
    }

    /// Tells the sender what happened, and does what it decides.
    fn step(&mut self, input: Input) {
        let now = Instant::now();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for action in self.driver.queue.book(|books| self.sender.step(input, now, books)) {
                inputs.extend(self.act(action, now));
            }
        }
    }

    fn act(&mut self, action: Action, now: Instant) -> Option<Input> {
        let backlog = &mut self.driver.backlog;
        match action {
            Action::Send(payload) => {
                self.sending = Some(self.driver.transport.send(payload));
                self.begun = now;
                None
            }
            Action::Abandon => {
                self.sending = None;
                None
            }
            Action::Store(batch) => {
                let (items, evicted) = (batch.items, backlog.push(batch));
                Some(Input::Stored { items, evicted, left: backlog.items() })
            }
            Action::Hold => {
                backlog.front();
                None
            }
            Action::Load => {
                let batch = backlog.front();
                Some(Input::Head { batch, left: backlog.items() })
            }
            Action::Pop => {
                backlog.pop();
                if backlog.items() == 0 {
                    self.adopts = now;
                }
                Some(Input::Popped { left: backlog.items() })
            }
        }
    }

    fn take_order(&mut self, mut order: Order) {
        if order.last {
            self.collecting.ending = order.provider.take();
        }
        // What is under way may have passed by what was measured before the order came.
        let collection = self.collecting.begun + 1;
        self.gather();
        let collects = self.driver.gather.is_some();
        if order.last && !collects {
            self.driver.queue.close();
        }
        let pending = self.driver.queue.book(|books| Pending {
            collection,
            target: (!collects).then(|| settled(books) + books.unsent()),
            lost: lost(books),
            failed: self.failed,
            order,
        });
        self.pending.push(pending);
        self.sender.hurry();
        self.step(Input::Tick);
    }

    /// Answers the orders that are done or over. Says whether that was the last one.
    fn answer_orders(&mut self) -> bool {
        let now = Instant::now();
        let queue = &self.driver.queue;
        // All of it is on disk and the collector has just failed, or asked to be left alone: waiting gains nothing.
        let waits_safely = self.driver.backlog.is_safe()
            && self.sender.is_idle()
            && self.ready.is_empty()
            && queue.len() == 0
            && queue.book(|books| self.sender.wakes(books).is_some_and(|wakes| wakes > now));
        let settled = queue.book(|books| settled(books));
        let is_done = |pending: &mut Pending| {
            let done = pending.target.is_some_and(|target| settled >= target || waits_safely);
            done || Instant::from_std(pending.order.until) <= now
        };
        let done: Vec<Pending> = self.pending.extract_if(.., is_done).collect();
        let over = done.iter().any(|pending| pending.order.last);
        if over {
            self.close();
        }
        let reports: Vec<Report> = done.iter().map(|pending| self.report(pending)).collect();
        if over {
            // Whoever hears that it is over finds the disk free.
            self.driver.backlog = Backlog::in_memory(0);
        }
        for (pending, report) in done.into_iter().zip(reports) {
            // Whoever asked may have stopped waiting.
            let _gone = pending.order.reply.send(report);
        }
        over
    }

    fn report(&self, pending: &Pending) -> Report {
        let books = self.driver.queue.stats();
        let left = pending.target.map_or(books.unsent(), |target| target.saturating_sub(settled(&books)));
        let unsent = left + lost(&books) - pending.lost;
        let broken = self.collecting.broken.clone();
        let hangs = || pending.target.is_none().then(|| HANGS.to_owned());
        if let Some(why) = broken.or_else(hangs) {
            return Report {
                unsent,
                on_disk: self.driver.backlog.safe().min(unsent),
                why: Some(why),
                uncollected: true,
            };
        }
        let failing = self.sender.failures() > 0 || self.failed > pending.failed || lost(&books) > pending.lost;
        let on_disk = self.driver.backlog.safe().min(unsent);
        Report { unsent, on_disk, why: books.last_error.filter(|_| failing), uncollected: false }
    }

    /// Nothing is sent any more: what is left goes to disk, or is dropped.
    fn close(&mut self) {
        self.driver.queue.close();
        if let Some(provider) = self.collecting.ending.take() {
            // It waits for the collection that hangs, and this thread does not wait for it.
            self.collecting.task.spawn_blocking(move || {
                end(Some(provider));
                Ok(())
            });
        }
        self.step(Input::Close);
        loop {
            if self.ready.is_empty() {
                if self.driver.queue.len() == 0 {
                    break;
                }
                self.ready = self.encode();
            }
            while let Some(batch) = self.ready.pop_front() {
                self.step(Input::New(batch));
            }
        }
        let (evicted, lost) = self.driver.backlog.close();
        self.step(Input::Stored { items: 0, evicted, left: self.driver.backlog.items() });
        self.step(Input::Lost(lost));
    }
}

/// How often it is looked for what others have left; also whenever the backlog has run empty. It takes one listing of a folder.
const ADOPT_EVERY: Duration = Duration::from_secs(60);

const PANICKED: &str = "a callback of an observable instrument panicked, which ends the metrics of this process until it is \
                        restarted; see the log for where, and mend it";
const HANGS: &str =
    "what was measured last could not be collected in time: does a callback of an observable instrument wait?";

fn end(provider: Option<SdkMeterProvider>) {
    // Fails if it was done before, which is as good.
    let _again = provider.map(|provider| provider.shutdown());
}

/// What has come to an end in the order in which it came in. What the queue turned away is not of these: it may be newer.
fn settled(books: &SignalStats) -> u64 {
    books.exported + lost(books)
}

/// What was lost after it was queued, and before the last order was over.
fn lost(books: &SignalStats) -> u64 {
    books.dropped.total() - books.dropped.queue_full - books.dropped.shutdown
}

async fn answer(sending: &mut Option<Sending>) -> Answer {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}
