use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use halfbyte_core::lifecycle::Check;
use tokio::sync::{Notify, oneshot};

use super::Pending;
use crate::Error;
use crate::export::Bell;
use crate::journal::Journal;
use crate::quota::{Cell, Cells, Hold};
use crate::store::{Entry, LeaseAsk, Leased, Outcome, Release};

/// What requests and the committer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) journal: Journal<Pending>,
    pub(crate) cells: Arc<Cells>,
    /// Rung when the queue of the journal is no longer empty.
    pub(crate) wake: Notify,
    /// Rung after every commit that counted something.
    pub(crate) bell: Bell,
    conflicts: AtomicU64,
    late: AtomicU64,
    overage: AtomicU64,
    /// Units that owners hold who have gone, as last seen in the store.
    stranded: AtomicU64,
    reclaimed: AtomicU64,
    refused: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// What the committer is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// A tranche for the cell; the answer is `units` of it, or that not as many are left.
    Lease { cell: Arc<Cell>, units: u64, answer: oneshot::Sender<Result<Option<Hold>, Error>> },
    /// Events to count; answered when they are durable.
    Ingest { events: Vec<Ingested>, answer: oneshot::Sender<Result<Vec<Taken>, Error>> },
    /// Units for a reservation of their own.
    Reserve { ask: LeaseAsk, answer: oneshot::Sender<Result<Leased, Error>> },
    /// Units that a reservation gives back.
    Release { release: Release, answer: oneshot::Sender<Result<(), Error>> },
    /// Commit all that is queued; give back what is leased and not used, if asked for.
    Flush { give_back: bool, answer: oneshot::Sender<Result<(), Error>> },
}

/// An event on its way into the store, with what it gives back there.
#[derive(Debug)]
pub(crate) struct Ingested {
    pub(crate) entry: Arc<Entry>,
    /// In the same transaction, after it was counted.
    pub(crate) release: Option<Release>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The store has it.
    Stored(Outcome),
    /// The store cannot be written; it is on the disk of this machine.
    Spooled,
    /// The store can be written, and refuses just this.
    Refused,
}

impl Shared {
    pub(crate) fn new(journal: Journal<Pending>, cells: Arc<Cells>) -> Self {
        Self {
            journal,
            cells,
            wake: Notify::new(),
            bell: Bell::default(),
            conflicts: AtomicU64::new(0),
            late: AtomicU64::new(0),
            overage: AtomicU64::new(0),
            stranded: AtomicU64::new(0),
            reclaimed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_error: Mutex::new(None),
        }
    }

    /// Keeps count of what became of an entry.
    pub(crate) fn note(&self, entry: &Entry, outcome: Outcome) {
        let event = &entry.event;
        match outcome {
            Outcome::Counted { overage } => _ = self.overage.fetch_add(overage, Ordering::Relaxed),
            Outcome::Duplicate | Outcome::NothingToCorrect => {}
            Outcome::Late => {
                self.late.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    tenant = %entry.tenant, source = &*event.source, id = &*event.id, time = %event.time,
                    "an event came after its period was closed; it is kept and not counted"
                );
            }
            Outcome::Conflict => {
                self.conflicts.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    tenant = %entry.tenant, source = &*event.source, id = &*event.id,
                    "an event or an idempotency key was used again for something else; what it was used for first stays"
                );
            }
        }
    }

    pub(crate) fn note_stranded(&self, units: u64) {
        self.stranded.store(units, Ordering::Relaxed);
    }

    pub(crate) fn note_reclaimed(&self, units: u64) {
        self.reclaimed.fetch_add(units, Ordering::Relaxed);
    }

    pub(super) fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            conflicts: self.conflicts.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            overage: self.overage.load(Ordering::Relaxed),
            stranded: self.stranded.load(Ordering::Relaxed),
            reclaimed: self.reclaimed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            backlog: self.journal.backlog(),
        }
    }

    pub(super) fn note_outcome(&self, error: Option<String>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// How it stands with the store and the journal.
    pub(crate) fn check(&self) -> Check {
        let last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let path = self.journal.path().display();
        let (ready, state, detail) = match last_error {
            _ if self.journal.is_failing() => (false, "journal-failing", Some(format!("{path} cannot be written"))),
            _ if !self.journal.is_accepting() => (false, "journal-full", last_error),
            Some(error) => (true, "behind", Some(error)),
            None => (true, "ok", None),
        };
        Check { name: "billing.store".into(), ready, state, age: None, detail }
    }
}

/// What billing has seen in this process since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Events and keys that were used again for something else.
    pub conflicts: u64,
    /// Events that came after their period was closed.
    pub late: u64,
    /// Units that were used beyond what the lots had, of every meter.
    pub overage: u64,
    /// Units of quotas that owners hold who have gone, until their lease expires; as last seen in the store.
    pub stranded: u64,
    /// Units of such owners that this process gave back.
    pub reclaimed: u64,
    /// Uses and events that the store refused for what is in them, each told in the log. What had been answered for is kept
    /// beside the journals, in the folder `refused`.
    pub refused: u64,
    /// Uses and events that are on the disk of this machine and not in the store yet.
    pub backlog: usize,
}
