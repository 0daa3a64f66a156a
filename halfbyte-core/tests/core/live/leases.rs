//! A source that says when its value ends, and one that says when it has something new.

use std::sync::Arc;

use halfbyte_core::live::{Fetched, Policy, Source, State};
use halfbyte_core::{BoxError, Live};
use tokio::sync::Notify;
use tokio::time::{Instant, advance, sleep};

use super::{Answer, Backend, life, millis, secs};

/// Its values end after so many seconds, whatever the policy says.
struct Lease(Backend, u64);

impl Source<u64> for Lease {
    async fn fetch(&self) -> Result<Fetched<u64>, BoxError> {
        let fetched = self.0.fetch().await?;
        Ok(fetched.fresh_for(secs(self.1 / 2)).usable_for(secs(self.1)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_not_served_past_its_end_however_much_staleness_the_policy_allows() {
    let backend = Backend::new(Answer::Number);
    let policy = Policy { max_stale: secs(3600), jitter: 0.0, ..Policy::default() };
    let live = Live::start("lease", policy, Lease(backend.clone(), 10), &life());
    live.ready().await.unwrap();
    backend.answer(Answer::Fail);
    sleep(millis(9_990)).await;
    assert_eq!(live.status().state(), State::Stale);
    assert!(live.load().is_ok());
    sleep(millis(20)).await;
    assert!(live.load().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_never_longer_than_what_the_policy_allows() {
    let backend = Backend::new(Answer::Number);
    let policy = Policy { max_stale: secs(1), jitter: 0.0, ..Policy::default() };
    let live = Live::start("lease", policy, Lease(backend.clone(), 100), &life());
    live.ready().await.unwrap();
    backend.answer(Answer::Fail);
    sleep(secs(52)).await;
    assert!(live.load().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_is_tried_for_again_before_it_ends() {
    let backend = Backend::new(Answer::Number);
    let policy = Policy { backoff: secs(1), max_backoff: secs(60), jitter: 0.0, ..Policy::default() };
    let live = Live::start("lease", policy, Lease(backend.clone(), 100), &life());
    live.ready().await.unwrap();
    backend.answer(Answer::Fail);
    let begun = Instant::now();
    advance(secs(50)).await;
    sleep(millis(49_999)).await;
    // Doubling alone would be at 1, 3, 7, 15, 31 and 63 seconds at the latest, which is past the end.
    let last = begun + backend.gaps().iter().sum();
    assert!(begun + secs(100) - last <= secs(3), "the last try was {:?} before the end", begun + secs(100) - last);
    backend.answer(Answer::Number);
    assert!(live.load().is_ok());
}

struct Told(Backend, Arc<Notify>);

impl Source<u64> for Told {
    async fn fetch(&self) -> Result<Fetched<u64>, BoxError> {
        self.0.fetch().await
    }

    async fn changed(&self) {
        self.1.notified().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_source_says_is_new_is_fetched_at_once_also_in_a_back_off() {
    let (backend, news) = (Backend::new(Answer::Number), Arc::new(Notify::new()));
    let live = Live::start("told", Policy::default(), Told(backend.clone(), news.clone()), &life());
    live.ready().await.unwrap();
    sleep(secs(10)).await;
    news.notify_one();
    assert_eq!((live.changed(1).await, backend.fetches()), (2, 2));

    backend.answer(Answer::Fail);
    sleep(secs(10)).await;
    news.notify_one();
    sleep(millis(1)).await;
    assert_eq!((backend.fetches(), live.status().failures), (3, 1));
    backend.answer(Answer::Number);
    news.notify_one();
    sleep(millis(60)).await;
    assert_eq!((backend.fetches(), live.status().failures), (4, 0));
}

/// Always has something new.
struct Restless(Backend);

impl Source<u64> for Restless {
    async fn fetch(&self) -> Result<Fetched<u64>, BoxError> {
        self.0.fetch().await
    }

    async fn changed(&self) {}
}

#[tokio::test(start_paused = true)]
async fn a_source_that_always_has_something_new_does_not_spin() {
    let backend = Backend::new(Answer::Number);
    let live = Live::start("restless", Policy::default(), Restless(backend.clone()), &life());
    live.ready().await.unwrap();
    sleep(secs(1)).await;
    assert!((10..=21).contains(&backend.fetches()), "{}", backend.fetches());
}

#[tokio::test(start_paused = true)]
async fn values_that_are_over_at_once_are_not_fetched_without_a_pause() {
    let backend = Backend::new(Answer::Number);
    let policy = Policy { jitter: 1.0, ..Policy::default() };
    let live = Live::start("lease", policy.clone(), Lease(backend.clone(), 0), &life());
    let _over_already = live.ready().await;
    sleep(secs(10)).await;
    assert!(backend.fetches() > 2);
    assert!(backend.gaps().iter().all(|gap| *gap >= policy.backoff), "{:?}", backend.gaps());
}
