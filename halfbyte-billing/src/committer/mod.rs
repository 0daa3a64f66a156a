//! The one task that writes usage and leases: whatever is queued goes into the store in one transaction.

mod adopt;
mod shared;
mod work;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::error_chain;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::WaitForCancellationFutureOwned;

pub(crate) use self::adopt::{adopt, blocking};
pub(crate) use self::shared::{Command, Pending, Shared};
use self::work::{Done, Work};
use crate::journal::Folder;
use crate::quota::{Cell, Hold};
use crate::store::{Counted, Store, release_of};
use crate::{Error, ErrorKind};

/// How long the first use of a batch waits for others to share its commit. Requests do not wait for it.
const GATHER: Duration = Duration::from_millis(5);
const TICK: Duration = Duration::from_secs(1);
/// Journals of dead processes are looked for at every so many ticks.
const ADOPT_TICKS: u32 = 2;
/// The wait after the first commit that failed; it doubles with each further one, five times.
const RETRY: Duration = Duration::from_millis(250);
const COMMANDS: usize = 1024;

pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
    pub(crate) folder: Folder,
    connection: Option<SqliteConnection>,
    /// Uses whose commit has not worked yet.
    taken: Vec<Pending>,
    dirty: Vec<Arc<Cell>>,
    retry_at: Option<Instant>,
    failures: u32,
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
    pub(crate) fn new(shared: Arc<Shared>, store: Store, folder: Folder, connection: SqliteConnection) -> Self {
        Self {
            shared,
            store,
            folder,
            connection: Some(connection),
            taken: Vec::new(),
            dirty: Vec::new(),
            retry_at: None,
            failures: 0,
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
                Event::Commands | Event::Due => {}
            }
            self.round(std::mem::take(&mut asked)).await;
        };
        self.end(asked).await;
        if stop {
            store.close().await;
        }
    }

    /// What is done every second.
    async fn tidy(&mut self, adopt_now: bool) {
        let idle = self.shared.cells.sweep();
        self.give_back(idle);
        if let Err(error) = self.shared.journal.tend() {
            tracing::error!(journal = %self.shared.journal.path().display(), %error, "the journal cannot be written");
        }
        if adopt_now && let Err(error) = self.adopt().await {
            tracing::warn!(error = error_chain(&error), "journals that were left could not be adopted");
        }
    }

    async fn adopt(&mut self) -> Result<(), Error> {
        self.store.is_in_place()?;
        let mut connection = self.connect().await?;
        let owner = Some(self.shared.journal.owner());
        adopt(&self.folder, &self.store, &mut connection, owner).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Takes what `cells` have available out of them; the next commit tells the store.
    fn give_back(&mut self, cells: Vec<Arc<Cell>>) {
        for cell in cells {
            let units = cell.withdraw();
            if units > 0 {
                cell.set_held(cell.held().saturating_sub(units));
                cell.set_exhausted(false);
                self.dirty.push(cell);
            }
        }
    }

    /// Commits what is there, and answers.
    async fn round(&mut self, commands: Vec<Command>) {
        let (mut leases, mut lease_answers, mut flush_answers) = (Vec::new(), Vec::new(), Vec::new());
        for command in commands {
            match command {
                // Nobody waits for it any more.
                Command::Lease { answer, .. } if answer.is_closed() => {}
                Command::Lease { cell, answer } => {
                    leases.push(cell);
                    lease_answers.push(answer);
                }
                Command::Flush { give_back, answer } => {
                    if give_back {
                        self.give_back(self.shared.cells.all());
                    }
                    flush_answers.push(answer);
                }
            }
        }
        match self.commit_all(&leases).await {
            Ok(granted) => {
                for ((cell, answer), granted) in leases.into_iter().zip(lease_answers).zip(granted) {
                    let first = (granted > 0).then(|| Hold::new(cell.clone(), 1));
                    cell.deposit(granted.saturating_sub(1));
                    // A hold that nobody takes puts its unit back.
                    _ = answer.send(Ok(first));
                }
                flush_answers.into_iter().for_each(|answer| _ = answer.send(Ok(())));
            }
            Err(error) => {
                let again = || Error::new(error.kind(), error_chain(&error));
                lease_answers.into_iter().for_each(|answer| _ = answer.send(Err(again())));
                flush_answers.into_iter().for_each(|answer| _ = answer.send(Err(again())));
            }
        }
    }

    /// Commits what did not work before, then all that is queued together with `leases`.
    async fn commit_all(&mut self, leases: &[Arc<Cell>]) -> Result<Vec<u64>, Error> {
        let outcome = async {
            if !self.taken.is_empty() {
                self.commit(&[]).await?;
            }
            self.taken = self.shared.journal.take();
            self.commit(leases).await
        };
        let outcome = outcome.await;
        match &outcome {
            Ok(_) => {
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!(store = self.store.file(), "usage is committed again");
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

    /// One transaction.
    async fn commit(&mut self, leases: &[Arc<Cell>]) -> Result<Vec<u64>, Error> {
        let work = Work { owner: self.shared.journal.owner(), taken: &self.taken, dirty: &self.dirty, leases };
        if work.taken.is_empty() && work.dirty.is_empty() && leases.is_empty() {
            return Ok(Vec::new());
        }
        let outcome = async {
            self.store.is_in_place()?;
            let connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.store.writer().await?,
            };
            transact(connection, &work).await.map_err(|error| self.store.explain("writing", error))
        };
        match outcome.await {
            Ok((connection, done)) => {
                self.connection = Some(connection);
                done.settle();
                for (pending, counted) in self.taken.iter().zip(&done.counted) {
                    if *counted != Counted::New {
                        // Its unit went back to where everybody can lease it.
                        pending.cell.set_exhausted(false);
                    }
                    if *counted == Counted::Conflict {
                        self.shared.note_conflict(&pending.record());
                    }
                }
                self.shared.journal.committed();
                self.taken.clear();
                self.dirty.clear();
                Ok(done.granted)
            }
            Err(error) => {
                // A commit that failed can still have happened: what the store has of these cells is written again.
                self.dirty = work.cells();
                Err(error)
            }
        }
    }

    async fn connect(&mut self) -> Result<SqliteConnection, Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
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
            let mut connection = self.connect().await?;
            let released = release_of(&mut connection, owner).await;
            released.map_err(|error| self.store.explain("writing", error))?;
            connection.close().await.map_err(|error| self.store.explain("closing", error))
        };
        if let Err(error) = released.await {
            tracing::warn!(error = error_chain(&error), "leases could not be given back; another process will");
        }
        if let Err(error) = self.shared.journal.remove() {
            tracing::warn!(journal = %self.shared.journal.path().display(), %error, "a journal could not be removed");
        }
    }
}

/// A connection that failed is not used again: dropping it rolls back.
async fn transact(mut connection: SqliteConnection, work: &Work<'_>) -> Result<(SqliteConnection, Done), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let done = work.run(&mut transaction).await?;
    transaction.commit().await?;
    Ok((connection, done))
}

/// The error for asking a committer that has ended.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "billing has stopped with the process")
}

/// A channel to the committer.
pub(crate) fn channel() -> (mpsc::Sender<Command>, mpsc::Receiver<Command>) {
    mpsc::channel(COMMANDS)
}
