//! Use that is counted: once for each key, and in the totals by day in the same transaction.

use std::collections::{BTreeMap, HashSet};

use sqlx::{Row as _, SqliteConnection};

use super::{Attempt, Store};
use crate::journal::Record;
use crate::{Error, IdempotencyKey, Period};

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It counts.
    New,
    /// Its key had been counted, with the same content.
    Before,
    /// Its key had been counted, with other content; what was there first stays.
    Conflict,
}

/// So many records go into one statement.
const CHUNK: usize = 4096;

/// Counts `records`, in their order, within the caller's transaction.
pub(crate) async fn count(
    connection: &mut SqliteConnection,
    records: &[Record<'_>],
) -> Result<Vec<Counted>, sqlx::Error> {
    let mut outcomes = Vec::with_capacity(records.len());
    for chunk in records.chunks(CHUNK) {
        outcomes.append(&mut count_chunk(connection, chunk).await?);
    }
    Ok(outcomes)
}

async fn count_chunk(connection: &mut SqliteConnection, records: &[Record<'_>]) -> Result<Vec<Counted>, sqlx::Error> {
    let mut new = insert(connection, records).await?;
    let mut outcomes = Vec::with_capacity(records.len());
    let mut totals: BTreeMap<(&str, &str, &str, i32), i64> = BTreeMap::new();
    for record in records {
        // The first of several with one key is the one that was inserted.
        if new.remove(&identity(record)) {
            *totals.entry((record.tenant, record.product, record.meter, record.day())).or_default() +=
                i64::from(record.units);
            outcomes.push(Counted::New);
        } else {
            outcomes.push(Counted::Before);
        }
    }
    add(connection, &totals).await?;
    for (record, outcome) in records.iter().zip(&mut outcomes) {
        if *outcome == Counted::Before && !is_same(connection, record).await? {
            *outcome = Counted::Conflict;
        }
    }
    Ok(outcomes)
}

type Identity = (String, String, String, Vec<u8>);

fn identity(record: &Record<'_>) -> Identity {
    (record.tenant.into(), record.product.into(), record.meter.into(), record.key.as_bytes().into())
}

/// Inserts what is not there yet; answers what it was. One statement however many they are.
async fn insert(connection: &mut SqliteConnection, records: &[Record<'_>]) -> Result<HashSet<Identity>, sqlx::Error> {
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            let (key, at) = (record.key.to_string(), record.at.as_millisecond());
            (record.tenant, record.product, record.meter, key, record.feature, record.units, at)
        })
        .collect();
    let inserted = sqlx::query(
        "INSERT INTO usage_events (tenant, product, meter, key, feature, units, at)
         SELECT value ->> 0, value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5, value ->> 6
         FROM json_each(?) WHERE true
         ON CONFLICT DO NOTHING
         RETURNING tenant, product, meter, key",
    )
    .bind(to_json(&rows)?)
    .fetch_all(connection)
    .await?;
    inserted.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))).collect()
}

async fn add(
    connection: &mut SqliteConnection,
    totals: &BTreeMap<(&str, &str, &str, i32), i64>,
) -> Result<(), sqlx::Error> {
    if totals.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = totals.iter().collect();
    sqlx::query(
        "INSERT INTO usage_totals (tenant, product, meter, day, units)
         SELECT value ->> '$[0][0]', value ->> '$[0][1]', value ->> '$[0][2]', value ->> '$[0][3]', value ->> '$[1]'
         FROM json_each(?) WHERE true
         ON CONFLICT DO UPDATE SET units = units + excluded.units",
    )
    .bind(to_json(&rows)?)
    .execute(connection)
    .await?;
    Ok(())
}

async fn is_same(connection: &mut SqliteConnection, record: &Record<'_>) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "SELECT feature = ? AND units = ? FROM usage_events
         WHERE tenant = ? AND product = ? AND meter = ? AND key = ?",
    )
    .bind(record.feature)
    .bind(record.units)
    .bind(record.tenant)
    .bind(record.product)
    .bind(record.meter)
    .bind(record.key.as_bytes().as_slice())
    .fetch_one(connection)
    .await?;
    row.try_get(0)
}

fn to_json(rows: &impl serde::Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

impl Store {
    /// Whether a key has been counted.
    pub(crate) async fn is_counted(
        &self,
        tenant: &str,
        product: &str,
        meter: &str,
        key: IdempotencyKey,
    ) -> Result<bool, Error> {
        let row = sqlx::query("SELECT 1 FROM usage_events WHERE tenant = ? AND product = ? AND meter = ? AND key = ?")
            .bind(tenant)
            .bind(product)
            .bind(meter)
            .bind(key.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await
            .attempt("reading", &self.file)?;
        Ok(row.is_some())
    }

    /// The units that a tenant used of a meter in a period.
    pub(crate) async fn used(&self, tenant: &str, product: &str, meter: &str, period: Period) -> Result<u64, Error> {
        let mut reader = self.pool.acquire().await.attempt("reading", &self.file)?;
        used(&mut reader, tenant, product, meter, period).await.attempt("reading", &self.file)
    }
}

/// As [`Store::used`], within a transaction.
pub(super) async fn used(
    connection: &mut SqliteConnection,
    tenant: &str,
    product: &str,
    meter: &str,
    period: Period,
) -> Result<u64, sqlx::Error> {
    let row = sqlx::query(
        "SELECT coalesce(sum(units), 0) FROM usage_totals
         WHERE tenant = ? AND product = ? AND meter = ? AND day >= ? AND day < ?",
    )
    .bind(tenant)
    .bind(product)
    .bind(meter)
    .bind(period.first_day())
    .bind(period.end_day())
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0))
}
