//! Which plan each tenant has: a snapshot of the store that is read without asking it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use halfbyte_core::live::{Fetched, Live, Policy};
use halfbyte_core::{BoxError, Lifecycle, TenantId};

use crate::store::Store;
use crate::{Catalog, Grant, Plan};

/// Between two reads that refusals cause: outsiders must not make the store work.
pub(crate) const DEMAND_GAP: Duration = Duration::from_millis(20);

/// All tenants that have subscribed to a plan, and what the others have.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// The revision of the store that this is of.
    pub(crate) revision: i64,
    /// `None` for a plan that the catalogue lacks: its tenant is entitled to nothing, not to the default.
    plans: HashMap<TenantId, Option<Arc<Plan>>>,
    default_plan: Option<Arc<Plan>>,
}

impl Accounts {
    /// What the plan of `tenant` says of `feature`.
    pub(crate) fn grant(&self, tenant: &TenantId, feature: &str) -> Option<Grant> {
        self.plan(tenant)?.grant(feature)
    }

    /// The plan of `tenant`.
    pub(crate) fn plan(&self, tenant: &TenantId) -> Option<&Arc<Plan>> {
        self.plans.get(tenant).map_or(self.default_plan.as_ref(), Option::as_ref)
    }

    fn new(revision: i64, rows: Vec<(String, Option<String>)>, catalog: &Catalog) -> Self {
        let mut plans = HashMap::with_capacity(rows.len());
        let mut unknown = BTreeSet::new();
        for (tenant, plan) in rows.into_iter().filter_map(|(tenant, plan)| Some((tenant, plan?))) {
            let Ok(tenant) = TenantId::new(tenant) else { continue };
            let known = catalog.plan(&plan).cloned();
            if known.is_none() {
                unknown.insert(plan);
            }
            plans.insert(tenant, known);
        }
        if !unknown.is_empty() {
            tracing::warn!(plans = ?unknown, "customers have plans that the catalogue lacks; they are entitled to nothing");
        }
        Self { revision, plans, default_plan: catalog.default_plan().cloned() }
    }
}

/// Keeps the accounts: asked for every second, read only when they changed.
pub(crate) fn live(store: Store, catalog: Catalog, lifecycle: &Lifecycle) -> Live<Accounts> {
    let policy = Policy {
        fresh_for: Duration::from_secs(1),
        max_stale: Duration::from_secs(300),
        demand_gap: DEMAND_GAP,
        max_backoff: Duration::from_secs(5),
        ..Policy::default()
    };
    let seen = Arc::new(AtomicI64::new(i64::MIN));
    let fetch = move || {
        let (store, catalog, seen) = (store.clone(), catalog.clone(), seen.clone());
        async move {
            if store.revision().await? == seen.load(Ordering::Relaxed) {
                return Ok(Fetched::unchanged());
            }
            let (revision, rows) = store.accounts().await?;
            let accounts = Accounts::new(revision, rows, &catalog);
            // Only now, with nothing left to wait for: a fetch that was given up has not been seen.
            seen.store(revision, Ordering::Relaxed);
            Ok::<_, BoxError>(Fetched::new(accounts))
        }
    };
    Live::start("billing.accounts", policy, fetch, lifecycle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_without_a_plan_or_with_an_unknown_one_is_entitled_to_nothing() {
        let text = "[products.p]\n[features.f]\nproduct = \"p\"\n[plans.pro]\nfeatures.f = true\n";
        let catalog = Catalog::parse("c.toml", text).expect("good");
        let row = |tenant: &str, plan: Option<&str>| (tenant.to_owned(), plan.map(str::to_owned));
        let rows = vec![row("acme", Some("pro")), row("globex", None), row("initech", Some("gone"))];
        let accounts = Accounts::new(7, rows, &catalog);
        assert_eq!(granted(&accounts), [true, false, false, false]);
    }

    #[test]
    fn a_tenant_that_has_subscribed_to_nothing_has_the_default_plan() {
        let text = "[products.p]\n[features.f]\nproduct = \"p\"\n[plans.pro]\n[plans.free]\ndefault = true\nfeatures.f = true\n";
        let catalog = Catalog::parse("c.toml", text).expect("good");
        let row = |tenant: &str, plan: Option<&str>| (tenant.to_owned(), plan.map(str::to_owned));
        let rows = vec![row("acme", Some("pro")), row("globex", None), row("initech", Some("gone"))];
        assert_eq!(granted(&Accounts::new(7, rows, &catalog)), [false, true, false, true]);
    }

    fn granted(accounts: &Accounts) -> [bool; 4] {
        ["acme", "globex", "initech", "nobody"]
            .map(|tenant| accounts.grant(&TenantId::new(tenant).expect("valid"), "f").is_some())
    }
}
