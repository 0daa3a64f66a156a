//! Whether a request may have a feature: at once where this process can tell, by asking the store where it cannot.

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::problem::Quota;
use halfbyte_core::{TenantId, error_chain};
use jiff::Timestamp;
use tokio::time::timeout;

use crate::catalog::suggestion;
use crate::quota::{Cell, Hold, MeteredFeature};
use crate::{Billing, Decision, Error, ErrorKind, Feature, Grant, IdempotencyKey, Period};

/// A request waits no longer than this for the store.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a client is told to wait when it is not known how long the trouble lasts.
const RETRY: Duration = Duration::from_secs(1);

/// One feature, for all requests to it.
#[derive(Debug)]
pub(crate) struct Gate {
    billing: Billing,
    feature: Feature,
    metered: Option<Arc<MeteredFeature>>,
}

/// What can be said without asking the store.
pub(crate) enum Verdict {
    /// Allowed; with what was reserved if the feature is metered, and when.
    Pass(Option<(Hold, Timestamp)>),
    Refuse(Decision),
    /// The store may know more.
    Ask,
}

impl Gate {
    pub(crate) fn new(billing: &Billing, feature: &str) -> Result<Self, Error> {
        let (product, catalog) = (billing.product(), billing.catalog());
        match catalog.feature(feature) {
            Some(found) if found.product == *product => {
                let metered = found.meter.clone().map(|meter| MeteredFeature { feature: found.clone(), meter });
                Ok(Self { billing: billing.clone(), feature: found.clone(), metered: metered.map(Arc::new) })
            }
            Some(found) => {
                let message = format!("the feature \"{feature}\" is of \"{}\" and not of \"{product}\"", found.product);
                Err(Error::new(ErrorKind::Catalog, message))
            }
            None => {
                let ours = catalog.features().filter(|feature| feature.product == *product);
                let hint = suggestion(feature, ours.map(|feature| &*feature.name));
                Err(Error::new(ErrorKind::Catalog, format!("{product} has no feature \"{feature}\"{hint}")))
            }
        }
    }

    pub(crate) fn billing(&self) -> &Billing {
        &self.billing
    }

    pub(crate) fn feature(&self) -> &str {
        &self.feature.name
    }

    /// Decides without I/O.
    pub(crate) fn decide(&self, tenant: &TenantId) -> Verdict {
        let grant = match self.billing.accounts().load() {
            Ok(accounts) => accounts.grant(tenant, &self.feature.name),
            Err(error) => return Verdict::Refuse(Decision::Unavailable { retry_in: error.retry_in() }),
        };
        match (grant, &self.metered) {
            (None, _) => Verdict::Ask,
            (Some(Grant::Metered { .. }), Some(_)) if !self.billing.shared().journal.is_accepting() => {
                Verdict::Refuse(Decision::Unavailable { retry_in: RETRY })
            }
            (Some(Grant::Metered { limit, per }), Some(metered)) => {
                let now = self.billing.clock().now();
                let period = Period::containing(now, per);
                let cell = self.billing.shared().cells.cell(tenant, metered, period, limit);
                cell.reserve(1).map_or(Verdict::Ask, |hold| Verdict::Pass(Some((hold, now))))
            }
            (Some(_), _) => Verdict::Pass(None),
        }
    }

    /// Decides, and asks the store where that helps. `sent` is the key that the client sent: a request that is a repetition
    /// of one that was counted is let in whatever is left, and reserves nothing.
    pub(crate) async fn ask(
        &self,
        tenant: &TenantId,
        sent: Option<IdempotencyKey>,
    ) -> Result<Option<(Hold, Timestamp)>, Decision> {
        match timeout(PATIENCE, self.ask_patiently(tenant, sent)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                tracing::warn!(
                    error = error_chain(&error),
                    feature = self.feature(),
                    "no entitlement could be decided"
                );
                Err(Decision::Unavailable { retry_in: RETRY })
            }
            Err(_elapsed) => {
                tracing::warn!(feature = self.feature(), "the store did not answer within {PATIENCE:?}");
                Err(Decision::Unavailable { retry_in: RETRY })
            }
        }
    }

    async fn ask_patiently(
        &self,
        tenant: &TenantId,
        sent: Option<IdempotencyKey>,
    ) -> Result<Result<Option<(Hold, Timestamp)>, Decision>, Error> {
        let outcome = self.ask_once(tenant, sent).await?;
        match outcome {
            Err(Decision::NotEntitled | Decision::QuotaExhausted(_)) if self.look_again().await => {
                self.ask_once(tenant, sent).await
            }
            outcome => Ok(outcome),
        }
    }

    async fn ask_once(
        &self,
        tenant: &TenantId,
        sent: Option<IdempotencyKey>,
    ) -> Result<Result<Option<(Hold, Timestamp)>, Decision>, Error> {
        let (cell, now) = match self.decide(tenant) {
            Verdict::Pass(reserved) => return Ok(Ok(reserved)),
            Verdict::Refuse(decision) => return Ok(Err(decision)),
            Verdict::Ask => match self.cell(tenant) {
                Some(found) => found,
                None => return Ok(Err(Decision::NotEntitled)),
            },
        };
        if let Some(hold) = self.lease(&cell).await? {
            return Ok(Ok(Some((hold, now))));
        }
        match sent {
            Some(key) if self.billing.is_counted(&cell, key).await? => Ok(Ok(None)),
            _ => Ok(Err(exhausted(&cell, now))),
        }
    }

    /// A tenant that is to be refused may just have got another plan, from another process: the accounts are read again,
    /// by one read for all who ask. Answers whether they have changed.
    async fn look_again(&self) -> bool {
        let accounts = self.billing.accounts();
        let Ok(seen) = accounts.load().map(|known| known.generation()) else { return false };
        // Where it fails the last good copy goes on answering; its state is readiness's to show.
        accounts.refresh(seen).await.is_ok_and(|known| known.generation() > seen)
    }

    /// One unit from the store; one request asks and the others wait for what it brings.
    async fn lease(&self, cell: &Arc<Cell>) -> Result<Option<Hold>, Error> {
        let _waiting = cell.wait();
        let _turn = cell.turn.lock().await;
        if let Some(hold) = cell.reserve(1) {
            return Ok(Some(hold));
        }
        if cell.is_exhausted() {
            return Ok(None);
        }
        let hold = self.billing.lease(cell).await?;
        cell.set_exhausted(hold.is_none());
        Ok(hold)
    }

    /// The cell of a tenant that has the feature, and the time it is for.
    fn cell(&self, tenant: &TenantId) -> Option<(Arc<Cell>, Timestamp)> {
        let accounts = self.billing.accounts().load().ok()?;
        let Grant::Metered { limit, per } = accounts.grant(tenant, &self.feature.name)? else { return None };
        let now = self.billing.clock().now();
        let period = Period::containing(now, per);
        Some((self.billing.shared().cells.cell(tenant, self.metered.as_ref()?, period, limit), now))
    }

    /// As [`decide`](Self::decide), without reserving anything.
    pub(crate) fn check(&self, tenant: &TenantId) -> Decision {
        match self.decide(tenant) {
            Verdict::Pass(_) => Decision::Allowed,
            Verdict::Refuse(decision) => decision,
            Verdict::Ask => match self.cell(tenant) {
                None => Decision::NotEntitled,
                Some((cell, now)) if cell.quota.limit == 0 || cell.is_exhausted() => exhausted(&cell, now),
                Some(_) => Decision::Allowed,
            },
        }
    }
}

fn exhausted(cell: &Cell, now: Timestamp) -> Decision {
    let quota = &cell.quota;
    Decision::QuotaExhausted(Quota {
        name: (*quota.metered.feature.name).into(),
        limit: quota.limit,
        remaining: 0,
        window: quota.period.length(),
        resets_in: quota.period.resets_in(now),
    })
}
