//! On several threads and in real time, where the order of things is not ours to choose.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use halfbyte_core::Live;
use halfbyte_core::live::{Fetched, Policy};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};

use super::{Backend, life, millis, policy, secs};

/// Asks again and again without ever waiting, so that some ask in the very moment in which the answer comes.
async fn hammer<F, Fut>(ask: F)
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = bool>,
{
    let mut callers = JoinSet::new();
    for _ in 0..2 {
        let ask = ask.clone();
        callers.spawn_blocking(move || while ask().now_or_never() != Some(true) {});
    }
    callers.join_all().await;
    // A fetch too many would begin at once.
    sleep(millis(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_who_come_as_the_first_load_ends_make_no_second_fetch() {
    for _ in 0..150 {
        let backend = Backend::default();
        backend.takes(millis(1));
        let live = Live::start("test", policy(), backend.clone(), &life());
        hammer(move || {
            let live = live.clone();
            async move { live.get().await.is_ok() }
        })
        .await;
        assert_eq!(backend.fetches(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_refuse_one_generation_at_once_make_one_fetch_even_without_a_gap() {
    let backend = Backend::default();
    backend.takes(millis(1));
    let policy = Policy { demand_gap: Duration::ZERO, fresh_for: secs(1000), ..policy() };
    let live = Live::start("test", policy, backend.clone(), &life());
    live.ready().await.expect("loaded");
    for round in 1..150 {
        let live = live.clone();
        hammer(move || {
            let live = live.clone();
            async move { live.refresh(round).await.is_ok_and(|snapshot| snapshot.generation() > round) }
        })
        .await;
        assert_eq!(backend.fetches() as u64, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_never_see_a_torn_value_or_an_older_one_than_before() {
    let published = std::sync::atomic::AtomicU64::new(0);
    let source = move || {
        let number = published.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok(Fetched::new([number; 64])) }
    };
    let policy = Policy { fresh_for: millis(1), ..policy() };
    let live = Live::start("test", policy, source, &life());
    live.ready().await.expect("loaded");
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let (live, stop) = (live.clone(), stop.clone());
        readers.spawn_blocking(move || {
            let (mut last, mut seen) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                let snapshot = live.load().expect("always there");
                let generation = snapshot.generation();
                assert!(generation >= last, "generation {generation} after {last}");
                assert!(snapshot.iter().all(|number| *number == generation), "torn: {:?}", *snapshot);
                seen += u64::from(generation > last);
                last = generation;
            }
            seen
        });
    }
    sleep(millis(700)).await;
    stop.store(true, Ordering::Relaxed);
    for seen in readers.join_all().await {
        assert!(seen > 20, "a reader saw {seen} generations only");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_misses_a_load_by_a_hair_is_told_cold_and_nothing_else() {
    use halfbyte_core::live::ErrorKind;

    for _ in 0..400 {
        let live = Live::start("test", policy(), Backend::default(), &life());
        loop {
            match live.load() {
                Ok(snapshot) => {
                    assert_eq!(*snapshot, 1);
                    break;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Cold),
            }
        }
    }
}
