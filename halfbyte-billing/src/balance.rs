use halfbyte_core::TenantId;
use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::account::Right;
use crate::catalog::suggestion;
use crate::metering::decimal;
use crate::store::{balance, overage_in};
use crate::{Billing, Error, ErrorKind, Period};

/// What a tenant may still use of a metered feature, lot by lot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Balance {
    /// The period of the plan's allowance.
    pub period: Period,
    /// What nobody has burned or holds, in units of the meter; grace included.
    pub available: Decimal,
    /// What was used in the period beyond what is included.
    pub overage: Decimal,
    /// In the order in which they are burned.
    pub lots: Vec<LotBalance>,
}

/// One lot: the plan's allowance of the period, an add-on, grace, or a grant. In units of the meter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LotBalance {
    /// Which: `plan/START`, `add-on/NAME/START`, `grace/START`, `grant/ID`.
    pub key: Box<str>,
    /// What it is of.
    pub amount: Decimal,
    /// What it took over from the lot before it.
    pub carried: Decimal,
    /// What was used of it.
    pub burned: Decimal,
    /// What processes and reservations hold of it.
    pub held: Decimal,
    /// When what is left of it is gone; `None` for never.
    pub expires: Option<Timestamp>,
}

impl Billing {
    /// What `tenant` may still use of a metered feature of any product, as the store has it; `None` if it does not have the
    /// feature now. Everything that this process answered for is included.
    ///
    /// # Errors
    ///
    /// The catalogue has no such metered feature, or the store cannot be written or read.
    pub async fn balance(&self, tenant: &TenantId, feature: &str) -> Result<Option<Balance>, Error> {
        let catalog = self.catalog();
        let metered = catalog.feature(feature).and_then(|found| Some((found, catalog.meter_of_feature(found)?)));
        let Some((feature, meter)) = metered else {
            let known = catalog.features().filter(|feature| catalog.meter_of_feature(feature).is_some());
            let hint = suggestion(feature, known.map(|feature| &*feature.name));
            return Err(Error::new(ErrorKind::Catalog, format!("there is no metered feature \"{feature}\"{hint}")));
        };
        self.commit_queue(false).await?;
        let now = self.clock().now();
        let Right::Metered(right) = self.accounts().right(tenant, feature, now, now).0 else { return Ok(None) };
        let mut reader = self.store().reader().await?;
        let read = async {
            let found = balance(reader.as_mut(), tenant, &feature.name, &right.lots, now).await?;
            let (from, until) = (right.period.start(), right.period.end());
            Ok((found, overage_in(reader.as_mut(), tenant, &feature.name, from, until).await?))
        };
        let (found, overage) = read.await.map_err(|error| self.store().explain("reading a balance in", error))?;
        let units = |units: u64| decimal(units, meter.decimals);
        let lots = found.lots.into_iter().map(|lot| LotBalance {
            amount: units(lot.amount),
            carried: if lot.carried < 0 {
                -units(lot.carried.unsigned_abs())
            } else {
                units(lot.carried.unsigned_abs())
            },
            burned: units(lot.burned),
            held: units(lot.held),
            expires: lot.expires,
            key: lot.key,
        });
        Ok(Some(Balance {
            period: right.period,
            available: units(found.available),
            overage: units(overage),
            lots: lots.collect(),
        }))
    }
}
