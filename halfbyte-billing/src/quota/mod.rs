//! Hard limits: what this process holds of each quota, spent without asking anyone.

mod arithmetic;
mod cell;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use halfbyte_core::TenantId;

pub(crate) use self::arithmetic::tranche;
pub(crate) use self::cell::{Cell, Hold, MeteredFeature, Quota};
use crate::Period;

/// A cell that was not used for so many rounds of the sweep gives back what it has.
const IDLE_ROUNDS: u64 = 3;

/// A change of plan changes the limit, and with it the key: what was leased under the old one falls idle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    feature: Arc<str>,
    period: Period,
    limit: u64,
}

/// All cells of this process.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    cells: RwLock<HashMap<Key, Arc<Cell>>>,
    round: AtomicU64,
}

impl Cells {
    /// The cell of a quota, made if there is none.
    pub(crate) fn cell(
        &self,
        tenant: &TenantId,
        metered: &Arc<MeteredFeature>,
        period: Period,
        limit: u64,
    ) -> Arc<Cell> {
        let key = Key { tenant: tenant.clone(), feature: metered.feature.name.clone(), period, limit };
        let known = self.cells.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let cell = known.unwrap_or_else(|| {
            let quota = Quota { tenant: tenant.clone(), metered: metered.clone(), period, limit };
            let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
            cells.entry(key).or_insert_with(|| Arc::new(Cell::new(quota))).clone()
        });
        cell.use_in(self.round.load(Ordering::Relaxed));
        cell
    }

    /// Forgets cells that hold nothing and that nobody uses, and answers those that have been idle and still have something.
    pub(crate) fn sweep(&self) -> Vec<Arc<Cell>> {
        let round = self.round.fetch_add(1, Ordering::Relaxed) + 1;
        let mut idle = Vec::new();
        self.cells.write().unwrap_or_else(PoisonError::into_inner).retain(|_, cell| {
            if round.saturating_sub(cell.used_in()) < IDLE_ROUNDS {
                return true;
            }
            if cell.available() > 0 {
                idle.push(cell.clone());
            }
            // Cells are handed out under this lock only: one that nobody else has cannot come to hold anything.
            cell.held() > 0 || cell.available() > 0 || Arc::strong_count(cell) > 1
        });
        idle
    }

    /// All cells, for giving everything back.
    pub(crate) fn all(&self) -> Vec<Arc<Cell>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalog, Per};

    fn metered() -> Arc<MeteredFeature> {
        let text = "[products.p]\n[meters.m]\nproduct = \"p\"\n[features.f]\nproduct = \"p\"\nmeter = \"m\"\n";
        let catalog = Catalog::parse("c.toml", text).expect("good");
        let feature = catalog.feature("f").expect("there").clone();
        Arc::new(MeteredFeature { meter: feature.meter.clone().expect("metered"), feature })
    }

    fn cell(cells: &Cells, limit: u64) -> Arc<Cell> {
        let tenant = TenantId::new("acme").expect("valid");
        cells.cell(&tenant, &metered(), Period::containing(jiff::Timestamp::UNIX_EPOCH, Per::Month), limit)
    }

    #[test]
    fn a_reservation_that_is_dropped_is_put_back_and_one_that_is_spent_is_not() {
        let cell = cell(&Cells::default(), 10);
        cell.deposit(2);
        let (first, second) = (cell.reserve(1).expect("there are two"), cell.reserve(1).expect("there is one"));
        assert!(cell.reserve(1).is_none());
        drop(first);
        second.spend();
        assert_eq!(cell.available(), 1);
    }

    #[test]
    fn cells_that_fall_idle_are_told_and_then_forgotten() {
        let cells = Cells::default();
        cell(&cells, 10).deposit(4);
        assert!(cells.sweep().is_empty());
        assert!(cells.sweep().is_empty());
        let idle = cells.sweep();
        assert_eq!(idle.iter().map(|cell| cell.withdraw()).sum::<u64>(), 4);
        drop(idle);
        cells.sweep();
        assert!(cells.all().is_empty());
    }

    #[test]
    fn a_cell_in_use_is_never_forgotten() {
        let cells = Cells::default();
        let in_use = cell(&cells, 10);
        (0..10).for_each(|_| drop(cells.sweep()));
        assert!(Arc::ptr_eq(&in_use, &cell(&cells, 10)));
        assert!(!Arc::ptr_eq(&in_use, &cell(&cells, 20)), "another limit is another cell");
    }
}
