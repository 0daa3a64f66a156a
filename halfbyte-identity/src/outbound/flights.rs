use std::convert::Infallible;
use std::future::Future;
use std::hash::{Hash, RandomState};
use std::sync::Arc;

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use tokio::sync::OnceCell;

/// Makes one call for all who ask for the same at the same time; they share its outcome, also when it is an error.
///
/// Whoever comes first makes the call. If he is cancelled, one of those who wait makes it anew. Bounded in entries: one that
/// is pushed out costs a second call and nothing else.
pub(crate) struct Flights<K, V>(Cache<K, Arc<OnceCell<V>>, UnitWeighter, RandomState>);

impl<K: Hash + Eq + Clone, V: Clone> Flights<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        let lifecycle = DefaultLifecycle::default();
        // A keyed hash that withstands keys made to collide: an outsider may choose them.
        Self(Cache::with(most, most as u64, UnitWeighter, RandomState::new(), lifecycle))
    }

    /// The outcome of `call`, or of the one that is under way for `key`. Cancel safe.
    ///
    /// `call` begins when its turn comes; what was learned since the caller looked is for it to see.
    pub(crate) async fn join(&self, key: &K, call: impl Future<Output = V>) -> V {
        let Ok(flight) = self.0.get_or_insert_with(key, || Ok::<_, Infallible>(Arc::default()));
        let outcome = flight.get_or_init(|| call).await.clone();
        self.0.remove_if(key, |held| Arc::ptr_eq(held, &flight));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_at_once_share_one_outcome_and_the_next_one_asks_anew() {
        let (flights, calls) = (Flights::new(10), AtomicUsize::new(0));
        let call = async || {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Err::<(), _>(calls.fetch_add(1, Ordering::SeqCst))
        };
        let outcomes = join_all((0..100).map(|_| flights.join(&1, call()))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Err(0)));
        assert_eq!(flights.join(&1, call()).await, Err(1));
        assert!(flights.0.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_those_who_wait_takes_over_from_a_caller_who_gave_up() {
        let flights = Flights::new(10);
        let mut first = Box::pin(flights.join(&1, std::future::pending::<u8>()));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(flights.join(&1, async { 2 }));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(second.await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_who_give_up_leave_no_more_behind_than_the_bound() {
        let flights = Flights::new(100);
        for key in 0..10_000 {
            assert!(flights.join(&key, std::future::pending::<u8>()).now_or_never().is_none());
        }
        assert!(flights.0.len() <= 100, "{}", flights.0.len());
    }
}
