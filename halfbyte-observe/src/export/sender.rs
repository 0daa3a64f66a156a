//! Decides what one signal sends when, what goes to the backlog, and what the books say of it. Pure: what happened comes
//! in with the time, what is to be done goes out; whoever drives it does it at once and says what came of it.
//!
//! What is new goes straight out, one request at a time. When one fails, it goes to the backlog, and all that is newer
//! queues up behind it, so that the order is kept. The oldest of the backlog is then tried until it is through, with a
//! growing pause in between, and the rest follows; when the backlog is empty, what is new goes straight out again.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::answer::Answer;
use super::stats::SignalStats;
use crate::spool::Batch;

/// The pause after the first failure, and the longest one. Each is twice the one before, and of each a random part
/// from half of it up is taken, so that processes that failed together do not come back together.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A collector that asks for more is asked again after this.
const LONGEST_THROTTLE: Duration = Duration::from_secs(3600);

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// New, and already in flight by the books. Only if [`Sender::takes`] it.
    New(Batch),
    /// To what was sent last.
    Answer(Answer),
    /// So many items went to the end of the backlog, and so many old ones had to go for them. `left` is how many items are
    /// in the backlog now.
    Stored { items: u64, evicted: u64, left: u64 },
    /// The first of the backlog, which stays in there.
    Head { batch: Option<Batch>, left: u64 },
    /// The first of the backlog is gone.
    Popped { left: u64 },
    /// Others of the product that are gone have left something, so that the backlog has so many items now; so many more
    /// could not be read. Only if [`Sender::may_find`].
    Found { left: u64, corrupt: u64 },
    /// Time passed.
    Tick,
    /// Nothing is sent any more: whatever comes goes to the backlog.
    Close,
    /// So many items of the backlog cannot be kept beyond the end of this process.
    Lost(u64),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send this; `Answer` follows.
    Send(Bytes),
    /// Forget what was sent: no `Answer` follows.
    Abandon,
    /// Put this at the end of the backlog; `Stored` follows.
    Store(Batch),
    /// The first of the backlog is under way: it must not make room for others.
    Hold,
    /// Hold the first of the backlog and say what it is; `Head` follows.
    Load,
    /// Remove the first of the backlog, which is held; `Popped` follows.
    Pop,
}

#[derive(Debug)]
enum Flight {
    /// Is in no backlog, and the backlog is empty.
    Direct(Batch),
    /// Is the first of the backlog, and stays there until there is an answer.
    Head(Batch),
    /// The first of the backlog is being looked at.
    Loading,
}

/// The state of one signal.
#[derive(Debug)]
pub(super) struct Sender {
    flight: Option<Flight>,
    /// Failures in a row.
    failures: u32,
    /// Nothing is sent before.
    pause: Option<Instant>,
    /// The pause is the collector's wish.
    throttled: bool,
    closed: bool,
    random: fastrand::Rng,
}

impl Sender {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        Self { flight: None, failures: 0, pause: None, throttled: false, closed: false, random }
    }

    /// Whether something new is to be given to it. While a first request is under way that is so only when it presses.
    pub(super) fn takes(&self, pressure: bool) -> bool {
        pressure || self.closed || !matches!(self.flight, Some(Flight::Direct(_)))
    }

    /// Failures in a row up to now.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// When it wants a `Tick`.
    pub(super) fn wakes(&self, books: &SignalStats) -> Option<Instant> {
        let waits = self.flight.is_none() && !self.closed && books.spooled > 0;
        self.pause.filter(|_| waits)
    }

    /// Whether something may come into the backlog before what is under way: that must not be in neither place then.
    pub(super) fn may_find(&self) -> bool {
        !self.closed && !matches!(self.flight, Some(Flight::Direct(_)))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_none()
    }

    /// Ends a pause that the collector has not asked for.
    pub(super) fn hurry(&mut self) {
        if !self.throttled {
            self.pause = None;
        }
    }

    /// What is to be done, in this order.
    pub(super) fn step(&mut self, input: Input, now: Instant, books: &mut SignalStats) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::New(batch) => self.take(batch, now, books, &mut actions),
            Input::Answer(answer) => self.hear(answer, now, books, &mut actions),
            Input::Stored { items, evicted, left } => {
                shift(&mut books.in_flight, &mut books.spooled, items);
                shift(&mut books.spooled, &mut books.dropped.backlog_full, evicted);
                recount(left, books);
            }
            Input::Head { batch, left } => {
                recount(left, books);
                self.flight = None;
                match batch {
                    Some(batch) if !self.closed => {
                        actions.push(Action::Send(batch.payload.clone()));
                        self.flight = Some(Flight::Head(batch));
                    }
                    // There is something, but it cannot be had: not again at once.
                    None if books.spooled > 0 => self.fail(None, now),
                    _ => {}
                }
            }
            Input::Popped { left } => recount(left, books),
            Input::Found { left, corrupt } => {
                books.recovered += corrupt;
                books.dropped.corrupt += corrupt;
                recount(left, books);
            }
            Input::Tick => {}
            Input::Close => {
                self.closed = true;
                if let Some(flight) = self.flight.take() {
                    actions.push(Action::Abandon);
                    // Its answer is lost, so that it may arrive twice; that is better than not at all.
                    if let Flight::Direct(batch) = flight {
                        actions.push(Action::Store(batch));
                    }
                }
            }
            Input::Lost(items) => {
                shift(&mut books.spooled, &mut books.dropped.shutdown, items);
            }
        }
        let due = self.pause.is_none_or(|pause| pause <= now);
        if self.flight.is_none() && !self.closed && due && books.spooled > 0 {
            self.flight = Some(Flight::Loading);
            actions.push(Action::Load);
        }
        actions
    }

    fn take(&mut self, batch: Batch, now: Instant, books: &SignalStats, actions: &mut Vec<Action>) {
        let due = self.pause.is_none_or(|pause| pause <= now);
        if self.flight.is_none() && books.spooled == 0 && due && !self.closed {
            actions.push(Action::Send(batch.payload.clone()));
            self.flight = Some(Flight::Direct(batch));
            return;
        }
        // What is under way comes first also in the backlog.
        self.flight = match self.flight.take() {
            Some(Flight::Direct(under_way)) => {
                actions.extend([Action::Store(under_way.clone()), Action::Hold]);
                Some(Flight::Head(under_way))
            }
            other => other,
        };
        actions.push(Action::Store(batch));
    }

    fn hear(&mut self, answer: Answer, now: Instant, books: &mut SignalStats, actions: &mut Vec<Action>) {
        let Some(flight) = self.flight.take() else { return };
        let (batch, head) = match &flight {
            Flight::Direct(batch) => (batch, false),
            Flight::Head(batch) => (batch, true),
            Flight::Loading => {
                self.flight = Some(flight);
                return;
            }
        };
        let (items, from) = (batch.items, if head { &mut books.spooled } else { &mut books.in_flight });
        match answer {
            Answer::Accepted { rejected, message } => {
                let rejected = rejected.min(items);
                shift(from, &mut books.dropped.partial_success, rejected);
                shift(from, &mut books.exported, items - rejected);
                books.last_error = message.or(books.last_error.take());
                self.succeed();
            }
            Answer::Refused { why } => {
                shift(from, &mut books.dropped.rejected, items);
                books.last_error = Some(why);
                self.succeed();
            }
            Answer::Later { after, why } => {
                books.last_error = Some(why);
                self.fail(after, now);
                if let Flight::Direct(batch) = flight {
                    actions.push(Action::Store(batch));
                }
                return;
            }
        }
        if head {
            actions.push(Action::Pop);
        }
    }

    fn succeed(&mut self) {
        (self.failures, self.pause, self.throttled) = (0, None, false);
    }

    fn fail(&mut self, after: Option<Duration>, now: Instant) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        let pause = pause.mul_f64(0.5 + self.random.f64() / 2.0);
        self.failures = self.failures.saturating_add(1);
        self.throttled = after.is_some();
        // A collector that wants it at once is not taken at its word: it has just failed.
        self.pause = Some(now + after.map_or(pause, |after| after.min(LONGEST_THROTTLE).max(pause)));
    }
}

/// Moves items from one account to another, never more than there are.
fn shift(from: &mut u64, to: &mut u64, items: u64) {
    let items = items.min(*from);
    *from -= items;
    *to += items;
}

/// Believes the backlog: what is missing in it could not be read, and what it has more came from elsewhere.
fn recount(left: u64, books: &mut SignalStats) {
    books.dropped.corrupt += books.spooled.saturating_sub(left);
    books.recovered += left.saturating_sub(books.spooled);
    books.spooled = left;
}
