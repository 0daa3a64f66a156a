//! Two hundred processes that are killed at random moments, five at a time, while they ingest, settle and exchange leases.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::children::Child;
use crate::support::{Desk, Folder, number, raw, request};

const KILLS: usize = 200;
const AT_A_TIME: usize = 5;
/// What one child has under way at most.
const UNDER_WAY: usize = 6;
/// Each of them has 200 labels.
const TENANTS: usize = KILLS / 10 + 6;

/// The id of every event that counts, with its units.
fn counted(folder: &Folder) -> BTreeMap<String, u64> {
    let query = "SELECT id, CAST(data ->> 'units' AS INTEGER) FROM events WHERE state = 0";
    let raw = raw(&folder.database());
    let mut query = raw.prepare(query).expect("prepared");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("queried");
    let rows: Vec<(String, i64)> = rows.collect::<Result<_, _>>().expect("read");
    let all: BTreeMap<_, _> =
        rows.iter().map(|(id, units)| (id.clone(), u64::try_from(*units).expect("not negative"))).collect();
    assert_eq!(all.len(), rows.len(), "none is there twice");
    all
}

#[tokio::test]
async fn whatever_dies_when_all_that_was_acknowledged_counts_once_and_no_limit_is_exceeded() {
    let folder = Folder::new();
    let desk = Desk::open(&folder.home()).await;
    for tenant in 0..TENANTS {
        desk.subscribe(&format!("t{tenant}"), "busy").await;
    }
    desk.stop().await;

    let start = |number: usize| Child::start(&folder.home(), "work", &format!("c{number} {}", number / 10));
    let mut children: Vec<_> = (0..AT_A_TIME).map(start).collect();
    let mut acknowledged = BTreeMap::new();
    for kill in 0..KILLS {
        let mut killed = children.remove(fastrand::usize(0..children.len()));
        // One in eight dies wherever it is, most likely as it opens the store; the others at work.
        let said = if fastrand::u8(0..8) == 0 { None } else { killed.line() };
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..60_000)));
        for line in killed.kill().into_iter().chain(said) {
            let (id, units) = line.split_once(' ').expect("an id and units");
            assert_ne!(id, "failed", "{line}");
            acknowledged.insert(id.to_owned(), units.parse::<u64>().expect("a number"));
        }
        if kill + AT_A_TIME < KILLS {
            children.push(start(kill + AT_A_TIME));
        }
    }

    let desk = Desk::open(&folder.home()).await;
    let counted = counted(&folder);
    for (id, units) in &acknowledged {
        assert_eq!(counted.get(id), Some(units), "{id} was acknowledged");
    }
    let more = counted.len() - acknowledged.len();
    assert!(more <= KILLS * UNDER_WAY, "{more} more than {} count", acknowledged.len());
    assert!(acknowledged.len() > KILLS * 5, "{} were acknowledged: the children hardly worked", acknowledged.len());

    let free = async {
        while number(&folder.database(), "SELECT count(*) FROM holds") > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), free).await.expect("all that was held is free again");
    let sum = i64::try_from(counted.values().sum::<u64>()).expect("small");
    for (query, expected) in [
        ("SELECT sum(sum) FROM aggregates", sum),
        ("SELECT sum(burned) FROM lots", sum),
        ("SELECT sum(units) FROM burns", sum),
        ("SELECT sum(held) FROM lots", 0),
        ("SELECT count(*) FROM lots WHERE burned > amount", 0),
        ("SELECT count(*) FROM burns WHERE lot = ''", 0),
        ("SELECT count(*) FROM owners", 1),
    ] {
        assert_eq!(number(&folder.database(), query), expected, "{query}");
    }
    assert_eq!(folder.journals().len(), 1, "only its own journal is left");

    let full = number(&folder.database(), "SELECT count(*) FROM lots WHERE feature = 'labels' AND burned = amount");
    assert!(full > 0, "nobody came to a limit");
    let last = format!("t{}", TENANTS - 1);
    while desk.status("labels", request(&last)).await == 200 {}
    assert_eq!(desk.used(&last).await, 200, "all of it was to be had, and no more");
}
