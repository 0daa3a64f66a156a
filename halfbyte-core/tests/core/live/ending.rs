use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use halfbyte_core::Live;
use halfbyte_core::live::{ErrorKind, Policy, State};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use super::{Answer, Backend, life, millis, policy, secs, warm};

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_the_task_and_its_fetch() {
    let (life, backend) = (life(), Backend::default());
    let live = Live::start("test", policy(), backend.clone(), &life);
    live.ready().await.expect("loaded");
    backend.answer(Answer::Hang);
    let clone = live.clone();
    drop(live);
    sleep(secs(11)).await;
    assert_eq!((backend.fetches(), backend.cut_short()), (2, 0), "a clone keeps it alive");
    drop(clone);
    sleep(millis(1)).await;
    assert_eq!(backend.cut_short(), 1);
    sleep(secs(1000)).await;
    assert_eq!(backend.fetches(), 2);
    assert!(life.stop_tasks(millis(1)).await);
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_the_task_at_once_also_in_the_middle_of_a_fetch() {
    let (life, backend) = (life(), Backend::new(Answer::Hang));
    let _live = Live::start("test", policy(), backend.clone(), &life);
    sleep(millis(1)).await;
    assert!(life.stop_tasks(millis(1)).await);
    assert_eq!((backend.fetches(), backend.cut_short()), (1, 1));
    sleep(secs(1000)).await;
    assert_eq!(backend.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_fetch_begins_once_the_end_was_asked_for() {
    // More than once: two branches that are ready together must not be a matter of luck.
    for _ in 0..50 {
        let (life, backend) = (life(), Backend::default());
        assert!(life.stop_tasks(millis(1)).await);
        let live = Live::start("test", policy(), backend.clone(), &life);
        let error = timeout(secs(1), live.get()).await.expect("at once").expect_err("nothing was fetched");
        assert_eq!(error.kind(), ErrorKind::Cold);
        assert_eq!(backend.fetches(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_end_the_value_is_served_until_its_deadline_and_not_beyond() {
    let (life, backend) = (life(), Backend::default());
    let live = Live::start("test", policy(), backend.clone(), &life);
    live.ready().await.expect("loaded");
    sleep(secs(5)).await;
    assert!(life.stop_tasks(secs(1)).await);
    sleep(secs(34)).await;
    assert_eq!(*live.load().expect("one second is left"), 1);
    assert_eq!(live.refresh(1).await.expect("what there is").generation(), 1);
    sleep(millis(1001)).await;
    assert_eq!(live.load().expect_err("over").kind(), ErrorKind::Expired);
    let error = timeout(secs(1), live.get()).await.expect("nobody is left to wait for").expect_err("over");
    assert_eq!(error.kind(), ErrorKind::Expired);
    assert_eq!((live.status().state(), backend.fetches()), (State::Expired, 1));
    assert!(timeout(secs(1000), live.changed(1)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_waits_when_the_task_ends_is_let_go() {
    let (life, backend) = (life(), Backend::new(Answer::Hang));
    let live = Live::start("test", policy(), backend, &life);
    let waiting = live.clone();
    let waiter = life.spawn("waiter", async move { waiting.get().await.map(drop) });
    sleep(millis(1)).await;
    assert!(life.stop_tasks(millis(10)).await, "the waiter ends too");
    assert_eq!(waiter.await.expect("no panic").expect_err("cold").kind(), ErrorKind::Cold);
}

/// Real time and two runtimes: what a runtime takes with it when it goes cannot be seen on its own clock.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn when_the_runtime_is_gone_the_value_is_served_until_its_deadline_and_not_beyond() {
    let (owner, reader) = (runtime(), runtime());
    let policy = Policy { fresh_for: millis(200), max_stale: millis(200), ..policy() };
    let live = owner.block_on(warm(policy, &Backend::default()));
    drop(owner);
    assert_eq!(*live.load().expect("still good"), 1);
    thread::sleep(Duration::from_millis(450));
    assert_eq!(live.load().expect_err("over").kind(), ErrorKind::Expired);
    let error = reader.block_on(async { timeout(secs(5), live.get()).await.expect("at once") }).expect_err("over");
    assert_eq!(error.kind(), ErrorKind::Expired);
}

#[test]
fn when_the_runtime_is_gone_before_the_task_ever_ran_nobody_waits_for_it() {
    let (owner, reader) = (runtime(), runtime());
    let backend = Backend::default();
    let live = {
        let _inside = owner.enter();
        Live::start("test", policy(), backend.clone(), &life())
    };
    drop(owner);
    let (answered, answer) = mpsc::channel();
    thread::spawn(move || answered.send(reader.block_on(live.get()).map(drop)));
    let answer = answer.recv_timeout(secs(5)).expect("nobody is left to wait for");
    assert_eq!(answer.expect_err("never loaded").kind(), ErrorKind::Cold);
    assert_eq!(backend.fetches(), 0);
}
