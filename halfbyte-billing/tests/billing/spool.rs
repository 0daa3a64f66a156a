//! Events while the store is away: on the disk of this machine, and counted once when it is back.

use std::time::Duration;

use halfbyte_billing::{ErrorKind, Event, EventRef, Receipt};
use halfbyte_core::Clock;

use crate::children;
use crate::support::{Desk, Folder, keyed, labels, number, request};

const COUNTED: Receipt = Receipt::Counted { overage: 0 };

async fn until_counted(desk: &Desk, units: u64) {
    let counted = async {
        while desk.billing.stats().backlog > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), counted).await.expect("it is counted by itself");
    assert_eq!(desk.used("acme").await, units);
}

#[tokio::test]
async fn an_event_that_comes_while_the_store_is_away_is_spooled_and_counted_once_when_it_is_back() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let now = desk.life.clock().now();
    assert_eq!(desk.ingest(labels("before", "acme", now, 1)).await, COUNTED);
    folder.take_database();
    for _ in 0..2 {
        assert_eq!(desk.ingest(labels("one", "acme", now, 3)).await, Receipt::Spooled);
    }
    let batch = vec![labels("two", "acme", now, 5), labels("before", "acme", now, 1)];
    let answers = desk.billing.ingest_batch(batch).await.expect("taken in");
    assert!(answers.into_iter().all(|answer| answer.is_ok_and(|receipt| receipt == Receipt::Spooled)));
    assert_eq!((desk.billing.stats().backlog, desk.store_check().state), (4, "behind"));

    folder.bring_database_back();
    until_counted(&desk, 9).await;
    assert_eq!(desk.ingest(labels("one", "acme", now, 3)).await, Receipt::Duplicate);
    assert_eq!(number(&folder.database(), "SELECT sum(burned) FROM lots"), 9);
    desk.stop().await;
    assert!(folder.journals().is_empty());
}

#[tokio::test]
async fn what_contradicts_the_store_is_found_when_it_is_back() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let now = desk.life.clock().now();
    assert_eq!(desk.ingest(labels("one", "acme", now, 1)).await, COUNTED);
    folder.take_database();
    assert_eq!(desk.ingest(labels("one", "acme", now, 2)).await, Receipt::Spooled);
    folder.bring_database_back();
    until_counted(&desk, 1).await;
    assert_eq!(desk.billing.stats().conflicts, 1);
}

#[tokio::test]
async fn a_correction_waits_for_nothing_and_is_told_that_the_store_is_away() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let now = desk.life.clock().now();
    assert_eq!(desk.ingest(labels("one", "acme", now, 3)).await, COUNTED);
    folder.take_database();
    let target = EventRef::new("/warehouse", "one").expect("a reference");
    let void = Event::void("/office", "v", "acme", now, &target).expect("a void");
    let error = desk.billing.ingest(void.clone()).await.expect_err("the store is needed");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    folder.bring_database_back();
    assert_eq!(desk.ingest(void).await, COUNTED);
    assert_eq!(desk.used("acme").await, 0);
}

#[tokio::test]
async fn what_a_killed_process_had_spooled_is_counted_by_the_next() {
    let folder = Folder::new();
    Desk::with_plan(&folder.home(), "pro").await.stop().await;
    let mut child = children::start(&folder.home(), "spool", "");
    assert_eq!(child.line().as_deref(), Some("opened"));
    folder.take_database();
    assert_eq!(child.line().as_deref(), Some("spooled"));
    child.kill();
    folder.bring_database_back();
    let desk = Desk::try_open(&folder.home(), Clock::system()).await.expect("opens");
    assert_eq!(desk.used("acme").await, 12);
    assert_eq!(number(&folder.database(), "SELECT count(*) FROM events"), 3);
    assert_eq!(folder.journals().len(), 1, "only its own journal is left");
}

#[tokio::test]
async fn a_backlog_of_more_than_one_commit_takes_is_counted_all_of_it_and_once() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "endless").await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    assert_eq!(desk.used("acme").await, 1);
    let now = desk.life.clock().now();
    folder.take_database();
    for key in 0..200 {
        assert_eq!(desk.status("labels", keyed("acme", &key.to_string())).await, 200, "out of the tranche");
    }
    for first in [0, 800, 1600, 2400, 3200] {
        // A fifth of each comes twice.
        let batch: Vec<_> = (first..first + 1000).map(|id: u32| labels(&id.to_string(), "acme", now, 1)).collect();
        desk.billing.ingest_batch(batch).await.expect("taken in");
    }
    assert_eq!(desk.billing.stats().backlog, 5200);
    folder.bring_database_back();
    let counted = async {
        while desk.billing.stats().backlog > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), counted).await.expect("it is counted");
    assert_eq!(desk.used("acme").await, 1 + 200 + 4200);
    assert_eq!(number(&folder.database(), "SELECT sum(burned) FROM lots"), 1 + 200 + 4200);
    desk.stop().await;
    assert_eq!(number(&folder.database(), "SELECT sum(held) FROM lots"), 0);
}
