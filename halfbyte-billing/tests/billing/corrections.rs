//! Events that take others back or replace them: usage and balances are as if the right thing had been sent.

use halfbyte_billing::{Event, EventRef, Receipt};
use halfbyte_core::Clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::{Desk, Folder, at, labels, lots, tenant};

const COUNTED: Receipt = Receipt::Counted { overage: 0 };
const PLAN: &str = "plan/2026-03-01T00:00:00Z";

async fn at_noon(folder: &Folder) -> (Desk, Timestamp) {
    let clock = Clock::manual(at("2026-03-01"));
    let desk = Desk::try_open(&folder.home(), clock.clone()).await.expect("opens");
    desk.subscribe("acme", "pro").await;
    clock.jump(SignedDuration::from_hours(9 * 24 + 12));
    (desk, clock.now())
}

fn target(id: &str) -> EventRef {
    EventRef::new("/warehouse", id).expect("a reference")
}

fn void(id: &str, of: &str, time: Timestamp) -> Event {
    Event::void("/office", id, "acme", time, &target(of)).expect("a void")
}

fn amend(id: &str, of: &str, time: Timestamp, units: u64) -> Event {
    Event::amend("/office", id, "acme", time, &target(of), json!({ "units": units })).expect("an amendment")
}

async fn burned(folder: &Folder) -> Vec<(String, i64, i64)> {
    lots(&folder.database(), "acme")
}

fn plan(burned: i64) -> Vec<(String, i64, i64)> {
    vec![(PLAN.to_owned(), burned, 0)]
}

#[tokio::test]
async fn what_is_voided_does_not_count_and_its_units_are_free_again() {
    let folder = Folder::new();
    let (desk, now) = at_noon(&folder).await;
    assert_eq!(desk.ingest(labels("one", "acme", now, 30)).await, COUNTED);
    assert_eq!(desk.ingest(labels("two", "acme", now, 5)).await, COUNTED);
    assert_eq!(desk.ingest(void("v", "one", now)).await, COUNTED);
    assert_eq!((desk.used("acme").await, burned(&folder).await), (5, plan(5)));
    assert_eq!(desk.ingest(void("v", "one", now)).await, Receipt::Duplicate);
    assert_eq!(desk.ingest(void("w", "one", now)).await, Receipt::NothingToCorrect);
    assert_eq!(desk.ingest(labels("one", "acme", now, 30)).await, Receipt::Duplicate, "it was sent, and stays voided");
    assert_eq!((desk.used("acme").await, burned(&folder).await), (5, plan(5)));
}

#[tokio::test]
async fn what_is_amended_counts_as_the_amendment_says_when_and_where_it_counted() {
    let folder = Folder::new();
    let (desk, now) = at_noon(&folder).await;
    let yesterday = now - SignedDuration::from_hours(24);
    assert_eq!(desk.ingest(labels("one", "acme", yesterday, 30)).await, COUNTED);
    assert_eq!(desk.ingest(amend("a", "one", now, 12)).await, COUNTED);
    assert_eq!((desk.used("acme").await, burned(&folder).await), (12, plan(12)));
    let query = halfbyte_billing::UsageQuery::new("labels", &tenant("acme")).between(yesterday, now);
    assert_eq!(desk.billing.query(&query).await.expect("rows").total(), 12.into(), "it counts when it happened");

    assert_eq!(desk.ingest(amend("b", "one", now, 9)).await, Receipt::NothingToCorrect, "the amendment counts now");
    let amendment = EventRef::new("/office", "a").expect("a reference");
    let again = Event::amend("/office", "c", "acme", now, &amendment, json!({ "units": 505 })).expect("an amendment");
    assert_eq!(desk.ingest(again).await, Receipt::Counted { overage: 5 });
    assert_eq!((desk.used("acme").await, burned(&folder).await), (505, plan(500)));
    assert_eq!(desk.billing.query(&query).await.expect("rows").total(), 505.into());
    let last = EventRef::new("/office", "c").expect("a reference");
    assert_eq!(desk.ingest(Event::void("/office", "d", "acme", now, &last).expect("a void")).await, COUNTED);
    assert_eq!((desk.used("acme").await, burned(&folder).await), (0, plan(0)));
}

#[tokio::test]
async fn a_void_cannot_be_voided_or_amended() {
    let folder = Folder::new();
    let (desk, now) = at_noon(&folder).await;
    assert_eq!(desk.ingest(labels("one", "acme", now, 30)).await, COUNTED);
    assert_eq!(desk.ingest(void("v", "one", now)).await, COUNTED);
    let of_void = EventRef::new("/office", "v").expect("a reference");
    for correction in [
        Event::void("/office", "vv", "acme", now, &of_void).expect("a void"),
        Event::amend("/office", "va", "acme", now, &of_void, json!({ "units": 3 })).expect("an amendment"),
    ] {
        assert_eq!(desk.ingest(correction).await, Receipt::NothingToCorrect);
    }
    assert_eq!((desk.used("acme").await, burned(&folder).await), (0, plan(0)));
}

#[tokio::test]
async fn what_is_not_there_or_somebody_elses_is_not_corrected() {
    let folder = Folder::new();
    let (desk, now) = at_noon(&folder).await;
    desk.subscribe("globex", "pro").await;
    assert_eq!(desk.ingest(void("v", "nothing", now)).await, Receipt::NothingToCorrect);
    assert_eq!(desk.ingest(amend("a", "nothing", now, 1)).await, Receipt::NothingToCorrect);
    assert_eq!(desk.ingest(labels("one", "acme", now, 30)).await, COUNTED);
    let strangers = Event::void("/office", "x", "globex", now, &target("one")).expect("a void");
    assert_eq!(desk.ingest(strangers).await, Receipt::NothingToCorrect);
    assert_eq!((desk.used("acme").await, desk.used("globex").await), (30, 0));
}

#[tokio::test]
async fn a_batch_may_correct_what_comes_before_in_it() {
    let folder = Folder::new();
    let (desk, now) = at_noon(&folder).await;
    let events = vec![
        labels("one", "acme", now, 30),
        void("v", "one", now),
        labels("two", "acme", now, 7),
        amend("a", "two", now, 4),
    ];
    let answers = desk.billing.ingest_batch(events).await.expect("taken in");
    for answer in answers {
        assert_eq!(answer.expect("taken in"), COUNTED);
    }
    assert_eq!((desk.used("acme").await, burned(&folder).await), (4, plan(4)));
}

#[tokio::test]
async fn what_was_answered_for_by_the_layers_is_corrected_alike() {
    let folder = Folder::new();
    let (desk, now) = at_noon(&folder).await;
    assert_eq!(desk.status("labels", crate::support::keyed("acme", "one")).await, 200);
    assert_eq!(desk.used("acme").await, 1);
    let key = halfbyte_billing::IdempotencyKey::of(b"one");
    let of_request = EventRef::new("/parcel/acme", &format!("labels/{key}")).expect("a reference");
    assert_eq!(desk.ingest(Event::void("/office", "v", "acme", now, &of_request).expect("a void")).await, COUNTED);
    desk.billing.flush(std::time::Duration::from_secs(5)).await.expect("flushed");
    assert_eq!((desk.used("acme").await, burned(&folder).await), (0, plan(0)));
}

#[tokio::test]
async fn after_its_period_was_closed_an_event_is_corrected_no_more() {
    let folder = Folder::new();
    let (desk, now) = at_noon(&folder).await;
    assert_eq!(desk.ingest(labels("one", "acme", at("2026-03-05"), 30)).await, COUNTED);
    desk.billing.customers().close(None, at("2026-03-06")).await.expect("closed");
    assert_eq!(desk.ingest(void("v", "one", now)).await, Receipt::Late);
    assert_eq!((desk.used("acme").await, burned(&folder).await), (30, plan(30)));
}
