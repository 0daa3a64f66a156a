use halfbyte_core::Live;
use halfbyte_core::live::{ErrorKind, Policy, State};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{Answer, Backend, life, millis, policy, secs, start, warm};

#[tokio::test(start_paused = true)]
async fn an_eager_value_is_loaded_at_once_and_unasked() {
    let backend = Backend::default();
    let live = start(policy(), &backend);
    assert_eq!(live.load().expect_err("nothing has run yet").kind(), ErrorKind::Cold);
    sleep(millis(1)).await;
    let snapshot = live.load().expect("loaded");
    assert_eq!((*snapshot, snapshot.generation()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lazy_value_is_loaded_when_somebody_asks_and_kept_current_from_then_on() {
    let backend = Backend::default();
    let live = start(Policy { lazy: true, ..policy() }, &backend);
    sleep(secs(1000)).await;
    assert_eq!(backend.fetches(), 0);
    assert_eq!(*live.get().await.expect("loaded"), 1);
    sleep(secs(11)).await;
    assert_eq!(backend.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_readers_of_a_cold_value_make_one_fetch() {
    for lazy in [false, true] {
        let backend = Backend::default();
        backend.takes(millis(300));
        let live = start(Policy { lazy, ..policy() }, &backend);
        let mut readers = JoinSet::new();
        for n in 0..200 {
            let live = live.clone();
            readers.spawn(async move {
                // Some come while the fetch is under way.
                sleep(millis(n)).await;
                *live.get().await.expect("loaded")
            });
        }
        assert!(readers.join_all().await.iter().all(|value| *value == 1));
        assert_eq!(backend.fetches(), 1, "lazy: {lazy}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_for_a_first_load_that_fails_learn_why() {
    let backend = Backend::new(Answer::Fail);
    backend.takes(millis(300));
    let live = start(policy(), &backend);
    let mut readers = JoinSet::new();
    for _ in 0..200 {
        let live = live.clone();
        readers.spawn(async move { live.get().await.expect_err("it fails") });
    }
    for error in readers.join_all().await {
        assert_eq!(error.kind(), ErrorKind::Cold);
        assert_eq!(halfbyte_core::error_chain(&error), "test has not been loaded yet: fetch 1 failed");
    }
    assert_eq!(backend.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_gives_up_does_not_stop_the_fetch() {
    let backend = Backend::default();
    backend.takes(secs(5));
    let live = start(Policy { lazy: true, ..policy() }, &backend);
    assert!(timeout(secs(1), live.get()).await.is_err());
    sleep(millis(4500)).await;
    assert_eq!(*live.load().expect("loaded all the same"), 1);
    assert_eq!((backend.fetches(), backend.cut_short()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn ready_resolves_with_the_first_load_and_not_before() {
    let backend = Backend::default();
    backend.takes(secs(3));
    let began = Instant::now();
    let live = warm(policy(), &backend).await;
    assert!(began.elapsed() >= secs(3));
    assert_eq!(live.status().state(), State::Fresh);
}

#[tokio::test(start_paused = true)]
async fn unchanged_as_the_first_answer_is_an_error() {
    let backend = Backend::new(Answer::Unchanged);
    let live = start(policy(), &backend);
    let error = live.get().await.expect_err("there was nothing before it");
    assert!(halfbyte_core::error_chain(&error).contains("unchanged"), "{error:?}");
    backend.answer(Answer::Number);
    assert_eq!(live.changed(0).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_fixed_value_is_there_and_never_ages() {
    let live = Live::fixed("fixed", 7);
    sleep(secs(1_000_000)).await;
    let snapshot = live.get().await.expect("fixed");
    assert_eq!((*snapshot, snapshot.generation()), (7, 1));
    assert_eq!(live.status().state(), State::Fresh);
    assert!(timeout(secs(1000), live.changed(1)).await.is_err());
    assert_eq!(live.changed(0).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_is_in_the_health_report_under_its_name_until_it_is_dropped() {
    let (life, backend) = (life(), Backend::new(Answer::Fail));
    let live = Live::start("identity.keys", policy(), backend.clone(), &life);
    sleep(millis(1)).await;
    let check = &life.health().report()[0];
    assert_eq!((&*check.name, check.ready, check.state), ("identity.keys", false, "cold"));
    assert_eq!((check.age, check.detail.as_deref()), (None, Some("fetch 1 failed")));

    backend.answer(Answer::Number);
    live.changed(0).await;
    sleep(secs(2)).await;
    let check = &life.health().report()[0];
    assert_eq!((check.ready, check.state, check.age, &check.detail), (true, "fresh", Some(secs(2)), &None));

    backend.answer(Answer::Fail);
    sleep(secs(10)).await;
    let check = &life.health().report()[0];
    assert_eq!((check.ready, check.state), (true, "stale"));
    sleep(secs(30)).await;
    let check = &life.health().report()[0];
    assert_eq!((check.ready, check.state), (false, "expired"));
    drop(live);
    sleep(millis(1)).await;
    assert!(life.health().report().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lazy_value_that_nobody_asked_for_does_not_hold_back_readiness() {
    let (life, backend) = (life(), Backend::new(Answer::Fail));
    let live = Live::start("lazy", Policy { lazy: true, ..policy() }, backend, &life);
    assert!(life.health().report()[0].ready);
    live.get().await.expect_err("it fails");
    assert!(!life.health().report()[0].ready, "asked for and not to be had");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_only_some_requests_need_never_holds_back_readiness() {
    let (life, backend) = (life(), Backend::new(Answer::Fail));
    let live = Live::start("token", Policy { required: false, ..policy() }, backend, &life);
    live.get().await.expect_err("it fails");
    let check = &life.health().report()[0];
    assert_eq!((check.ready, check.state), (true, "cold"));
}
