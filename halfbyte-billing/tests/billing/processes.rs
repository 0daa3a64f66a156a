use std::collections::BTreeMap;
use std::time::Duration;

use crate::children;
use crate::support::{Desk, Folder, keyed, number, request};

#[tokio::test]
async fn two_processes_share_one_limit_and_get_all_of_it_and_not_one_more() {
    let folder = Folder::new();
    Desk::with_plan(&folder.home(), "pro").await.stop().await;
    let children = [(); 2].map(|()| children::start(&folder.home(), "take", ""));
    let taken: Vec<u64> = children.into_iter().map(|child| child.join()[0].parse().expect("a number")).collect();
    assert_eq!(taken.iter().sum::<u64>(), 500, "{taken:?}");
    let desk = Desk::open(&folder.home()).await;
    assert_eq!(desk.used("acme").await, 500);
    assert_eq!(desk.status("labels", request("acme")).await, 429);
}

#[tokio::test]
async fn a_killed_process_strands_nothing_of_a_limit() {
    let folder = Folder::new();
    Desk::with_plan(&folder.home(), "pro").await.stop().await;
    let mut child = children::start(&folder.home(), "answer", "a,b,c,d,e");
    assert_eq!(child.line().as_deref(), Some("answered"));
    child.kill();
    assert!(number(&folder.database(), "SELECT sum(units) FROM holds") > 5, "it died holding a tranche");

    let taken: u64 = children::start(&folder.home(), "take", "").join()[0].parse().expect("a number");
    assert_eq!(taken, 500 - 6);
    assert_eq!(Desk::open(&folder.home()).await.used("acme").await, 500);
}

#[tokio::test]
async fn a_running_process_takes_over_from_one_that_is_killed() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let mut child = children::start(&folder.home(), "answer", "a,b,c");
    assert_eq!(child.line().as_deref(), Some("answered"));
    assert_eq!(desk.used("acme").await, 1);
    child.kill();
    let taken_over = async {
        while desk.used("acme").await < 4 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), taken_over).await.expect("it is taken over within seconds");
    assert_eq!(desk.used("acme").await, 4);
    assert_eq!(folder.journals().len(), 1, "only the living have journals");
}

/// Kills a process that ingests at random points; then the store must have every key that was answered for, and none
/// twice: the one key of each writer that was under way may or may not count, and is tried again as a client would.
#[tokio::test]
async fn whatever_the_moment_of_a_kill_every_acknowledged_key_counts_exactly_once() {
    let folder = Folder::new();
    Desk::with_plan(&folder.home(), "endless").await.stop().await;
    let mut expected = 0;
    for round in 0..20 {
        let mut child = children::start(&folder.home(), "ingest", &round.to_string());
        let first = child.line().expect("it works");
        std::thread::sleep(Duration::from_micros(moment(round) % 60_000));
        let mut answered: BTreeMap<u64, u64> = BTreeMap::new();
        for line in child.kill().into_iter().chain([first]) {
            let (writer, count) = line.split_once(' ').expect("two numbers");
            let (writer, count): (u64, u64) = (writer.parse().expect("one"), count.parse().expect("another"));
            let done = answered.entry(writer).or_default();
            *done = (*done).max(count + 1);
        }
        let acknowledged: u64 = answered.values().sum();
        let desk = Desk::open(&folder.home()).await;
        let found = desk.used("acme").await - expected;
        assert!(
            (acknowledged..=acknowledged + 4).contains(&found),
            "round {round}: {acknowledged} answered, {found} found"
        );

        for writer in 0..4 {
            for count in 0..=answered.get(&writer).copied().unwrap_or(0) {
                assert_eq!(desk.status("labels", keyed("acme", &format!("{round}-{writer}-{count}"))).await, 200);
            }
        }
        expected += acknowledged + 4;
        assert_eq!(desk.used("acme").await, expected, "round {round}: every key once");
        desk.stop().await;
        assert_eq!(number(&folder.database(), "SELECT count(*) FROM holds"), 0, "nothing is stranded");
    }
    let events = number(&folder.database(), "SELECT sum(sum) FROM aggregates");
    assert_eq!(u64::try_from(events).expect("not negative"), expected, "events and totals agree");
    assert!(folder.journals().is_empty());
}

/// A different moment in each round and each run.
fn moment(round: u64) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(round)
}

#[tokio::test]
async fn the_unique_keys_of_two_processes_differ_by_what_each_draws_at_random() {
    let folder = Folder::new();
    let made = || {
        let said = children::start(&folder.home(), "key", "").join();
        said.into_iter().next().expect("one key")
    };
    let (first, second) = (made(), made());
    assert_eq!((first.len(), second.len()), (32, 32));
    assert_ne!(first[..20], second[..20], "what a process draws at random");
    assert_eq!(first[20..], second[20..], "both are the first of their process");
}
