use halfbyte_core::live::{ErrorKind, Policy};
use tokio::time::{Instant, sleep};

use super::{Answer, Backend, millis, policy, secs, start, warm};

#[tokio::test(start_paused = true)]
async fn the_wait_after_a_failure_doubles_up_to_its_bound_with_up_to_half_off() {
    let policy = Policy { backoff: secs(1), max_backoff: secs(20), ..policy() };
    let mut shortest = false;
    let mut longest = false;
    for _ in 0..50 {
        let backend = Backend::new(Answer::Fail);
        let _live = start(policy.clone(), &backend);
        sleep(secs(200)).await;
        for (index, gap) in backend.gaps().into_iter().enumerate() {
            let full = secs(1 << index.min(10)).min(secs(20));
            assert!((full / 2..=full + millis(2)).contains(&gap), "wait {index} was {gap:?}, of {full:?}");
            shortest |= gap < full * 55 / 100;
            longest |= gap > full * 95 / 100;
        }
    }
    assert!(shortest && longest, "the waits are spread over all of the half");
}

#[tokio::test(start_paused = true)]
async fn while_the_backend_is_left_alone_readers_get_its_error_at_once_and_without_a_fetch() {
    let backend = Backend::new(Answer::Fail);
    let live = start(Policy { backoff: secs(60), max_backoff: secs(60), ..policy() }, &backend);
    live.get().await.expect_err("it fails");
    let began = Instant::now();
    for _ in 0..1000 {
        let error = live.get().await.expect_err("it failed");
        assert_eq!(error.kind(), ErrorKind::Cold);
        assert!((secs(29)..=secs(60)).contains(&error.retry_in()), "{:?}", error.retry_in());
        live.refresh(0).await.expect_err("it failed");
    }
    assert_eq!((began.elapsed(), backend.fetches()), (secs(0), 1));
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_the_back_off() {
    let backend = Backend::new(Answer::Fail);
    let policy = Policy { backoff: secs(1), max_backoff: secs(1000), ..policy() };
    let live = start(policy, &backend);
    sleep(secs(100)).await;
    assert!(live.status().failures >= 6);
    backend.answer(Answer::Number);
    live.changed(0).await;
    assert_eq!((live.status().failures, live.status().last_error()), (0, None));
    backend.answer(Answer::Fail);
    let fetches = backend.fetches();
    sleep(millis(11_010)).await;
    assert!(backend.fetches() >= fetches + 2, "the first wait is short again");
}

#[tokio::test(start_paused = true)]
async fn an_error_asks_for_at_least_a_second_of_patience() {
    let backend = Backend::new(Answer::Fail);
    let live = start(Policy { backoff: millis(10), ..policy() }, &backend);
    let error = live.get().await.expect_err("it fails");
    assert_eq!(error.retry_in(), secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_takes_too_long_is_dropped_and_counts_as_failed() {
    let backend = Backend::new(Answer::Hang);
    let live = start(Policy { fetch_timeout: secs(4), ..policy() }, &backend);
    let began = Instant::now();
    let error = live.get().await.expect_err("it hangs");
    assert!((secs(4)..millis(4010)).contains(&began.elapsed()));
    assert_eq!(halfbyte_core::error_chain(&error), "test has not been loaded yet: no answer within 4s");
    assert_eq!(backend.cut_short(), 1);
    backend.answer(Answer::Number);
    live.changed(0).await;
    assert_eq!(backend.most_in_flight(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_counts_as_failed_and_the_next_one_comes() {
    let backend = Backend::new(Answer::Panic);
    let live = start(policy(), &backend);
    let error = live.get().await.expect_err("it panics");
    assert_eq!(halfbyte_core::error_chain(&error), "test has not been loaded yet: the fetch panicked");
    backend.answer(Answer::Number);
    assert_eq!(live.changed(0).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_before_it_makes_a_future_counts_as_failed_too() {
    use halfbyte_core::live::Fetched;
    use halfbyte_core::{BoxError, Live};
    use std::future::{Ready, ready};
    use std::sync::atomic::{AtomicBool, Ordering};

    static BROKEN: AtomicBool = AtomicBool::new(true);
    fn source() -> Ready<Result<Fetched<u64>, BoxError>> {
        assert!(!BROKEN.load(Ordering::SeqCst), "not even a future");
        ready(Ok(Fetched::new(1)))
    }
    let live = Live::start("test", policy(), source, &super::life());
    let error = live.get().await.expect_err("it panics");
    assert_eq!(halfbyte_core::error_chain(&error), "test has not been loaded yet: the fetch panicked");
    BROKEN.store(false, Ordering::SeqCst);
    assert_eq!(live.changed(0).await, 1);
}

#[tokio::test(start_paused = true)]
async fn no_waiting_at_all_between_failures_does_not_spin() {
    let backend = Backend::default();
    let live = warm(Policy { backoff: millis(0), max_backoff: millis(0), ..policy() }, &backend).await;
    backend.answer(Answer::Fail);
    sleep(millis(10_100)).await;
    assert!(backend.fetches() <= 110, "{} fetches", backend.fetches());
    assert!(live.load().is_ok());
}
