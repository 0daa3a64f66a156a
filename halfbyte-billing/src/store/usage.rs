//! What was used, read from the aggregates.

use std::collections::BTreeMap;

use super::aggregates::read;
use super::failure::Attempt as _;
use super::measured::to_json;
use super::{Session, SqlError, Store, Value};
use crate::Error;
use crate::metering::Latest;
use crate::query::SlotRow;

/// What one meter measured in a stretch of slots, as far as numbers can be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Total {
    /// Which of the stretches that were asked for.
    pub(crate) stretch: usize,
    pub(crate) dimensions: Box<str>,
    pub(crate) count: i64,
    /// As large as it may be.
    pub(crate) sum: i128,
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
}

/// Slots from the first, to the second without it.
pub(crate) type Slots = std::ops::Range<i64>;

impl Store {
    /// Count, sum, min and max of each stretch and combination of dimensions in which there is something: added up by
    /// the database. Ordered by stretch and dimensions.
    pub(crate) async fn totals(&self, tenant: &str, meter: &str, stretches: &[Slots]) -> Result<Vec<Total>, Error> {
        let mut reader = self.reader().await?;
        totals(&mut *reader, tenant, meter, stretches).await.attempt("reading usage in", self.name())
    }

    /// The rows of `slots`, with their different values for a meter that counts those; ordered by slot and dimensions.
    /// Answers at most `limit` rows.
    pub(crate) async fn usage_rows(
        &self,
        tenant: &str,
        meter: &str,
        slots: Slots,
        uniques: bool,
        limit: i64,
    ) -> Result<Vec<SlotRow>, Error> {
        let mut reader = self.reader().await?;
        let rows = usage_rows(&mut *reader, [tenant, meter], slots, uniques, limit);
        rows.await.attempt("reading usage in", self.name())
    }

    /// The latest level before `slot` of each combination of dimensions.
    pub(crate) async fn level_before(
        &self,
        tenant: &str,
        meter: &str,
        slot: i64,
    ) -> Result<BTreeMap<Box<str>, Latest>, Error> {
        let mut reader = self.reader().await?;
        level_before(&mut *reader, tenant, meter, slot).await.attempt("reading usage in", self.name())
    }
}

fn bounds(stretches: &[Slots]) -> Result<String, SqlError> {
    to_json(&stretches.iter().enumerate().map(|(index, slots)| (index, slots.start, slots.end)).collect::<Vec<_>>())
}

async fn totals(
    session: &mut dyn Session,
    tenant: &str,
    meter: &str,
    stretches: &[Slots],
) -> Result<Vec<Total>, SqlError> {
    // The stretches are read once and not for each row.
    // Added up in two parts, which no number of rows brings beyond what the databases can count to.
    let found = session
        .query(
            "WITH stretches (number, first, past) AS MATERIALIZED (
                 SELECT CAST(value ->> 0 AS INTEGER), CAST(value ->> 1 AS INTEGER), CAST(value ->> 2 AS INTEGER)
                 FROM json_each($1))
             SELECT number, dimensions, CAST(sum(count) AS INTEGER),
                    CAST(sum(sum / 1000000000) AS INTEGER), CAST(sum(sum % 1000000000) AS INTEGER), min(min), max(max)
             FROM stretches CROSS JOIN aggregates
             WHERE tenant = $2 AND meter = $3 AND slot >= first AND slot < past
             GROUP BY 1, 2 ORDER BY 1, 2",
            &[bounds(stretches)?.as_str().into(), tenant.into(), meter.into()],
        )
        .await?;
    let total = |row: &super::Row| {
        Ok(Total {
            stretch: usize::try_from(row.int(0)?).unwrap_or(usize::MAX),
            dimensions: row.text(1)?.into(),
            count: row.int(2)?,
            sum: i128::from(row.int(3)?) * 1_000_000_000 + i128::from(row.int(4)?),
            min: row.int_or_none(5)?,
            max: row.int_or_none(6)?,
        })
    };
    found.iter().map(total).collect()
}

async fn usage_rows(
    session: &mut dyn Session,
    [tenant, meter]: [&str; 2],
    slots: Slots,
    uniques: bool,
    limit: i64,
) -> Result<Vec<SlotRow>, SqlError> {
    let bounds: [Value<'_>; 5] = [tenant.into(), meter.into(), slots.start.into(), slots.end.into(), limit.into()];
    // Rows and their values as they are at one instant.
    session.begin_reading().await?;
    let found = session
        .query(
            "SELECT count, sum, min, max, latest, latest_at, latest_id, first_at, area, slot, dimensions FROM aggregates
             WHERE tenant = $1 AND meter = $2 AND slot >= $3 AND slot < $4 ORDER BY slot, dimensions LIMIT $5",
            &bounds,
        )
        .await?;
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        rows.push(SlotRow { slot: row.int(9)?, dimensions: row.text(10)?.into(), aggregate: read(row)? });
    }
    if let (true, Some(last)) = (uniques, rows.last()) {
        let values: [Value<'_>; 4] = [tenant.into(), meter.into(), slots.start.into(), (last.slot + 1).into()];
        let found = session
            .query(
                "SELECT slot, dimensions, value, count FROM uniques
                 WHERE tenant = $1 AND meter = $2 AND slot >= $3 AND slot < $4",
                &values,
            )
            .await?;
        for row in &found {
            let (slot, dimensions) = (row.int(0)?, row.text(1)?);
            let of = rows.binary_search_by(|row| (row.slot, &*row.dimensions).cmp(&(slot, dimensions)));
            if let Ok(index) = of {
                rows[index].aggregate.unique.insert(row.text(2)?.into(), row.int(3)?);
            }
        }
    }
    session.commit().await?;
    Ok(rows)
}

async fn level_before(
    session: &mut dyn Session,
    tenant: &str,
    meter: &str,
    slot: i64,
) -> Result<BTreeMap<Box<str>, Latest>, SqlError> {
    let found = session
        .query(
            "SELECT a.dimensions, a.latest, a.latest_at, a.latest_id
             FROM (SELECT dimensions, max(slot) AS slot FROM aggregates
                   WHERE tenant = $1 AND meter = $2 AND slot < $3 AND latest IS NOT NULL GROUP BY dimensions) AS newest
             JOIN aggregates AS a
             ON a.tenant = $1 AND a.meter = $2 AND a.slot = newest.slot AND a.dimensions = newest.dimensions",
            &[tenant.into(), meter.into(), slot.into()],
        )
        .await?;
    found
        .iter()
        .map(|row| Ok((row.text(0)?.into(), Latest { at: row.int(2)?, tie: row.text(3)?.into(), value: row.int(1)? })))
        .collect()
}
