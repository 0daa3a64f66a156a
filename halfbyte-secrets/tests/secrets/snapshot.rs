//! Starts while the backend is down. A "process" is a `Secrets` of its own here, and a real one in `processes`.

mod disk;
mod ending;
mod processes;
mod setup;

use std::time::Duration;

use halfbyte_secrets::{Ask, Error, ErrorKind, ExposeSecret as _, Provider, Reading};
use tokio::time::sleep;

use self::setup::{CANARY, FILE, HOUR, Setup, down, refused, value, written};
use super::backend::Backend;
use super::chain;

#[tokio::test(start_paused = true)]
async fn a_product_starts_while_its_backend_is_down_only_with_a_snapshot() {
    let setup = Setup::kept().await;
    assert!(refused(&setup.start(down(), None)).await.is_unavailable());
    let token = setup.start_without_backend();
    token.ready().await.expect("restored");
    assert_eq!((value(&token).as_str(), token.generation()), (CANARY, 1));
    assert!(refused(&setup.secrets(down(), setup.snapshot()).get("another")).await.is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn when_the_backend_is_back_its_word_counts_and_the_same_value_is_no_news() {
    let setup = Setup::kept().await;
    let backend = down();
    let token = setup.start(backend.clone(), setup.snapshot());
    token.ready().await.expect("restored");
    sleep(Duration::from_secs(6)).await;
    assert!(backend.reads() >= 2, "it is asked again soon");
    backend.set(CANARY);
    let reads = backend.reads();
    sleep(Duration::from_secs(31)).await;
    assert!(backend.reads() > reads);
    assert_eq!((token.generation(), token.status().failures), (1, 0));

    backend.set("hunter3");
    token.changed(1).await;
    assert_eq!(value(&token), "hunter3");
    assert_eq!(token.previous().expect("remembered").expose_secret(), CANARY);
    written().await;
    assert!(setup.holds("hunter3") && !setup.holds(CANARY));
}

#[tokio::test(start_paused = true)]
async fn only_a_failure_that_may_pass_is_bridged() {
    for (kind, is_bridged, stays) in [
        (ErrorKind::Unavailable, true, true),
        (ErrorKind::Throttled, true, true),
        (ErrorKind::Malformed, false, true),
        (ErrorKind::Denied, false, false),
        (ErrorKind::NotFound, false, false),
    ] {
        let setup = Setup::kept().await;
        let backend = Backend::default();
        backend.fail(kind);
        let token = setup.start(backend.clone(), setup.snapshot());
        assert_eq!(token.ready().await.map_err(|error| error.kind()), if is_bridged { Ok(()) } else { Err(kind) });
        backend.fail(ErrorKind::Unavailable);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(token.load().is_ok(), is_bridged, "{kind:?}: once it has answered, the snapshot counts no more");
        assert_eq!(setup.holds(CANARY), stays, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_does_not_answer_is_bridged_in_time() {
    struct Silent;
    impl Provider for Silent {
        const NAME: &'static str = "silent";
        async fn read(&self, _ask: Ask<'_>) -> Result<Reading, Error> {
            std::future::pending().await
        }
    }
    let setup = Setup::kept().await;
    let token = setup.start(Silent, setup.snapshot());
    token.ready().await.expect("restored within the time that a fetch has");
    assert_eq!(value(&token), CANARY);
}

#[tokio::test(start_paused = true)]
async fn a_slow_backend_is_bridged_and_then_heard() {
    struct Slow;
    impl Provider for Slow {
        const NAME: &'static str = "slow";
        async fn read(&self, _ask: Ask<'_>) -> Result<Reading, Error> {
            sleep(Duration::from_secs(9)).await;
            Ok(Reading::new("hunter3"))
        }
    }
    let setup = Setup::kept().await;
    let began = tokio::time::Instant::now();
    let token = setup.start(Slow, setup.snapshot());
    token.ready().await.expect("restored");
    assert_eq!((value(&token).as_str(), began.elapsed().as_secs()), (CANARY, 5));
    token.changed(1).await;
    assert_eq!(value(&token), "hunter3");
}

#[tokio::test(start_paused = true)]
async fn a_value_is_used_no_longer_than_a_day_after_it_was_confirmed() {
    let setup = Setup::kept().await;
    setup.wait(24 * HOUR - Duration::from_secs(20));
    let token = setup.start_without_backend();
    token.ready().await.expect("just young enough");
    sleep(Duration::from_secs(15)).await;
    assert_eq!(value(&token), CANARY);
    sleep(Duration::from_secs(10)).await;
    assert!(token.load().expect_err("a day is over").is_unavailable());

    assert!(refused(&setup.start_without_backend()).await.is_unavailable());
    written().await;
    assert!(!setup.path(FILE).exists(), "what is too old is deleted");
}

#[tokio::test(start_paused = true)]
async fn restoring_a_value_does_not_make_it_younger() {
    let setup = Setup::kept().await;
    for _ in 0..3 {
        setup.wait(7 * HOUR);
        setup.start_without_backend().ready().await.expect("young enough");
        written().await;
    }
    setup.wait(4 * HOUR);
    assert!(refused(&setup.start_without_backend()).await.is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn a_value_that_does_not_change_is_confirmed_by_the_backend_that_is_up() {
    let setup = Setup::new();
    let backend = Backend::holding(CANARY);
    backend.version("1");
    let token = setup.start(backend.clone(), setup.snapshot());
    token.ready().await.expect("read");
    for _ in 0..60 {
        setup.wait(HOUR);
        sleep(Duration::from_secs(320)).await;
    }
    let (reads, unchanged) = (backend.reads(), backend.unchanged());
    assert!(unchanged > reads * 9 / 10, "nearly all reads ask for news only: {unchanged} of {reads}");
    assert_eq!(token.generation(), 1);
    drop(token);
    setup.wait(22 * HOUR);
    setup.start_without_backend().ready().await.expect("confirmed 22 hours ago");
}

#[tokio::test(start_paused = true)]
async fn the_age_may_be_bounded_otherwise() {
    let setup = Setup::kept().await;
    let short = || setup.snapshot().max_age(HOUR);
    setup.wait(HOUR / 2);
    setup.start(down(), short()).ready().await.expect("half an hour");
    setup.wait(HOUR / 2);
    assert!(refused(&setup.start(down(), short())).await.is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn a_value_of_another_shape_than_is_asked_for_is_not_restored() {
    let setup = Setup::kept().await;
    let secret = setup.secrets(down(), setup.snapshot()).get::<halfbyte_secrets::Json<Vec<String>>>("token");
    let error = secret.ready().await.expect_err("not JSON");
    assert!(error.is_unavailable() && !chain(&error).contains(CANARY), "{error:?}");
}
