use std::time::Duration;

use halfbyte_core::live::{Policy, State};
use tokio::time::{Instant, sleep, timeout};

use super::{Answer, Backend, millis, policy, secs, start, warm};

#[tokio::test(start_paused = true)]
async fn each_refresh_comes_at_a_random_point_in_the_last_part_of_the_freshness() {
    let backend = Backend::default();
    let _live = warm(Policy { fresh_for: secs(100), jitter: 0.3, ..policy() }, &backend).await;
    sleep(secs(100 * 300)).await;
    let gaps = backend.gaps();
    assert!(gaps.len() >= 300);
    // A timer may be a millisecond late.
    assert!(gaps.iter().all(|gap| (secs(70)..=millis(100_002)).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap < secs(76)) && gaps.iter().any(|gap| *gap > secs(94)), "spread over all of it");
}

#[tokio::test(start_paused = true)]
async fn without_jitter_a_refresh_comes_when_the_freshness_ends() {
    let backend = Backend::default();
    let _live = warm(policy(), &backend).await;
    sleep(secs(35)).await;
    assert_eq!(backend.fetches(), 4);
    assert!(backend.gaps().iter().all(|gap| (secs(10)..=millis(10_002)).contains(gap)), "{:?}", backend.gaps());
}

#[tokio::test(start_paused = true)]
async fn the_source_may_say_how_long_its_answer_is_fresh() {
    let backend = Backend::default();
    backend.fresh_for(secs(3));
    let live = warm(policy(), &backend).await;
    sleep(millis(7500)).await;
    assert_eq!(backend.fetches(), 3);
    backend.answer(Answer::Fail);
    // Fresh for 3 s and usable for 30 s more, from the last good answer at 6 s.
    sleep(millis(31_000)).await;
    assert_eq!(live.status().state(), State::Stale);
    sleep(millis(1000)).await;
    assert_eq!(live.status().state(), State::Expired);
}

#[tokio::test(start_paused = true)]
async fn freshness_of_no_time_or_of_all_time_is_survived() {
    for (fresh_for, jitter) in [
        (Duration::ZERO, 0.0),
        (Duration::MAX, 0.0),
        (Duration::MAX, 1.0),
        (secs(1), f64::NAN),
        (secs(1), -3.0),
        (secs(1), 7.0),
    ] {
        let backend = Backend::default();
        backend.fresh_for(fresh_for);
        let live = warm(Policy { jitter, ..policy() }, &backend).await;
        sleep(millis(100)).await;
        assert!(live.load().is_ok());
        assert!(backend.fetches() <= 105, "{fresh_for:?} and {jitter} made {} fetches", backend.fetches());
        // The task is alive: it answers a demand, or goes on by itself.
        sleep(secs(2)).await;
        let seen = live.load().expect("still there").generation();
        let newer = timeout(secs(1), live.refresh(seen)).await.expect("in time").expect("answered");
        let alive = newer.generation() > seen || timeout(secs(1), live.changed(seen)).await.is_ok();
        assert!(alive, "{fresh_for:?} and {jitter} ended the task");
    }
}

#[tokio::test(start_paused = true)]
async fn unchanged_keeps_the_generation_and_renews_the_freshness() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    backend.answer(Answer::Unchanged);
    sleep(secs(495)).await;
    let snapshot = live.load().expect("confirmed again and again");
    assert_eq!((*snapshot, snapshot.generation()), (1, 1));
    assert_eq!(backend.fetches(), 50);
    assert_eq!(live.status().state(), State::Fresh);
    assert!(live.status().age().expect("confirmed") <= secs(10));
}

#[tokio::test(start_paused = true)]
async fn unchanged_brings_back_a_value_that_was_withdrawn() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    backend.answer(Answer::Fail);
    sleep(secs(60)).await;
    assert!(live.load().is_err());
    backend.answer(Answer::Unchanged);
    sleep(secs(31)).await;
    let snapshot = live.load().expect("confirmed");
    assert_eq!((*snapshot, snapshot.generation()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_change_sees_it_and_can_read_it() {
    let backend = Backend::default();
    let live = start(policy(), &backend);
    let began = Instant::now();
    for generation in 1..5 {
        assert_eq!(live.changed(generation - 1).await, generation);
        assert_eq!(live.load().expect("published before it is announced").generation(), generation);
    }
    assert!((secs(30)..millis(30_010)).contains(&began.elapsed()));
    assert_eq!(live.changed(1).await, 4, "what is past is answered at once");
    backend.answer(Answer::Unchanged);
    assert!(timeout(secs(100), live.changed(4)).await.is_err(), "unchanged is no change");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_stays_what_it_is() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    let old = live.load().expect("loaded");
    live.changed(1).await;
    assert_eq!((*old, old.generation()), (1, 1));
    assert_eq!(*live.load().expect("loaded"), 2);
}
