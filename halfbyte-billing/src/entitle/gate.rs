//! Whether a request may have a feature: at once where this process can tell, by asking the store where it cannot.

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::problem::Quota;
use halfbyte_core::{TenantId, error_chain};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use crate::account::{MeteredRight, Mode};
use crate::accounts::{FeatureIndex, Found, What};
use crate::catalog::suggestion;
use crate::quota::{Cell, Hold, Metered};
use crate::{Basis, Billing, Decision, Error, ErrorKind, Fallback, Feature, IdempotencyKey};

/// A request waits no longer than this for the store.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// What a client is told to wait when it is not known how long the trouble lasts.
const RETRY: Duration = Duration::from_secs(1);

/// One feature, for all who may ask for it; made by [`Billing::gate`].
#[derive(Clone, Debug)]
pub struct Gate {
    billing: Billing,
    feature: Feature,
    index: FeatureIndex,
    /// What use is counted by while nothing is known of an account.
    metered: Option<Arc<Metered>>,
}

/// What can be said without asking the store.
pub(crate) enum Verdict {
    /// Allowed; with what was reserved if the feature is metered.
    Pass(Pass),
    Refuse(Decision),
    /// The store may know more.
    Ask,
}

/// A request that may go on.
#[derive(Debug)]
pub(crate) struct Pass {
    /// What is reserved and when, if the feature is metered and it is not a repetition.
    pub(crate) held: Option<(Hold, Timestamp)>,
    /// What is left besides, as far as is known.
    pub(crate) remaining: Option<u64>,
    pub(crate) basis: Basis,
    /// Its key has been counted before.
    pub(crate) repetition: bool,
}

impl Pass {
    fn new(held: Option<(Hold, Timestamp)>, basis: Basis) -> Self {
        let remaining = held.as_ref().and_then(|(hold, _)| hold.cell().remaining());
        Self { held, remaining, basis, repetition: false }
    }
}

impl Gate {
    pub(crate) fn new(billing: &Billing, feature: &str) -> Result<Self, Error> {
        let (product, catalog) = (billing.product(), billing.catalog());
        match catalog.feature(feature) {
            Some(found) if found.product == *product => {
                let meter = catalog.meter_of_feature(found).cloned();
                let metered = meter.map(|meter| Arc::new(Metered { feature: found.clone(), meter }));
                let index = billing.accounts().watch(found, metered.clone());
                Ok(Self { billing: billing.clone(), feature: found.clone(), index, metered })
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

    /// The name of the feature.
    pub fn feature(&self) -> &str {
        &self.feature.name
    }

    pub(crate) fn feature_of(&self) -> &Feature {
        &self.feature
    }

    /// Decides without I/O, and reserves `units`.
    pub(crate) fn decide(&self, tenant: &TenantId, units: u64) -> Verdict {
        let instant = Instant::now();
        let basis = self.billing.accounts().basis_at(instant);
        if basis == Basis::Fallback {
            return self.fall_back(tenant, units);
        }
        let (found, now) = self.granted(tenant);
        let hold = match found.what() {
            What::Nothing => return Verdict::Ask,
            What::Unpaid => return Verdict::Ask,
            What::Included | What::Value(_) => None,
            What::Metered(_) if units > 0 && !self.billing.shared().journal.is_accepting() => {
                return Verdict::Refuse(Decision::Unavailable { retry_in: RETRY });
            }
            What::Metered(cell) => match cell.reserve(units, instant) {
                Some(hold) => Some((hold, now)),
                None => return Verdict::Ask,
            },
        };
        Verdict::Pass(Pass::new(hold, basis))
    }

    /// Nothing is known: the feature says what to do. What is let in is counted, and charged when the store is there again.
    fn fall_back(&self, tenant: &TenantId, units: u64) -> Verdict {
        let accepting = self.billing.shared().journal.is_accepting();
        match (self.feature.fallback, &self.metered) {
            (Fallback::Allow, None) => Verdict::Pass(Pass::new(None, Basis::Fallback)),
            (Fallback::Allow, Some(metered)) if accepting => {
                let now = self.billing.clock().now();
                let cell = self.billing.shared().cells.make(
                    tenant.clone(),
                    self.index.get(),
                    metered.clone(),
                    MeteredRight::unknown(now),
                );
                let hold = cell.reserve(units, Instant::now()).map(|hold| (hold, now));
                Verdict::Pass(Pass::new(hold, Basis::Fallback))
            }
            _ => Verdict::Refuse(Decision::Unavailable { retry_in: RETRY }),
        }
    }

    /// Decides, and asks the store where that helps. `sent` is the key that the client sent: a request that is a repetition
    /// of one that was counted is let in whatever is left, and reserves nothing.
    pub(crate) async fn ask(
        &self,
        tenant: &TenantId,
        units: u64,
        sent: Option<IdempotencyKey>,
    ) -> Result<Pass, Decision> {
        let outcome = match timeout(PATIENCE, self.ask_patiently(tenant, units, sent)).await {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(error)) => error_chain(&error),
            Err(_elapsed) => format!("the store did not answer within {PATIENCE:?}"),
        };
        tracing::warn!(error = outcome, feature = self.feature(), "no entitlement could be decided");
        if self.is_lacking(tenant) {
            return Err(Decision::Unavailable { retry_in: RETRY });
        }
        match self.fall_back(tenant, units) {
            Verdict::Pass(pass) => Ok(pass),
            Verdict::Refuse(decision) => Err(decision),
            Verdict::Ask => Err(Decision::Unavailable { retry_in: RETRY }),
        }
    }

    async fn ask_patiently(
        &self,
        tenant: &TenantId,
        units: u64,
        sent: Option<IdempotencyKey>,
    ) -> Result<Result<Pass, Decision>, Error> {
        let outcome = self.ask_once(tenant, units, sent).await?;
        let is_refused =
            matches!(outcome, Err(Decision::NotEntitled | Decision::PaymentRequired | Decision::QuotaExhausted(_)));
        if is_refused && self.billing.look_again().await? {
            return self.ask_once(tenant, units, sent).await;
        }
        Ok(outcome)
    }

    async fn ask_once(
        &self,
        tenant: &TenantId,
        units: u64,
        sent: Option<IdempotencyKey>,
    ) -> Result<Result<Pass, Decision>, Error> {
        match self.decide(tenant, units) {
            Verdict::Pass(pass) => return Ok(Ok(pass)),
            Verdict::Refuse(decision) => return Ok(Err(decision)),
            Verdict::Ask => {}
        }
        let (found, now) = self.granted(tenant);
        let cell = match found.what() {
            What::Metered(cell) => cell.clone(),
            What::Unpaid => return Ok(Err(Decision::PaymentRequired)),
            _ => return Ok(Err(Decision::NotEntitled)),
        };
        drop(found);
        let basis = self.billing.accounts().basis_at(Instant::now());
        if let Some(hold) = self.lease(&cell, units).await? {
            return Ok(Ok(Pass::new(Some((hold, now)), basis)));
        }
        match sent {
            Some(key) if self.billing.is_counted(&cell, key).await? => {
                Ok(Ok(Pass { held: None, remaining: cell.remaining(), basis, repetition: true }))
            }
            _ => Ok(Err(self.exhausted(&cell.right, cell.remaining().unwrap_or(0), now))),
        }
    }

    /// Whether `tenant` may not have the feature as far as is known. Nobody is let in against that, and nobody is refused for good
    /// by it while the store cannot be asked whether it is still so.
    fn is_lacking(&self, tenant: &TenantId) -> bool {
        let is_known = self.billing.accounts().basis_at(Instant::now()) != Basis::Fallback;
        is_known && matches!(self.granted(tenant).0.what(), What::Nothing | What::Unpaid)
    }

    /// Units from the store; one request asks and the others wait for what it brings.
    async fn lease(&self, cell: &Arc<Cell>, units: u64) -> Result<Option<Hold>, Error> {
        let _waiting = cell.wait(units);
        let _turn = cell.turn.lock().await;
        let hold = Hold::empty(cell.clone());
        // What it has, it keeps: requests that do not wait cannot take it away between two leases.
        loop {
            let missing = hold.resize(units);
            if missing == 0 {
                return Ok(Some(hold));
            }
            if cell.is_exhausted(missing) {
                return Ok(None);
            }
            match self.billing.lease(cell, missing).await? {
                Some(more) => hold.join(&more),
                None => {
                    cell.set_exhausted(Some(missing));
                    return Ok(None);
                }
            }
        }
    }

    fn granted(&self, tenant: &TenantId) -> (Found, Timestamp) {
        let now = self.billing.clock().now();
        (self.billing.accounts().granted(tenant, self.index, now), now)
    }

    /// Whether `tenant` may use the feature now, without reserving anything: no I/O, no lock, and no allocation unless it
    /// refuses, or the tenant's rights have changed since they were last asked for.
    pub fn check(&self, tenant: &TenantId) -> Decision {
        let basis = self.billing.accounts().basis_at(Instant::now());
        if basis == Basis::Fallback {
            return match self.feature.fallback {
                Fallback::Allow => Decision::Allow { remaining: None, basis },
                Fallback::Deny => Decision::Unavailable { retry_in: RETRY },
            };
        }
        let (found, now) = self.granted(tenant);
        match found.what() {
            What::Nothing => Decision::NotEntitled,
            What::Unpaid => Decision::PaymentRequired,
            What::Included | What::Value(_) => Decision::Allow { remaining: None, basis },
            What::Metered(cell) => match (cell.mode(), cell.remaining()) {
                (Mode::Hard | Mode::Prepaid, Some(0)) => self.exhausted(&cell.right, 0, now),
                (Mode::Hard | Mode::Prepaid, _) if cell.is_exhausted(1) && cell.available() == 0 => {
                    self.exhausted(&cell.right, 0, now)
                }
                (_, remaining) => Decision::Allow { remaining, basis },
            },
        }
    }

    /// What the plan of `tenant` says of a feature that plans give a value; `None` if it says nothing, or nothing is known of
    /// the tenant now. No I/O.
    pub fn value(&self, tenant: &TenantId) -> Option<Box<str>> {
        if self.billing.accounts().basis_at(Instant::now()) == Basis::Fallback {
            return None;
        }
        match self.granted(tenant).0.what() {
            What::Value(value) => Some(value.into()),
            _ => None,
        }
    }

    /// Why `remaining` is not enough.
    pub(crate) fn exhausted(&self, right: &MeteredRight, remaining: u64, now: Timestamp) -> Decision {
        if right.mode == Mode::Prepaid {
            return Decision::PaymentRequired;
        }
        Decision::QuotaExhausted(Quota {
            name: (*self.feature.name).into(),
            limit: right.limit,
            remaining: remaining.min(right.limit),
            window: right.period.length(),
            resets_in: right.period.resets_in(now),
        })
    }
}
