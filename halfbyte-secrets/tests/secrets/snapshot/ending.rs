//! What is on the disk when a process ends.

use std::time::Duration;

use halfbyte_core::Lifecycle;
use halfbyte_secrets::{ErrorKind, Secret, Secrets};

use super::setup::{CANARY, Setup, value, written};
use crate::backend::Backend;

/// A process that has kept what it read, and its life.
async fn running(setup: &Setup, backend: &Backend) -> (Secret<String>, Lifecycle) {
    let lifecycle = Lifecycle::new(setup.clock.clone());
    let secrets = Secrets::builder(backend.clone()).snapshot(setup.snapshot()).build(&lifecycle);
    let token = secrets.get::<String>("token");
    token.ready().await.expect("read");
    written().await;
    (token, lifecycle)
}

#[tokio::test(start_paused = true)]
async fn what_was_read_or_taken_back_just_before_the_end_is_written_before_it() {
    for denied in [true, false] {
        let (setup, backend) = (Setup::new(), Backend::holding(CANARY));
        let (token, lifecycle) = running(&setup, &backend).await;
        assert!(setup.holds(CANARY));

        // A slow disk: nothing is written while somebody else has the lock.
        let busy = setup.home().folder("secrets").and_then(|folder| folder.lock("boot.lock")).expect("locked");
        if denied {
            backend.fail(ErrorKind::Denied);
            token.reject(1).await.expect_err("denied");
        } else {
            backend.set("hunter3");
            token.reject(1).await.expect("rotated");
        }
        let mut end = std::pin::pin!(lifecycle.stop_tasks(Duration::from_secs(20)));
        for _ in 0..100 {
            assert!(futures_util::poll!(&mut end).is_pending(), "it does not wait for the disk");
            tokio::task::yield_now().await;
        }
        drop(busy);
        assert!(end.await, "in time");
        assert_eq!((setup.holds(CANARY), setup.holds("hunter3")), (false, !denied));
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_does_not_hold_up_the_end_longer_than_it_may() {
    let (setup, backend) = (Setup::new(), Backend::holding(CANARY));
    let (token, lifecycle) = running(&setup, &backend).await;
    let busy = setup.home().folder("secrets").and_then(|folder| folder.lock("boot.lock")).expect("locked");
    backend.set("hunter3");
    token.reject(1).await.expect("rotated");
    let mut end = std::pin::pin!(lifecycle.stop_tasks(Duration::from_secs(20)));
    // While a thread hangs, the clock goes on only as it is told.
    for (seconds, is_over) in [(0, false), (4, false), (2, true)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        let mut ended = false;
        for _ in 0..100 {
            ended = ended || futures_util::poll!(&mut end).is_ready();
            if ended {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(ended, is_over, "after {seconds} s more");
    }
    assert_eq!(value(&token), "hunter3");
    assert!(!setup.holds("hunter3"), "it hangs");
    drop(busy);
}
