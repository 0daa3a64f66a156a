//! Durable ingestion: every caller waits until its event is on the disk.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use halfbyte::billing::{Billing, Event, Receipt};
use halfbyte::core::Clock;
use halfbyte::core::config::BillingBackend;
use halfbyte_benches::{Pair, count, median, ratio};
use serde_json::json;

use crate::{Outcome, open, peers};

/// Callers at once, each of which waits for its acknowledgement before it sends the next.
const CALLERS: u64 = 64;
const ROUNDS: usize = 7;
const EVENTS: u64 = 64 * 100;
/// Of what is slow by itself.
const FEW: u64 = 300;

pub async fn run() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (billing, life) = open(&BillingBackend::Sqlite(None), folder.path(), 1).await?;
    let mut inserts = peers::Sqlite::open(&folder.path().join("peer.sqlite")).await?;
    let (ours, theirs, append) =
        beside(&billing, "sqlite", async |number| inserts.insert(number).await, folder.path()).await?;
    ratio("billing.ingest.sqlite.vs.insert", Pair { ours, theirs });
    ratio("billing.ingest.sqlite.vs.append", Pair { ours, theirs: append });
    count("billing.ingest.sqlite.events_per_second", per_second(ours));
    life.stop_tasks(Duration::from_secs(30)).await;

    match std::env::var("HB_TEST_POSTGRES_URL") {
        Err(_) => println!("PostgreSQL is not compared with: `cargo xtask bench billing` starts one"),
        Ok(url) => {
            let url = peers::fresh_database(&url).await?;
            let folder = tempfile::tempdir()?;
            let backend = BillingBackend::Postgres(url.clone().into());
            let (billing, life) = open(&backend, folder.path(), 1).await?;
            let mut inserts = peers::Postgres::open(&url).await?;
            let (ours, theirs, _) =
                beside(&billing, "postgres", async |number| inserts.insert(number).await, folder.path()).await?;
            ratio("billing.ingest.postgres.vs.insert", Pair { ours, theirs });
            count("billing.ingest.postgres.events_per_second", per_second(ours));
            life.stop_tasks(Duration::from_secs(30)).await;
        }
    }
    if let Some(theirs) = peers::redis().await? {
        ratio("billing.ingest.sqlite.vs.redis", Pair { ours, theirs });
    }
    if let Ok(url) = std::env::var("HB_TEST_NATS_URL") {
        ratio("billing.ingest.sqlite.vs.nats", Pair { ours, theirs: peers::nats(&url).await? });
    }
    Ok(())
}

/// The time of one event by us, by one `INSERT` each, and by raw appends of the same batches, in turns.
async fn beside(
    billing: &Billing,
    name: &str,
    mut insert: impl AsyncFnMut(u64) -> Result<(), Box<dyn Error>>,
    folder: &Path,
) -> Result<(Duration, Duration, Duration), Box<dyn Error>> {
    let (mut ours, mut theirs, mut append) = (Vec::new(), Vec::new(), Vec::new());
    let numbers = Arc::new(AtomicU64::new(0));
    let mut inserted = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        ingest(billing, name, &numbers).await?;
        ours.push(began.elapsed() / u32::try_from(EVENTS)?);

        let began = Instant::now();
        for _ in 0..FEW {
            insert(inserted).await?;
            inserted += 1;
        }
        theirs.push(began.elapsed() / u32::try_from(FEW)?);
        append.push(append_batches(&folder.join("raw"))?);
    }
    Ok((median(ours), median(theirs), median(append)))
}

async fn ingest(billing: &Billing, name: &str, numbers: &Arc<AtomicU64>) -> Outcome {
    let caller = || {
        let (billing, numbers, name) = (billing.clone(), numbers.clone(), name.to_owned());
        async move {
            for _ in 0..EVENTS / CALLERS {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let receipt = billing.ingest(event(&name, number)).await.expect("ingested");
                assert_eq!(receipt, Receipt::Counted { overage: 0 });
            }
        }
    };
    let callers = (0..CALLERS).map(|_| tokio::spawn(caller()));
    for caller in join_all(callers).await {
        caller?;
    }
    Ok(())
}

pub fn event(source: &str, number: u64) -> Event {
    Event::new(&format!("/bench/{source}"), &number.to_string(), "parcel.traffic", "tenant-0", Clock::system().now())
        .and_then(|event| event.data(json!({ "bytes": number % 1500, "region": "eu-central" })))
        .expect("valid")
}

/// The time of one event when 64 at a time are appended to a file and synced.
fn append_batches(path: &Path) -> Result<Duration, Box<dyn Error>> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let batches = EVENTS / CALLERS;
    let batch: String = (0..CALLERS).map(|number| event("raw", number).to_json()).collect();
    let began = Instant::now();
    for _ in 0..batches {
        file.write_all(batch.as_bytes())?;
        file.sync_data()?;
    }
    Ok(began.elapsed() / u32::try_from(EVENTS)?)
}

fn per_second(time: Duration) -> u128 {
    1_000_000_000 / time.as_nanos().max(1)
}
