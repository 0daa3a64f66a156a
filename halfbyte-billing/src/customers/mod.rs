//! The back office: who the customers are, and what they have.

mod usage;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, TenantId};
use uuid::Uuid;

use crate::catalog::unusable;
use crate::store::{Place, Store};
use crate::{
    Account, Answer, Catalog, CatalogSource, Error, ErrorKind, GrantSpec, Operation, OperationRecord, Published, When,
};

/// The catalogue as it is now; `None` before it was read for the first time.
type Catalogue = dyn Fn() -> Option<Catalog> + Send + Sync;
/// Called after each change with its revision; done when the snapshot of this process has it.
type Shown = dyn Fn(i64) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// The back office's view of a store: who the customers are, what they subscribe to and what they were granted.
///
/// Any process that shares the store may have one, with or without a product of its own. Every change is one operation with
/// an id, durable when it answers; the same id with the same operation is done once, and answers the same again. The short
/// ways make an id up: who has to be able to repeat what failed uses [`operate`](Self::operate). Dropping a call that waits
/// leaves it open whether the change was made.
///
/// ```
/// use halfbyte_billing::{Customers, Error, GrantSpec, Operation, When};
/// use halfbyte_core::TenantId;
///
/// async fn welcome(customers: &Customers, acme: &TenantId) -> Result<(), Error> {
///     customers.create(acme).await?;
///     customers.subscribe(acme, "starter").await?;
///     customers.grant(acme, GrantSpec::new("welcome", "labels", 50)).await?;
///     let upgrade = Operation::ChangePlan { plan: "pro".into(), version: None, when: When::PeriodEnd };
///     let answer = customers.operate("order-4711", acme, upgrade).await?;
///     println!("from {} on: {:?}", answer.effective, answer.plan);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Customers {
    store: Store,
    catalog: Arc<Catalogue>,
    clock: Clock,
    shown: Option<Arc<Shown>>,
}

impl Customers {
    pub(crate) fn new(
        store: Store,
        catalog: impl Fn() -> Option<Catalog> + Send + Sync + 'static,
        clock: Clock,
    ) -> Self {
        Self { store, catalog: Arc::new(catalog), clock, shown: None }
    }

    /// The back office of the store in `backend`, in a process without a product.
    ///
    /// # Errors
    ///
    /// As for [`Billing::open`](crate::Billing::open), but that nothing need be there of what the catalogue names.
    pub async fn open(
        backend: &BillingBackend,
        home: &Home,
        catalog: impl Into<CatalogSource>,
        lifecycle: &Lifecycle,
    ) -> Result<Self, Error> {
        let store = Store::open(&Place::of(backend, home)?).await?;
        let source = catalog.into();
        let catalog = crate::catalog::live(source.clone(), store.clone(), lifecycle);
        let current = match catalog.get().await {
            Ok(current) => (*current).clone(),
            Err(error) => return Err(unusable(&source, error)),
        };
        let clock = lifecycle.clock().clone();
        store.register(&current, clock.now()).await?;
        Ok(Self::new(store, move || catalog.load().ok().map(|catalog| (*catalog).clone()), clock))
    }

    /// Makes `catalog` the one that every process reads that is opened with [`CatalogSource::Store`]. A plan version that was
    /// published stays what it was.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Catalog`]: it changes a plan version that was published before. Or the store cannot be written.
    pub async fn publish(&self, catalog: &Catalog) -> Result<Published, Error> {
        self.store.publish(catalog, self.clock.now()).await
    }

    /// Lets each change wait, after it was made, until `shown` has shown it.
    #[must_use]
    pub(crate) fn on_change<F>(mut self, shown: impl Fn(i64) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.shown = Some(Arc::new(move |revision| Box::pin(shown(revision))));
        self
    }

    /// Does `operation` to the account of `tenant`, once for each `id`: 1 to 128 visible ASCII characters.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`]: the id was used for another operation, a subject belongs to another customer, or the id of a
    /// grant to another grant. [`ErrorKind::NoCustomer`]: it was not [created](Operation::Create). [`ErrorKind::Catalog`]:
    /// the catalogue lacks a name. [`ErrorKind::Invalid`]: it makes no sense, such as a pause of nothing, or is more than is
    /// allowed. [`ErrorKind::Unavailable`]: the catalogue has not been read yet, or the store cannot be written; ask again
    /// under the same id. An error of the other kinds has changed nothing.
    pub async fn operate(&self, id: &str, tenant: &TenantId, operation: Operation) -> Result<Answer, Error> {
        let catalog = self.catalog()?;
        let (answer, revision) = self.store.operate(id, tenant, &operation, self.clock.now(), &catalog).await?;
        if let Some(shown) = &self.shown {
            shown(revision).await;
        }
        Ok(answer)
    }

    fn catalog(&self) -> Result<Catalog, Error> {
        (self.catalog)().ok_or_else(|| {
            let message = "the catalogue has not been read yet; ask again";
            Error::new(ErrorKind::Unavailable, message)
        })
    }

    async fn once(&self, tenant: &TenantId, operation: Operation) -> Result<Answer, Error> {
        self.operate(Uuid::now_v7().hyphenated().encode_lower(&mut Uuid::encode_buffer()), tenant, operation).await
    }

    /// Makes a customer; answers whether it was not there yet. Making it again changes nothing.
    ///
    /// # Errors
    ///
    /// As for [`operate`](Self::operate).
    pub async fn create(&self, tenant: &TenantId) -> Result<bool, Error> {
        Ok(self.once(tenant, Operation::Create).await?.changed)
    }

    /// Makes `plan` the plan of a customer, in place of the one before; answers whether anything is other than before. What
    /// was used in a period counts on under the new plan's limit. See [`Operation::Subscribe`].
    ///
    /// # Errors
    ///
    /// As for [`operate`](Self::operate).
    pub async fn subscribe(&self, tenant: &TenantId, plan: &str) -> Result<bool, Error> {
        let operation = Operation::Subscribe { plan: plan.into(), version: None, anchor: None, trial: None };
        Ok(self.once(tenant, operation).await?.changed)
    }

    /// Ends what a customer subscribes to, now; answers whether there was something.
    ///
    /// # Errors
    ///
    /// As for [`operate`](Self::operate).
    pub async fn end(&self, tenant: &TenantId) -> Result<bool, Error> {
        let account = self.account(tenant).await?;
        if account.is_some_and(|account| account.subscription(self.clock.now()).is_none()) {
            return Ok(false);
        }
        Ok(self.once(tenant, Operation::Cancel { when: When::Now }).await?.changed)
    }

    /// Gives a customer an amount of a metered feature; answers whether it was not there yet: its id makes it safe to
    /// repeat. See [`Operation::Grant`].
    ///
    /// # Errors
    ///
    /// As for [`operate`](Self::operate).
    pub async fn grant(&self, tenant: &TenantId, grant: GrantSpec) -> Result<bool, Error> {
        Ok(self.once(tenant, Operation::Grant(grant)).await?.changed)
    }

    /// All customers by name, each with its plan if it has one.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn list(&self) -> Result<Vec<(TenantId, Option<String>)>, Error> {
        let now = self.clock.now();
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|(tenant, _)| tenant);
            let page = self.store.customers(after, usize::MAX).await?;
            if page.is_empty() {
                break;
            }
            let plan = |account: &Account| account.plan_at(now).map(|plan| plan.plan.clone().into_string());
            all.extend(page.iter().map(|account| (account.tenant().clone(), plan(account))));
        }
        // Databases have their own order.
        all.sort();
        Ok(all)
    }

    /// Accounts from the one after `after` on, in the order of the store; at most `limit`, and at most 1000.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn accounts(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<Account>, Error> {
        self.store.customers(after, limit).await
    }

    /// The account of a customer, if there is one.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn account(&self, tenant: &TenantId) -> Result<Option<Account>, Error> {
        self.store.account(tenant).await
    }

    /// What was done to the account of a customer, the newest first; at most `limit`, and at most 1000.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn operations(&self, tenant: &TenantId, limit: usize) -> Result<Vec<OperationRecord>, Error> {
        self.store.operations_of(tenant, limit).await
    }
}

impl fmt::Debug for Customers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Customers").field("store", &self.store).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::ErrorKind;
    use crate::account::model::at;
    use crate::testing::store_in;

    const CATALOG: &str = "[products.p]\n[meters.calls]\nproduct = \"p\"\n[features.calls]\nproduct = \"p\"\nmeter = \"calls\"\n\
                           [plans.free]\ndefault = true\n[plans.pro]\nfeatures.calls = { limit = 5, per = \"day\" }\n";

    #[tokio::test]
    async fn the_short_ways_say_whether_something_changed_and_show_it_before_they_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store_in(folder.path()).await;
        let catalog = Catalog::parse("c.toml", CATALOG).expect("good");
        let shown = Arc::new(AtomicI64::new(0));
        let seen = shown.clone();
        let customers = Customers::new(store, move || Some(catalog.clone()), Clock::manual(at("2026-01-10")));
        let customers = customers.on_change(move |revision| {
            let seen = seen.clone();
            async move { seen.store(revision, Ordering::Relaxed) }
        });
        let (acme, globex) = (TenantId::new("acme").expect("valid"), TenantId::new("Globex").expect("valid"));
        assert!(customers.create(&acme).await.expect("made") && !customers.create(&acme).await.expect("there"));
        let before = shown.load(Ordering::Relaxed);
        assert!(customers.create(&globex).await.expect("made"));
        assert_eq!(shown.load(Ordering::Relaxed), before + 1);
        assert!(customers.subscribe(&acme, "pro").await.expect("done"));
        assert!(!customers.subscribe(&acme, "pro").await.expect("done"));
        let all = [(globex.clone(), None), (acme.clone(), Some("pro".to_owned()))];
        assert_eq!(customers.list().await.expect("read"), all);
        let grant = GrantSpec::new("welcome", "calls", 50);
        assert!(customers.grant(&acme, grant.clone()).await.expect("done"));
        assert!(!customers.grant(&acme, grant).await.expect("done"));
        assert!(customers.end(&acme).await.expect("ended") && !customers.end(&acme).await.expect("nothing left"));
        let account = customers.account(&acme).await.expect("read").expect("there");
        assert_eq!(account.plan_at(at("2026-02-01")), None);
        assert_eq!(customers.operations(&acme, 2).await.expect("read").len(), 2);
    }

    #[tokio::test]
    async fn faults_are_told_by_their_kind() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store_in(folder.path()).await;
        let catalog = Catalog::parse("c.toml", CATALOG).expect("good");
        let clock = Clock::manual(at("2026-01-10"));
        let blind = Customers::new(store.clone(), || None, clock.clone());
        let acme = TenantId::new("acme").expect("valid");
        assert_eq!(blind.create(&acme).await.expect_err("no catalogue").kind(), ErrorKind::Unavailable);
        let customers = Customers::new(store, move || Some(catalog.clone()), clock);
        for refused in [customers.subscribe(&acme, "pro").await, customers.end(&acme).await] {
            assert_eq!(refused.expect_err("nobody").kind(), ErrorKind::NoCustomer);
        }
        customers.create(&acme).await.expect("made");
        let error = customers.subscribe(&acme, "pr").await.expect_err("no such plan");
        assert_eq!(error.kind(), ErrorKind::Catalog);
        assert_eq!(error.to_string(), "there is no plan \"pr\"; did you mean \"pro\"?");
    }
}
