use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;

use super::Gate;
use crate::billing::Use;
use crate::metering::MAX_UNITS;
use crate::quota::Hold;
use crate::{Error, IdempotencyKey};

/// The most units that one request can use: what one event can measure.
const MOST: u64 = MAX_UNITS.cast_unsigned();

/// Nobody has said how much was used.
const UNSAID: u64 = u64::MAX;
/// Settled or given back.
const CLOSED: u64 = u64::MAX - 1;

/// Units of a metered feature that are reserved for a request; `0` are, too. Shared by the request's extensions, the handler
/// and the meter; settled once, or given back, at the latest when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Reservation(Arc<Reserved>);

#[derive(Debug)]
struct Reserved {
    gate: Arc<Gate>,
    hold: Hold,
    /// As it was reserved: the hold changes.
    units: u64,
    /// What the client sent.
    key: Option<IdempotencyKey>,
    at: Timestamp,
    /// Of several meters, one settles it.
    claimed: AtomicBool,
    /// What the handler says it was. Whoever closes it is the one who may change the hold.
    said: AtomicU64,
}

/// How much was used, as far as the meter knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settlement {
    /// Units, unless the handler has said how many; `None` for what was reserved.
    pub(crate) units: Option<u64>,
    /// Whether all that the client asked for was delivered. What was not does not use up its idempotency key: the client
    /// asks again, and gets it all.
    pub(crate) whole: bool,
    /// The members of the use, as the text of a JSON object.
    pub(crate) data: Option<Box<str>>,
}

impl Reservation {
    pub(crate) fn new(gate: Arc<Gate>, hold: Hold, key: Option<IdempotencyKey>, at: Timestamp) -> Self {
        let units = hold.units();
        let (claimed, said) = (AtomicBool::new(false), AtomicU64::new(UNSAID));
        Self(Arc::new(Reserved { gate, hold, units, key, at, claimed, said }))
    }

    /// By which it was reserved.
    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// Units that were reserved.
    pub(crate) fn units(&self) -> u64 {
        self.0.units
    }

    /// Makes the caller the one who settles it; `None` if somebody else is.
    pub(crate) fn claim(&self) -> Option<Claim> {
        (!self.0.claimed.swap(true, Ordering::AcqRel)).then(|| Claim(self.clone()))
    }

    /// Says how much was used, in place of what was said before; answers whether that was in time.
    pub(crate) fn say(&self, units: u64) -> bool {
        let open = |said| (said != CLOSED).then_some(units.min(MOST));
        self.0.said.fetch_update(Ordering::AcqRel, Ordering::Acquire, open).is_ok()
    }

    fn settle(&self, settlement: Settlement) -> Result<(), Error> {
        let Reserved { gate, hold, key, at, .. } = &*self.0;
        let said = match self.close() {
            None => return Ok(()),
            Some(UNSAID) => None,
            Some(units) => Some(units),
        };
        let units = said.or(settlement.units).unwrap_or(hold.units()).min(MOST);
        if units == 0 {
            hold.release();
            return Ok(());
        }
        let missing = hold.resize(units);
        if missing > 0 {
            tracing::debug!(feature = gate.feature(), units, missing, "more was used than is left; it is counted");
        }
        let key = key.filter(|_| settlement.whole).unwrap_or_else(IdempotencyKey::unique);
        let outcome = gate.billing().settle(hold, Use { key, at: *at, units, data: settlement.data });
        // Spent if that went well.
        hold.release();
        outcome
    }

    fn release(&self) {
        if self.close().is_some() {
            self.0.hold.release();
        }
    }

    /// What was said; `None` if it was closed before.
    fn close(&self) -> Option<u64> {
        Some(self.0.said.swap(CLOSED, Ordering::AcqRel)).filter(|said| *said != CLOSED)
    }
}

/// The right to settle a reservation. What was not settled is given back when this is dropped, whoever else has a clone.
#[derive(Debug)]
pub(crate) struct Claim(Reservation);

impl Claim {
    /// What was reserved is used, or more or less of it. What was settled or given back before stays so.
    ///
    /// # Errors
    ///
    /// It cannot be recorded; it is given back.
    pub(crate) fn settle(&self, settlement: Settlement) -> Result<(), Error> {
        self.0.settle(settlement)
    }

    /// What was reserved is not used.
    pub(crate) fn release(&self) {
        self.0.release();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.release();
    }
}
