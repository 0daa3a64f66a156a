//! The part of one quota that this process holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use halfbyte_core::TenantId;
use tokio::time::Instant;

use super::{Grant, Moments};
use crate::account::{MeteredRight, Mode};
use crate::{Feature, Meter};

/// For so long after the store said that nothing is left it is not asked again. The conformance suite waits for a little longer.
const EXHAUSTED_FOR: Duration = Duration::from_millis(250);

/// A metered feature, and the meter that counts its use.
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) feature: Feature,
    pub(crate) meter: Meter,
}

/// What this process holds of what one tenant may use of one feature, as long as nothing about it changes.
///
/// At any time the store counts as held what is available here, reserved by requests in flight, or settled and not yet
/// committed.
///
/// What a decision reads stands at its beginning, as it is written here: two cache lines, and neighbours.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Cell {
    /// Whether it is still what the tenant may use.
    pub(crate) grant: Grant,
    available: AtomicU64,
    /// What nobody held when the store was last asked; before that, all that the right gives.
    left: AtomicU64,
    /// The moment until which it is believed that the store does not have `refused` units, as it has said.
    exhausted_until: AtomicU64,
    /// The round of the sweep in which it was last used.
    used_in: AtomicU64,
    moments: Arc<Moments>,
    mode: Mode,
    refused: AtomicU64,
    /// Units that requests wait for.
    waiting: AtomicU64,
    /// What the store has as held by this cell. The committer's alone.
    held: AtomicU64,
    /// What it held was taken back by others: another cell takes its place.
    lost: AtomicBool,
    /// Told apart from all others of this process; from 1.
    pub(crate) id: i64,
    pub(crate) tenant: TenantId,
    pub(crate) metered: Arc<Metered>,
    pub(crate) right: MeteredRight,
    /// Only one request at a time asks the store; the others wait for it.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl Cell {
    pub(crate) fn new(
        id: i64,
        tenant: TenantId,
        grant: Grant,
        metered: Arc<Metered>,
        right: MeteredRight,
        moments: Arc<Moments>,
    ) -> Self {
        let all = right.lots.iter().map(|lot| lot.amount).fold(0, u64::saturating_add);
        let used_in = AtomicU64::new(moments.round());
        Self {
            grant,
            available: AtomicU64::new(0),
            left: AtomicU64::new(all),
            exhausted_until: AtomicU64::new(0),
            used_in,
            moments,
            mode: right.mode,
            refused: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            held: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            id,
            tenant,
            metered,
            right,
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// What happens when nothing is left.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes `units` out of what is here, if there are as many and this process may still spend what it holds at `now`.
    pub(crate) fn reserve(self: &Arc<Self>, units: u64, now: Instant) -> Option<Hold> {
        self.touch();
        match self.mode {
            // Nothing limits it, so nothing is held.
            Mode::Soft | Mode::Unlimited => return Some(Hold::new(self.clone(), units, 0)),
            Mode::Hard | Mode::Prepaid => {}
        }
        if !self.moments.may_spend(now) {
            return None;
        }
        let spend = |available: u64| available.checked_sub(units);
        self.available.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend).ok()?;
        Some(Hold::new(self.clone(), units, units))
    }

    /// Whether what is used is taken out of what is held.
    fn is_limited(&self) -> bool {
        matches!(self.mode, Mode::Hard | Mode::Prepaid)
    }

    /// Takes out at most `units`; answers how many.
    fn take(&self, units: u64) -> u64 {
        if !self.moments.may_spend(Instant::now()) {
            return 0;
        }
        let spend = |available: u64| Some(available.saturating_sub(units));
        let before = self.available.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend).unwrap_or(0);
        before.min(units)
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

    /// Notes what the store said that nobody holds.
    pub(crate) fn set_left(&self, units: u64) {
        self.left.store(units, Ordering::Relaxed);
    }

    /// What is left as far as this process knows: here, and in the store when it was last asked. `None` if nothing
    /// limits what is let through.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self.mode {
            // What is let through in any case is not asked for in the store.
            Mode::Soft | Mode::Unlimited => None,
            Mode::Hard | Mode::Prepaid => {
                let left = self.left.load(Ordering::Relaxed);
                Some(left.saturating_add(self.available()))
            }
        }
    }

    /// What it held is not this process's any more.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.withdraw();
        self.set_held(0);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(crate) fn used_in(&self) -> u64 {
        self.used_in.load(Ordering::Relaxed)
    }

    /// Notes that it is used, for the sweep.
    pub(crate) fn touch(&self) {
        let round = self.moments.round();
        if self.used_in() != round {
            self.used_in.store(round, Ordering::Relaxed);
        }
    }

    /// Counts units that a request waits for, as long as the answer lives.
    pub(crate) fn wait(&self, units: u64) -> Waiting<'_> {
        self.waiting.fetch_add(units, Ordering::Relaxed);
        Waiting { cell: self, units }
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether the store has just said that it does not have as many.
    pub(crate) fn is_exhausted(&self, units: u64) -> bool {
        let until = self.exhausted_until.load(Ordering::Acquire);
        until > 0 && units >= self.refused.load(Ordering::Relaxed) && self.moments.of(Instant::now()) < until
    }

    /// Remembers how many units the store did not have, or that it may have some again.
    pub(crate) fn set_exhausted(&self, units: Option<u64>) {
        self.refused.store(units.unwrap_or(0), Ordering::Relaxed);
        let until = units.map_or(0, |_| self.moments.of(Instant::now() + EXHAUSTED_FOR).max(1));
        self.exhausted_until.store(until, Ordering::Release);
    }
}

/// A request that waits for units.
pub(crate) struct Waiting<'a> {
    cell: &'a Cell,
    units: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.cell.waiting.fetch_sub(self.units, Ordering::Relaxed);
    }
}

/// Units that one request has reserved: spent, or put back when it is released or dropped.
///
/// It changes through a shared reference, so that it need not be moved out of where clones of a request share it. Whoever
/// changes it sees to it that nobody else does.
#[derive(Debug)]
pub(crate) struct Hold {
    cell: Arc<Cell>,
    /// What the request is for.
    units: AtomicU64,
    /// So much of it was taken out of the cell.
    held: AtomicU64,
}

impl Hold {
    fn new(cell: Arc<Cell>, units: u64, held: u64) -> Self {
        Self { cell, units: AtomicU64::new(units), held: AtomicU64::new(held) }
    }

    /// Nothing yet, of `cell`.
    pub(crate) fn empty(cell: Arc<Cell>) -> Self {
        Self::new(cell, 0, 0)
    }

    /// Units that the store has just given, and that are in no cell yet.
    pub(crate) fn of_lease(cell: Arc<Cell>, units: u64) -> Self {
        Self::new(cell, units, units)
    }

    pub(crate) fn cell(&self) -> &Arc<Cell> {
        &self.cell
    }

    /// What it is for.
    pub(crate) fn units(&self) -> u64 {
        self.units.load(Ordering::Relaxed)
    }

    /// How much of that was taken out of the cell.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Makes it `units`: puts back what is too much, or takes what the cell has of what is missing. Answers what is
    /// still missing; nothing is where nothing limits it.
    pub(crate) fn resize(&self, units: u64) -> u64 {
        self.units.store(units, Ordering::Relaxed);
        let held = self.held();
        if units <= held {
            self.held.store(units, Ordering::Relaxed);
            self.cell.deposit(held - units);
            return 0;
        }
        if !self.cell.is_limited() {
            return 0;
        }
        let taken = self.cell.take(units - held);
        self.held.store(held + taken, Ordering::Relaxed);
        units - held - taken
    }

    /// Adds what another one of the same cell holds.
    pub(crate) fn join(&self, other: &Hold) {
        self.held.fetch_add(other.held.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The units are used: they stay held until the store has counted them.
    pub(crate) fn spend(&self) {
        self.held.store(0, Ordering::Relaxed);
    }

    /// The units are not used.
    pub(crate) fn release(&self) {
        self.cell.deposit(self.held.swap(0, Ordering::Relaxed));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}
