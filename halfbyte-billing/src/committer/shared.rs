use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use halfbyte_core::lifecycle::Check;
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

use crate::export::Bell;
use crate::journal::{Journal, Record, Use};
use crate::quota::{Cell, Cells, Hold};
use crate::store::{Entry, LeaseAsk, Leased, Outcome, Release};
use crate::{Error, IdempotencyKey};

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
    last_error: Mutex<Option<String>>,
}

/// What is in the journal and not yet in the store.
#[derive(Debug)]
pub(crate) enum Pending {
    Use(PendingUse),
    /// An event that came while the store could not be written, as JSON for the journal.
    Event {
        json: Box<str>,
        entry: Arc<Entry>,
    },
}

/// A use that is in the journal and not yet in the store.
#[derive(Debug)]
pub(crate) struct PendingUse {
    pub(crate) cell: Arc<Cell>,
    pub(crate) key: IdempotencyKey,
    pub(crate) at: Timestamp,
    pub(crate) units: u64,
    /// So many of them the cell had.
    pub(crate) held: u64,
    pub(crate) data: Option<Box<str>>,
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
}

impl Pending {
    pub(crate) fn record(&self) -> Record<'_> {
        match self {
            Pending::Use(used) => Record::Use(used.record()),
            Pending::Event { json, .. } => Record::Event(json),
        }
    }
}

impl Pending {
    /// Which it is, for people: without what a client may have put into it.
    pub(crate) fn name(&self) -> String {
        match self {
            Pending::Use(used) => format!("{} of {}", used.cell.metered.feature.name, used.cell.tenant),
            Pending::Event { entry, .. } => format!("{} of {}", entry.event.id, entry.event.source),
        }
    }
}

impl PendingUse {
    pub(crate) fn record(&self) -> Use<'_> {
        Use {
            tenant: self.cell.tenant.as_str(),
            feature: &self.cell.metered.feature.name,
            key: self.key,
            at: self.at,
            units: self.units,
            held: self.held,
            cell: self.cell.id,
            data: self.data.as_deref().unwrap_or_default(),
        }
    }
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

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            conflicts: self.conflicts.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            overage: self.overage.load(Ordering::Relaxed),
            stranded: self.stranded.load(Ordering::Relaxed),
            reclaimed: self.reclaimed.load(Ordering::Relaxed),
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
    /// Uses and events that are on the disk of this machine and not in the store yet.
    pub backlog: usize,
}
