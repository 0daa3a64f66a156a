//! The rows that say which event burned what, and the sums of overage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use halfbyte_core::TenantId;
use jiff::Timestamp;

use super::lots::{self, json};
use super::{Column, Insert, Session, SqlError, Value};
use crate::period::slot_of;

/// Source and id of an event.
pub(super) type EventKey = (Box<str>, Box<str>);

/// The lot that overage is burned out of: none.
pub(super) const NO_LOT: &str = "";

/// What an event burned out of one lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Burn {
    pub(super) tenant: TenantId,
    pub(super) feature: Arc<str>,
    pub(super) lot: Box<str>,
    /// Of the event's time.
    pub(super) slot: i64,
    pub(super) units: u64,
}

/// What a tenant used of a feature beyond what is included, in the slots from that of `from` to that before `until`.
pub(crate) async fn overage_in(
    reader: &mut dyn Session,
    tenant: &TenantId,
    feature: &str,
    from: Timestamp,
    until: Timestamp,
) -> Result<u64, SqlError> {
    let sql = "SELECT CAST(coalesce(sum(units), 0) AS INTEGER) FROM overage
        WHERE tenant = $1 AND feature = $2 AND slot >= $3 AND slot < $4";
    let values = [tenant.as_str().into(), feature.into(), Value::Int(slot_of(from)), Value::Int(slot_of(until))];
    let sum = reader.query(sql, &values).await?[0].int(0)?;
    Ok(u64::try_from(sum).unwrap_or(0))
}

/// What these events burned. Who may ask has locked the events.
pub(super) async fn of(
    session: &mut dyn Session,
    events: &BTreeSet<EventKey>,
) -> Result<BTreeMap<EventKey, Vec<Burn>>, SqlError> {
    let sql = "WITH asked (source, id) AS (SELECT value ->> 0, value ->> 1 FROM json_each($1))
        SELECT burns.source, burns.id, burns.tenant, burns.feature, burns.lot, burns.slot, burns.units
        FROM asked CROSS JOIN burns WHERE burns.source = asked.source AND burns.id = asked.id";
    let mut found: BTreeMap<EventKey, Vec<Burn>> = BTreeMap::new();
    for row in session.query(sql, &[Value::Text(&json(events)?)]).await? {
        let event = (row.text(0)?.into(), row.text(1)?.into());
        found.entry(event).or_default().push(Burn {
            tenant: lots::tenant(&row, 2)?,
            feature: row.text(3)?.into(),
            lot: row.text(4)?.into(),
            slot: row.int(5)?,
            units: lots::units(&row, 6)?,
        });
    }
    Ok(found)
}

/// Adds what events burned.
pub(super) async fn add(session: &mut dyn Session, burns: &[(&EventKey, &Burn)]) -> Result<(), SqlError> {
    if burns.is_empty() {
        return Ok(());
    }
    let values: Vec<_> = burns
        .iter()
        .flat_map(|((source, id), burn)| {
            [
                Value::Text(source),
                Value::Text(id),
                Value::Text(&burn.feature),
                Value::Text(&burn.lot),
                Value::Text(burn.tenant.as_str()),
                Value::Int(burn.slot),
                Value::Int(i64::try_from(burn.units).unwrap_or(i64::MAX)),
            ]
        })
        .collect();
    session.insert(&INTO_BURNS, &values).await?;
    Ok(())
}

const INTO_BURNS: Insert = Insert {
    table: "burns",
    columns: &[
        Column::Text("source"),
        Column::Text("id"),
        Column::Text("feature"),
        Column::Text("lot"),
        Column::Text("tenant"),
        Column::Int("slot"),
        Column::Int("units"),
    ],
    conflict: "",
};

/// Removes all that these events burned.
pub(super) async fn remove(session: &mut dyn Session, events: &BTreeSet<EventKey>) -> Result<(), SqlError> {
    if events.is_empty() {
        return Ok(());
    }
    let sql = "DELETE FROM burns WHERE (source, id) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))";
    session.execute(sql, &[Value::Text(&json(events)?)]).await?;
    Ok(())
}

/// Adds to the sums of overage, or takes off.
pub(super) async fn sum(
    session: &mut dyn Session,
    overage: &BTreeMap<(TenantId, Arc<str>, i64), i64>,
) -> Result<(), SqlError> {
    let rows: Vec<_> = overage
        .iter()
        .filter(|(_, units)| **units != 0)
        .map(|((tenant, feature, slot), units)| (tenant.as_str(), &**feature, slot, units))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO overage (tenant, feature, slot, units)
        SELECT value ->> 0, value ->> 1, CAST(value ->> 2 AS INTEGER), CAST(value ->> 3 AS INTEGER) FROM json_each($1)
        WHERE true ON CONFLICT (tenant, feature, slot) DO UPDATE SET units = CASE
            WHEN excluded.units > 0 AND overage.units > 9223372036854775807 - excluded.units THEN 9223372036854775807
            ELSE overage.units + excluded.units END";
    session.execute(sql, &[Value::Text(&json(&rows)?)]).await?;
    Ok(())
}
