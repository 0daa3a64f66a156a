//! What this process holds of each quota, spent without asking anyone.

mod cell;
mod grant;
mod moments;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use halfbyte_core::TenantId;

pub(crate) use self::cell::{Cell, Hold, Metered};
pub(crate) use self::grant::Grant;
pub(crate) use self::moments::Moments;
use crate::account::MeteredRight;

/// A cell that was not used for so many rounds of the sweep gives back what it has.
const IDLE_ROUNDS: u64 = 3;

/// The cells of this process that hold something or are about to. Requests find theirs by their tenant's account and not
/// here: this is for whoever gives back and tidies up.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    cells: Mutex<HashMap<i64, Arc<Cell>>>,
    /// Others have taken their place: what they have is given back at once.
    retired: Mutex<Vec<Arc<Cell>>>,
    last: AtomicI64,
    pub(crate) moments: Arc<Moments>,
}

impl Cells {
    /// A new cell, of the feature with that index. Its grant does not hold yet.
    pub(crate) fn make(
        &self,
        tenant: TenantId,
        feature: usize,
        metered: Arc<Metered>,
        right: MeteredRight,
    ) -> Arc<Cell> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let grant = Grant::new(&tenant, feature);
        Arc::new(Cell::new(id, tenant, grant, metered, right, self.moments.clone()))
    }

    /// Keeps an eye on a cell that is about to hold something.
    pub(crate) fn register(&self, cell: &Arc<Cell>) {
        self.cells().entry(cell.id).or_insert_with(|| cell.clone());
    }

    /// Forgets cells that hold nothing, and answers those that have been idle and still have something.
    pub(crate) fn sweep(&self) -> Vec<Arc<Cell>> {
        let round = self.moments.next_round();
        let mut idle = Vec::new();
        self.cells().retain(|_, cell| {
            if round.saturating_sub(cell.used_in()) < IDLE_ROUNDS {
                return true;
            }
            if cell.available() > 0 {
                idle.push(cell.clone());
            }
            cell.held() > 0 || cell.available() > 0 || cell.waiting() > 0
        });
        idle
    }

    /// Another cell has taken the place of this one.
    pub(crate) fn retire(&self, cell: &Arc<Cell>) {
        if cell.available() > 0 {
            self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(cell.clone());
        }
    }

    /// Takes the cells that were retired.
    pub(crate) fn retired(&self) -> Vec<Arc<Cell>> {
        std::mem::take(&mut self.retired.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All cells, for giving everything back.
    pub(crate) fn all(&self) -> Vec<Arc<Cell>> {
        self.cells().values().cloned().collect()
    }

    /// Forgets all of them: what they held is not this process's any more.
    pub(crate) fn lose(&self) {
        for (_, cell) in self.cells().drain() {
            cell.lose();
        }
    }

    fn cells(&self) -> MutexGuard<'_, HashMap<i64, Arc<Cell>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
