//! Reserve, settle, release: for work whose cost is known only afterwards, by whichever process ends it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::TenantId;
use uuid::Uuid;

use crate::account::{Mode, Right};
use crate::committer::{Command, Ingested};
use crate::store::{Held, Holder, LeaseAsk, Release, Units};
use crate::{Billing, Error, ErrorKind, IdempotencyKey, Receipt, assemble};

/// The longest that a reservation can be made for.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// A reservation in the store: it can be handed to another process as text, and outlives this one.
///
/// It expires by itself; what it held is then free again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    id: Uuid,
    tenant: TenantId,
    feature: Arc<str>,
    units: u64,
}

/// What became of asking for a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reservation {
    /// The units are held.
    Held(Reserved),
    /// They are not to be had; the decision says why.
    Refused(crate::Decision),
}

impl Reserved {
    /// Who pays.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What for.
    pub fn feature(&self) -> &str {
        &self.feature
    }

    /// How much is held, in the meter's smallest unit.
    pub fn units(&self) -> u64 {
        self.units
    }

    fn holder(&self) -> Holder {
        Holder { owner: self.id, cell: 0 }
    }

    fn release(&self) -> Release {
        Release { holder: self.holder(), tenant: self.tenant.clone(), feature: self.feature.clone(), units: None }
    }
}

/// `ID/TENANT/FEATURE/UNITS`, for a queue or a job's row.
impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.id, self.tenant, self.feature, self.units)
    }
}

impl FromStr for Reserved {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.splitn(4, '/');
        let mut part = || parts.next().unwrap_or_default();
        let (id, tenant, feature, units) = (part(), part(), part(), part());
        let parsed = || Some((id.parse().ok()?, TenantId::new(tenant).ok()?, units.parse().ok()?));
        let (id, tenant, units) =
            parsed().ok_or_else(|| Error::new(ErrorKind::Invalid, "this is not the text of a reservation"))?;
        Ok(Self { id, tenant, feature: feature.into(), units })
    }
}

impl Billing {
    /// Holds `units` of a metered feature (in the meter's smallest unit) for `tenant`, for as long as `expires_in` and at most 31
    /// days. The answer comes from the store.
    ///
    /// # Errors
    ///
    /// The catalogue has no such metered feature, or the store cannot be written.
    pub async fn reserve(
        &self,
        tenant: &TenantId,
        feature: &str,
        units: u64,
        expires_in: Duration,
    ) -> Result<Reservation, Error> {
        let gate = crate::entitle::Gate::new(self, feature)?;
        let now = self.clock().now();
        let decision = gate.check(tenant);
        let right = match self.accounts().right(tenant, gate.feature_of(), now, now).0 {
            Right::Metered(right) => right,
            Right::None | Right::Unpaid => return Ok(Reservation::Refused(decision)),
            Right::Included | Right::Value(_) => {
                let message = format!("\"{feature}\" is not metered: there is nothing to reserve");
                return Err(Error::new(ErrorKind::Catalog, message));
            }
        };
        let feature = gate.feature_of().name.clone();
        let reserved = Reserved { id: Uuid::now_v7(), tenant: tenant.clone(), feature: feature.clone(), units };
        if matches!(right.mode, Mode::Soft | Mode::Unlimited) {
            return Ok(Reservation::Held(reserved));
        }
        let ask = LeaseAsk {
            holder: reserved.holder(),
            tenant: tenant.clone(),
            feature,
            lots: right.lots.clone(),
            units: Units::Exactly(units),
            expires_in: Some(expires_in.min(LONGEST)),
        };
        // What this process holds idle may be what is missing.
        let mut left = 0;
        for give_back in [false, true] {
            if give_back {
                self.commit_queue(true).await?;
            }
            let ask = ask.clone();
            let leased = self.ask(|answer| Command::Reserve { ask, answer }).await?;
            left = leased.left;
            if leased.units == units {
                return Ok(Reservation::Held(reserved));
            }
        }
        Ok(Reservation::Refused(gate.exhausted(&right, left, now)))
    }

    /// Counts `units` under `key` and lets go of what the reservation held beyond them, in one commit. More than was held is
    /// counted as well: out of what is left, and beyond that as overage. After it has expired, all of it is counted so.
    ///
    /// # Errors
    ///
    /// The catalogue no longer has the feature, or the store cannot be written: then the reservation stays.
    pub async fn settle_reserved(
        &self,
        reserved: &Reserved,
        units: u64,
        key: IdempotencyKey,
    ) -> Result<Receipt, Error> {
        let used = crate::journal::Use {
            tenant: reserved.tenant.as_str(),
            feature: &reserved.feature,
            key,
            at: self.clock().now(),
            units,
            held: 0,
            cell: 0,
            data: "",
        };
        let entry = assemble::of_use(
            self.accounts(),
            &used,
            None,
            Some(Held { by: reserved.holder(), units: reserved.units }),
            self.clock().now(),
        )?;
        let receipts = self.take(vec![Ingested { entry: Arc::new(entry), release: Some(reserved.release()) }]).await?;
        receipts.into_iter().next().unwrap_or_else(|| Err(crate::committer::closed()))
    }

    /// Gives back all that a reservation holds. One that has expired or was settled holds nothing.
    ///
    /// # Errors
    ///
    /// The store cannot be written; it expires by itself.
    pub async fn release_reserved(&self, reserved: &Reserved) -> Result<(), Error> {
        let release = reserved.release();
        self.ask(|answer| Command::Release { release, answer }).await
    }
}
