//! A backend that answers two reads with one lease, as an agent does that merges requests: nobody loses what it uses.

use std::time::Duration;

use halfbyte_secrets::live::Policy;
use halfbyte_secrets::{ErrorKind, ExposeSecret as _, Json, Secrets};
use tokio::time::sleep;

use super::lifecycle;
use super::pawnbroker::Pawnbroker;

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn what_two_handles_have_is_given_back_when_both_are_gone() {
    for is_first in [true, false] {
        let backend = Pawnbroker::new(3600).lends_one();
        let secrets = Secrets::new(backend.clone(), &lifecycle());
        let text = secrets.get::<String>("db");
        text.ready().await.expect("lent");
        let bytes = secrets.get::<Vec<u8>>("db");
        bytes.ready().await.expect("lent");
        let (mut text, mut bytes) = (Some(text), Some(bytes));
        drop(if is_first { (text.take(), None) } else { (None, bytes.take()) });
        seconds(60).await;
        assert_eq!(backend.asked_to_revoke(), 0, "the first one: {is_first}");
        drop((text, bytes));
        seconds(1).await;
        assert_eq!((backend.revoked().len(), backend.asked_to_revoke()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_too_late_and_is_in_use_by_then_is_kept() {
    let (backend, lifecycle) = (Pawnbroker::new(3600).lends_one(), lifecycle());
    backend.slow_to_read(12.0);
    let policy = Policy { fetch_timeout: Duration::from_secs(10), ..Policy::default() };
    let secret = Secrets::builder(backend.clone()).policy(policy).build(&lifecycle).get::<String>("db");
    seconds(9).await;
    backend.slow_to_read(0.0);
    seconds(2).await;
    assert_eq!(secret.load().expect("lent").expose_secret(), "credential-1");
    seconds(60).await;
    assert_eq!((backend.at_once(), backend.asked_to_revoke()), (0, 0));
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!(backend.revoked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_one_handle_cannot_use_and_another_does_is_kept() {
    let backend = Pawnbroker::new(3600).lends_one();
    let secrets = Secrets::new(backend.clone(), &lifecycle());
    let text = secrets.get::<String>("db");
    text.ready().await.expect("lent");
    let list = secrets.get::<Json<Vec<String>>>("db");
    assert_eq!(list.ready().await.expect_err("no JSON").kind(), ErrorKind::Malformed);
    drop(list);
    seconds(60).await;
    assert_eq!(backend.asked_to_revoke(), 0);
    drop(text);
    seconds(1).await;
    assert_eq!(backend.revoked().len(), 1);
}
