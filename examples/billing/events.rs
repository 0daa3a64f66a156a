//! Usage that comes from elsewhere as CloudEvents, and what was used in the end.

use halfbyte_billing::{Billing, Bucket, Event, Receipt, UsageQuery};
use halfbyte_core::TenantId;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{Outcome, check, heading};

const SOURCE: &str = "/cdn";

fn download(hours_ago: i64, region: &str, now: Timestamp) -> Outcome<Event> {
    let at = now - SignedDuration::from_hours(hours_ago);
    let gigabytes = format!("{}.{:03}", 1 + (hours_ago - 8).abs() % 12, hours_ago * 37);
    let event = Event::new(SOURCE, &format!("{region}-{hours_ago}"), "press.downloaded", "acme", at)?;
    Ok(event.raw_data(&format!(r#"{{"gigabytes":{gigabytes},"region":"{region}"}}"#))?)
}

pub async fn ingest_a_day(billing: &Billing, now: Timestamp) -> Outcome {
    heading("A day of downloads, as events");
    let hours =
        |region, every| (1..=24).filter(move |hour| hour % every == 0).map(move |hour| download(hour, region, now));
    let events = hours("eu", 1).chain(hours("us", 3)).collect::<Outcome<Vec<_>>>()?;
    println!("{} events in one commit, such as {}", events.len(), events[0].to_json());
    for receipt in billing.ingest_batch(events).await? {
        check(receipt? == Receipt::Counted { overage: 0 }, "one is not counted")?;
    }
    Ok(())
}

pub async fn correct(billing: &Billing, acme: &TenantId, now: Timestamp) -> Outcome {
    heading("What else can become of an event");
    let first = download(3, "eu", now)?;
    let other = Event::new(SOURCE, "eu-3", "press.downloaded", "acme", first.time())?;
    let other = other.data(json!({ "gigabytes": 900, "region": "eu" }))?;
    let void = |id: &str| Event::void("/desk", id, "acme", now, &first.reference());
    let closed = billing.customers().close(Some(acme), now - SignedDuration::from_hours(24)).await?;
    let late = download(30, "eu", now)?;
    for (what, event, expected) in [
        ("sent again", first.clone(), Receipt::Duplicate),
        ("its id with another amount", other, Receipt::Conflict),
        ("taken back", void("void-1")?, Receipt::Counted { overage: 0 }),
        ("taken back once more", void("void-2")?, Receipt::NothingToCorrect),
        (&format!("before {closed}, which is closed"), late, Receipt::Late),
    ] {
        let receipt = billing.ingest(event).await?;
        println!("{what:46} → {receipt:?}");
        check(receipt == expected, "that is not what should have become of it")?;
    }
    println!("kept for restatement: {}", billing.customers().late_events(acme, 10).await?.len());
    Ok(())
}

pub async fn chart(billing: &Billing, acme: &TenantId, now: Timestamp) -> Outcome {
    heading("What was downloaded, as a table and as a chart");
    let day = UsageQuery::new("downloads", acme).between(now - SignedDuration::from_hours(24), now);
    print!("{}", billing.query(&day.clone().group_by(&["region"])).await?);
    print!("\n{}\n", billing.query(&day.bucket(Bucket::Hour)).await?.chart(72));
    for usage in billing.usage_of(acme).await? {
        let limit = usage.limit.map_or_else(|| "no limit".into(), |limit| format!("{limit} included"));
        println!("{} [{}]: {} in the period, {limit}", usage.meter, usage.unit, usage.used);
    }
    Ok(())
}
