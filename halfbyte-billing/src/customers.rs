use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, Live, TenantId};

use crate::accounts::{Accounts, DEMAND_GAP};
use crate::catalog::suggestion;
use crate::store::{Place, Store};
use crate::{Catalog, Error, ErrorKind, Period};

/// The back office's view of a store: who the customers are, what they subscribe to, what they used.
///
/// Any process that shares the store may have one, with or without a product of its own. Every change is durable when it
/// answers. Products see it within 1 second; the process of [`Billing::customers`](crate::Billing::customers) sees it when
/// the call answers, and so does any request elsewhere that would be refused, except within 20 ms of another such.
///
/// ```
/// use halfbyte_billing::{Catalog, Customers};
/// use halfbyte_core::{Clock, Lifecycle, TenantId, config::BillingBackend, home::Home};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let home = Home::open(folder.path().join("home"))?;
/// let catalog = Catalog::parse("catalog.toml", "[plans.starter]")?;
/// let lifecycle = Lifecycle::new(Clock::system());
/// let customers = Customers::open(&BillingBackend::Sqlite(None), &home, catalog, &lifecycle).await?;
///
/// let acme = TenantId::new("acme")?;
/// customers.create(&acme).await?;
/// customers.subscribe(&acme, "starter").await?;
/// assert_eq!(customers.list().await?, [(acme, Some("starter".to_owned()))]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Customers {
    store: Store,
    catalog: Catalog,
    clock: Clock,
    /// The snapshot of this process that a change must show in before it answers.
    accounts: Option<Live<Accounts>>,
}

impl Customers {
    /// Opens a store for a back office.
    ///
    /// # Errors
    ///
    /// As for [`Billing::open`](crate::Billing::open).
    pub async fn open(
        backend: &BillingBackend,
        home: &Home,
        catalog: Catalog,
        lifecycle: &Lifecycle,
    ) -> Result<Self, Error> {
        let store = Store::open(&Place::of(backend, home)?).await?;
        Ok(Self { store, catalog, clock: lifecycle.clock().clone(), accounts: None })
    }

    pub(crate) fn of(store: Store, catalog: Catalog, clock: Clock, accounts: Live<Accounts>) -> Self {
        Self { store, catalog, clock, accounts: Some(accounts) }
    }

    /// Makes a customer; answers whether it was not there yet. Making it again changes nothing.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub async fn create(&self, tenant: &TenantId) -> Result<bool, Error> {
        let (made, revision) = self.store.create(tenant.as_str(), self.clock.now()).await?;
        self.show(revision).await;
        Ok(made)
    }

    /// Makes `plan` the plan of a customer, in place of the one before; answers whether that was another. What was used
    /// in a period counts on under the new plan's limit.
    ///
    /// # Errors
    ///
    /// The catalogue has no such plan, there is no such customer, or the store cannot be written.
    pub async fn subscribe(&self, tenant: &TenantId, plan: &str) -> Result<bool, Error> {
        if self.catalog.plan(plan).is_none() {
            let hint = suggestion(plan, self.catalog.plans().map(|plan| &*plan.name));
            return Err(Error::new(ErrorKind::Catalog, format!("there is no plan \"{plan}\"{hint}")));
        }
        let (changed, revision) = self.store.subscribe(tenant.as_str(), plan, self.clock.now()).await?;
        self.show(revision).await;
        Ok(changed)
    }

    /// Ends what a customer subscribes to; answers whether there was something.
    ///
    /// # Errors
    ///
    /// There is no such customer, or the store cannot be written.
    pub async fn end(&self, tenant: &TenantId) -> Result<bool, Error> {
        let (ended, revision) = self.store.end(tenant.as_str(), self.clock.now()).await?;
        self.show(revision).await;
        Ok(ended)
    }

    /// All customers by name, each with its plan if it has one.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn list(&self) -> Result<Vec<(TenantId, Option<String>)>, Error> {
        let (_revision, rows) = self.store.accounts().await?;
        // Whoever wrote a row checked its name.
        Ok(rows.into_iter().filter_map(|(tenant, plan)| Some((TenantId::new(tenant).ok()?, plan))).collect())
    }

    /// The units that a tenant used of a meter in a period, as far as they are committed: what a product answered for
    /// less than 50 ms ago may be missing.
    ///
    /// # Errors
    ///
    /// The catalogue has no such meter, or the store cannot be read.
    pub async fn usage(&self, tenant: &TenantId, meter: &str, period: Period) -> Result<u64, Error> {
        let Some(meter) = self.catalog.meter(meter) else {
            let hint = suggestion(meter, self.catalog.meters().map(|meter| &*meter.name));
            return Err(Error::new(ErrorKind::Catalog, format!("there is no meter \"{meter}\"{hint}")));
        };
        self.store.used(tenant.as_str(), meter.product.as_str(), &meter.name, period).await
    }

    /// Waits until the snapshot of this process has `revision`; a store that stopped answering is not waited for.
    async fn show(&self, revision: i64) {
        let Some(accounts) = &self.accounts else { return };
        loop {
            let seen = match accounts.load() {
                Ok(snapshot) if snapshot.revision >= revision => return,
                Ok(snapshot) => snapshot.generation(),
                Err(_) => 0,
            };
            match accounts.refresh(seen).await {
                Ok(snapshot) if snapshot.revision >= revision => return,
                Ok(_) => tokio::time::sleep(DEMAND_GAP).await,
                Err(_) => return,
            }
        }
    }
}
