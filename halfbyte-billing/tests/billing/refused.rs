//! What the database refuses for what it is keeps nothing else from being counted, and is not lost.

use std::path::{Path, PathBuf};
use std::time::Duration;

use halfbyte_billing::{ErrorKind, IdempotencyKey, Receipt};
use halfbyte_core::Clock;
use uuid::Uuid;

use crate::support::{Desk, Folder, keyed, labels, lots, number, raw, request};

const COUNTED: Receipt = Receipt::Counted { overage: 0 };

/// Lets the database refuse every event of these ids.
fn poison(database: &Path, ids: &[&str]) {
    let ids: Vec<_> = ids.iter().map(|id| format!("'{id}'")).collect();
    let refuse = format!(
        "CREATE TRIGGER poison BEFORE INSERT ON events WHEN NEW.id IN ({}) BEGIN SELECT RAISE(ABORT, 'poison'); END",
        ids.join(", ")
    );
    execute(database, &refuse);
}

fn execute(database: &Path, sql: &str) {
    raw(database).execute_batch(sql).expect("executed");
}

fn kept(folder: &Folder) -> PathBuf {
    folder.home().join("billing/journal/refused")
}

async fn until_counted(desk: &Desk) {
    let counted = async {
        while desk.billing.stats().backlog > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), counted).await.expect("nothing holds it up");
}

#[tokio::test]
async fn an_event_that_is_refused_is_told_so_and_keeps_none_of_its_batch_out() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    poison(&folder.database(), &["3", "4", "9"]);
    let now = desk.life.clock().now();
    let batch = (0..10).map(|id: u32| labels(&id.to_string(), "acme", now, 1)).collect();
    let (answers, alone) = tokio::join!(desk.billing.ingest_batch(batch), desk.ingest(labels("alone", "acme", now, 1)));
    for (id, answer) in answers.expect("an answer for each").into_iter().enumerate() {
        match (id, answer) {
            (3 | 4 | 9, answer) => assert_eq!(answer.expect_err("refused").kind(), ErrorKind::Invalid, "{id}"),
            (_, answer) => assert_eq!(answer.expect("counted"), COUNTED, "{id}"),
        }
    }
    assert_eq!((alone, desk.used("acme").await), (COUNTED, 8));
    assert_eq!((desk.billing.stats().refused, desk.store_check().state), (3, "ok"));
    assert!(!kept(&folder).exists(), "who sent it has it");
    let error = desk.billing.ingest(labels("3", "acme", now, 1)).await.expect_err("refused");
    assert_eq!((error.kind(), desk.billing.stats().refused), (ErrorKind::Invalid, 4));
}

#[tokio::test]
async fn what_was_answered_for_and_is_refused_is_kept_aside_and_counted_when_it_is_a_journal_again() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    assert_eq!(desk.used("acme").await, 1);
    let used = format!("labels/{}", IdempotencyKey::of(b"bad"));
    poison(&folder.database(), &["poison", &used]);
    folder.take_database();
    let now = desk.life.clock().now();
    for key in ["one", "bad", "two"] {
        assert_eq!(desk.status("labels", keyed("acme", key)).await, 200, "out of the tranche");
    }
    for id in ["a", "poison", "b", "c"] {
        assert_eq!(desk.ingest(labels(id, "acme", now, 10)).await, Receipt::Spooled);
    }
    folder.bring_database_back();
    until_counted(&desk).await;
    assert_eq!(desk.used("acme").await, 1 + 2 + 30);
    assert_eq!((desk.billing.stats().refused, desk.store_check().state), (2, "ok"));
    desk.billing.flush(Duration::from_secs(5)).await.expect("flushed");
    let (_, burned, held) = lots(&folder.database(), "acme").remove(0);
    assert_eq!((burned, held), (33, 0), "what was held for it is free again");

    execute(&folder.database(), "DROP TRIGGER poison");
    std::fs::rename(kept(&folder), kept(&folder).with_file_name(format!("{}.journal", Uuid::now_v7())))
        .expect("renamed");
    let counted = async {
        while desk.used("acme").await < 44 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), counted).await.expect("it is taken over");
    assert_eq!(desk.used("acme").await, 44);
    assert_eq!(folder.journals().len(), 1, "only its own journal is left");
    desk.stop().await;
}

#[tokio::test]
async fn what_a_dead_process_left_and_is_refused_keeps_nothing_else_of_its_journal_from_being_counted() {
    for (ids, used, refused) in [(["a", "poison", "b", "last"], 2, 2), (["a", "b", "poison", "c"], 3, 1)] {
        let folder = Folder::new();
        let desk = Desk::with_plan(&folder.home(), "pro").await;
        let now = desk.life.clock().now();
        folder.take_database();
        let batch = ids.map(|id| labels(id, "acme", now, 1));
        desk.billing.ingest_batch(batch.into()).await.expect("spooled");
        // It stops while the store is away.
        assert!(desk.life.stop_tasks(Duration::from_secs(5)).await);
        drop(desk);
        folder.bring_database_back();
        poison(&folder.database(), &["poison", "last"]);
        let desk = Desk::try_open(&folder.home(), Clock::system()).await.expect("opens");
        assert_eq!((desk.used("acme").await, desk.billing.stats().refused), (used, refused));
        assert!(kept(&folder).join("a").exists());
        assert_eq!(number(&folder.database(), "SELECT count(*) FROM owners"), 1, "the dead one is forgotten");
        desk.stop().await;
        assert_eq!(folder.journals(), [kept(&folder)]);
    }
}

#[tokio::test]
async fn a_lease_that_is_refused_takes_nothing_from_others_who_ask_together_with_it() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    desk.subscribe("globex", "pro").await;
    let refuse = "CREATE TRIGGER poison BEFORE INSERT ON holds WHEN NEW.tenant = 'globex'
        BEGIN SELECT RAISE(ABORT, 'poison'); END";
    execute(&folder.database(), refuse);
    for round in 0..3 {
        let now = desk.life.clock().now();
        let (acme, globex, event) = tokio::join!(
            desk.status("labels", request("acme")),
            desk.status("labels", request("globex")),
            desk.ingest(labels(&round.to_string(), "acme", now, 1)),
        );
        assert_eq!((acme, globex, event), (200, 503, COUNTED), "{round}");
        desk.billing.flush(Duration::from_secs(5)).await.expect("flushed");
    }
    assert_eq!((desk.used("acme").await, desk.billing.stats().refused), (6, 0));
}
