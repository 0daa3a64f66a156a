use std::sync::Arc;

use halfbyte_core::{ProductId, TenantId};
use rust_decimal::Decimal;

use crate::account::{Mode, Right};
use crate::catalog::suggestion;
use crate::metering::decimal;
use crate::query::{UsageQuery, UsageTable};
use crate::{Billing, Catalog, Error, ErrorKind, Feature, Meter, Per, Period};

/// What a tenant used of one meter in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The product whose use the meter counts.
    pub product: ProductId,
    /// The meter.
    pub meter: Arc<str>,
    /// What one of it is called.
    pub unit: Box<str>,
    /// The period.
    pub period: Period,
    /// The units used.
    pub used: Decimal,
    /// The feature of the tenant's plan that limits the use; `None` if there is none.
    pub feature: Option<Arc<str>>,
    /// The units that the plan includes in the period; `None` if nothing limits it. Grants come on top.
    pub limit: Option<Decimal>,
}

impl Billing {
    /// The units that a tenant used of a meter in a period. Everything that this process answered for is included;
    /// of other processes, everything older than 50 ms.
    ///
    /// # Errors
    ///
    /// The catalogue has no such meter, or the store cannot be written or read.
    pub async fn usage(&self, tenant: &TenantId, meter: &str, period: Period) -> Result<Decimal, Error> {
        let table = self.query(&UsageQuery::new(meter, tenant).period(period)).await?;
        Ok(table.total())
    }

    /// What a tenant used, as rows: see [`UsageQuery`]. As current as [`usage`](Self::usage).
    ///
    /// # Errors
    ///
    /// The catalogue has no such meter or dimension, or the store cannot be written or read.
    pub async fn query(&self, query: &UsageQuery) -> Result<UsageTable, Error> {
        self.commit_queue(false).await?;
        self.customers().query(query).await
    }

    /// What a tenant used of each meter of this product in the period that its plan counts in, and what the plan includes; a
    /// meter that no feature of the plan limits is shown for the month. As current as [`usage`](Self::usage).
    ///
    /// # Errors
    ///
    /// The store cannot be written or read.
    pub async fn usage_of(&self, tenant: &TenantId) -> Result<Vec<Usage>, Error> {
        self.commit_queue(false).await?;
        let (now, catalog) = (self.clock().now(), self.catalog());
        let customers = self.customers();
        let mut rows = Vec::new();
        for meter in catalog.meters().filter(|meter| meter.product == *self.product()) {
            let mut row = self.row(&catalog, meter, tenant, now);
            row.used = customers.query(&UsageQuery::new(&meter.name, tenant).period(row.period)).await?.total();
            rows.push(row);
        }
        Ok(rows)
    }

    /// A row without its usage.
    fn row(&self, catalog: &Catalog, meter: &Meter, tenant: &TenantId, now: jiff::Timestamp) -> Usage {
        let right = |feature: &Feature| self.accounts().right(tenant, feature, now, now).0;
        let (period, feature, limit) =
            match catalog.feature_of_meter(&meter.name).map(|feature| (feature, right(feature))) {
                Some((feature, Right::Metered(right))) => {
                    let limit = (right.mode != Mode::Unlimited).then(|| decimal(right.limit, meter.decimals));
                    (right.period, Some(feature.name.clone()), limit)
                }
                _ => (Period::containing(now, Per::Month), None, None),
            };
        Usage {
            product: meter.product.clone(),
            meter: meter.name.clone(),
            unit: meter.unit.clone(),
            period,
            used: Decimal::ZERO,
            feature,
            limit,
        }
    }
}

/// The meter of this name.
pub(crate) fn known_meter<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a Meter, Error> {
    catalog.meter(name).ok_or_else(|| {
        let hint = suggestion(name, catalog.meters().map(|meter| &*meter.name));
        Error::new(ErrorKind::Catalog, format!("there is no meter \"{name}\"{hint}"))
    })
}
