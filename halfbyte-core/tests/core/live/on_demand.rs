use std::pin::pin;

use futures_util::FutureExt as _;
use halfbyte_core::Live;
use halfbyte_core::live::{ErrorKind, Policy};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{Answer, Backend, life, millis, policy, secs, warm};

#[tokio::test(start_paused = true)]
async fn a_thousand_who_refuse_one_generation_make_one_fetch() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    sleep(secs(2)).await;
    backend.takes(millis(500));
    let mut callers = JoinSet::new();
    for n in 0..1000 {
        let live = live.clone();
        callers.spawn(async move {
            // The last third comes when the fetch is through.
            sleep(millis(n * 3 / 4)).await;
            live.refresh(1).await.expect("refreshed").generation()
        });
    }
    assert!(callers.join_all().await.iter().all(|generation| *generation == 2));
    assert_eq!(backend.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_has_seen_an_old_generation_is_answered_at_once() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    live.changed(1).await;
    sleep(secs(5)).await;
    let began = Instant::now();
    backend.answer(Answer::Hang);
    assert_eq!(live.refresh(1).await.expect("there already").generation(), 2);
    assert_eq!((began.elapsed(), backend.fetches()), (secs(0), 2));
}

#[tokio::test(start_paused = true)]
async fn outsiders_cannot_make_the_backend_work_more_often_than_the_gap_allows() {
    let backend = Backend::default();
    let live = warm(Policy { demand_gap: secs(2), fresh_for: secs(1000), ..policy() }, &backend).await;
    let began = Instant::now();
    while began.elapsed() < secs(60) {
        let seen = live.load().expect("loaded").generation();
        live.refresh(seen).await.expect("answered");
        sleep(millis(10)).await;
    }
    assert!((29..=31).contains(&backend.fetches()), "{} fetches", backend.fetches());
    assert!(backend.gaps().iter().all(|gap| *gap >= secs(2)), "{:?}", backend.gaps());
}

#[tokio::test(start_paused = true)]
async fn within_the_gap_the_present_snapshot_is_answered() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    sleep(millis(900)).await;
    assert_eq!(live.refresh(1).await.expect("answered").generation(), 1);
    assert_eq!(backend.fetches(), 1);
    sleep(millis(200)).await;
    assert_eq!(live.refresh(1).await.expect("answered").generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_says_so_and_leaves_the_good_value() {
    for backoff in [millis(0), millis(250)] {
        let backend = Backend::default();
        let live = warm(Policy { backoff, ..policy() }, &backend).await;
        backend.answer(Answer::Fail);
        sleep(secs(2)).await;
        let error = live.refresh(1).await.expect_err("it fails");
        assert_eq!(error.kind(), ErrorKind::RefreshFailed);
        assert_eq!(halfbyte_core::error_chain(&error), "test could not be refreshed: fetch 2 failed");
        assert_eq!(*live.load().expect("still good"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_to_hear_of_a_failure_hears_of_it_all_the_same() {
    let backend = Backend::default();
    let live = warm(Policy { backoff: millis(1), ..policy() }, &backend).await;
    sleep(secs(2)).await;
    backend.takes(secs(1));
    backend.answer(Answer::Fail);
    let mut refresh = pin!(live.refresh(1));
    assert!(refresh.as_mut().now_or_never().is_none(), "it waits");
    sleep(millis(1500)).await;
    // By now the next attempt is under way.
    assert_eq!(backend.fetches(), 3);
    let error = refresh.now_or_never().expect("through").expect_err("what it asked for failed");
    assert_eq!(error.kind(), ErrorKind::RefreshFailed);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_joins_the_fetch_that_is_under_way() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    backend.takes(secs(3));
    sleep(secs(11)).await;
    assert_eq!(backend.fetches(), 2, "the scheduled one runs");
    assert_eq!(live.refresh(1).await.expect("joined").generation(), 2);
    sleep(secs(1)).await;
    assert_eq!(backend.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_gives_up_does_not_stop_the_refresh_of_the_others() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    sleep(secs(2)).await;
    backend.takes(secs(4));
    let other = live.clone();
    let mut others = JoinSet::new();
    others.spawn(async move { other.refresh(1).await.expect("refreshed").generation() });
    assert!(timeout(secs(1), live.refresh(1)).await.is_err());
    assert_eq!(others.join_all().await, [2]);
    assert_eq!((backend.fetches(), backend.cut_short()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_sets_the_next_scheduled_one_anew() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    sleep(secs(5)).await;
    live.refresh(1).await.expect("refreshed");
    sleep(secs(9)).await;
    assert_eq!(backend.fetches(), 2);
    sleep(secs(2)).await;
    assert_eq!(backend.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_refetches_within_the_gap_waits_for_a_fetch_of_his_own() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    sleep(millis(300)).await;
    let began = Instant::now();
    assert_eq!(live.refetch(1).await.expect("fetched").generation(), 2);
    assert_eq!((began.elapsed(), backend.fetches()), (millis(700), 2));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_was_under_way_is_followed_by_another_for_who_refetches() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    backend.answer(Answer::Unchanged);
    backend.takes(secs(2));
    sleep(secs(2)).await;
    let first = live.clone();
    let mut callers = JoinSet::new();
    callers.spawn(async move { first.refetch(1).await });
    sleep(millis(500)).await;
    backend.answer(Answer::Unchanged);
    let began = Instant::now();
    assert_eq!(live.refetch(1).await.expect("fetched").generation(), 1);
    // The rest of the one under way, and one more: it began when the gap had long passed.
    assert_eq!((began.elapsed(), backend.fetches()), (millis(3_500), 3));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_who_refetch_make_one_fetch_and_are_all_answered_with_it() {
    for answer in [Answer::Number, Answer::Unchanged] {
        let backend = Backend::default();
        let live = warm(policy(), &backend).await;
        backend.answer(answer);
        backend.takes(millis(50));
        let mut callers = JoinSet::new();
        for n in 0..1000 {
            let live = live.clone();
            callers.spawn(async move {
                sleep(millis(n * 9 / 10)).await;
                live.refetch(1).await.expect("fetched").generation()
            });
        }
        let expected = if answer == Answer::Number { 2 } else { 1 };
        assert!(callers.join_all().await.iter().all(|generation| *generation == expected));
        assert_eq!(backend.fetches(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refetch_that_fails_says_so_and_one_after_the_end_answers_what_is_there() {
    let backend = Backend::default();
    let life = life();
    let live = Live::start("test", policy(), backend.clone(), &life);
    live.ready().await.expect("loaded");
    backend.answer(Answer::Fail);
    assert_eq!(live.refetch(1).await.expect_err("it fails").kind(), ErrorKind::RefreshFailed);
    assert!(life.stop_tasks(secs(1)).await);
    assert_eq!(timeout(secs(9), live.refetch(1)).await.expect("no wait").expect("there").generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_gap_while_fetches_fail_is_told_so() {
    // Who wakes just when the next attempt is due is the one in question; when that is, is random.
    for _ in 0..2_000 {
        let backend = Backend::default();
        let live = warm(Policy { demand_gap: secs(1), fresh_for: secs(1000), ..policy() }, &backend).await;
        sleep(secs(2)).await;
        backend.answer(Answer::Fail);
        assert_eq!(live.refetch(1).await.expect_err("it fails").kind(), ErrorKind::RefreshFailed);
        let error = live.refetch(1).await.expect_err("nothing is known of newer ones");
        assert_eq!(error.kind(), ErrorKind::RefreshFailed);
    }
}
