//! Long checks, one at a time.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinHandle};

/// The check that runs, if one does, and of what. One that is begun cannot be stopped: who begins it may give up, and who asks for the
/// same after that gets its result.
pub(super) struct Checking<T>(Mutex<Option<(Arc<str>, JoinHandle<T>)>>);

impl<T> Default for Checking<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Send + 'static> Checking<T> {
    /// The result of `check`, which is of what `key` names; or of the check of the same that runs already. A check of something else is
    /// waited for first. Can be given up at any time.
    pub(super) async fn result(
        &self,
        key: &Arc<str>,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let mut running = self.0.lock().await;
        if let Some((other, handle)) = running.as_mut()
            && other != key
        {
            // What became of it is of no interest any more.
            let _result = handle.await;
            *running = None;
        }
        let (_, handle) = running.get_or_insert_with(|| (key.clone(), tokio::task::spawn_blocking(check)));
        let result = handle.await;
        *running = None;
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_check_that_was_given_up_goes_on_and_is_not_begun_again() {
        let (checking, begun) = (Checking::default(), Arc::new(AtomicUsize::new(0)));
        let (go, gone) = mpsc::channel::<()>();
        let counted = begun.clone();
        let slow = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            gone.recv().map(|()| "first")
        };
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        assert!(checking.result(&one, slow).now_or_never().is_none(), "it is given up");
        let again = |name| {
            let counted = begun.clone();
            move || {
                counted.fetch_add(1, Ordering::SeqCst);
                Ok(name)
            }
        };
        for key in [&one, &two, &one] {
            assert!(checking.result(key, again("again")).now_or_never().is_none(), "the first one runs still");
        }
        go.send(()).expect("it waits");
        assert_eq!(checking.result(&one, again("again")).await.expect("no panic"), Ok("first"));
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        assert_eq!(checking.result(&one, again("anew")).await.expect("no panic"), Ok("anew"));
        assert_eq!(checking.result(&two, again("other")).await.expect("no panic"), Ok("other"));
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_check_of_something_else_waits_for_the_one_that_runs() {
        let checking = Checking::default();
        let (go, gone) = mpsc::channel::<()>();
        let over = Arc::new(AtomicUsize::new(0));
        let (ends, ended) = (over.clone(), over.clone());
        let slow = move || {
            let _go = gone.recv();
            ends.fetch_add(1, Ordering::SeqCst)
        };
        assert!(checking.result(&"one".into(), slow).now_or_never().is_none());
        go.send(()).expect("it waits");
        let seen = checking.result(&"two".into(), move || ended.load(Ordering::SeqCst) + 10).await;
        assert_eq!(seen.expect("no panic"), 11, "the other had ended");
    }

    #[tokio::test]
    async fn a_check_that_panics_is_begun_again() {
        let (checking, key) = (Checking::default(), Arc::from("one"));
        assert!(checking.result(&key, || panic!("on purpose")).await.is_err_and(|error| error.is_panic()));
        assert_eq!(checking.result(&key, || 1).await.expect("no panic"), 1);
    }
}
