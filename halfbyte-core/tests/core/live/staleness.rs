use halfbyte_core::live::{ErrorKind, State};
use tokio::time::{sleep, timeout};

use super::{Answer, Backend, millis, policy, secs, warm};

#[tokio::test(start_paused = true)]
async fn the_last_good_value_is_served_until_its_deadline_and_not_beyond() {
    for answer in [Answer::Fail, Answer::Hang, Answer::Panic] {
        let backend = Backend::default();
        let live = warm(policy(), &backend).await;
        backend.answer(answer);
        sleep(millis(9_990)).await;
        assert_eq!(live.status().state(), State::Fresh);
        sleep(millis(20)).await;
        assert_eq!(live.status().state(), State::Stale);
        sleep(millis(29_985)).await;
        assert_eq!(*live.load().expect("5 ms are left"), 1, "{answer:?}");
        sleep(millis(10)).await;
        assert_eq!(live.status().state(), State::Expired);
        let error = live.load().expect_err("5 ms over");
        assert_eq!(error.kind(), ErrorKind::Expired, "{answer:?}");
        assert!(halfbyte_core::error_chain(&error).starts_with("the last good copy of test is too old to use: "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_expires_also_while_a_single_fetch_hangs() {
    let backend = Backend::default();
    let mut policy = policy();
    policy.fetch_timeout = secs(1000);
    let live = warm(policy, &backend).await;
    backend.answer(Answer::Hang);
    sleep(millis(40_005)).await;
    assert_eq!(live.load().expect_err("over").kind(), ErrorKind::Expired);
    assert_eq!((backend.fetches(), backend.cut_short()), (2, 0), "and the fetch goes on");
    assert!(timeout(secs(5), live.get()).await.is_err(), "readers wait for it");
    assert_eq!(backend.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_expired_value_comes_back_with_the_backend() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    backend.answer(Answer::Fail);
    sleep(secs(100)).await;
    assert_eq!(live.get().await.expect_err("expired").kind(), ErrorKind::Expired);
    backend.answer(Answer::Number);
    let generation = live.changed(1).await;
    assert_eq!(generation, 2);
    assert_eq!(live.load().expect("back").generation(), 2);
    assert_eq!(live.status().state(), State::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_taken_in_time_outlives_the_expiry() {
    let backend = Backend::default();
    let live = warm(policy(), &backend).await;
    let snapshot = live.load().expect("loaded");
    backend.answer(Answer::Fail);
    sleep(secs(100)).await;
    assert!(live.load().is_err());
    assert_eq!(*snapshot, 1);
}

#[tokio::test(start_paused = true)]
async fn without_any_grace_a_value_expires_with_its_freshness() {
    let backend = Backend::default();
    let mut policy = policy();
    policy.max_stale = secs(0);
    let live = warm(policy, &backend).await;
    backend.answer(Answer::Fail);
    sleep(millis(9_995)).await;
    assert!(live.load().is_ok());
    sleep(millis(10)).await;
    assert_eq!(live.load().expect_err("over").kind(), ErrorKind::Expired);
}
