//! Threads on which something may wait for a disk.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::{Error, ErrorKind};

/// How many of one owner's may wait at once.
const MOST: usize = 4;

/// The few threads of Tokio's that one owner has wait for its disk. A read of a network mount that hangs never ends, and cannot be
/// ended: the one who asked for it gives up and asks again, and would in time have all the threads that there are. Here he waits
/// until one of his own is free. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Threads(Arc<Semaphore>);

impl Default for Threads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Threads {
    /// Runs `work` where it may wait for a disk or a network mount. It ends when it ends, also when nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.0.clone().acquire_owned().await.expect("it is never closed");
        let held = move || {
            let _until_it_ends = permit;
            work()
        };
        tokio::task::spawn_blocking(held)
            .await
            .unwrap_or_else(|error| Err(Error::new(ErrorKind::Unavailable, "reading was cut short").with_source(error)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};
    use tokio::time::timeout;

    use super::*;

    /// More than any test takes, and less than anybody waits.
    pub(crate) const LONG: Duration = Duration::from_secs(20);

    /// A mount that hangs, until this is dropped.
    pub(crate) struct Hung {
        _mends: mpsc::Sender<()>,
    }

    impl Hung {
        /// Has all of `threads` wait for it.
        pub(crate) async fn under(threads: &Threads) -> Self {
            let (_mends, hung) = mpsc::channel::<()>();
            let hung = Arc::new(std::sync::Mutex::new(hung));
            let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
            for _ in 0..MOST {
                let (hung, began) = (hung.clone(), began.clone());
                let read = threads.run(move || {
                    began.send(()).expect("it is waited for");
                    hung.lock().expect("a lock").recv().ok();
                    Ok(())
                });
                // Cut as a fetch is by its time limit, once it hangs.
                tokio::select! {
                    _ = read => unreachable!("it hangs"),
                    _ = begun.recv() => {}
                }
            }
            Self { _mends }
        }
    }

    /// One thread more than may hang.
    fn narrow() -> Runtime {
        Builder::new_current_thread().enable_all().max_blocking_threads(MOST + 1).build().expect("a runtime")
    }

    #[test]
    fn however_often_a_read_that_hangs_is_cut_and_repeated_other_work_goes_on() {
        let runtime = narrow();
        runtime.block_on(async {
            let (threads, began) = (Threads::default(), Arc::new(AtomicUsize::new(0)));
            let (mends, hung) = mpsc::channel::<()>();
            let hung = Arc::new(std::sync::Mutex::new(hung));
            for _ in 0..50 {
                let (hung, began) = (hung.clone(), began.clone());
                let read = threads.run(move || {
                    began.fetch_add(1, Ordering::SeqCst);
                    hung.lock().expect("a lock").recv().ok();
                    Ok(())
                });
                timeout(Duration::from_millis(2), read).await.expect_err("it hangs");
            }
            let other = tokio::task::spawn_blocking(|| "another's work");
            assert_eq!(timeout(LONG, other).await.expect("there is a thread for it").expect("done"), "another's work");
            assert!(began.load(Ordering::SeqCst) <= MOST, "{began:?} hang");

            drop(mends);
            assert_eq!(timeout(LONG, threads.run(|| Ok(7))).await.expect("mended").expect("read"), 7);
            assert!(began.load(Ordering::SeqCst) <= MOST, "a read that nobody waited for any more was begun");
        });
    }

    #[tokio::test]
    async fn each_owner_has_threads_of_its_own() {
        let (one, other) = (Threads::default(), Threads::default());
        let hung = Hung::under(&one).await;
        assert_eq!(timeout(LONG, other.run(|| Ok(7))).await.expect("in time").expect("read"), 7);
        timeout(Duration::from_millis(20), one.clone().run(|| Ok(7))).await.expect_err("clones share them");
        drop(hung);
        assert_eq!(timeout(LONG, one.run(|| Ok(7))).await.expect("in time").expect("read"), 7);
    }

    #[tokio::test]
    async fn a_read_that_panics_gives_its_thread_back() {
        let threads = Threads::default();
        for _ in 0..2 * MOST {
            let error = threads.run(|| -> Result<(), Error> { panic!("as a bug would") }).await.expect_err("told of");
            assert!(error.is_unavailable());
        }
        assert_eq!(timeout(LONG, threads.run(|| Ok(7))).await.expect("in time").expect("read"), 7);
    }
}
