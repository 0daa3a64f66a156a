//! The rows of lots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use halfbyte_core::TenantId;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{Row, Session, SqlError, Value};
use crate::ledger::{Book, Lot, LotSpec};

/// Which lot: of whom, of which feature, its key.
pub(super) type LotKey = (TenantId, Arc<str>, Box<str>);

/// What a tenant has of a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Balance {
    /// In burn order, without those that have ended or not begun.
    pub(crate) lots: Vec<LotView>,
    /// The sum of what they have.
    pub(crate) available: u64,
}

/// A lot, for people. All numbers are of the meter's smallest unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LotView {
    pub(crate) key: Box<str>,
    pub(crate) amount: u64,
    /// Taken over from the lot before it, less what the lot after it took over.
    pub(crate) carried: i64,
    pub(crate) burned: u64,
    pub(crate) held: u64,
    pub(crate) available: u64,
    pub(crate) expires: Option<Timestamp>,
}

/// What there is of the lots of `specs` at `at`. A lot that nobody needed yet has no row; it is shown as it would be made
/// now, with what it would take over.
pub(crate) async fn balance(
    reader: &mut dyn Session,
    tenant: &TenantId,
    feature: &str,
    specs: &[LotSpec],
    at: Timestamp,
) -> Result<Balance, SqlError> {
    let as_of = at.as_microsecond();
    let mut wanted: BTreeMap<_, _> = BTreeMap::new();
    for lot in specs.iter().filter(|spec| spec.is_usable(as_of)).flat_map(|spec| Lot::with_previous(spec, as_of)) {
        wanted.entry(lot.key.clone()).or_insert(lot);
    }
    let sql =
        "SELECT tenant, feature, lot, priority, effective, expires, created, overage, amount, carried, burned, held,
            as_of
        FROM lots WHERE tenant = $2 AND feature = $3 AND lot IN (SELECT value ->> 0 FROM json_each($1))";
    let keys = json(&wanted.keys().map(|key| [key]).collect::<Vec<_>>())?;
    let rows = reader.query(sql, &[Value::Text(&keys), Value::Text(tenant.as_str()), Value::Text(feature)]).await?;

    let mut book = Book::default();
    for row in &rows {
        let (_, found) = lot(row)?;
        wanted.remove(&found.key);
        book.add(found, false);
    }
    wanted.into_values().for_each(|lot| book.add(lot, true));
    let usable = book.usable(specs, at, at);
    let available = usable.iter().fold(0_u64, |sum, (_, units)| sum.saturating_add(*units));
    let lots = usable.into_iter().map(|(index, available)| view(&book.lots()[index], available)).collect();
    Ok(Balance { lots, available })
}

fn view(lot: &Lot, available: u64) -> LotView {
    LotView {
        key: lot.key.clone(),
        amount: lot.amount,
        carried: lot.carried,
        burned: lot.burned,
        held: lot.held,
        available,
        expires: lot.expires.and_then(|expires| Timestamp::from_microsecond(expires).ok()),
    }
}

/// Which of these have a row. Rows are never removed, so this stays true without a lock.
pub(super) async fn existing(session: &mut dyn Session, keys: &BTreeSet<LotKey>) -> Result<BTreeSet<LotKey>, SqlError> {
    let sql = "WITH asked (tenant, feature, lot) AS (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1))
        SELECT lots.tenant, lots.feature, lots.lot FROM asked CROSS JOIN lots
        WHERE lots.tenant = asked.tenant AND lots.feature = asked.feature AND lots.lot = asked.lot";
    let rows = session.query(sql, &[Value::Text(&names(keys)?)]).await?;
    rows.iter().map(key).collect()
}

/// Makes those that are not there; answers which those were. Waits for another process that is making one of them.
pub(super) async fn make(
    session: &mut dyn Session,
    lots: &BTreeMap<LotKey, Lot>,
) -> Result<BTreeSet<LotKey>, SqlError> {
    let sql = "INSERT INTO lots (tenant, feature, lot, priority, effective, expires, created, overage, amount, carried,
            burned, held, as_of)
        SELECT value ->> 0, value ->> 1, value ->> 2, CAST(value ->> 3 AS INTEGER), CAST(value ->> 4 AS INTEGER),
            CAST(value ->> 5 AS INTEGER), CAST(value ->> 6 AS INTEGER), CAST(value ->> 7 AS INTEGER),
            CAST(value ->> 8 AS INTEGER), CAST(value ->> 9 AS INTEGER), CAST(value ->> 10 AS INTEGER),
            CAST(value ->> 11 AS INTEGER), CAST(value ->> 12 AS INTEGER) FROM json_each($1) WHERE true
        ON CONFLICT (tenant, feature, lot) DO NOTHING RETURNING tenant, feature, lot";
    let rows = listed(lots.iter().map(|(key, lot)| (&key.0, &*key.1, lot)))?;
    let rows = session.query(sql, &[Value::Text(&rows)]).await?;
    rows.iter().map(key).collect()
}

/// Locks and reads these lots, as far as they are there.
pub(super) async fn lock(session: &mut dyn Session, keys: &BTreeSet<LotKey>) -> Result<Vec<(LotKey, Lot)>, SqlError> {
    let sql = "WITH asked (tenant, feature, lot) AS (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1))
        SELECT lots.tenant, lots.feature, lots.lot, lots.priority, lots.effective, lots.expires, lots.created,
            lots.overage, lots.amount, lots.carried, lots.burned, lots.held, lots.as_of
        FROM asked CROSS JOIN lots
        WHERE lots.tenant = asked.tenant AND lots.feature = asked.feature AND lots.lot = asked.lot
        ORDER BY lots.tenant, lots.feature, lots.lot /*lock*/";
    let rows = session.query(sql, &[Value::Text(&names(keys)?)]).await?;
    rows.iter().map(lot).collect()
}

/// Writes lots that are locked.
pub(super) async fn write<'a>(
    session: &mut dyn Session,
    lots: impl Iterator<Item = (&'a TenantId, &'a str, &'a Lot)>,
) -> Result<(), SqlError> {
    let sql = "INSERT INTO lots (tenant, feature, lot, priority, effective, expires, created, overage, amount, carried,
            burned, held, as_of)
        SELECT value ->> 0, value ->> 1, value ->> 2, CAST(value ->> 3 AS INTEGER), CAST(value ->> 4 AS INTEGER),
            CAST(value ->> 5 AS INTEGER), CAST(value ->> 6 AS INTEGER), CAST(value ->> 7 AS INTEGER),
            CAST(value ->> 8 AS INTEGER), CAST(value ->> 9 AS INTEGER), CAST(value ->> 10 AS INTEGER),
            CAST(value ->> 11 AS INTEGER), CAST(value ->> 12 AS INTEGER) FROM json_each($1) WHERE true
        ON CONFLICT (tenant, feature, lot) DO UPDATE SET priority = excluded.priority, effective = excluded.effective,
            expires = excluded.expires, amount = excluded.amount, carried = excluded.carried, burned = excluded.burned,
            held = excluded.held, as_of = excluded.as_of";
    let rows = listed(lots)?;
    if rows != "[]" {
        session.execute(sql, &[Value::Text(&rows)]).await?;
    }
    Ok(())
}

fn listed<'a>(lots: impl Iterator<Item = (&'a TenantId, &'a str, &'a Lot)>) -> Result<String, SqlError> {
    let row = |(tenant, feature, lot): (&'a TenantId, &'a str, &'a Lot)| {
        (
            tenant.as_str(),
            feature,
            &*lot.key,
            lot.priority,
            lot.effective,
            lot.expires,
            lot.created,
            u8::from(lot.overage),
            lot.amount,
            lot.carried,
            lot.burned,
            lot.held,
            lot.as_of,
        )
    };
    json(&lots.map(row).collect::<Vec<_>>())
}

fn names(keys: &BTreeSet<LotKey>) -> Result<String, SqlError> {
    json(&keys.iter().map(|(tenant, feature, lot)| (tenant.as_str(), &**feature, &**lot)).collect::<Vec<_>>())
}

fn key(row: &Row) -> Result<LotKey, SqlError> {
    Ok((tenant(row, 0)?, row.text(1)?.into(), row.text(2)?.into()))
}

fn lot(row: &Row) -> Result<(LotKey, Lot), SqlError> {
    let key = key(row)?;
    let lot = Lot {
        key: key.2.clone(),
        priority: i32::try_from(row.int(3)?).map_err(decode)?,
        effective: row.int(4)?,
        expires: row.int_or_none(5)?,
        created: row.int(6)?,
        overage: row.int(7)? != 0,
        amount: units(row, 8)?,
        carried: row.int(9)?,
        burned: units(row, 10)?,
        held: units(row, 11)?,
        as_of: row.int(12)?,
    };
    Ok((key, lot))
}

/// The tenant in column `index`.
pub(super) fn tenant(row: &Row, index: usize) -> Result<TenantId, SqlError> {
    TenantId::new(row.text(index)?).map_err(decode)
}

/// The id in column `index`.
pub(super) fn uuid(row: &Row, index: usize) -> Result<Uuid, SqlError> {
    row.text(index)?.parse().map_err(decode)
}

/// A number of column `index` that is never negative.
pub(super) fn units(row: &Row, index: usize) -> Result<u64, SqlError> {
    u64::try_from(row.int(index)?).map_err(decode)
}

/// Rows for a statement that takes them as one parameter.
pub(super) fn json<T: Serialize + ?Sized>(rows: &T) -> Result<String, SqlError> {
    serde_json::to_string(rows).map_err(SqlError::content)
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> SqlError {
    SqlError::content(error)
}
