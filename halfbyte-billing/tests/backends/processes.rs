//! Several processes on one PostgreSQL of their own.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::children;
use crate::common::child::Child;
use crate::server::Server;
use crate::support::Desk;

/// Of the plan "large".
const LIMIT: u64 = 10_000;

async fn office(server: &Server, folder: &Path) -> Desk {
    let office = Desk::open(&server.url(), &folder.join("office")).await;
    office.subscribe("acme", "large").await;
    office
}

fn hammer(server: &Server, home: &Path) -> Child {
    children::start(&server.url(), home, "hammer", "")
}

/// Waits until so many are counted.
async fn counted(office: &Desk, count: u64) {
    let counted = async {
        while office.used("acme").await < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted).await.expect("it goes on");
}

/// Four processes use up one limit together while two of them are killed and the database is restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_limit_is_never_exceeded_whoever_dies_and_all_of_it_can_be_used() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let office = office(&server, folder.path()).await;

    // Two share a folder, as replicas on one machine do: what one leaves the other takes over at once.
    let [first, second, third, fourth] = ["a", "a", "b", "c"].map(|name| hammer(&server, &folder.path().join(name)));
    counted(&office, LIMIT / 5).await;
    let mut answered = second.kill();
    counted(&office, LIMIT * 2 / 5).await;
    server.restart(Duration::from_millis(1500));
    counted(&office, LIMIT / 2).await;
    answered.extend(fourth.kill());
    // Its journal is of a machine that is gone until it comes back.
    let back = hammer(&server, &folder.path().join("c"));
    for child in [first, third, back] {
        answered.extend(child.join());
    }
    assert!(answered.len() as u64 <= LIMIT, "{} answered", answered.len());
    assert_eq!(office.used("acme").await, LIMIT, "all of it, and not one more");
    assert_eq!(office.billing.stats().overage, 0);
    assert!(!server.log().contains("no transaction in progress"), "nobody rolls back what was not begun");
}

/// Whatever the moment of a kill, what was answered is counted, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_counted_once_whatever_the_moment_of_a_kill() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let office = office(&server, folder.path()).await;
    let mut answered = BTreeSet::new();
    for round in 0..25_u64 {
        let mut child = hammer(&server, &home);
        answered.insert(child.line().expect("it works"));
        std::thread::sleep(Duration::from_micros(round * 3_700 % 40_000));
        answered.extend(child.kill());
    }
    let _next = Desk::open(&server.url(), &home).await;
    let counted = office.used("acme").await;
    let sure = answered.len() as u64;
    // What a writer was about to say when it was killed may be counted as well.
    assert!((sure..=sure + 25 * 8).contains(&counted), "{sure} answered, {counted} counted");
}
