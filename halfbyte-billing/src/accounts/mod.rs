//! What every tenant may do, kept in memory and read without waiting for anyone.

mod customer;
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

pub(crate) use self::customer::{Customer, Granted, What};
pub(crate) use self::live::{DEMAND_GAP, live};
use self::offered::{Offered, Versions};
use crate::account::{Account, Offers, Right};
use crate::quota::{Cells, Metered};
use crate::{Catalog, Feature};

/// So many parts are changed independently: a change copies one part and not all customers.
const SHARDS: usize = 256;
/// A copy of the accounts this young is what the store has.
pub(crate) const LIVE_FOR: Duration = Duration::from_secs(3);
/// An older copy is not decided by.
pub(crate) const USABLE_FOR: Duration = Duration::from_secs(300);

type Shard = HashMap<TenantId, Arc<Customer>>;

/// Which product's feature a gate is for, as an index into each customer's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FeatureIndex(usize);

/// All tenants that have an account or have asked for something.
pub(crate) struct Accounts {
    shards: Box<[ArcSwap<Shard>]>,
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
    pub(crate) fn granted(&self, tenant: &TenantId, index: FeatureIndex, now: Timestamp) -> Arc<Granted> {
        let epoch = self.epoch.load(Ordering::Acquire);
        {
            let shard = self.shard(tenant).load();
            if let Some(customer) = shard.get(tenant)
                && let Some(granted) = customer.granted(index.0)
                && granted.holds(now, epoch)
            {
                return granted;
            }
        }
        self.grant(tenant, index, now, epoch)
    }

    /// Computes what a tenant may do, and remembers it.
    #[cold]
    fn grant(&self, tenant: &TenantId, index: FeatureIndex, now: Timestamp, epoch: u64) -> Arc<Granted> {
        let customer = self.customer_or_new(tenant);
        let features = self.features.load();
        let watched = &features[index.0];
        let offered = self.offered.load();
        let (right, until) = match &customer.account {
            Some(account) => account.right_until(&watched.feature, now, &**offered),
            None => {
                let default = offered.default_plan();
                let right = crate::account::default_right(default.as_deref(), &watched.feature, now);
                let until = if let Right::Metered(metered) = &right { metered.until } else { Timestamp::MAX };
                (right, until)
            }
        };
        let before = customer.granted(index.0);
        let what = match (right, &watched.metered) {
            (Right::Included, _) => What::Included,
            (Right::Value(value), _) => What::Value(value),
            (Right::Unpaid, _) => What::Unpaid,
            (Right::Metered(right), Some(metered)) => match before.as_deref().map(|before| &before.what) {
                // What it holds stays where it is.
                Some(What::Metered(cell)) if cell.right == right && !cell.is_lost() => What::Metered(cell.clone()),
                _ => What::Metered(self.cells.make(tenant.clone(), metered.clone(), right)),
            },
            (Right::Metered(_), None) | (Right::None, _) => What::Nothing,
        };
        let granted = customer.remember(index.0, Granted { until, epoch, what }, now, epoch);
        if let Some(What::Metered(before)) = before.as_deref().map(|before| &before.what)
            && !matches!(&granted.what, What::Metered(cell) if Arc::ptr_eq(cell, before))
        {
            self.cells.retire(before);
        }
        granted
    }

    /// What `tenant` had of a feature at `at`, as it is to be charged at `now`; computed and not remembered: for events of any
    /// time and any product.
    pub(crate) fn right(&self, tenant: &TenantId, feature: &Feature, at: Timestamp, now: Timestamp) -> Right {
        let (shard, offered) = (self.shard(tenant).load(), self.offered.load());
        match shard.get(tenant).and_then(|customer| customer.account.as_ref()) {
            Some(account) => account.right_in_retrospect(feature, at, now, &**offered),
            None => crate::account::default_right(offered.default_plan().as_deref(), feature, at),
        }
    }

    /// Who pays for `subject`: the tenant whose alias it is, or the tenant of that name.
    pub(crate) fn payer(&self, subject: &str) -> Option<TenantId> {
        let aliases = self.subjects.load();
        aliases.get(subject).cloned().or_else(|| TenantId::new(subject).ok())
    }

    /// How old this copy of the store is.
    pub(crate) fn age(&self) -> Option<Duration> {
        let confirmed = self.confirmed.load(Ordering::Acquire);
        let since = Duration::from_millis(confirmed);
        (confirmed > 0).then(|| self.started.elapsed().saturating_sub(since))
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

    fn customer_or_new(&self, tenant: &TenantId) -> Arc<Customer> {
        let shard = self.shard(tenant);
        if let Some(customer) = shard.load().get(tenant) {
            return customer.clone();
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shard.load_full();
        if let Some(customer) = known.get(tenant) {
            return customer.clone();
        }
        let customer = Arc::new(Customer::new(None));
        let mut changed = (*known).clone();
        changed.insert(tenant.clone(), customer.clone());
        shard.store(Arc::new(changed));
        customer
    }

    /// Takes over what has changed in the store.
    fn apply(&self, revision: i64, changed: Vec<Account>, versions: Versions) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !versions.is_empty() {
            self.offered.store(Arc::new(self.offered.load().with_versions(versions)));
        }
        let mut aliases = Vec::new();
        let mut shards: HashMap<usize, Shard> = HashMap::new();
        for account in changed {
            let tenant = account.tenant().clone();
            let place = self.shard(&tenant);
            aliases.push((tenant.clone(), account.subjects().map(Box::from).collect::<BTreeSet<Box<str>>>()));
            let index = self.shards.iter().position(|shard| std::ptr::eq(shard, place)).unwrap_or(0);
            let shard = shards.entry(index).or_insert_with(|| (*place.load_full()).clone());
            let customer = match shard.get(&tenant) {
                Some(before) => Customer::succeeding(before, account),
                None => Customer::new(Some(account)),
            };
            shard.insert(tenant, Arc::new(customer));
        }
        for (index, shard) in shards {
            self.shards[index].store(Arc::new(shard));
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

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("revision", &self.revision()).finish_non_exhaustive()
    }
}
