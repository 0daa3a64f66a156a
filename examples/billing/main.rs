//! Billing alone, on a clock that is set by hand: plans, a customer, requests until the limit, a reservation, usage events,
//! and a chart of them. Exits with 1 if anything goes otherwise than it says.
//!
//! `cargo run --example billing`

use std::error::Error;
use std::time::Duration;

use halfbyte_billing::{Anchor, Billing, Catalog, Entitlement, Limit, Operation, Per, Settings, Then, Trial, When};
use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, ProductId, TenantId};
use jiff::{SignedDuration, Timestamp};

mod events;
mod requests;

/// A step that goes otherwise than it says ends the tour.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const DAY: SignedDuration = SignedDuration::from_hours(24);

#[tokio::main]
async fn main() -> Outcome {
    let (folder, acme) = (tempfile::tempdir()?, TenantId::new("acme")?);
    let bought: Timestamp = "2026-01-31T10:37:00Z".parse()?;
    let clock = Clock::manual(bought);
    let lifecycle = Lifecycle::new(clock.clone());
    let home = Home::open(folder.path().join("home"))?;
    let catalog = Catalog::parse("catalog.toml", include_str!("catalog.toml"))?;

    heading("What is sold");
    for version in catalog.plans().flat_map(|plan| plan.versions()) {
        let Entitlement::Metered(pages) = &version.entitlements["pages"] else { continue };
        let Limit::Hard { units, .. } = pages.limit else { continue };
        println!("{} {}: {units} pages a {}", version.plan, version.number, pages.per.as_str());
    }
    let settings = Settings::new(&BillingBackend::Sqlite(None), &home, ProductId::new("press")?, catalog);
    let billing = Billing::open(settings, &lifecycle).await?;
    customer(&billing, &acme, bought).await?;

    clock.jump(DAY * 30);
    let now = bought + DAY * 30;
    requests::use_up(&billing, &acme, now).await?;
    requests::buy_more(&billing, &acme, now).await?;
    requests::reserve(&billing, &acme).await?;

    events::ingest_a_day(&billing, now).await?;
    events::correct(&billing, &acme, now).await?;
    events::chart(&billing, &acme, now).await?;

    heading("What this process has seen");
    let stats = billing.stats();
    println!("{} conflict, {} late event, {} units of overage", stats.conflicts, stats.late, stats.overage);
    billing.flush(Duration::from_secs(5)).await?;
    check(lifecycle.stop_tasks(Duration::from_secs(5)).await, "the committer does not end")
}

/// On the 31st, before noon in Vienna, with two weeks for nothing; on the old version, and from the next period on the new.
async fn customer(billing: &Billing, acme: &TenantId, bought: Timestamp) -> Outcome {
    heading(&format!("A customer, on {bought}"));
    let customers = billing.customers();
    customers.create(acme).await?;
    let anchor = Anchor::new(bought, "Europe/Vienna")?;
    let starts = (0..4).map(|month| anchor.period(Per::Month, month).start().to_string());
    println!("periods begin on {}", starts.collect::<Vec<_>>().join(", "));
    let trial = Trial { until: bought + DAY * 14, then: Then::Continue };
    let (plan, anchor, trial) = ("studio".into(), Some(anchor), Some(trial));
    let order = Operation::Subscribe { plan, version: Some(1), anchor, trial };
    let first = customers.operate("order-1", acme, order.clone()).await?;
    println!("order-1: studio 1, with a trial of two weeks");
    check(customers.operate("order-1", acme, order).await? == first, "it was done twice")?;
    println!("order-1 again: the same answer, and nothing is done");
    let refusal = customers.operate("order-1", acme, Operation::Pause).await.err();
    println!("order-1 for something else: {}", refusal.ok_or("an id was used for two things")?);
    let change = Operation::ChangePlan { plan: "studio".into(), version: Some(2), when: When::PeriodEnd };
    println!("order-2: studio 2 from {} on", customers.operate("order-2", acme, change).await?.effective);
    Ok(())
}

/// Begins a step.
pub fn heading(text: &str) {
    println!("\n{text}\n{}", "─".repeat(text.chars().count()));
}

/// That a step went as it should.
pub fn check(good: bool, otherwise: &str) -> Outcome {
    if good { Ok(()) } else { Err(otherwise.into()) }
}
