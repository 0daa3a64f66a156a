//! What the store is given and what it answers, in one transaction.

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::TenantId;
use jiff::Timestamp;
use uuid::Uuid;

use crate::event::{Correction, Event};
use crate::ledger::LotSpec;
use crate::metering::Measurement;

/// An event with everything that it changes.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) event: Event,
    /// Who pays for it.
    pub(crate) tenant: TenantId,
    /// When it is charged: its own time, or that of what it amends.
    pub(crate) at: Timestamp,
    /// What it must be the same in when it comes again.
    pub(crate) digest: Box<str>,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) charges: Vec<Charge>,
    pub(crate) correction: Option<Correction>,
}

/// Units of a feature that an event uses up.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    pub(crate) feature: Arc<str>,
    pub(crate) units: u64,
    /// What was taken out of the lots for it beforehand, and is burned first.
    pub(crate) held: Option<Held>,
    /// The lots that the rest is burned out of, in any order. What they do not have is overage.
    pub(crate) lots: Arc<[LotSpec]>,
    /// For which instant they are said to be so; `None` for when it is charged.
    pub(crate) said: Option<Timestamp>,
}

/// What a holder has for one charge. It may have more for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) by: Holder,
    pub(crate) units: u64,
}

/// Who holds units: a process with one of its cells, or a reservation (cell 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Holder {
    pub(crate) owner: Uuid,
    pub(crate) cell: i64,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It counts.
    Counted {
        /// Units beyond what the lots had, or out of a lot of grace.
        overage: u64,
    },
    /// It had been received, with the same content.
    Duplicate,
    /// Its source and id had been received with other content; what was there first stays.
    Conflict,
    /// Its period is closed: it is kept and not counted.
    Late,
    /// What it corrects is not there, or has been voided.
    NothingToCorrect,
}

/// Everything that goes into one transaction.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    /// The process.
    pub(crate) owner: Uuid,
    pub(crate) now: Timestamp,
    pub(crate) entries: &'a [Arc<Entry>],
    /// Held units that are given back.
    pub(crate) releases: &'a [Release],
    pub(crate) leases: &'a [LeaseAsk],
    /// A process that is gone, and of whose uses these are the last: all that it holds is given back after the entries
    /// are counted and before anything is leased, and it is forgotten.
    pub(crate) forget: Option<Uuid>,
    /// What is held for entries that do not count stays held: it is of a process that is gone, and may be for others of its
    /// entries, which come later.
    pub(crate) keep: bool,
}

/// Units that a holder gives back to the lots that they are of.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) holder: Holder,
    pub(crate) tenant: TenantId,
    pub(crate) feature: Arc<str>,
    /// At most so many; `None` for all.
    pub(crate) units: Option<u64>,
}

/// Units that a holder asks for.
#[derive(Clone, Debug)]
pub(crate) struct LeaseAsk {
    pub(crate) holder: Holder,
    pub(crate) tenant: TenantId,
    pub(crate) feature: Arc<str>,
    pub(crate) lots: Arc<[LotSpec]>,
    pub(crate) units: Units,
    /// For a reservation: it is given back by itself after this time. A process has none, and says that it lives by
    /// `owners::heartbeat` before it leases.
    pub(crate) expires_in: Option<Duration>,
}

/// How many units a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Units {
    /// A tranche that serves at least so many waiting units where there are as many.
    Tranche {
        /// Units that the request needs that asks; without as many it is given none.
        least: u64,
        /// Units that requests wait for.
        waiting: u64,
    },
    /// Exactly so many, or none.
    Exactly(u64),
}

/// The answer to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leased {
    pub(crate) units: u64,
    /// What the lots have left that nobody holds, this lease taken off.
    pub(crate) left: u64,
}

/// What a transaction did.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// One for each entry.
    pub(crate) outcomes: Vec<Outcome>,
    /// One for each lease. An owner that has no row in `owners` gets nothing: it was never there, or what it held was given
    /// back, and has to say first that it lives.
    pub(crate) leased: Vec<Leased>,
}
