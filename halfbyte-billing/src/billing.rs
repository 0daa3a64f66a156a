use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, Live, ProductId, TenantId, error_chain};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::accounts::{self, Accounts};
use crate::catalog::suggestion;
use crate::committer::{Command, Committer, Pending, Shared, adopt, blocking, channel, closed};
use crate::entitle::Gate;
use crate::journal::Folder;
use crate::quota::{Cell, Hold};
use crate::store::{Place, Store};
use crate::{
    Catalog, Customers, Decision, EntitleLayer, Error, ErrorKind, Grant, IdempotencyKey, MeterLayer, Per, Period, Usage,
};

/// Billing for one product in one process: makes the layers, answers for usage.
///
/// Clones share everything. When the last clone and the last layer are gone, or the [`Lifecycle`] stops its tasks,
/// everything that is queued is committed and what is leased is given back.
#[derive(Clone)]
pub struct Billing(Arc<Inner>);

struct Inner {
    product: ProductId,
    catalog: Catalog,
    store: Store,
    accounts: Live<Accounts>,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    clock: Clock,
}

impl Billing {
    /// Opens the store, takes over what dead processes left there, and starts the committer. Answers when the first
    /// snapshot of the accounts is there.
    ///
    /// The whole file is checked first: about a second for each gigabyte.
    ///
    /// # Errors
    ///
    /// The catalogue does not have `product` ([`ErrorKind::Catalog`]); the file is damaged ([`ErrorKind::Corrupt`]), or
    /// another program's or a later version's ([`ErrorKind::Foreign`]), and is left as it is; or it cannot be opened
    /// ([`ErrorKind::Unavailable`]).
    pub async fn open(
        backend: &BillingBackend,
        home: &Home,
        product: ProductId,
        catalog: Catalog,
        lifecycle: &Lifecycle,
    ) -> Result<Self, Error> {
        if catalog.product(product.as_str()).is_none() {
            let hint = suggestion(product.as_str(), catalog.products().map(|product| product.id.as_str()));
            return Err(Error::new(ErrorKind::Catalog, format!("the catalogue has no product \"{product}\"{hint}")));
        }
        let place = Place::of(backend, home)?;
        let store = Store::open(&place).await?;
        let folder = Folder::new(place.journals);
        let mut writer = store.writer().await?;
        adopt(&folder, &store, &mut writer, None).await?;
        let made = folder.clone();
        let journal = blocking(move || made.create()).await.map_err(|error| {
            Error::because(ErrorKind::Unavailable, format!("no journal can be made for {}", store.file()), error)
        })?;

        let shared = Arc::new(Shared::new(journal));
        let (commands, asked) = channel();
        let committer = Committer::new(shared.clone(), store.clone(), folder, writer);
        lifecycle.spawn("billing.committer", committer.run(asked, lifecycle.stopping()));
        let weak = Arc::downgrade(&shared);
        lifecycle.health().register(move || Some(weak.upgrade()?.check()));

        let accounts = accounts::live(store.clone(), catalog.clone(), lifecycle);
        accounts.ready().await.map_err(|error| {
            Error::because(ErrorKind::Unavailable, format!("reading {} failed", store.file()), error)
        })?;
        let clock = lifecycle.clock().clone();
        Ok(Self(Arc::new(Inner { product, catalog, store, accounts, shared, commands, clock })))
    }

    /// A layer that lets in only tenants whose plan has `feature`, and reserves a unit of it if it is metered.
    ///
    /// # Errors
    ///
    /// The catalogue has no such feature, or it is another product's; the message names the nearest.
    pub fn entitle(&self, feature: &str) -> Result<EntitleLayer, Error> {
        Gate::new(self, feature).map(EntitleLayer::new)
    }

    /// A layer that counts what [`entitle`](Self::entitle) reserved, once the answer is known to be a good one.
    pub fn meter(&self) -> MeterLayer {
        MeterLayer::new()
    }

    /// Whether `tenant` may use `feature` now; does no I/O. An unknown feature is one that no plan has.
    pub fn check(&self, tenant: &TenantId, feature: &str) -> Decision {
        Gate::new(self, feature).map_or(Decision::NotEntitled, |gate| gate.check(tenant))
    }

    /// The back office, seen from here: its changes show in this process when they answer.
    pub fn customers(&self) -> Customers {
        let inner = &self.0;
        Customers::of(inner.store.clone(), inner.catalog.clone(), inner.clock.clone(), inner.accounts.clone())
    }

    /// The units that a tenant used of a meter in a period. Everything that this process answered for is included;
    /// of other processes, everything older than 50 ms.
    ///
    /// # Errors
    ///
    /// The catalogue has no such meter, or the store cannot be written or read.
    pub async fn usage(&self, tenant: &TenantId, meter: &str, period: Period) -> Result<u64, Error> {
        self.commit_queue(false).await?;
        self.customers().usage(tenant, meter, period).await
    }

    /// What a tenant used of each meter of this product in the period that its plan counts in, and what the plan allows; a
    /// meter that no feature of the plan limits is shown for the month. As current as [`usage`](Self::usage).
    ///
    /// # Errors
    ///
    /// The store cannot be written or read.
    pub async fn usage_of(&self, tenant: &TenantId) -> Result<Vec<Usage>, Error> {
        self.commit_queue(false).await?;
        let now = self.0.clock.now();
        let mut rows = self.meters_of(tenant, now);
        for row in &mut rows {
            let product = row.product.as_str();
            row.used = self.0.store.used(tenant.as_str(), product, &row.meter, row.period).await?;
        }
        Ok(rows)
    }

    /// Commits all that is queued and gives back all that is leased and not reserved: for a drain, when requests are done.
    /// Requests may still come afterwards; they lease anew.
    ///
    /// # Errors
    ///
    /// The store cannot be written, or it took longer than `budget`. Nothing is lost then: what is not in the store is in
    /// the journal, and the next process that shares the store takes it over.
    pub async fn flush(&self, budget: Duration) -> Result<(), Error> {
        let late = |_| Error::new(ErrorKind::Timeout, format!("usage was not committed within {budget:?}"));
        timeout(budget, self.commit_queue(true)).await.map_err(late)?
    }

    /// How many uses this process settled under a key that had been counted with another feature or amount. What
    /// was there first stays; each is in the log.
    pub fn conflicts(&self) -> u64 {
        self.0.shared.conflicts()
    }

    /// Meters without their usage, one row for each feature of the plan that limits one.
    fn meters_of(&self, tenant: &TenantId, now: jiff::Timestamp) -> Vec<Usage> {
        let inner = &self.0;
        let plan = inner.accounts.load().ok().and_then(|accounts| accounts.plan(tenant).cloned());
        let mut rows = Vec::new();
        for meter in inner.catalog.meters().filter(|meter| meter.product == inner.product) {
            let row = |per, feature, limit| Usage {
                product: meter.product.clone(),
                meter: meter.name.clone(),
                unit: meter.unit.clone(),
                period: Period::containing(now, per),
                used: 0,
                feature,
                limit,
            };
            let before = rows.len();
            for feature in inner.catalog.features().filter(|feature| feature.meter.as_ref() == Some(&meter.name)) {
                if let Some(Grant::Metered { limit, per }) = plan.as_ref().and_then(|plan| plan.grant(&feature.name)) {
                    rows.push(row(per, Some(feature.name.clone()), Some(limit)));
                }
            }
            if rows.len() == before {
                rows.push(row(Per::Month, None, None));
            }
        }
        rows
    }

    async fn commit_queue(&self, give_back: bool) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Flush { give_back, answer }).await?;
        answered.await.map_err(|_| closed())?
    }

    async fn ask(&self, command: Command) -> Result<(), Error> {
        self.0.commands.send(command).await.map_err(|_| closed())
    }
}

/// What the layers use.
impl Billing {
    pub(crate) fn product(&self) -> &ProductId {
        &self.0.product
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    pub(crate) fn accounts(&self) -> &Live<Accounts> {
        &self.0.accounts
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// One unit of a new tranche for `cell`, or `None` when nothing is left.
    pub(crate) async fn lease(&self, cell: &Arc<Cell>) -> Result<Option<Hold>, Error> {
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Lease { cell: cell.clone(), answer }).await?;
        answered.await.map_err(|_| closed())?
    }

    /// Whether a use of the cell's meter has been counted under `key`, by any process.
    pub(crate) async fn is_counted(&self, cell: &Cell, key: IdempotencyKey) -> Result<bool, Error> {
        self.commit_queue(false).await?;
        let (quota, names) = (&cell.quota, &cell.quota.metered);
        self.0.store.is_counted(quota.tenant.as_str(), names.feature.product.as_str(), &names.meter, key).await
    }

    /// Puts a use into the journal: when this answers well, it counts whatever happens to the process.
    pub(crate) fn settle(&self, hold: Hold, key: IdempotencyKey, at: jiff::Timestamp) -> Result<(), Error> {
        let shared = &self.0.shared;
        let pending = Pending { cell: hold.cell().clone(), key, at, units: hold.units() };
        match shared.journal.append(pending, Pending::record) {
            Ok(first) => {
                hold.spend();
                if first {
                    shared.wake.notify_one();
                }
                Ok(())
            }
            Err(error) => {
                let message = format!("{} cannot be written", shared.journal.path().display());
                let error = Error::because(ErrorKind::Unavailable, message, error);
                tracing::error!(error = error_chain(&error), "a use could not be recorded; its request is refused");
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Billing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Billing")
            .field("product", &self.0.product)
            .field("store", &self.0.store.file())
            .finish_non_exhaustive()
    }
}
