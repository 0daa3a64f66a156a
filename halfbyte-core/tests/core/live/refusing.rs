//! A backend that gives what cannot be used.

use std::sync::atomic::{AtomicBool, Ordering};

use halfbyte_core::live::{ErrorKind, State};

use super::*;

/// Gives a value, and from some time on what cannot be used.
fn source(is_good: &Arc<AtomicBool>) -> impl Source<u64> {
    let is_good = is_good.clone();
    move || {
        let is_good = is_good.load(Ordering::SeqCst);
        async move { Ok(if is_good { Fetched::new(1) } else { Fetched::refused("no good") }) }
    }
}

fn policy() -> Policy {
    Policy { fresh_for: secs(10), max_stale: secs(20), jitter: 0.0, ..Policy::default() }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_leaves_the_value_before_in_use_for_ever_and_is_told() {
    let is_good = Arc::new(AtomicBool::new(true));
    let lifecycle = life();
    let live = Live::start("value", policy(), source(&is_good), &lifecycle);
    live.ready().await.expect("good");
    is_good.store(false, Ordering::SeqCst);
    sleep(secs(3605)).await;
    assert_eq!((*live.load().expect("the last good one"), live.status().state()), (1, State::Fresh));
    assert_eq!((live.status().failures, live.status().last_error().as_deref()), (0, Some("no good")));
    let check = lifecycle.health().report().remove(0);
    assert_eq!((check.ready, check.detail.as_deref()), (true, Some("no good")));
    is_good.store(true, Ordering::SeqCst);
    sleep(secs(11)).await;
    assert_eq!(live.status().last_error(), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_before_there_is_a_value_has_failed_for_that_reason() {
    let live = Live::start("value", policy(), source(&Arc::new(AtomicBool::new(false))), &life());
    let error = live.ready().await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Cold);
    assert_eq!(halfbyte_core::error_chain(&error), "value has not been loaded yet: no good");
}
