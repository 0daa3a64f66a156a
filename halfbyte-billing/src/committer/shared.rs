use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use halfbyte_core::lifecycle::Check;
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

use crate::journal::{Journal, Record};
use crate::quota::{Cell, Cells, Hold};
use crate::{Error, IdempotencyKey};

/// What requests and the committer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) journal: Journal<Pending>,
    pub(crate) cells: Cells,
    /// Rung when the queue of the journal is no longer empty.
    pub(crate) wake: Notify,
    conflicts: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// A use that is in the journal and not yet in the store.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) cell: Arc<Cell>,
    pub(crate) key: IdempotencyKey,
    pub(crate) at: Timestamp,
    pub(crate) units: u32,
}

/// What the committer is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// A tranche for the cell; the answer is one unit of it, or that nothing is left.
    Lease { cell: Arc<Cell>, answer: oneshot::Sender<Result<Option<Hold>, Error>> },
    /// Commit all that is queued; give back what is leased and not used, if asked for.
    Flush { give_back: bool, answer: oneshot::Sender<Result<(), Error>> },
}

impl Pending {
    pub(crate) fn record(&self) -> Record<'_> {
        let quota = &self.cell.quota;
        Record {
            tenant: quota.tenant.as_str(),
            product: quota.metered.feature.product.as_str(),
            meter: &quota.metered.meter,
            feature: &quota.metered.feature.name,
            key: self.key,
            at: self.at,
            units: self.units,
        }
    }
}

impl Shared {
    pub(crate) fn new(journal: Journal<Pending>) -> Self {
        Self {
            journal,
            cells: Cells::default(),
            wake: Notify::new(),
            conflicts: AtomicU64::new(0),
            last_error: Mutex::new(None),
        }
    }

    /// Uses whose key had been counted with other content, since the start.
    pub(crate) fn conflicts(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    pub(super) fn note_conflict(&self, record: &Record<'_>) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            tenant = record.tenant,
            product = record.product,
            meter = record.meter,
            feature = record.feature,
            key = %record.key,
            "an idempotency key was used again for something else; what it was used for first stays"
        );
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
