//! Who may hold units, and what becomes of the units of those who are gone.
//!
//! Everything that changes `owners`, `holds` and `lots` in one transaction locks rows in this order, each sorted; so no two
//! transactions wait for each other. A row of `owners` is there as long as its owner may hold something: who leases locks it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use halfbyte_core::TenantId;
use uuid::Uuid;

use super::holds;
use super::lots::{self, json, uuid};
use super::{Holder, Session, SqlError, Value};

/// Owners, and holds of theirs, that one reclaim gives back at most, so that it does not keep its locks for long.
const AT_ONCE: i64 = 10_000;

/// What an owner is told that says that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// It was there: what it holds is still its own.
    Alive,
    /// It was not there, and is now: it is new, or what it held was given back, and it must not use any of that.
    Anew,
}

/// What was given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reclaimed {
    pub(crate) owners: u64,
    pub(crate) units: u64,
    /// There is more of it; it is to be called again.
    pub(crate) more: bool,
}

/// Says that `owner` lives, and what it holds is its own for `ttl` from now. It must not use held units after that time,
/// counted on its own clock from before the call.
///
/// In a transaction of its own, or none: together with other rows of `owners` it could wait for who waits for it.
pub(crate) async fn heartbeat(session: &mut dyn Session, owner: Uuid, ttl: Duration) -> Result<Beat, SqlError> {
    let expires = session.now().await?.saturating_add(millis(ttl));
    let owner = owner.to_string();
    let values = [Value::Text(&owner), Value::Int(expires)];
    if session.execute("UPDATE owners SET expires = $2 WHERE owner = $1", &values).await? > 0 {
        return Ok(Beat::Alive);
    }
    add(session, &BTreeMap::from([(owner, expires)])).await?;
    Ok(Beat::Anew)
}

/// Gives back what is held by owners whose time has passed, and forgets them; without `processes`, only by reservations.
/// To be called again while there is `more`. Within the caller's transaction, which did nothing before.
pub(crate) async fn reclaim(session: &mut dyn Session, processes: bool) -> Result<Reclaimed, SqlError> {
    let now = session.now().await?;
    let expired = "SELECT owner FROM owners WHERE expires <= $1
        AND ($3 = 1 OR owner IN (SELECT owner FROM holds WHERE cell = 0)) ORDER BY owner LIMIT $2 /*lock*/";
    let owners = session.query(expired, &[now.into(), AT_ONCE.into(), i64::from(processes).into()]).await?;
    let owners = owners.iter().map(|row| uuid(row, 0)).collect::<Result<BTreeSet<_>, _>>()?;
    remove(session, &owners, AT_ONCE).await
}

/// Whether a reservation is held past its time.
pub(crate) async fn is_overdue(reader: &mut dyn Session) -> Result<bool, SqlError> {
    let now = reader.now().await?;
    let sql = "SELECT owner FROM owners WHERE expires <= $1
        AND EXISTS (SELECT 1 FROM holds WHERE holds.owner = owners.owner AND holds.cell = 0) LIMIT 1";
    Ok(!reader.query(sql, &[now.into()]).await?.is_empty())
}

/// Gives back all that `owner` holds, and forgets it; where uses of it are still to be counted, `Batch::forget` does both.
/// Answers how many units that were. Within the caller's transaction,
/// which did nothing before.
pub(crate) async fn forget(session: &mut dyn Session, owner: Uuid) -> Result<u64, SqlError> {
    let owners = BTreeSet::from([owner]);
    lock(session, &owners).await?;
    Ok(remove(session, &owners, i64::MAX).await?.units)
}

/// Everybody who is known, with those whose time has passed and who were not reclaimed yet.
#[cfg(any(test, feature = "testing"))]
pub(crate) async fn owners(session: &mut dyn Session) -> Result<BTreeSet<Uuid>, SqlError> {
    let rows = session.query("SELECT owner FROM owners", &[]).await?;
    rows.iter().map(|row| uuid(row, 0)).collect()
}

/// How many units are with owners whose time has passed, for each tenant and feature: those with the most, at most 1000.
pub(crate) async fn stranded(reader: &mut dyn Session) -> Result<Vec<(TenantId, Box<str>, u64)>, SqlError> {
    let now = reader.now().await?;
    let sql = "SELECT holds.tenant, holds.feature, CAST(sum(holds.units) AS INTEGER) AS units
        FROM owners CROSS JOIN holds
        WHERE owners.expires <= $1 AND holds.owner = owners.owner GROUP BY holds.tenant, holds.feature
        ORDER BY units DESC, holds.tenant, holds.feature LIMIT 1000";
    let rows = reader.query(sql, &[Value::Int(now)]).await?;
    rows.iter().map(|row| Ok((lots::tenant(row, 0)?, row.text(1)?.into(), lots::units(row, 2)?))).collect()
}

/// What a holder holds, of all features. Waits for who is changing it: after a commit whose outcome is not known this says
/// what became of it.
pub(crate) async fn held_of(session: &mut dyn Session, holder: Holder) -> Result<u64, SqlError> {
    let owner = holder.owner.to_string();
    let sql = "SELECT units FROM holds WHERE owner = $1 AND cell = $2 ORDER BY tenant, feature, lot /*lock*/";
    let rows = session.query(sql, &[Value::Text(&owner), Value::Int(holder.cell)]).await?;
    rows.iter().try_fold(0_u64, |sum, row| Ok(sum.saturating_add(lots::units(row, 0)?)))
}

/// Locks the rows of these owners; answers who has one.
pub(super) async fn lock(session: &mut dyn Session, owners: &BTreeSet<Uuid>) -> Result<BTreeSet<Uuid>, SqlError> {
    let sql = "SELECT owner FROM owners WHERE owner IN (SELECT value ->> 0 FROM json_each($1))
        ORDER BY owner /*lock*/";
    let rows = session.query(sql, &[Value::Text(&names(owners)?)]).await?;
    rows.iter().map(|row| uuid(row, 0)).collect()
}

/// Adds owners, or moves when they expire.
pub(super) async fn add(session: &mut dyn Session, owners: &BTreeMap<String, i64>) -> Result<(), SqlError> {
    let sql = "INSERT INTO owners (owner, expires) SELECT value ->> 0, CAST(value ->> 1 AS INTEGER) FROM json_each($1)
        WHERE true ON CONFLICT (owner) DO UPDATE SET expires = excluded.expires";
    let owners: Vec<_> = owners.iter().collect();
    session.execute(sql, &[Value::Text(&json(&owners)?)]).await?;
    Ok(())
}

/// Removes those of the owners, whose rows are locked, who hold nothing more. Answers how many those were.
pub(super) async fn remove_idle(session: &mut dyn Session, owners: &BTreeSet<Uuid>) -> Result<u64, SqlError> {
    let sql = "DELETE FROM owners WHERE owner IN (SELECT value ->> 0 FROM json_each($1))
        AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.owner = owners.owner)";
    session.execute(sql, &[Value::Text(&names(owners)?)]).await
}

/// What an owner is given in `owners`, from a span of time.
pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

async fn remove(session: &mut dyn Session, owners: &BTreeSet<Uuid>, limit: i64) -> Result<Reclaimed, SqlError> {
    if owners.is_empty() {
        return Ok(Reclaimed::default());
    }
    let held = holds::lock_all(session, owners, limit).await?;
    let units = holds::give_back(session, &held).await?;
    let removed = remove_idle(session, owners).await?;
    let more = [held.len(), owners.len()].iter().any(|rows| i64::try_from(*rows).is_ok_and(|rows| rows >= limit));
    Ok(Reclaimed { owners: removed, units, more })
}

fn names(owners: &BTreeSet<Uuid>) -> Result<String, SqlError> {
    json(&owners.iter().map(|owner| [owner.to_string()]).collect::<Vec<_>>())
}
