//! What was computed of what tenants may do, found by as few reads of memory as can be: a decision in a process with very
//! many tenants costs what its misses of the processor's caches cost. There are two of them, one after the other: the
//! slot, and what it points to, which has the tenant's name, its end and the units together.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use halfbyte_core::TenantId;
use jiff::Timestamp;

use super::FeatureIndex;
use crate::quota::{Cell, Grant};

/// So many parts are changed, and grow, independently.
const SHARDS: usize = 256;
/// Slots of a part that nobody has asked yet.
const FEW: usize = 4;

/// What a tenant may do with a feature.
#[derive(Debug)]
pub(crate) enum What<'a> {
    Nothing,
    /// Nothing until something is paid.
    Unpaid,
    Included,
    Value(&'a str),
    Metered(&'a Arc<Cell>),
}

/// What a tenant may do with a feature that it does not use by units.
#[derive(Clone, Debug)]
pub(super) enum Unmetered {
    Nothing,
    Unpaid,
    Included,
    Value(Box<str>),
}

/// One that was granted.
#[derive(Debug)]
pub(crate) struct Granted {
    grant: Grant,
    what: Unmetered,
}

/// Keeps what one decision reads, without touching its reference count: that would write to memory which others read.
pub(crate) enum Found {
    Metered(Guard<Option<Arc<Cell>>>),
    Other(Guard<Option<Arc<Granted>>>),
}

/// Whose grant of which feature, and where to look for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) index: FeatureIndex,
    hash: u64,
}

/// The grants of all tenants that have asked, by tenant and feature. Reading takes no lock; there is nothing to remove, for
/// tenants stay.
#[derive(Debug)]
pub(super) struct Grants {
    shards: Box<[Shard]>,
    /// Seeded at random: who chooses names of tenants cannot make them meet.
    hasher: RandomState,
}

#[derive(Debug)]
struct Shard {
    table: ArcSwap<Table>,
    /// How many slots are taken; whoever changes anything here holds it.
    taken: Mutex<usize>,
}

/// Open addressing: a power of two of slots, at most half of which are taken, and what finds its own slot taken is in the
/// next one that was free.
#[derive(Debug)]
struct Table(Box<[Slot]>);

/// The hash stands beside the pointers, so that only what is looked for is read, and nearly always found at the first look.
#[derive(Debug, Default)]
struct Slot {
    /// 0 while it is free. Written once, after what it is of.
    hash: AtomicU64,
    /// One of them is there, or both, of which one holds at most.
    cell: ArcSwapOption<Cell>,
    other: ArcSwapOption<Granted>,
}

impl Found {
    pub(super) fn metered(cell: Arc<Cell>) -> Self {
        Found::Metered(Guard::from_inner(Some(cell)))
    }

    pub(super) fn other(granted: Arc<Granted>) -> Self {
        Found::Other(Guard::from_inner(Some(granted)))
    }

    pub(crate) fn what(&self) -> What<'_> {
        match self {
            Found::Metered(cell) => cell.as_ref().map_or(What::Nothing, What::Metered),
            Found::Other(granted) => match granted.as_ref().map(|granted| &granted.what) {
                None | Some(Unmetered::Nothing) => What::Nothing,
                Some(Unmetered::Unpaid) => What::Unpaid,
                Some(Unmetered::Included) => What::Included,
                Some(Unmetered::Value(value)) => What::Value(value),
            },
        }
    }
}

impl Granted {
    pub(super) fn new(key: &Key<'_>, what: Unmetered) -> Self {
        Self { grant: Grant::new(key.tenant, key.index.0), what }
    }
}

impl Grants {
    pub(super) fn new() -> Self {
        let shard = || Shard { table: ArcSwap::from_pointee(Table::new(FEW)), taken: Mutex::new(0) };
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), hasher: RandomState::new() }
    }

    pub(super) fn key<'a>(&self, tenant: &'a TenantId, index: FeatureIndex) -> Key<'a> {
        // 0 is a free slot's.
        Key { tenant, index, hash: self.hasher.hash_one((tenant.as_str(), index.0)).max(1) }
    }

    /// What was computed, if it still holds.
    pub(super) fn find(&self, key: &Key<'_>, now: Timestamp, epoch: u64) -> Option<Found> {
        self.shard(key).table.load().find(key, now, epoch)
    }

    /// The right to change what is granted to `key`; others who want to change it wait.
    pub(super) fn lock<'a>(&'a self, key: &'a Key<'a>) -> Place<'a> {
        let shard = self.shard(key);
        Place { shard, key, taken: shard.taken.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// What was computed holds no longer, and stays there to be compared with.
    pub(super) fn outdate(&self, key: &Key<'_>) {
        self.lock(key).outdate();
    }

    fn shard(&self, key: &Key<'_>) -> &Shard {
        // The last bits choose the slot.
        &self.shards[usize::from(key.hash.to_be_bytes()[0])]
    }
}

/// Where what one tenant has of one feature is changed.
pub(super) struct Place<'a> {
    shard: &'a Shard,
    key: &'a Key<'a>,
    taken: MutexGuard<'a, usize>,
}

impl Place<'_> {
    /// What was computed, if it still holds.
    pub(super) fn find(&self, now: Timestamp, epoch: u64) -> Option<Found> {
        self.shard.table.load().find(self.key, now, epoch)
    }

    /// The cell of the tenant, whether it still holds or not.
    pub(super) fn cell(&self) -> Option<Arc<Cell>> {
        self.shard.table.load().slot(self.key)?.cell.load_full()
    }

    /// It is metered, by `cell`.
    pub(super) fn set_cell(&mut self, cell: Arc<Cell>, until: Timestamp, epoch: u64) -> Found {
        cell.grant.set(until, epoch);
        self.set(Some(cell.clone()), None);
        Found::metered(cell)
    }

    /// It is not metered, or no longer.
    pub(super) fn set_other(&mut self, granted: Granted, until: Timestamp, epoch: u64) -> Found {
        granted.grant.set(until, epoch);
        let granted = Arc::new(granted);
        self.set(None, Some(granted.clone()));
        Found::other(granted)
    }

    fn outdate(&mut self) {
        if let Some(slot) = self.shard.table.load().slot(self.key) {
            slot.cell.load().as_ref().inspect(|cell| cell.grant.outdate());
            slot.other.load().as_ref().inspect(|granted| granted.grant.outdate());
        }
    }

    fn set(&mut self, cell: Option<Arc<Cell>>, other: Option<Arc<Granted>>) {
        let table = self.shard.table.load();
        if let Some(slot) = table.slot(self.key) {
            slot.set(cell, other);
            return;
        }
        *self.taken += 1;
        if *self.taken * 2 <= table.0.len() {
            table.put(self.key.hash, cell, other);
            return;
        }
        let mut larger = Table::new(table.0.len() * 2);
        for slot in table.0.iter().filter(|slot| slot.hash() != 0) {
            larger.take_over(slot);
        }
        larger.put(self.key.hash, cell, other);
        self.shard.table.store(Arc::new(larger));
    }
}

impl Table {
    fn new(slots: usize) -> Self {
        Self(std::iter::repeat_with(Slot::default).take(slots).collect())
    }

    fn find(&self, key: &Key<'_>, now: Timestamp, epoch: u64) -> Option<Found> {
        let holds = |grant: &Grant| grant.is_of(key.tenant, key.index.0) && grant.holds(now, epoch);
        for slot in self.taken_from(key.hash).filter(|slot| slot.hash() == key.hash) {
            let cell = slot.cell.load();
            if cell.as_ref().is_some_and(|cell| holds(&cell.grant)) {
                return Some(Found::Metered(cell));
            }
            let other = slot.other.load();
            if other.as_ref().is_some_and(|granted| holds(&granted.grant)) {
                return Some(Found::Other(other));
            }
        }
        None
    }

    /// The slot of `key`; for whoever may change it.
    fn slot(&self, key: &Key<'_>) -> Option<&Slot> {
        let is_of = |grant: &Grant| grant.is_of(key.tenant, key.index.0);
        self.taken_from(key.hash).filter(|slot| slot.hash() == key.hash).find(|slot| {
            slot.cell.load().as_ref().is_some_and(|cell| is_of(&cell.grant))
                || slot.other.load().as_ref().is_some_and(|granted| is_of(&granted.grant))
        })
    }

    /// Into the first free slot; there is one.
    fn put(&self, hash: u64, cell: Option<Arc<Cell>>, other: Option<Arc<Granted>>) {
        let (before, after) = self.0.split_at(self.first(hash));
        if let Some(slot) = after.iter().chain(before).find(|slot| slot.hash() == 0) {
            slot.set(cell, other);
            slot.hash.store(hash, Ordering::Release);
        }
    }

    /// As [`put`](Self::put), of one that nobody reads yet: cheaper, for storing into what may be read waits for readers.
    fn take_over(&mut self, slot: &Slot) {
        let (hash, first) = (slot.hash(), self.first(slot.hash()));
        let (before, after) = self.0.split_at_mut(first);
        if let Some(free) = after.iter_mut().chain(before).find(|slot| slot.hash() == 0) {
            *free = Slot {
                hash: hash.into(),
                cell: ArcSwapOption::new(slot.cell.load_full()),
                other: ArcSwapOption::new(slot.other.load_full()),
            };
        }
    }

    /// The slots that have been taken where that of `hash` has to be.
    fn taken_from(&self, hash: u64) -> impl Iterator<Item = &Slot> {
        let (before, after) = self.0.split_at(self.first(hash));
        after.iter().chain(before).take_while(|slot| slot.hash() != 0)
    }

    /// Where one of `hash` is looked for first.
    fn first(&self, hash: u64) -> usize {
        usize::try_from(hash & (self.0.len() as u64 - 1)).unwrap_or(0)
    }
}

impl Slot {
    fn set(&self, cell: Option<Arc<Cell>>, other: Option<Arc<Granted>>) {
        if cell.is_some() || self.cell.load().is_some() {
            self.cell.store(cell);
        }
        if other.is_some() || self.other.load().is_some() {
            self.other.store(other);
        }
    }

    fn hash(&self) -> u64 {
        self.hash.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn tenant(number: usize) -> TenantId {
        // Some names are longer than what is kept beside the grant.
        TenantId::new(format!("tenant-{number}{}", "x".repeat(number % 60))).expect("valid")
    }

    fn value(found: Option<Found>) -> Option<String> {
        match found?.what() {
            What::Value(value) => Some(value.to_owned()),
            _ => None,
        }
    }

    fn put(grants: &Grants, key: &Key<'_>, value: &str) {
        grants.lock(key).set_other(Granted::new(key, Unmetered::Value(value.into())), Timestamp::MAX, 0);
    }

    fn found(grants: &Grants, tenant: &TenantId, index: usize) -> Option<String> {
        value(grants.find(&grants.key(tenant, FeatureIndex(index)), NOW, 0))
    }

    #[test]
    fn every_tenant_has_its_own_grant_of_each_feature_however_many_there_are() {
        let grants = Grants::new();
        for number in 0..20_000 {
            let tenant = tenant(number);
            assert_eq!(found(&grants, &tenant, 0), None);
            put(&grants, &grants.key(&tenant, FeatureIndex(0)), "before");
            put(&grants, &grants.key(&tenant, FeatureIndex(0)), &format!("zero {number}"));
            put(&grants, &grants.key(&tenant, FeatureIndex(1)), &format!("one {number}"));
        }
        for number in 0..20_000 {
            assert_eq!(found(&grants, &tenant(number), 0), Some(format!("zero {number}")));
            assert_eq!(found(&grants, &tenant(number), 1), Some(format!("one {number}")));
            assert_eq!(found(&grants, &tenant(number), 2), None);
        }
        let taken: usize = grants.shards.iter().map(|shard| *shard.taken.lock().expect("whole")).sum();
        assert_eq!(taken, 40_000, "one that is replaced takes no other slot");
    }

    #[test]
    fn grants_whose_hashes_are_equal_are_told_apart_by_tenant_and_feature() {
        let grants = Grants::new();
        let long = "c".repeat(200);
        let tenants = ["a", "b", &long, &format!("{long}d")].map(|name| TenantId::new(name).expect("valid"));
        // As if all of them had that of the last slot.
        let key = |number: usize, index| Key { tenant: &tenants[number], index: FeatureIndex(index), hash: u64::MAX };
        let all = || (0..tenants.len()).flat_map(|number| (0..3).map(move |index| (number, index)));
        for (number, index) in all() {
            assert_eq!(value(grants.find(&key(number, index), NOW, 0)), None);
            put(&grants, &key(number, index), &format!("{number} {index}"));
        }
        for (number, index) in all() {
            assert_eq!(value(grants.find(&key(number, index), NOW, 0)), Some(format!("{number} {index}")));
        }
    }

    #[test]
    fn what_is_outdated_is_not_found_until_it_is_computed_anew() {
        let (grants, tenant) = (Grants::new(), tenant(1));
        let key = grants.key(&tenant, FeatureIndex(0));
        grants.outdate(&key);
        put(&grants, &key, "before");
        assert_eq!(found(&grants, &tenant, 0).as_deref(), Some("before"));
        grants.outdate(&key);
        assert_eq!(found(&grants, &tenant, 0), None);
        put(&grants, &key, "after");
        assert_eq!(found(&grants, &tenant, 0).as_deref(), Some("after"));
    }

    #[test]
    fn who_reads_while_others_write_finds_what_was_there_and_never_another_ones() {
        let grants = Grants::new();
        let put = |number: usize| {
            let tenant = tenant(number);
            put(&grants, &grants.key(&tenant, FeatureIndex(0)), &number.to_string());
        };
        put(0);
        let growing = AtomicBool::new(true);
        thread::scope(|scope| {
            scope.spawn(|| {
                (1..30_000).for_each(put);
                growing.store(false, Ordering::Release);
            });
            let mut number = 0;
            while growing.load(Ordering::Acquire) {
                number = (number + 7919) % 30_000;
                assert_eq!(found(&grants, &tenant(0), 0).as_deref(), Some("0"));
                assert!(found(&grants, &tenant(number), 0).is_none_or(|value| value == number.to_string()));
            }
        });
    }
}
