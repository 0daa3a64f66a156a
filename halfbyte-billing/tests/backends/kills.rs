//! Forty processes that are killed at random moments, five at a time, while they ingest, settle and exchange leases.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::children;
use crate::common::killed::{assert_counted, kill_at_random, tenants};
use crate::support::{Database, Desk};

const KILLS: usize = 40;
/// Each of them has 200 labels.
const TENANTS: usize = tenants(KILLS);
const LEASE: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_when_all_that_was_acknowledged_counts_once_and_no_limit_is_exceeded() {
    let (database, folder) = (Database::create().await, tempfile::tempdir().expect("a folder"));
    let home = folder.path().join("home");
    let desk = Desk::open(&database.url(), &home).await;
    for tenant in 0..TENANTS {
        desk.subscribe(&format!("t{tenant}"), "busy").await;
    }
    desk.stop().await;

    let acknowledged = kill_at_random(KILLS, |argument| children::start(&database.url(), &home, "work", argument));

    let desk = Desk::with_lease(&database.url(), &home, LEASE).await;
    let query = "SELECT id, CAST(CAST(data AS json) ->> 'units' AS BIGINT) FROM events WHERE state = 0";
    let rows = database.pairs(query).await;
    let counted: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(counted.len(), rows.len(), "none is there twice");
    assert_counted(KILLS, &acknowledged, &counted);

    // Where a process died as it renewed its lease, that has to expire.
    let free = async {
        while database.number("SELECT count(*) FROM holds").await > 0
            || database.number("SELECT count(*) FROM owners").await > 1
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LEASE * 4, free).await.expect("all that was held is free again");
    database.is_settled_at(counted.values().sum()).await;
    for (query, expected) in
        [("SELECT count(*) FROM lots WHERE burned > amount", 0), ("SELECT count(*) FROM burns WHERE lot = ''", 0)]
    {
        assert_eq!(database.number(query).await, expected, "{query}");
    }
    let last = format!("t{}", TENANTS - 1);
    desk.use_up(&last).await;
    assert_eq!(desk.used(&last).await, 200, "all of it was to be had, and no more");
    desk.stop().await;
    database.remove().await;
}
