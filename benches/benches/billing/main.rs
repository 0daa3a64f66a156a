//! What billing costs, beside what one would do without it, in one run.
//!
//! | what | printed as | target |
//! |---|---|---|
//! | an entitlement decision | `billing.decision.nanoseconds` | at most 200 |
//! | | `billing.decision.allocations` | 0 |
//! | its 99th percentile while another thread ingests | `billing.decision.p99_nanoseconds` | under 2,000 |
//! | a decision at 100,000 customers of whom ten ask, to one at 10 | `billing.decision.100000.vs.10` | at most 1.5 |
//! | the same where all ask equally often: the misses of the caches | `billing.decision.100000_evenly.vs.10` | stated |
//! | the whole entitle and meter layers on an empty service | `billing.layers.nanoseconds` | at most 1,000 |
//! | | `billing.layers.allocations` | at most 3 |
//! | durable ingestion, 64 concurrent callers, to one `INSERT` an event | `billing.ingest.sqlite.vs.insert` | at most 0.034 |
//! | the same to raw append and fdatasync of the same batches | `billing.ingest.sqlite.vs.append` | at most 2 |
//! | on PostgreSQL | `billing.ingest.postgres.vs.insert` | at most 0.05 |
//! | a tenant's month of usage at 10 million events | `billing.query.milliseconds` | under 50 |
//!
//! PostgreSQL and NATS JetStream are compared with where `HB_TEST_POSTGRES_URL` and `HB_TEST_NATS_URL` name them, as
//! `cargo xtask bench billing` does; Redis (`INCRBY` and `XADD` in one round trip) where a `redis-server` is found.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench is told by the environment where servers are, and has nothing to drain"
)]

mod decisions;
mod ingestion;
mod peers;
mod query;

use std::alloc::System;
use std::error::Error;
use std::path::Path;

use halfbyte::billing::{Billing, Catalog, Settings};
use halfbyte::core::config::BillingBackend;
use halfbyte::core::home::Home;
use halfbyte::core::{Clock, Lifecycle, ProductId, TenantId};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Outcome = Result<(), Box<dyn Error>>;

const CATALOGUE: &str = r#"
    [products.parcel]
    [meters.labels]
    product = "parcel"
    unit = "label"
    [meters.traffic]
    product = "parcel"
    event = "parcel.traffic"
    value = "bytes"
    [features.labels]
    product = "parcel"
    meter = "labels"
    [plans.business]
    features.labels = { limit = 1_000_000_000_000, per = "month" }
"#;

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    decisions::run(&runtime)?;
    runtime.block_on(ingestion::run())?;
    runtime.block_on(query::run())
}

/// Billing in `folder`, with `customers` tenants called `tenant-N` that have a plan.
async fn open(
    backend: &BillingBackend,
    folder: &Path,
    customers: usize,
) -> Result<(Billing, Lifecycle), Box<dyn Error>> {
    let life = Lifecycle::new(Clock::system());
    let home = Home::open(folder.join("home"))?;
    let catalog = Catalog::parse("catalogue.toml", CATALOGUE)?;
    let settings = Settings::new(backend, &home, ProductId::new("parcel")?, catalog);
    let billing = Billing::open(settings, &life).await?;
    for number in 0..customers {
        let customers = billing.customers();
        customers.create(&tenant(number)).await?;
        customers.subscribe(&tenant(number), "business").await?;
    }
    Ok((billing, life))
}

fn tenant(number: usize) -> TenantId {
    TenantId::new(format!("tenant-{number}")).expect("valid")
}
