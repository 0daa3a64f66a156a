//! Usage events: what becomes of each, whatever came before.

use halfbyte_billing::{Error, ErrorKind, Event, MAX_BATCH, Operation, Per, Period, Receipt};
use halfbyte_core::{Clock, error_chain};
use jiff::SignedDuration;

use crate::support::{Desk, Folder, at, labels, number, tenant};

const COUNTED: Receipt = Receipt::Counted { overage: 0 };

async fn at_noon(folder: &Folder) -> (Desk, Clock) {
    let clock = Clock::manual(at("2026-03-10T12:00:00"));
    let desk = Desk::try_open(&folder.home(), clock.clone()).await.expect("opens");
    desk.subscribe("acme", "pro").await;
    (desk, clock)
}

fn refusal(outcome: Result<Receipt, Error>) -> String {
    let error = outcome.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error_chain(&error));
    error_chain(&error)
}

#[tokio::test]
async fn an_event_counts_once_for_its_source_and_id_also_across_a_restart() {
    let folder = Folder::new();
    let (desk, clock) = at_noon(&folder).await;
    let now = clock.now();
    let first = labels("one", "acme", now, 3);
    assert_eq!(desk.ingest(first.clone()).await, COUNTED);
    assert_eq!(desk.ingest(first.clone()).await, Receipt::Duplicate);
    assert_eq!(desk.ingest(labels("one", "acme", now, 4)).await, Receipt::Conflict);
    assert_eq!(desk.ingest(labels("one", "acme", now - SignedDuration::from_secs(1), 3)).await, Receipt::Conflict);
    let elsewhere = Event::new("/shop", "one", "parcel.labels", "acme", now).expect("an event");
    assert_eq!(desk.ingest(elsewhere.raw_data("{\"units\": 5}").expect("data")).await, COUNTED);
    assert_eq!((desk.used("acme").await, desk.billing.stats().conflicts), (8, 2));
    desk.stop().await;

    let desk = Desk::try_open(&folder.home(), clock).await.expect("opens");
    assert_eq!(desk.ingest(first).await, Receipt::Duplicate);
    assert_eq!(desk.ingest(labels("one", "acme", now, 4)).await, Receipt::Conflict);
    assert_eq!(desk.used("acme").await, 8);
}

#[tokio::test]
async fn in_a_batch_the_first_of_an_id_counts_and_a_bad_event_does_not_keep_the_others_out() {
    let folder = Folder::new();
    let (desk, clock) = at_noon(&folder).await;
    let now = clock.now();
    let nothing = Event::new("/warehouse", "bad", "parcel.labels", "acme", now).expect("an event");
    let events = vec![
        labels("one", "acme", now, 1),
        labels("one", "acme", now, 1),
        nothing,
        labels("one", "acme", now, 2),
        labels("two", "acme", now, 5),
    ];
    let answers = desk.billing.ingest_batch(events).await.expect("taken in");
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect();
    let expected = [Ok(COUNTED), Ok(Receipt::Duplicate), Err(ErrorKind::Invalid), Ok(Receipt::Conflict), Ok(COUNTED)];
    assert_eq!(answers, expected);
    assert_eq!(desk.used("acme").await, 6);
    assert_eq!(number(&folder.database(), "SELECT count(*) FROM events"), 2);
    assert!(desk.billing.ingest_batch(Vec::new()).await.expect("nothing to do").is_empty());
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_refused_as_a_whole() {
    let folder = Folder::new();
    let (desk, clock) = at_noon(&folder).await;
    let events = |count| (0..count).map(|id: usize| labels(&id.to_string(), "acme", clock.now(), 1)).collect();
    let error = desk.billing.ingest_batch(events(MAX_BATCH + 1)).await.expect_err("too many");
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::Invalid, "1001 events in one call; send at most 1000".into())
    );
    assert_eq!(desk.used("acme").await, 0);
    assert_eq!(desk.billing.ingest_batch(events(MAX_BATCH)).await.expect("taken in").len(), MAX_BATCH);
    assert_eq!(desk.used("acme").await, 1000);
}

#[tokio::test]
async fn an_event_of_a_type_that_nothing_counts_is_kept_and_still_counts_once() {
    let folder = Folder::new();
    let (desk, clock) = at_noon(&folder).await;
    let now = clock.now();
    let unknown = |data: &str| {
        let event = Event::new("/warehouse", "one", "parcel.weighed", "acme", now).expect("an event");
        event.raw_data(data).expect("data")
    };
    assert_eq!(desk.ingest(unknown("{\"grams\": 7}")).await, COUNTED);
    assert_eq!(desk.ingest(unknown("{\"grams\": 7}")).await, Receipt::Duplicate);
    assert_eq!(desk.ingest(unknown("{\"grams\": 8}")).await, Receipt::Conflict);
    assert_eq!(number(&folder.database(), "SELECT count(*) FROM events"), 1);
    assert_eq!(number(&folder.database(), "SELECT count(*) FROM aggregates"), 0);
}

#[tokio::test]
async fn data_that_a_meter_cannot_count_is_refused_with_what_to_do() {
    let folder = Folder::new();
    let (desk, clock) = at_noon(&folder).await;
    let event = |data: &str| {
        let event = Event::new("/warehouse", "one", "parcel.labels", "acme", clock.now()).expect("an event");
        event.raw_data(data).expect("data")
    };
    for (data, says) in [
        ("{}", "data.units: missing, and the meter `labels` counts by it; send it"),
        ("{\"units\": 0.5}", "not a whole number, and the meter `labels` counts whole units; round it"),
        ("{\"units\": -1}", "take an event back by voiding or amending it"),
        ("{\"units\": \"many\"}", "send one such as 1.25"),
    ] {
        let told = refusal(desk.billing.ingest(event(data)).await);
        assert!(told.contains(says), "{data}: {told}");
    }
    assert_eq!(desk.ingest(event("{\"units\": 2}")).await, COUNTED, "what was refused was not taken in");
}

#[tokio::test]
async fn an_event_further_in_the_future_than_clocks_differ_is_refused() {
    let folder = Folder::new();
    let (desk, clock) = at_noon(&folder).await;
    let minutes = SignedDuration::from_mins;
    assert_eq!(desk.ingest(labels("near", "acme", clock.now() + minutes(4), 1)).await, COUNTED);
    let far = labels("far", "acme", clock.now() + minutes(6), 1);
    let told = refusal(desk.billing.ingest(far.clone()).await);
    assert!(told.contains("the event far is of 2026-03-10T12:06"), "{told}");
    clock.jump(minutes(2));
    assert_eq!(desk.ingest(far).await, COUNTED);
    assert_eq!(desk.used("acme").await, 2);
}

#[tokio::test]
async fn what_comes_after_its_period_was_closed_is_late_and_kept_and_what_comes_before_that_counts() {
    let folder = Folder::new();
    let (desk, _clock) = at_noon(&folder).await;
    let customers = desk.billing.customers();
    let february = Period::containing(at("2026-02-01"), Per::Month);
    assert_eq!(desk.ingest(labels("in-time", "acme", at("2026-02-27"), 1)).await, Receipt::Counted { overage: 1 });
    let closed = customers.close(Some(&tenant("acme")), at("2026-03-01")).await.expect("closed");
    assert_eq!(closed, at("2026-03-01"));

    let late = labels("late", "acme", at("2026-02-28T23:59:59"), 4);
    for _ in 0..2 {
        assert_eq!(desk.ingest(labels("in-time", "acme", at("2026-02-27"), 1)).await, Receipt::Duplicate);
    }
    assert_eq!(desk.ingest(late.clone()).await, Receipt::Late);
    assert_eq!(desk.ingest(late.clone()).await, Receipt::Duplicate);
    assert_eq!(desk.ingest(labels("now", "acme", at("2026-03-01"), 2)).await, Receipt::Counted { overage: 2 });
    assert_eq!(desk.ingest(labels("other", "globex", at("2026-02-28"), 2)).await, Receipt::Counted { overage: 2 });
    let used = async |name: &str| desk.billing.usage(&tenant(name), "labels", february).await.expect("usage");
    assert_eq!((used("acme").await, used("globex").await, desk.used("acme").await), (1.into(), 2.into(), 2));
    assert_eq!(customers.late_events(&tenant("acme"), 10).await.expect("read"), [late]);
    assert_eq!(desk.billing.stats().late, 1);

    customers.close(None, at("2026-03-01")).await.expect("closed");
    assert_eq!(desk.ingest(labels("late", "globex", at("2026-02-28"), 2)).await, Receipt::Conflict);
    assert_eq!(desk.ingest(labels("later", "globex", at("2026-02-28"), 2)).await, Receipt::Late);
    let again = customers.close(Some(&tenant("acme")), at("2026-01-01")).await.expect("answered");
    assert_eq!(again, at("2026-03-01"), "it cannot be opened again");
}

#[tokio::test]
async fn an_alias_is_paid_for_by_its_tenant_until_it_is_taken_away() {
    let folder = Folder::new();
    let (desk, clock) = at_noon(&folder).await;
    let subject = || "key-7".into();
    desk.operate("add", "acme", Operation::AddSubject { subject: subject() }).await;
    assert_eq!(desk.ingest(labels("one", "key-7", clock.now(), 3)).await, COUNTED);
    assert_eq!((desk.used("acme").await, desk.used("key-7").await), (3, 0));

    desk.operate("remove", "acme", Operation::RemoveSubject { subject: subject() }).await;
    assert_eq!(desk.ingest(labels("two", "key-7", clock.now(), 5)).await, Receipt::Counted { overage: 5 });
    assert_eq!((desk.used("acme").await, desk.used("key-7").await), (3, 5));

    desk.subscribe("globex", "pro").await;
    desk.operate("move", "globex", Operation::AddSubject { subject: subject() }).await;
    assert_eq!(desk.ingest(labels("three", "key-7", clock.now(), 7)).await, COUNTED);
    assert_eq!((desk.used("acme").await, desk.used("globex").await), (3, 7));
}

#[tokio::test]
async fn who_can_be_nobody_is_refused() {
    let folder = Folder::new();
    let (desk, clock) = at_noon(&folder).await;
    let told = refusal(desk.billing.ingest(labels("one", "no tenant at all", clock.now(), 1)).await);
    assert!(told.contains("add it to a customer as a subject"), "{told}");
}
