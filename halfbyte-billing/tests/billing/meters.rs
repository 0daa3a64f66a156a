//! What meters make of events: every aggregation, exact decimals, dimensions and filters, as rows and buckets.

use halfbyte_billing::{Bucket, Event, Receipt, UsageQuery, UsageTable};
use halfbyte_core::Clock;
use jiff::SignedDuration;
use rust_decimal::Decimal;

use crate::support::{Desk, Folder, at, tenant};

const CATALOGUE: &str = r#"
[products.parcel]
[meters.gigabytes]
product = "parcel"
value = "size"
decimals = 3
group-by = ["region", "tier"]
[meters.cold]
product = "parcel"
event = "parcel.gigabytes"
value = "size"
decimals = 3
where = { tier = ["cold", "frozen"] }
[meters.calls]
product = "parcel"
event = "parcel.gigabytes"
aggregation = "count"
[meters.least]
product = "parcel"
event = "parcel.gigabytes"
aggregation = "min"
value = "size"
decimals = 3
[meters.most]
product = "parcel"
event = "parcel.gigabytes"
aggregation = "max"
value = "size"
decimals = 3
[meters.last]
product = "parcel"
event = "parcel.gigabytes"
aggregation = "latest"
value = "size"
decimals = 3
[meters.regions]
product = "parcel"
event = "parcel.gigabytes"
aggregation = "unique"
value = "region"
[meters.seats]
product = "parcel"
aggregation = "time-weighted"
value = "seats"
[features.gigabytes]
product = "parcel"
meter = "gigabytes"
[plans.basic]
features.gigabytes = { limit = "10.5", per = "month" }
"#;

async fn opened(folder: &Folder) -> Desk {
    let clock = Clock::manual(at("2026-03-01"));
    let catalog = halfbyte_billing::Catalog::parse("meters.toml", CATALOGUE).unwrap_or_else(|error| panic!("{error}"));
    let desk = Desk::of(&folder.home(), clock.clone(), catalog).await.expect("opens");
    desk.subscribe("acme", "basic").await;
    clock.jump(SignedDuration::from_hours(9 * 24 + 12));
    desk
}

async fn send(desk: &Desk, id: &str, time: &str, data: &str) -> Receipt {
    let event = Event::new("/disk", id, "parcel.gigabytes", "acme", at(time)).expect("an event");
    desk.ingest(event.raw_data(data).expect("data")).await
}

/// Three days, out of order, in two regions and three tiers.
async fn three_days(desk: &Desk) {
    for (id, time, data) in [
        ("c", "2026-03-09T08:00:00", r#"{"size": 0.001, "region": "eu", "tier": "frozen"}"#),
        ("a", "2026-03-08T07:00:00", r#"{"size": "1.250", "region": "eu", "tier": "hot"}"#),
        ("d", "2026-03-09T23:59:59", r#"{"size": 2.5e0, "region": "us", "tier": "cold"}"#),
        ("b", "2026-03-08T09:00:00", r#"{"size": 4, "region": "us", "tier": "hot"}"#),
        ("e", "2026-03-10T00:00:00", r#"{"size": 0, "region": "eu"}"#),
    ] {
        assert_eq!(send(desk, id, time, data).await, Receipt::Counted { overage: 0 }, "{id}");
    }
}

fn days(meter: &str) -> UsageQuery {
    UsageQuery::new(meter, &tenant("acme")).between(at("2026-03-08"), at("2026-03-11")).bucket(Bucket::Day)
}

async fn ask(desk: &Desk, query: &UsageQuery) -> UsageTable {
    desk.billing.query(query).await.expect("an answer")
}

fn values(table: &UsageTable) -> Vec<String> {
    table.rows.iter().map(|row| row.value.normalize().to_string()).collect()
}

#[tokio::test]
async fn every_aggregation_is_exact_in_every_bucket() {
    let folder = Folder::new();
    let desk = opened(&folder).await;
    three_days(&desk).await;
    for (meter, expected) in [
        ("gigabytes", ["5.25", "2.501", "0"]),
        ("cold", ["0", "2.501", "0"]),
        ("calls", ["2", "2", "1"]),
        ("least", ["1.25", "0.001", "0"]),
        ("most", ["4", "2.5", "0"]),
        ("last", ["4", "2.5", "0"]),
        ("regions", ["2", "2", "1"]),
    ] {
        assert_eq!(values(&ask(&desk, &days(meter)).await), expected, "{meter}");
    }
    assert_eq!(ask(&desk, &days("regions").bucket(Bucket::Whole)).await.total(), 2.into(), "not the sum of days");
    assert_eq!(ask(&desk, &days("least").bucket(Bucket::Whole)).await.total(), Decimal::ZERO);
}

#[tokio::test]
async fn usage_is_kept_apart_by_dimensions_and_asked_for_by_them() {
    let folder = Folder::new();
    let desk = opened(&folder).await;
    three_days(&desk).await;
    let whole = || days("gigabytes").bucket(Bucket::Whole);
    let by_region = ask(&desk, &whole().group_by(&["region"])).await;
    let rows: Vec<_> =
        by_region.rows.iter().map(|row| (&*row.dimensions["region"], row.value.normalize().to_string())).collect();
    assert_eq!(rows, [("eu", "1.251".to_owned()), ("us", "6.5".into())]);
    let hot = ask(&desk, &whole().group_by(&["region"]).filter("tier", "hot").filter("tier", "")).await;
    assert_eq!(values(&hot), ["1.25", "4"]);
    let none = desk.billing.query(&whole().filter("colour", "red")).await.expect_err("no such dimension");
    assert!(none.to_string().contains("colour"), "{none}");
}

#[tokio::test]
async fn a_level_counts_for_as_long_as_it_lasts() {
    let folder = Folder::new();
    let desk = opened(&folder).await;
    for (id, time, seats) in [("a", "2026-03-08T23:00:00", 4), ("b", "2026-03-09T12:00:00", 10)] {
        let event = Event::new("/office", id, "parcel.seats", "acme", at(time)).expect("an event");
        desk.ingest(event.data(serde_json::json!({ "seats": seats })).expect("data")).await;
    }
    let table = ask(&desk, &days("seats")).await;
    assert_eq!(&*table.unit, "unit seconds");
    // Until now, which is noon of the third day and a moment.
    let hours: Vec<_> = table.rows.iter().map(|row| row.value / Decimal::from(3600)).collect();
    assert_eq!(hours[..2], [Decimal::from(4), Decimal::from(4 * 12 + 10 * 12)]);
    assert!(hours[2] >= Decimal::from(10 * 12) && hours[2] < Decimal::from(10 * 12 + 1), "{}", hours[2]);
}

#[tokio::test]
async fn fractions_are_limited_and_shown_exactly() {
    let folder = Folder::new();
    let desk = opened(&folder).await;
    for (count, expected) in [(1, 0), (2, 0), (3, 0), (4, 1500), (5, 3000)] {
        let receipt = send(&desk, &count.to_string(), "2026-03-09", r#"{"size": 3.000, "region": "eu"}"#).await;
        assert_eq!(receipt, Receipt::Counted { overage: expected }, "in thousandths");
    }
    assert_eq!(desk.billing.stats().overage, 4500);
    let rows = desk.billing.usage_of(&tenant("acme")).await.expect("rows");
    let row = rows.iter().find(|row| &*row.meter == "gigabytes").expect("there");
    assert_eq!(
        (row.used.to_string(), row.limit.map(|limit| limit.to_string())),
        ("15.000".into(), Some("10.500".into()))
    );
    for (data, says) in [("{\"size\": 0.0001}", "counts 3 digits after the point"), ("{\"size\": 1e18}", "too large")] {
        let event = Event::new("/disk", "bad", "parcel.gigabytes", "acme", at("2026-03-09")).expect("an event");
        let error = desk.billing.ingest(event.raw_data(data).expect("data")).await.expect_err("refused");
        assert!(halfbyte_core::error_chain(&error).contains(says), "{data}: {error:?}");
    }
}

#[tokio::test]
async fn what_a_correction_leaves_is_what_every_aggregation_shows() {
    let folder = Folder::new();
    let desk = opened(&folder).await;
    three_days(&desk).await;
    let target = halfbyte_billing::EventRef::new("/disk", "b").expect("a reference");
    let now = at("2026-03-10T11:00:00") + SignedDuration::from_secs(1);
    desk.ingest(Event::void("/office", "v", "acme", now, &target).expect("a void")).await;
    for (meter, expected) in
        [("gigabytes", "1.25"), ("calls", "1"), ("least", "1.25"), ("most", "1.25"), ("last", "1.25"), ("regions", "1")]
    {
        assert_eq!(values(&ask(&desk, &days(meter)).await)[0], expected, "{meter}");
    }
}
