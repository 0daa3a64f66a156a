use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::{Clock, Lifecycle, Live, ProductId, TenantId, error_chain};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::accounts::{self, Accounts};
use crate::catalog::{self, suggestion, unusable};
use crate::committer::{Adopter, Command, Committer, Pending, PendingUse, Shared, Stats, blocking, channel, closed};
use crate::entitle::Gate;
use crate::export::{Export, Exporter};
use crate::journal::Folder;
use crate::quota::{Cell, Cells, Hold};
use crate::store::{Place, Store};
use crate::{Catalog, Customers, Decision, EntitleLayer, Error, ErrorKind, IdempotencyKey, MeterLayer, Settings};

/// Billing for one product in one process: makes the layers, takes in usage, answers for it.
///
/// Clones share everything. When the last clone and the last layer are gone, or the [`Lifecycle`] stops its tasks,
/// everything that is queued is committed and what is leased is given back.
#[derive(Clone)]
pub struct Billing(Arc<Inner>);

struct Inner {
    product: ProductId,
    store: Store,
    accounts: Arc<Accounts>,
    /// The revision of the store that `accounts` is of.
    synced: Live<i64>,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    clock: Clock,
    lifecycle: Lifecycle,
    tolerance: Duration,
}

impl Billing {
    /// Opens the store, takes over what dead processes left there, and starts the committer. Answers when the first
    /// snapshot of the accounts is there.
    ///
    /// A SQLite file is checked as a whole first: about a second for each gigabyte. A PostgreSQL database that cannot be
    /// reached is not waited for: readiness says when it is there, and until then each feature's fallback decides.
    ///
    /// # Errors
    ///
    /// The catalogue cannot be used or does not have the product ([`ErrorKind::Catalog`]), or none was published to the store
    /// it is to come from ([`ErrorKind::Unavailable`]); the file is damaged
    /// ([`ErrorKind::Corrupt`]), or another program's or a later version's ([`ErrorKind::Foreign`]), and is left as it is;
    /// or it cannot be opened ([`ErrorKind::Unavailable`]).
    pub async fn open(settings: Settings, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let place = Place::of(&settings.backend, &settings.home)?;
        let store = Store::open(&place).await?;
        let catalog = catalog::live(settings.catalog.clone(), store.clone(), lifecycle);
        let current = match catalog.get().await {
            Ok(current) => (*current).clone(),
            Err(error) => return Err(unusable(&settings.catalog, error)),
        };
        let product = settings.product;
        if current.product(product.as_str()).is_none() {
            let hint = suggestion(product.as_str(), current.products().map(|product| product.id.as_str()));
            return Err(Error::new(ErrorKind::Catalog, format!("the catalogue has no product \"{product}\"{hint}")));
        }
        let clock = lifecycle.clock().clone();
        let cells = Arc::new(Cells::default());
        let accounts = Arc::new(Accounts::new(current.clone(), cells.clone()));
        let synced = accounts::live(store.clone(), catalog, accounts.clone(), lifecycle);

        let folder = Folder::new(place.journals().clone()).bounded(settings.backlog);
        let made = folder.clone();
        let journal = blocking(move || made.create()).await.map_err(|error| {
            Error::because(ErrorKind::Unavailable, format!("no journal can be made for {}", store.name()), error)
        })?;
        let mut adopter = Adopter::new(folder);
        let shared = Arc::new(Shared::new(journal, cells));
        let weak = Arc::downgrade(&shared);
        lifecycle.health().register(move || Some(weak.upgrade()?.check()));

        // What is not there now is there later: the committer goes on trying.
        let warm = async {
            store.register(&current, clock.now()).await?;
            synced.ready().await.map_err(|error| {
                Error::because(ErrorKind::Unavailable, format!("reading {} failed", store.name()), error)
            })?;
            let mut session = store.writer().await?;
            adopter.adopt(&store, &accounts, &shared, clock.now(), session.as_mut()).await
        };
        let is_there = match warm.await {
            Err(error) if error.kind() == ErrorKind::Unavailable && store.is_shared_by_machines() => {
                tracing::warn!(error = error_chain(&error), "billing starts without its store");
                false
            }
            outcome => outcome.map(|()| true)?,
        };

        let (commands, asked) = channel();
        let committer = Committer::new(
            shared.clone(),
            accounts.clone(),
            store.clone(),
            adopter,
            clock.clone(),
            settings.lease,
            is_there,
        );
        lifecycle.spawn("billing.committer", committer.run(asked, lifecycle.stopping()));
        let (tolerance, lifecycle) = (settings.tolerance, lifecycle.clone());
        Ok(Self(Arc::new(Inner { product, store, accounts, synced, shared, commands, clock, lifecycle, tolerance })))
    }

    /// A layer that lets in only tenants whose plan has `feature`, and reserves units of it if it is metered.
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

    /// Whether tenants may use `feature`: to keep, and to [check](Gate::check) as often as one likes.
    ///
    /// # Errors
    ///
    /// As for [`entitle`](Self::entitle).
    pub fn gate(&self, feature: &str) -> Result<Gate, Error> {
        Gate::new(self, feature)
    }

    /// Whether `tenant` may use `feature` now; does no I/O. An unknown feature is one that no plan has. What is asked for
    /// often is asked of a [`gate`](Self::gate).
    pub fn check(&self, tenant: &TenantId, feature: &str) -> Decision {
        Gate::new(self, feature).map_or(Decision::NotEntitled, |gate| gate.check(tenant))
    }

    /// The back office, seen from here: its changes show in this process when they answer.
    pub fn customers(&self) -> Customers {
        let (inner, accounts) = (self.0.clone(), self.0.accounts.clone());
        let shown = move |revision| {
            let inner = inner.clone();
            async move { inner.show(revision).await }
        };
        let catalog = move || Some(accounts.catalog());
        Customers::new(self.0.store.clone(), catalog, self.0.clock.clone()).on_change(shown)
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

    /// Starts sending every event of the store to elsewhere: see [`export`](crate::export). It runs until the process stops,
    /// or until the last clone of what this answers is dropped.
    pub fn export(&self, export: Export) -> Exporter {
        Exporter::start(export, Arc::new(self.0.store.clone()), self.0.shared.bell.clone(), &self.0.lifecycle)
    }

    /// What billing has seen in this process since it was opened; does no I/O.
    pub fn stats(&self) -> Stats {
        self.0.shared.stats()
    }
}

impl Inner {
    /// Waits until this process knows `revision`; a store that stopped answering is not waited for.
    async fn show(&self, revision: i64) {
        while self.accounts.revision() < revision {
            let seen = self.synced.load().map_or(0, |known| known.generation());
            match self.synced.refresh(seen).await {
                Ok(_) if self.accounts.revision() >= revision => return,
                Ok(_) => tokio::time::sleep(accounts::DEMAND_GAP).await,
                Err(_) => return,
            }
        }
    }
}

/// What the layers and the other parts of the handle use.
impl Billing {
    pub(crate) fn product(&self) -> &ProductId {
        &self.0.product
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn catalog(&self) -> Catalog {
        self.0.accounts.catalog()
    }

    pub(crate) fn accounts(&self) -> &Arc<Accounts> {
        &self.0.accounts
    }

    pub(crate) fn synced(&self) -> &Live<i64> {
        &self.0.synced
    }

    /// A tenant that is to be refused may just have been given more by another process: the accounts are read again, by one
    /// read for all who ask. Answers whether they have changed; an error where the store cannot say.
    pub(crate) async fn look_again(&self) -> Result<bool, Error> {
        let unknown = |error: halfbyte_core::live::Error| {
            Error::because(ErrorKind::Unavailable, "the store cannot be asked whether the accounts have changed", error)
        };
        let before = self.accounts().revision();
        let seen = self.synced().load().map_err(unknown)?.generation();
        self.synced().refresh(seen).await.map_err(unknown)?;
        Ok(self.accounts().revision() > before)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn tolerance(&self) -> Duration {
        self.0.tolerance
    }

    pub(crate) async fn commit_queue(&self, give_back: bool) -> Result<(), Error> {
        self.ask(|answer| Command::Flush { give_back, answer }).await
    }

    /// Asks the committer for something.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.0.commands.send(command(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// `units` of a new tranche for `cell`, or `None` when not as many are left.
    pub(crate) async fn lease(&self, cell: &Arc<Cell>, units: u64) -> Result<Option<Hold>, Error> {
        let cell = cell.clone();
        self.ask(|answer| Command::Lease { cell, units, answer }).await
    }

    /// Whether a use of the cell's feature has been counted under `key`, by any process.
    pub(crate) async fn is_counted(&self, cell: &Cell, key: IdempotencyKey) -> Result<bool, Error> {
        self.commit_queue(false).await?;
        let source = crate::assemble::source(&cell.metered.feature.product, cell.tenant.as_str());
        let id = crate::assemble::id(&cell.metered.meter.name, key);
        Ok(self.0.store.event(&source, &id).await?.is_some())
    }

    /// Puts a use of what is held into the journal: when this answers well, it counts whatever happens to the process, and
    /// what was held for it is spent.
    pub(crate) fn settle(&self, hold: &Hold, used: Use) -> Result<(), Error> {
        let shared = &self.0.shared;
        let Use { key, at, units, data } = used;
        let pending = Pending::Use(PendingUse { cell: hold.cell().clone(), key, at, units, held: hold.held(), data });
        match shared.journal.append(pending) {
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

/// A use on its way to the journal.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) key: IdempotencyKey,
    /// When its units were reserved.
    pub(crate) at: Timestamp,
    pub(crate) units: u64,
    /// The text of a JSON object.
    pub(crate) data: Option<Box<str>>,
}

impl fmt::Debug for Billing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Billing")
            .field("product", &self.0.product)
            .field("store", &self.0.store.name())
            .finish_non_exhaustive()
    }
}
