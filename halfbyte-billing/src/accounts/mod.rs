//! What every tenant may do, kept in memory and read without waiting for anyone.

mod grants;
mod live;
mod offered;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use halfbyte_core::TenantId;
use jiff::Timestamp;
use tokio::time::Instant;

pub(crate) use self::grants::{Found, What};
use self::grants::{Granted, Grants, Key, Unmetered};
pub(crate) use self::live::{DEMAND_GAP, live};
use self::offered::{Offered, Versions};
use crate::account::{Account, Offers, Right};
use crate::quota::{Cells, Metered};
use crate::{Basis, Catalog, Feature};

/// So many parts are changed independently: a change copies one part and not all customers.
const SHARDS: usize = 256;
/// A copy of the accounts this young is what the store has.
pub(crate) const LIVE_FOR: Duration = Duration::from_secs(3);
/// An older copy is not decided by.
pub(crate) const USABLE_FOR: Duration = Duration::from_secs(300);

/// The accounts that the store has.
type Shard = HashMap<TenantId, Arc<Account>>;

/// Which product's feature a gate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FeatureIndex(usize);

impl FeatureIndex {
    pub(crate) fn get(self) -> usize {
        self.0
    }
}

/// All tenants that have an account or have asked for something.
pub(crate) struct Accounts {
    shards: Box<[ArcSwap<Shard>]>,
    grants: Grants,
    subjects: ArcSwap<HashMap<Box<str>, TenantId>>,
    offered: ArcSwap<Offered>,
    /// The features that gates have been made for.
    features: ArcSwap<Vec<Arc<Watched>>>,
    pub(crate) cells: Arc<Cells>,
    /// The revision of the store that this is of.
    revision: AtomicI64,
    /// Rises when all rights are to be computed anew.
    epoch: AtomicU64,
    started: Instant,
    /// Milliseconds after `started` at which the store last confirmed it; 0 before the first time.
    confirmed: AtomicU64,
    writing: Mutex<()>,
}

/// A feature that a gate is for.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) feature: Feature,
    pub(crate) metered: Option<Arc<Metered>>,
}

impl Accounts {
    pub(crate) fn new(catalog: Catalog, cells: Arc<Cells>) -> Self {
        Self {
            shards: std::iter::repeat_with(ArcSwap::default).take(SHARDS).collect(),
            grants: Grants::new(),
            subjects: ArcSwap::default(),
            offered: ArcSwap::from_pointee(Offered::new(catalog)),
            features: ArcSwap::default(),
            cells,
            revision: AtomicI64::new(0),
            epoch: AtomicU64::new(0),
            started: Instant::now(),
            confirmed: AtomicU64::new(0),
            writing: Mutex::new(()),
        }
    }

    /// The catalogue in force.
    pub(crate) fn catalog(&self) -> Catalog {
        self.offered.load().catalog().clone()
    }

    /// Another catalogue is in force: every right is computed anew.
    pub(crate) fn set_catalog(&self, catalog: Catalog) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.offered.store(Arc::new(self.offered.load().with_catalog(catalog)));
        self.renew();
    }

    /// Every right is computed anew when it is next asked for.
    pub(crate) fn renew(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }

    /// The index of a feature, given at its first gate.
    pub(crate) fn watch(&self, feature: &Feature, metered: Option<Arc<Metered>>) -> FeatureIndex {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.features.load_full();
        if let Some(index) = known.iter().position(|watched| watched.feature == *feature) {
            return FeatureIndex(index);
        }
        let mut features = (*known).clone();
        features.push(Arc::new(Watched { feature: feature.clone(), metered }));
        let index = FeatureIndex(features.len() - 1);
        self.features.store(Arc::new(features));
        index
    }

    /// What `tenant` may do with a feature now: a few reads of memory unless it has changed since it was last asked.
    pub(crate) fn granted(&self, tenant: &TenantId, index: FeatureIndex, now: Timestamp) -> Found {
        let epoch = self.epoch.load(Ordering::Acquire);
        let key = self.grants.key(tenant, index);
        self.grants.find(&key, now, epoch).unwrap_or_else(|| self.grant(&key, now, epoch))
    }

    /// Computes what a tenant may do, and remembers it.
    #[cold]
    fn grant(&self, key: &Key<'_>, now: Timestamp, epoch: u64) -> Found {
        let features = self.features.load();
        let watched = &features[key.index.0];
        loop {
            let account = self.account(key.tenant);
            let (right, until) = self.right_until(account.as_deref(), &watched.feature, now);
            let mut place = self.grants.lock(key);
            // Had the account changed meanwhile, what is remembered now would be outdated by nobody.
            if !is_same(&account, &self.account(key.tenant)) {
                continue;
            }
            // Another thread may have been faster: two cells of one right would share nothing.
            if let Some(found) = place.find(now, epoch) {
                return found;
            }
            let before = place.cell();
            let other = match (right, &watched.metered) {
                (Right::Metered(right), Some(metered)) => {
                    let cell = match &before {
                        // What it holds stays where it is.
                        Some(cell) if cell.right == right && !cell.is_lost() => cell.clone(),
                        _ => self.cells.make(key.tenant.clone(), key.index.0, metered.clone(), right),
                    };
                    if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, &cell)) {
                        self.cells.retire(&before);
                    }
                    return place.set_cell(cell, until, epoch);
                }
                (Right::Included, _) => Unmetered::Included,
                (Right::Value(value), _) => Unmetered::Value(value),
                (Right::Unpaid, _) => Unmetered::Unpaid,
                (Right::Metered(_), None) | (Right::None, _) => Unmetered::Nothing,
            };
            let found = place.set_other(Granted::new(key, other), until, epoch);
            if let Some(before) = before {
                self.cells.retire(&before);
            }
            return found;
        }
    }

    /// What an account gives, and until when that is so.
    fn right_until(&self, account: Option<&Account>, feature: &Feature, now: Timestamp) -> (Right, Timestamp) {
        let offered = self.offered.load();
        match account {
            Some(account) => account.right_until(feature, now, &**offered),
            None => {
                let right = crate::account::default_right(offered.default_plan().as_deref(), feature, now);
                let until = if let Right::Metered(metered) = &right { metered.until } else { Timestamp::MAX };
                (right, until)
            }
        }
    }

    /// What `tenant` had of a feature at `at`, as it is to be charged at `now`; computed and not remembered: for events of any
    /// time and any product. Answers also the instant for which its lots are said to be so.
    pub(crate) fn right(
        &self,
        tenant: &TenantId,
        feature: &Feature,
        at: Timestamp,
        now: Timestamp,
    ) -> (Right, Timestamp) {
        let (shard, offered) = (self.shard(tenant).load(), self.offered.load());
        match shard.get(tenant) {
            Some(account) => account.right_in_retrospect(feature, at, now, &**offered),
            None => (crate::account::default_right(offered.default_plan().as_deref(), feature, at), at),
        }
    }

    /// Who pays for `subject`: the tenant whose alias it is, or the tenant of that name.
    pub(crate) fn payer(&self, subject: &str) -> Option<TenantId> {
        let aliases = self.subjects.load();
        aliases.get(subject).cloned().or_else(|| TenantId::new(subject).ok())
    }

    /// How old this copy of the store is.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.age_at(Instant::now())
    }

    /// As [`age`](Self::age), for whoever has looked at the clock.
    pub(crate) fn age_at(&self, now: Instant) -> Option<Duration> {
        let confirmed = self.confirmed.load(Ordering::Acquire);
        let since = Duration::from_millis(confirmed);
        (confirmed > 0).then(|| now.saturating_duration_since(self.started).saturating_sub(since))
    }

    /// What it is worth at `now`.
    pub(crate) fn basis_at(&self, now: Instant) -> Basis {
        match self.age_at(now) {
            Some(age) if age <= LIVE_FOR => Basis::Live,
            Some(age) if age <= USABLE_FOR => Basis::Stale(age),
            _ => Basis::Fallback,
        }
    }

    /// Whether the subscription of `tenant` is paused at `at`.
    pub(crate) fn is_paused(&self, tenant: &TenantId, at: Timestamp) -> bool {
        self.shard(tenant).load().get(tenant).is_some_and(|account| account.is_paused(at))
    }

    /// The plan versions that accounts have and that are not known yet.
    fn unknown_versions(&self, accounts: &[Account]) -> Vec<(Box<str>, u32)> {
        let offered = self.offered.load();
        let wanted = accounts.iter().flat_map(Account::plans);
        wanted
            .filter(|plan| offered.version(&plan.plan, plan.version).is_none())
            .map(|plan| (plan.plan.clone(), plan.version))
            .collect()
    }

    fn shard(&self, tenant: &TenantId) -> &ArcSwap<Shard> {
        // A few of the last bytes tell most names apart; the map hashes all of them.
        let tail = tenant.as_str().bytes().rev().take(8);
        let mixed = tail.fold(0_usize, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(usize::from(byte)));
        &self.shards[mixed % SHARDS]
    }

    fn account(&self, tenant: &TenantId) -> Option<Arc<Account>> {
        self.shard(tenant).load().get(tenant).cloned()
    }

    /// Takes over what has changed in the store.
    fn apply(&self, revision: i64, changed: Vec<Account>, versions: Versions) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !versions.is_empty() {
            self.offered.store(Arc::new(self.offered.load().with_versions(versions)));
        }
        let (mut aliases, mut tenants) = (Vec::new(), Vec::new());
        let mut shards: HashMap<usize, Shard> = HashMap::new();
        for account in changed {
            let tenant = account.tenant().clone();
            let place = self.shard(&tenant);
            aliases.push((tenant.clone(), account.subjects().map(Box::from).collect::<BTreeSet<Box<str>>>()));
            let index = self.shards.iter().position(|shard| std::ptr::eq(shard, place)).unwrap_or(0);
            let shard = shards.entry(index).or_insert_with(|| (*place.load_full()).clone());
            tenants.push(tenant.clone());
            shard.insert(tenant, Arc::new(account));
        }
        for (index, shard) in shards {
            self.shards[index].store(Arc::new(shard));
        }
        // After the accounts are there: what is computed from now on is of them.
        let features = self.features.load().len();
        for (tenant, index) in tenants.iter().flat_map(|tenant| (0..features).map(move |index| (tenant, index))) {
            self.grants.outdate(&self.grants.key(tenant, FeatureIndex(index)));
        }
        self.rename(aliases);
        self.revision.store(revision, Ordering::Release);
    }

    /// Tenants have these names besides their own, and no others any more.
    fn rename(&self, aliases: Vec<(TenantId, BTreeSet<Box<str>>)>) {
        let known = self.subjects.load_full();
        let had: HashSet<_> = known.values().collect();
        if aliases.iter().all(|(tenant, names)| names.is_empty() && !had.contains(tenant)) {
            return;
        }
        let of: HashMap<_, _> = aliases.iter().map(|(tenant, names)| (tenant, names)).collect();
        let mut subjects = (*known).clone();
        subjects.retain(|name, tenant| of.get(tenant).is_none_or(|names| names.contains(name)));
        for (tenant, names) in aliases {
            subjects.extend(names.into_iter().map(|name| (name, tenant.clone())));
        }
        self.subjects.store(Arc::new(subjects));
    }

    /// The store has just said that this is what it has.
    fn confirm(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.confirmed.store(now.max(1), Ordering::Release);
    }
}

/// Whether both are the same reading of the account.
fn is_same(one: &Option<Arc<Account>>, other: &Option<Arc<Account>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("revision", &self.revision()).finish_non_exhaustive()
    }
}
