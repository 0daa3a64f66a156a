//! Processes that are killed at random moments while they ingest, settle and exchange leases.

use std::collections::BTreeMap;
use std::time::Duration;

use halfbyte_billing::{Event, IdempotencyKey, Receipt, Reservation};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::child::{Child, MARK};
use crate::support::{Desk, keyed, tenant};

const AT_A_TIME: usize = 5;
/// What one child has under way at most.
const UNDER_WAY: usize = 6;

/// So many tenants children need, where each of ten in a row begins with the same one: see [`kill_at_random`].
pub const fn tenants(kills: usize) -> usize {
    kills / 10 + 6
}

/// Kills so many children, five of which run at a time. Each [works](work); `start` is given what it works on. Answers the
/// id and the units of all that was acknowledged.
pub fn kill_at_random(kills: usize, start: impl Fn(&str) -> Child) -> BTreeMap<String, u64> {
    let start = |number: usize| start(&format!("c{number} {}", number / 10));
    let mut children: Vec<_> = (0..AT_A_TIME).map(start).collect();
    let mut acknowledged = BTreeMap::new();
    for kill in 0..kills {
        let mut killed = children.remove(fastrand::usize(0..children.len()));
        // One in eight dies wherever it is, most likely as it opens the store; the others at work.
        let said = if fastrand::u8(0..8) == 0 { None } else { killed.line() };
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..60_000)));
        for line in killed.kill().into_iter().chain(said) {
            let (id, units) = line.split_once(' ').expect("an id and units");
            assert_ne!(id, "failed", "{line}");
            acknowledged.insert(id.to_owned(), units.parse::<u64>().expect("a number"));
        }
        if kill + AT_A_TIME < kills {
            children.push(start(kill + AT_A_TIME));
        }
    }
    acknowledged
}

/// What was acknowledged is among what is counted, and hardly more is.
pub fn assert_counted(kills: usize, acknowledged: &BTreeMap<String, u64>, counted: &BTreeMap<String, u64>) {
    for (id, units) in acknowledged {
        assert_eq!(counted.get(id), Some(units), "{id} was acknowledged");
    }
    let more = counted.len() - acknowledged.len();
    assert!(more <= kills * UNDER_WAY, "{more} more than {} count", acknowledged.len());
    assert!(acknowledged.len() > kills * 5, "{} were acknowledged: the children hardly worked", acknowledged.len());
}

/// Ingests events, answers requests, and reserves and settles, for six tenants from the `first` on, and keeps giving back
/// what it has leased; says the id and the units of all that was acknowledged. Six things at most are under way.
pub async fn work(desk: &Desk, argument: &str) {
    let (child, first) = argument.split_once(' ').expect("a name and a number");
    let first: u64 = first.parse().expect("a number");
    let mut tasks = JoinSet::new();
    for writer in 0..6_u64 {
        let (billing, app, child) = (desk.billing.clone(), desk.app("labels"), child.to_owned());
        let clock = desk.life.clock().clone();
        tasks.spawn(async move {
            for count in 0_u64.. {
                let name = format!("t{}", first + (count * 5 + writer) % 6);
                let unique = format!("{child}-{writer}-{count}");
                let key = IdempotencyKey::of(unique.as_bytes());
                match writer {
                    0 | 1 => {
                        let event = Event::new("/child", &unique, "parcel.rush", &name, clock.now()).expect("an event");
                        let event = event.data(serde_json::json!({ "units": 1 + count % 3 })).expect("data");
                        let receipt = billing.ingest(event).await.expect("taken in");
                        // Where the store does not answer in time, it is on the disk and counted later.
                        assert!(matches!(receipt, Receipt::Counted { overage: 0 } | Receipt::Spooled), "{receipt:?}");
                        println!("{MARK}{unique} {}", 1 + count % 3);
                    }
                    2 => {
                        let asked = billing.reserve(&tenant(&name), "labels", 4, Duration::from_secs(5)).await;
                        if let Ok(Reservation::Held(reserved)) = asked {
                            if billing.settle_reserved(&reserved, 1 + count % 4, key).await.is_err() {
                                // It may be counted or not: as what was under way when it was killed.
                                std::future::pending::<()>().await;
                            }
                            println!("{MARK}labels/{key} {}", 1 + count % 4);
                        }
                    }
                    _ => {
                        match app.clone().oneshot(keyed(&name, &unique)).await.expect("infallible").status().as_u16() {
                            200 => println!("{MARK}labels/{key} 1"),
                            429 => tokio::time::sleep(Duration::from_millis(5)).await,
                            // On a busy machine the store need not answer within a request's patience.
                            503 => tokio::time::sleep(Duration::from_millis(50)).await,
                            other => panic!("answered {other}"),
                        }
                    }
                }
            }
        });
    }
    let billing = desk.billing.clone();
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(11)).await;
            billing.flush(Duration::from_secs(5)).await.expect("flushed");
        }
    });
    while let Some(ended) = tasks.join_next().await {
        // What went wrong must be known, and the others not go on.
        if let Err(error) = ended {
            println!("{MARK}failed {error}");
            std::process::exit(1);
        }
    }
}
