//! The one task that writes usage and leases: whatever is queued goes into the store in one transaction.

mod adopt;
mod batch;
mod heartbeat;
mod job;
mod pending;
mod refused;
mod shared;
#[cfg(all(test, feature = "sqlite"))]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::{Clock, error_chain};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::WaitForCancellationFutureOwned;

pub(crate) use self::adopt::{Adopter, blocking};
use self::batch::Part;
use self::heartbeat::Heartbeat;
use self::job::{Done, Ingest, Job};
pub(crate) use self::pending::{Pending, PendingUse};
pub use self::shared::Stats;
pub(crate) use self::shared::{Command, Ingested, Shared, Taken};
use crate::accounts::Accounts;
use crate::quota::Cell;
use crate::store::{Release, Session, Store};
use crate::{Error, ErrorKind};

/// How long the first use of a batch waits for others to share its commit. Requests do not wait for it.
const GATHER: Duration = Duration::from_millis(5);
const TICK: Duration = Duration::from_secs(1);
/// Journals of dead processes are looked for at every so many ticks.
const ADOPT_TICKS: u32 = 2;
/// The wait after the first commit that failed; it doubles with each further one, five times.
const RETRY: Duration = Duration::from_millis(250);
const COMMANDS: usize = 1024;
/// So often others are let run, who wait to add something to a batch that somebody waits for.
const TURNS: usize = 8;

pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) store: Store,
    pub(crate) adopter: Adopter,
    pub(crate) clock: Clock,
    session: Option<Box<dyn Session>>,
    heartbeat: Heartbeat,
    /// Whether the store is known to keep the plan versions of the catalogue.
    registered: bool,
    /// What is in the journal and whose commit has not worked yet.
    taken: Vec<Pending>,
    /// Units that cells have given up and that the store still has as held.
    given_up: Vec<(Arc<Cell>, u64)>,
    /// Reservations that nobody was there to take.
    abandoned: Vec<Release>,
    /// The number of the last batch; what is written with one tells later whether it was committed.
    number: i64,
    /// A batch whose commit may have worked, with what its leases were for.
    doubt: Option<Doubt>,
    retry_at: Option<Instant>,
    failures: u32,
    /// How many asked for the last batch that somebody waited for.
    crowd: usize,
}

/// A batch of which it is not known whether it was committed.
struct Doubt {
    number: i64,
    part: Part,
    leases: Vec<Arc<Cell>>,
}

/// What woke the committer.
enum Event {
    Commands,
    Tick,
    Due,
    /// The process stops.
    Stop,
    /// Nobody can ask any more.
    Alone,
}

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        accounts: Arc<Accounts>,
        store: Store,
        adopter: Adopter,
        clock: Clock,
        lease: Duration,
        registered: bool,
    ) -> Self {
        Self {
            heartbeat: Heartbeat::new(lease),
            registered,
            shared,
            accounts,
            store,
            adopter,
            clock,
            session: None,
            taken: Vec::new(),
            given_up: Vec::new(),
            abandoned: Vec::new(),
            number: 0,
            doubt: None,
            retry_at: None,
            failures: 0,
            crowd: 0,
        }
    }

    /// Runs until the process stops or nobody can ask any more; then commits, gives everything back, and tidies up.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>, stopping: WaitForCancellationFutureOwned) {
        let mut stopping = pin!(stopping);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        let mut asked = Vec::new();
        let store = self.store.clone();
        if let Err(error) = self.beat().await {
            tracing::debug!(error = error_chain(&error), "this process has no lease yet");
        }
        let stop = loop {
            let event = tokio::select! {
                () = &mut stopping => Event::Stop,
                count = commands.recv_many(&mut asked, COMMANDS) => if count == 0 { Event::Alone } else { Event::Commands },
                () = self.shared.wake.notified(), if self.retry_at.is_none() => {
                    // Whoever asks for a lease has a client waiting: that ends the gathering.
                    match timeout(GATHER, commands.recv_many(&mut asked, COMMANDS)).await {
                        Ok(0) => Event::Alone,
                        Ok(_) | Err(_) => Event::Due,
                    }
                }
                () = sleep_until(self.retry_at.unwrap_or_else(Instant::now)), if self.retry_at.is_some() => Event::Due,
                _ = tick.tick() => Event::Tick,
            };
            match event {
                Event::Stop => break true,
                Event::Alone => break false,
                Event::Tick => {
                    ticks = ticks.wrapping_add(1);
                    self.tidy(ticks.is_multiple_of(ADOPT_TICKS)).await;
                    if self.retry_at.is_some() {
                        continue;
                    }
                }
                Event::Commands => self.gather(&mut commands, &mut asked).await,
                Event::Due => {}
            }
            self.round(std::mem::take(&mut asked)).await;
        };
        self.end(asked).await;
        if stop {
            store.close().await;
        }
    }

    /// Those who waited for the last batch come back together: the next one is worth a moment, until as many are there.
    async fn gather(&mut self, commands: &mut mpsc::Receiver<Command>, asked: &mut Vec<Command>) {
        let mut idle = 0;
        while asked.len() < self.crowd && idle < TURNS {
            tokio::task::yield_now().await;
            let before = asked.len();
            while asked.len() < COMMANDS
                && let Ok(command) = commands.try_recv()
            {
                asked.push(command);
            }
            idle = if asked.len() == before { idle + 1 } else { 0 };
        }
        self.crowd = asked.len();
    }

    /// What is done every second.
    async fn tidy(&mut self, adopt_now: bool) {
        let idle = self.shared.cells.sweep();
        self.give_back(idle);
        if let Err(error) = self.shared.journal.tend() {
            tracing::error!(journal = %self.shared.journal.path().display(), %error, "the journal cannot be written");
        }
        if let Err(error) = self.beat().await {
            tracing::debug!(error = error_chain(&error), "the lease of this process could not be renewed");
        }
        if !self.registered {
            self.register().await;
        }
        if adopt_now
            && self.accounts.age().is_some()
            && let Err(error) = self.adopt().await
        {
            tracing::warn!(error = error_chain(&error), "journals that were left could not be adopted");
        }
    }

    /// The store was not there when billing was opened: what the catalogue sells is registered once it is.
    async fn register(&mut self) {
        match self.store.register(&self.accounts.catalog(), self.clock.now()).await {
            Ok(()) => self.registered = true,
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => {
                self.registered = true;
                tracing::error!(error = error_chain(&error), "the plans of the catalogue could not be registered");
            }
        }
    }

    async fn adopt(&mut self) -> Result<(), Error> {
        let mut session = self.connected().await?;
        self.adopter.adopt(&self.store, &self.accounts, &self.shared, self.clock.now(), session.as_mut()).await?;
        self.session = Some(session);
        Ok(())
    }

    /// Takes what `cells` have available out of them; the next commit tells the store.
    fn give_back(&mut self, cells: Vec<Arc<Cell>>) {
        for cell in cells {
            let units = cell.withdraw();
            if units > 0 {
                cell.set_exhausted(None);
                self.given_up.push((cell, units));
            }
        }
    }

    /// Commits what is there, and answers.
    async fn round(&mut self, commands: Vec<Command>) {
        let mut job = Job::default();
        let mut flushes = Vec::new();
        for command in commands {
            match command {
                // Nobody waits for it any more.
                Command::Lease { answer, .. } if answer.is_closed() => {}
                // Another one has taken its place.
                Command::Lease { cell, answer, .. } if cell.is_lost() => {
                    _ = answer.send(Err(Error::new(ErrorKind::Unavailable, "the lease of this process is a new one")));
                }
                Command::Reserve { answer, .. } if answer.is_closed() => {}
                Command::Lease { cell, units, answer } => job.leases.push((cell, units, answer)),
                Command::Ingest { events, answer } => job.ingests.push((events, answer)),
                Command::Reserve { ask, answer } => job.reserves.push((ask, answer)),
                Command::Release { release, answer } => job.releases.push((release, answer)),
                Command::Flush { give_back, answer } => {
                    if give_back {
                        self.give_back(self.shared.cells.all());
                    }
                    flushes.push(answer);
                }
            }
        }
        // Whoever leases for the cell that took the place may need just these.
        self.give_back(self.shared.cells.retired());
        let mut done = Done::default();
        let failure = self.commit_queued(&job, &mut done).await.err();
        let (abandoned, left) = job.answer(done, failure.as_ref());
        self.abandoned.extend(abandoned);
        for flush in flushes {
            let again = failure.as_ref().map(|error| Error::new(error.kind(), error_chain(error)));
            _ = flush.send(again.map_or(Ok(()), Err));
        }
        if let Some(error) = &failure {
            self.spool(left, error).await;
        }
    }

    /// Commits what did not work before, then all that is queued together with `job`.
    async fn commit_queued(&mut self, job: &Job, done: &mut Done) -> Result<(), Error> {
        let outcome = async {
            if self.accounts.age().is_none() {
                // It would be charged as if nobody had a plan, and to aliases as if they were customers.
                return Err(Error::new(ErrorKind::Unavailable, "the accounts have not been read yet"));
            }
            self.settle_doubt().await?;
            self.commit_all(&Job::default(), &mut Done::default()).await?;
            self.taken = self.shared.journal.take();
            self.commit_all(job, done).await
        };
        let outcome = outcome.await;
        match &outcome {
            Ok(()) => {
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!(store = self.store.name(), "usage is committed again");
                }
                self.retry_at = None;
                self.shared.note_outcome(None);
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY * (1 << self.failures.min(5)));
                let error = error_chain(error);
                // Once for each time it begins: requests and retries would fill the log.
                if self.failures == 0 {
                    tracing::error!(error, "usage could not be committed; it waits in the journal and is tried again");
                }
                self.failures = self.failures.saturating_add(1);
                self.shared.note_outcome(Some(error));
            }
        }
        outcome
    }

    /// Events that the store did not take go into the journal, on the disk of this machine, and are counted from there.
    async fn spool(&mut self, ingests: Vec<Ingest>, error: &Error) {
        for (events, answer) in ingests {
            // A correction is of what the store has, and a settlement is of what a reservation has there.
            let needs_store = |event: &Ingested| event.release.is_some() || event.entry.correction.is_some();
            let again = || Error::new(error.kind(), error_chain(error));
            if !self.shared.journal.is_accepting() || events.iter().any(needs_store) {
                _ = answer.send(Err(again()));
                continue;
            }
            let shared = self.shared.clone();
            let spooled = blocking(move || {
                let pending = |event: Ingested| Pending::Event(event.entry);
                let mut events: Vec<_> = events.into_iter().map(pending).collect();
                if !shared.journal.has_room(&events) {
                    return Ok(None);
                }
                let (count, last) = (events.len(), events.pop());
                for event in events {
                    shared.journal.append(event)?;
                }
                if let Some(last) = last {
                    // Nobody else lets the files take turns: with the last one, the disk has all.
                    shared.journal.append_durably(last)?;
                }
                Ok(Some(vec![Taken::Spooled; count]))
            });
            let unwritable = |error| Error::because(ErrorKind::Unavailable, "the journal cannot be written", error);
            let spooled = spooled.await.map_err(unwritable);
            _ = answer.send(spooled.and_then(|spooled| spooled.ok_or_else(again)));
        }
    }

    async fn connected(&mut self) -> Result<Box<dyn Session>, Error> {
        self.store.is_in_place()?;
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.store.writer().await,
        }
    }

    async fn end(mut self, asked: Vec<Command>) {
        self.give_back(self.shared.cells.all());
        self.round(asked).await;
        while self.taken.is_empty() && self.retry_at.is_none() {
            if self.shared.journal.close() {
                return self.leave().await;
            }
            self.round(Vec::new()).await;
        }
        tracing::error!(
            journal = %self.shared.journal.path().display(),
            "the process stops with usage that is not in the store; the next one that shares it takes it over"
        );
    }

    /// Nothing is left here: the journal goes, and with it whatever requests that never ended had reserved.
    async fn leave(mut self) {
        let owner = self.shared.journal.owner();
        let released = async {
            let mut session = self.connected().await?;
            adopt::forget(&self.store, session.as_mut(), owner).await
        };
        if let Err(error) = released.await {
            tracing::warn!(error = error_chain(&error), "leases could not be given back; another process will");
        }
        if let Err(error) = self.shared.journal.remove() {
            tracing::warn!(journal = %self.shared.journal.path().display(), %error, "a journal could not be removed");
        }
    }
}

/// The error for asking a committer that has ended.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "billing has stopped with the process")
}

/// A channel to the committer.
pub(crate) fn channel() -> (mpsc::Sender<Command>, mpsc::Receiver<Command>) {
    mpsc::channel(COMMANDS)
}
