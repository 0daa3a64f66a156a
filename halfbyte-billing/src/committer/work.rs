//! One transaction of the committer.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::Pending;
use crate::quota::Cell;
use crate::store::{Counted, Lease, count};

/// What one transaction is to do.
pub(super) struct Work<'a> {
    pub(super) owner: Uuid,
    /// Uses to count, each out of what its cell holds.
    pub(super) taken: &'a [Pending],
    /// Cells whose part in the store is to be written again.
    pub(super) dirty: &'a [Arc<Cell>],
    /// Cells that want a tranche.
    pub(super) leases: &'a [Arc<Cell>],
}

/// What it did, once it is committed.
#[derive(Default)]
pub(super) struct Done {
    pub(super) counted: Vec<Counted>,
    /// The units granted, one number for each lease.
    pub(super) granted: Vec<u64>,
    held: Held,
}

/// What each cell holds once the transaction is through.
#[derive(Default)]
struct Held(HashMap<usize, (Arc<Cell>, u64)>);

impl Held {
    fn of(&mut self, cell: &Arc<Cell>) -> &mut u64 {
        let address = Arc::as_ptr(cell) as usize;
        &mut self.0.entry(address).or_insert_with(|| (cell.clone(), cell.held())).1
    }
}

impl Work<'_> {
    /// Cells whose part in the store is not known if the transaction fails.
    pub(super) fn cells(&self) -> Vec<Arc<Cell>> {
        let taken = self.taken.iter().map(|pending| &pending.cell);
        let mut cells: Vec<_> = taken.chain(self.dirty).chain(self.leases).cloned().collect();
        cells.sort_by_key(|cell| Arc::as_ptr(cell) as usize);
        cells.dedup_by(|a, b| Arc::ptr_eq(a, b));
        cells
    }

    /// Does it, within the caller's transaction.
    pub(super) async fn run(&self, connection: &mut SqliteConnection) -> Result<Done, sqlx::Error> {
        let records: Vec<_> = self.taken.iter().map(Pending::record).collect();
        let mut done = Done { counted: count(connection, &records).await?, ..Done::default() };
        for pending in self.taken {
            // A use that was counted before leaves the tranche as well: its units are free for everybody again.
            let held = done.held.of(&pending.cell);
            *held = held.saturating_sub(pending.units.into());
        }
        self.dirty.iter().for_each(|cell| _ = done.held.of(cell));
        for (cell, held) in done.held.0.values() {
            self.lease(cell).hold(connection, *held).await?;
        }
        for cell in self.leases {
            let held = done.held.of(cell);
            let granted = self.lease(cell).grant(connection, *held, cell.waiting()).await?;
            *held += granted;
            // Written before the next is asked for: two features can share a meter.
            self.lease(cell).hold(connection, *held).await?;
            done.granted.push(granted);
        }
        Ok(done)
    }

    fn lease<'c>(&self, cell: &'c Cell) -> Lease<'c> {
        Lease { owner: self.owner, quota: &cell.quota }
    }
}

impl Done {
    /// The transaction is committed: the cells hold what the store says.
    pub(super) fn settle(&self) {
        self.held.0.values().for_each(|(cell, held)| cell.set_held(*held));
    }
}
