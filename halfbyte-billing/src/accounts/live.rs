//! Keeps the accounts: the store is asked every second, and read only where something has changed.

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::live::{Fetched, Live, Policy};
use halfbyte_core::{BoxError, Lifecycle};

use super::offered::Versions;
use super::{Accounts, LIVE_FOR, USABLE_FOR};
use crate::Catalog;
use crate::store::Store;

/// Between two reads that refusals cause: outsiders must not make the store work.
pub(crate) const DEMAND_GAP: Duration = Duration::from_millis(20);

/// Its value is the revision of the store that `accounts` is of.
pub(crate) fn live(store: Store, catalog: Live<Catalog>, accounts: Arc<Accounts>, lifecycle: &Lifecycle) -> Live<i64> {
    let policy = Policy {
        fresh_for: Duration::from_secs(1),
        max_stale: USABLE_FOR - Duration::from_secs(1),
        demand_gap: DEMAND_GAP,
        max_backoff: LIVE_FOR - Duration::from_secs(1),
        ..Policy::default()
    };
    let fetch = move || {
        let (store, catalog, accounts) = (store.clone(), catalog.clone(), accounts.clone());
        async move {
            take_over_catalog(&accounts, &catalog);
            // A file that was moved or replaced can still be read by whoever has it open.
            store.is_in_place()?;
            let known = accounts.revision();
            let revision = store.state_revision().await?;
            if revision == known {
                accounts.confirm();
                return Ok(Fetched::unchanged());
            }
            let (revision, changed) = store.accounts_since(known).await?;
            let mut versions = Versions::new();
            for (plan, number) in accounts.unknown_versions(&changed) {
                if let Some(version) = store.plan_version(&plan, number).await? {
                    versions.insert((plan, number), Arc::new(version));
                }
            }
            accounts.apply(revision, changed, versions);
            accounts.confirm();
            Ok::<_, BoxError>(Fetched::new(revision))
        }
    };
    Live::start("billing.accounts", policy, fetch, lifecycle)
}

/// A catalogue that has changed is taken over with the next look at the accounts.
fn take_over_catalog(accounts: &Accounts, catalog: &Live<Catalog>) {
    if let Ok(current) = catalog.load()
        && !current.is_same(&accounts.catalog())
    {
        accounts.set_catalog((*current).clone());
    }
}
