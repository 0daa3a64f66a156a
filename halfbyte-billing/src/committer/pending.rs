//! What is in the journal and not yet in the store.

use std::mem::size_of;
use std::sync::Arc;

use jiff::Timestamp;

use crate::IdempotencyKey;
use crate::journal::{Item, Record, Use};
use crate::ledger::LotSpec;
use crate::metering::Measured;
use crate::quota::Cell;
use crate::store::Entry;

/// What waits for the store.
#[derive(Debug)]
pub(crate) enum Pending {
    Use(PendingUse),
    /// An event that came while the store could not be written.
    Event(Arc<Entry>),
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

impl Item for Pending {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Pending::Use(used) => Record::Use(used.record()).encode(out),
            Pending::Event(entry) => {
                let names = entry.measurements.iter().flat_map(|measurement| [&*measurement.meter, " "]);
                let (meters, json) = (names.collect::<String>(), entry.event.to_json());
                Record::Event { meters: &meters, json: &json }.encode(out);
            }
        }
    }

    fn size(&self) -> usize {
        let own = match self {
            // While nothing is known of an account, each use has a cell of its own.
            Pending::Use(used) => size_of::<Cell>() + used.data.as_ref().map_or(0, |data| data.len()),
            Pending::Event(entry) => size(entry),
        };
        size_of::<Self>() + own
    }
}

impl Pending {
    /// Which it is, for people: without what a client may have put into it.
    pub(crate) fn name(&self) -> String {
        match self {
            Pending::Use(used) => format!("{} of {}", used.cell.metered.feature.name, used.cell.tenant),
            Pending::Event(entry) => format!("{} of {}", entry.event.id, entry.event.source),
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

/// About how many bytes of memory an entry takes.
pub(super) fn size(entry: &Entry) -> usize {
    let event = &entry.event;
    let texts = [&event.source, &event.id, &event.kind, &event.subject, &event.data].map(|text| text.len());
    let measurements = entry.measurements.iter().map(|measurement| {
        let value = match &measurement.value {
            Measured::Unique(text) => text.len(),
            Measured::Amount(_) | Measured::Level(_) => 0,
        };
        size_of_val(measurement) + measurement.dimensions.len() + value
    });
    let charges =
        entry.charges.iter().map(|charge| size_of_val(charge) + charge.lots.iter().map(of_lot).sum::<usize>());
    size_of::<Entry>()
        + texts.iter().sum::<usize>()
        + entry.tenant.as_str().len()
        + entry.digest.len()
        + measurements.sum::<usize>()
        + charges.sum::<usize>()
}

fn of_lot(lot: &LotSpec) -> usize {
    let before = lot.rollover.iter().flat_map(|rollover| &rollover.previous);
    size_of_val(lot) + lot.key.len() + before.map(of_lot).sum::<usize>()
}
