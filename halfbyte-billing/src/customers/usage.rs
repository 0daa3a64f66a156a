use halfbyte_core::TenantId;
use jiff::Timestamp;
use rust_decimal::Decimal;

use super::Customers;
use crate::metering::Aggregate;
use crate::query::{SlotRow, Tabulation};
use crate::store::Total;
use crate::usage::known_meter;
use crate::{Aggregation, Error, ErrorKind, Event, Period, UsageQuery, UsageTable};

/// So many slots are read at once: ten days.
const PAGE: i64 = 960;
/// So many rows of usage one slot may have: one for each combination of dimensions.
const ROWS: i64 = 1_000_000;

impl Customers {
    /// The units that a tenant used of a meter in a period, as far as they are committed: what a product answered for
    /// less than 50 ms ago may be missing.
    ///
    /// # Errors
    ///
    /// The catalogue has no such meter, or the store cannot be read.
    pub async fn usage(&self, tenant: &TenantId, meter: &str, period: Period) -> Result<Decimal, Error> {
        Ok(self.query(&UsageQuery::new(meter, tenant).period(period)).await?.total())
    }

    /// What a tenant used, as rows. As current as [`usage`](Self::usage).
    ///
    /// # Errors
    ///
    /// The catalogue has no such meter or dimension, it asks for too many rows, or the store cannot be read.
    pub async fn query(&self, query: &UsageQuery) -> Result<UsageTable, Error> {
        let catalog = self.catalog()?;
        let meter = known_meter(&catalog, query.meter())?;
        let (tenant, slots) = (query.tenant().as_str(), query.slots()?);
        let mut tabulation = Tabulation::new(meter, query, self.clock.now())?;
        if meter.aggregation == Aggregation::TimeWeighted {
            for (dimensions, latest) in self.store.level_before(tenant, &meter.name, slots.start).await? {
                tabulation.carry(dimensions, latest.value)?;
            }
        }
        if query.is_whole() && is_summed(meter.aggregation) {
            // One row for each combination of dimensions, added up where they are.
            for total in self.store.totals(tenant, &meter.name, std::slice::from_ref(&slots)).await? {
                let sum = i64::try_from(total.sum).map_err(|_| {
                    Error::new(ErrorKind::Invalid, format!("the sum of \"{}\" is too large; ask for less", meter.name))
                })?;
                let Total { dimensions, count, min, max, .. } = total;
                let aggregate = Aggregate { count, sum, min, max, ..Aggregate::default() };
                tabulation.push(SlotRow { slot: slots.start, dimensions, aggregate })?;
            }
            return Ok(UsageTable::new(meter, query, tabulation.finish()?));
        }
        let uniques = meter.aggregation == Aggregation::Unique;
        let mut from = slots.start;
        while from < slots.end {
            let until = slots.end.min(from + PAGE);
            let rows = self.store.usage_rows(tenant, &meter.name, from..until, uniques, ROWS).await?;
            if i64::try_from(rows.len()).unwrap_or(i64::MAX) == ROWS {
                let message = format!("\"{}\" has too many combinations of dimensions to add up", meter.name);
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            for row in rows {
                tabulation.push(row)?;
            }
            from = until;
        }
        Ok(UsageTable::new(meter, query, tabulation.finish()?))
    }

    /// Closes the time before `until` (rounded down to a quarter of an hour) for a tenant, or for all: what comes for it
    /// later is [`Late`](crate::Receipt::Late). It cannot be opened again. Answers up to when it is closed now.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub async fn close(&self, tenant: Option<&TenantId>, until: Timestamp) -> Result<Timestamp, Error> {
        self.store.close_until(tenant, until).await
    }

    /// What came for a tenant after its period was closed, in the order of arrival, the first `limit`.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn late_events(&self, tenant: &TenantId, limit: usize) -> Result<Vec<Event>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let late = self.store.late_events(tenant.as_str(), i64::MIN, limit).await?;
        Ok(late.into_iter().map(|received| received.event).collect())
    }
}

/// Whether the database can add it up.
fn is_summed(aggregation: Aggregation) -> bool {
    matches!(aggregation, Aggregation::Count | Aggregation::Sum | Aggregation::Min | Aggregation::Max)
}
