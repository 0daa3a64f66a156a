//! Connections for reading, whose users are dropped at any moment.

use std::time::Duration;

use halfbyte_billing::{Event, Per, Period, UsageQuery};
use sqlx::Connection as _;
use tokio::task::JoinSet;

use crate::support::{Database, Desk, tenant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_are_dropped_in_the_midst_leave_no_transaction_and_no_connection_behind() {
    let (database, folder) = (Database::create().await, tempfile::tempdir().expect("a folder"));
    let desk = Desk::open(&database.url(), &folder.path().join("home")).await;
    desk.subscribe("acme", "large").await;
    let now = desk.life.clock().now();
    for id in 0..20 {
        let event = Event::new("/warehouse", &id.to_string(), "parcel.stored", "acme", now).expect("an event");
        let event = event.data(serde_json::json!({ "depot": format!("d{id}") })).expect("data");
        desk.billing.ingest(event).await.expect("taken in");
    }
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let billing = desk.billing.clone();
        readers.spawn(async move {
            let mut answered = 0;
            for _ in 0..60 {
                let query = UsageQuery::new("depots", &tenant("acme")).period(Period::containing(now, Per::Month));
                let patience = Duration::from_micros(fastrand::u64(0..20_000));
                if let Ok(answer) = tokio::time::timeout(patience, billing.query(&query)).await {
                    answer.expect("it reads");
                    answered += 1;
                }
            }
            answered
        });
    }
    let answered: usize = readers.join_all().await.into_iter().sum();
    assert!((1..480).contains(&answered), "{answered} of 480 were answered");
    let sessions = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'halfbyte-billing'";
    let few = async {
        // Four for reading, and the committer's.
        while database.number(sessions).await > 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), few).await.expect("the others are closed");
    let open = format!("{sessions} AND state LIKE 'idle in transaction%'");
    // It is in the midst of a transaction that the reader waits.
    let other = database.hold("LOCK TABLE aggregates IN ACCESS EXCLUSIVE MODE").await;
    let query = UsageQuery::new("depots", &tenant("acme")).period(Period::containing(now, Per::Month));
    let waiting = tokio::time::timeout(Duration::from_millis(500), desk.billing.query(&query));
    assert!(waiting.await.is_err(), "it waits");
    other.close().await.expect("closed");
    let ended = async {
        while database.number(&open).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // The server itself would end it after ten seconds.
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("nobody would end the transaction");
    desk.stop().await;
    assert_eq!(database.number(sessions).await, 0, "all are closed with the process");
    database.remove().await;
}
