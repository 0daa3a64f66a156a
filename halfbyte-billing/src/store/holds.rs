//! The rows that say who holds which units.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use halfbyte_core::TenantId;
use uuid::Uuid;

use super::lots::{self, LotKey, json};
use super::{Holder, Row, Session, SqlError, Value};

/// Units of a lot that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) holder: Holder,
    pub(super) lot: LotKey,
    pub(super) units: u64,
}

/// Locks and reads what these hold of these features.
pub(super) async fn lock(
    session: &mut dyn Session,
    wanted: &BTreeSet<(Holder, TenantId, Arc<str>)>,
) -> Result<Vec<Hold>, SqlError> {
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(holder, tenant, feature)| (holder.owner.to_string(), holder.cell, tenant.as_str(), &**feature))
        .collect();
    let sql = "WITH asked (owner, cell, tenant, feature) AS (
            SELECT value ->> 0, CAST(value ->> 1 AS INTEGER), value ->> 2, value ->> 3 FROM json_each($1))
        SELECT holds.owner, holds.cell, holds.tenant, holds.feature, holds.lot, holds.units
        FROM asked CROSS JOIN holds
        WHERE holds.owner = asked.owner AND holds.cell = asked.cell
            AND holds.tenant = asked.tenant AND holds.feature = asked.feature
        ORDER BY holds.owner, holds.cell, holds.tenant, holds.feature, holds.lot /*lock*/";
    let rows = session.query(sql, &[Value::Text(&json(&wanted)?)]).await?;
    rows.iter().map(hold).collect()
}

/// Locks and reads all that these owners hold; at most `limit` rows.
pub(super) async fn lock_all(
    session: &mut dyn Session,
    owners: &BTreeSet<Uuid>,
    limit: i64,
) -> Result<Vec<Hold>, SqlError> {
    let owners = json(&owners.iter().map(|owner| [owner.to_string()]).collect::<Vec<_>>())?;
    let sql = "SELECT owner, cell, tenant, feature, lot, units FROM holds
        WHERE owner IN (SELECT value ->> 0 FROM json_each($1))
        ORDER BY owner, cell, tenant, feature, lot LIMIT $2 /*lock*/";
    let rows = session.query(sql, &[Value::Text(&owners), Value::Int(limit)]).await?;
    rows.iter().map(hold).collect()
}

/// Gives locked holds back to their lots, whole. Answers how many units that were.
pub(super) async fn give_back(session: &mut dyn Session, held: &[Hold]) -> Result<u64, SqlError> {
    if held.is_empty() {
        return Ok(0);
    }
    let keys: BTreeSet<_> = held.iter().map(|hold| hold.lot.clone()).collect();
    let mut found: BTreeMap<_, _> = lots::lock(session, &keys).await?.into_iter().collect();
    let mut units = 0_u64;
    for hold in held {
        if let Some(lot) = found.get_mut(&hold.lot) {
            lot.give_back(hold.units);
        }
        units = units.saturating_add(hold.units);
    }
    lots::write(session, found.iter().map(|(key, lot)| (&key.0, &*key.1, lot))).await?;
    remove(session, held).await?;
    Ok(units)
}

/// Adds to what is held, whoever else does so at the same time.
pub(super) async fn grow(session: &mut dyn Session, holds: &[Hold]) -> Result<(), SqlError> {
    if holds.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO holds (owner, cell, tenant, feature, lot, units)
        SELECT value ->> 0, CAST(value ->> 1 AS INTEGER), value ->> 2, value ->> 3, value ->> 4,
            CAST(value ->> 5 AS INTEGER) FROM json_each($1) WHERE true
        ON CONFLICT (owner, cell, tenant, feature, lot) DO UPDATE SET units = holds.units + excluded.units";
    session.execute(sql, &[Value::Text(&listed(holds)?)]).await?;
    Ok(())
}

/// Sets what is held, by rows that are locked.
pub(super) async fn set(session: &mut dyn Session, holds: &[Hold]) -> Result<(), SqlError> {
    if holds.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO holds (owner, cell, tenant, feature, lot, units)
        SELECT value ->> 0, CAST(value ->> 1 AS INTEGER), value ->> 2, value ->> 3, value ->> 4,
            CAST(value ->> 5 AS INTEGER) FROM json_each($1) WHERE true
        ON CONFLICT (owner, cell, tenant, feature, lot) DO UPDATE SET units = excluded.units";
    session.execute(sql, &[Value::Text(&listed(holds)?)]).await?;
    Ok(())
}

/// Removes rows that are locked.
pub(super) async fn remove(session: &mut dyn Session, holds: &[Hold]) -> Result<(), SqlError> {
    if holds.is_empty() {
        return Ok(());
    }
    let sql = "DELETE FROM holds WHERE (owner, cell, tenant, feature, lot) IN (
        SELECT value ->> 0, CAST(value ->> 1 AS INTEGER), value ->> 2, value ->> 3, value ->> 4 FROM json_each($1))";
    session.execute(sql, &[Value::Text(&listed(holds)?)]).await?;
    Ok(())
}

fn listed(holds: &[Hold]) -> Result<String, SqlError> {
    let rows: Vec<_> = holds
        .iter()
        .map(|Hold { holder, lot: (tenant, feature, lot), units }| {
            (holder.owner.to_string(), holder.cell, tenant.as_str(), &**feature, &**lot, units)
        })
        .collect();
    json(&rows)
}

fn hold(row: &Row) -> Result<Hold, SqlError> {
    let holder = Holder { owner: lots::uuid(row, 0)?, cell: row.int(1)? };
    let lot = (lots::tenant(row, 2)?, row.text(3)?.into(), row.text(4)?.into());
    Ok(Hold { holder, lot, units: lots::units(row, 5)? })
}
