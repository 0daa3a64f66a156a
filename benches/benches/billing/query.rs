//! A question about usage, when there are ten million events.

use std::time::{Duration, Instant};

use halfbyte::billing::{Per, Period, UsageQuery};
use halfbyte::core::Clock;
use halfbyte::core::config::BillingBackend;
use halfbyte_benches::{count, median};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::{Outcome, open, tenant};

const EVENTS: u64 = 10_000_000;
const TENANTS: u64 = 100;

pub async fn run() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (billing, life) = open(&BillingBackend::Sqlite(None), folder.path(), 1).await?;
    let month = Period::containing(Clock::system().now(), Per::Month);
    eprintln!("  filling the store with {EVENTS} events");
    fill(&folder.path().join("home/billing/billing.sqlite"), month).await?;
    let query = UsageQuery::new("traffic", &tenant(0)).period(month);
    let mut times = Vec::new();
    for _ in 0..21 {
        let began = Instant::now();
        let table = billing.query(&query).await?;
        times.push(began.elapsed());
        assert!(table.total() > 0.into());
    }
    count("billing.query.milliseconds", format!("{:.1}", median(times).as_secs_f64() * 1000.0));
    life.stop_tasks(Duration::from_secs(30)).await;
    Ok(())
}

/// Writes events and their aggregates as ingestion does, an event every few seconds for each tenant all month long.
async fn fill(file: &std::path::Path, month: Period) -> Outcome {
    let mut database = SqliteConnectOptions::new().filename(file).connect().await?;
    let (start, length) = (month.start().as_microsecond(), month.length().as_micros());
    let step = i64::try_from(length / u128::from(EVENTS))?;
    let events = format!(
        "WITH RECURSIVE numbers (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM numbers WHERE value < {EVENTS} - 1)
         INSERT INTO events (source, id, digest, tenant, kind, subject, time, slot, data, measured, received, state)
         SELECT '/bench', value, '', 'tenant-' || (value % {TENANTS}), 'parcel.traffic', 'tenant-' || (value % {TENANTS}),
             {start} + value * {step}, ({start} + value * {step}) / 900000000, '{{}}', '[]', 0, 0
         FROM numbers"
    );
    let aggregates = "INSERT INTO aggregates (tenant, meter, slot, dimensions, count, sum)
         SELECT tenant, 'traffic', slot, '', count(*), count(*) * 700 FROM events GROUP BY tenant, slot"
        .to_owned();
    for statement in ["PRAGMA synchronous = OFF".to_owned(), events, aggregates] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await?;
    }
    Ok(())
}
