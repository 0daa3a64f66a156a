use std::time::Duration;

use halfbyte_core::ProductId;
use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;

use crate::catalog::CatalogSource;
use crate::journal::Bounds;

/// What [`Billing`](crate::Billing) is opened with.
#[must_use = "nothing happens before `Billing::open`"]
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) backend: BillingBackend,
    pub(crate) home: Home,
    pub(crate) product: ProductId,
    pub(crate) catalog: CatalogSource,
    pub(crate) lease: Duration,
    pub(crate) tolerance: Duration,
    pub(crate) backlog: Bounds,
}

impl Settings {
    /// The store in `backend` for `product`, with the journal of this process in `home`.
    pub fn new(backend: &BillingBackend, home: &Home, product: ProductId, catalog: impl Into<CatalogSource>) -> Self {
        Self {
            backend: backend.clone(),
            home: home.clone(),
            product,
            catalog: catalog.into(),
            lease: Duration::from_secs(60),
            tolerance: Duration::from_secs(300),
            backlog: Bounds::default(),
        }
    }

    /// How long what this process holds of quotas stays its own without a word from it; 60 seconds unless it is set, 3
    /// seconds at least. After it has gone without giving back, others wait this long, and this long again where the store was away.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_secs(3));
        self
    }

    /// How far in the future an event may be; 5 minutes unless it is set. Clocks differ.
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }
}
