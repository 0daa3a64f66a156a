//! The part of one quota that this process holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::TenantId;
use tokio::time::Instant;

use crate::{Feature, Period};

/// For so long after the store said that nothing is left it is not asked again.
const EXHAUSTED_FOR: Duration = Duration::from_millis(250);

/// A metered feature, by the names that its use is recorded under.
#[derive(Debug)]
pub(crate) struct MeteredFeature {
    pub(crate) feature: Feature,
    pub(crate) meter: Arc<str>,
}

/// Which quota: of whom, for what, in which period, up to how much.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    pub(crate) tenant: TenantId,
    pub(crate) metered: Arc<MeteredFeature>,
    pub(crate) period: Period,
    pub(crate) limit: u64,
}

/// What this process holds of a quota. At any time the store counts as leased what is available here, reserved by
/// requests in flight, or settled and not yet committed.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) quota: Quota,
    available: AtomicU64,
    /// What the store has as leased by this process. The committer's alone.
    held: AtomicU64,
    /// Requests that wait for a tranche.
    waiting: AtomicU64,
    /// The round of the sweep in which it was last used.
    used_in: AtomicU64,
    exhausted_until: Mutex<Option<Instant>>,
    /// Only one request at a time asks the store; the others wait for it.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl Cell {
    pub(crate) fn new(quota: Quota) -> Self {
        Self {
            quota,
            available: AtomicU64::new(0),
            held: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            used_in: AtomicU64::new(0),
            exhausted_until: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Takes `units` out of what is here, if there are as many.
    pub(crate) fn reserve(self: &Arc<Self>, units: u32) -> Option<Hold> {
        let spend = |available: u64| available.checked_sub(u64::from(units));
        self.available.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend).ok()?;
        Some(Hold { cell: self.clone(), units })
    }

    /// Puts in units that the store has given.
    pub(crate) fn deposit(&self, units: u64) {
        self.available.fetch_add(units, Ordering::AcqRel);
    }

    /// Takes out all that is available, to give it back to the store.
    pub(crate) fn withdraw(&self) -> u64 {
        self.available.swap(0, Ordering::AcqRel)
    }

    pub(crate) fn available(&self) -> u64 {
        self.available.load(Ordering::Acquire)
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub(crate) fn set_held(&self, units: u64) {
        self.held.store(units, Ordering::Relaxed);
    }

    pub(crate) fn used_in(&self) -> u64 {
        self.used_in.load(Ordering::Relaxed)
    }

    pub(crate) fn use_in(&self, round: u64) {
        self.used_in.store(round, Ordering::Relaxed);
    }

    /// Counts a request that waits for a tranche, as long as the answer lives.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether the store has just said that nothing is left.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted_until().is_some_and(|until| Instant::now() < until)
    }

    /// Remembers what the store said.
    pub(crate) fn set_exhausted(&self, exhausted: bool) {
        *self.exhausted_until() = exhausted.then(|| Instant::now() + EXHAUSTED_FOR);
    }

    fn exhausted_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.exhausted_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that waits for a tranche.
pub(crate) struct Waiting<'a>(&'a AtomicU64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Units that one request has reserved: spent, or put back when it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    cell: Arc<Cell>,
    units: u32,
}

impl Hold {
    pub(crate) fn new(cell: Arc<Cell>, units: u32) -> Self {
        Self { cell, units }
    }

    pub(crate) fn cell(&self) -> &Arc<Cell> {
        &self.cell
    }

    pub(crate) fn units(&self) -> u32 {
        self.units
    }

    /// The units are used: they stay leased until the store has counted them.
    pub(crate) fn spend(mut self) {
        self.units = 0;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.units > 0 {
            self.cell.deposit(self.units.into());
        }
    }
}
