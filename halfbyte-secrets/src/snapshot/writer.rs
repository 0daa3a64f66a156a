//! Writes what is to be kept, one batch after the other, on a thread that may wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::watch;

use super::contents::Change;
use super::file::Unwritten;
use crate::{Error, ErrorKind, Name};

/// One batch at a time; what comes meanwhile is the next one.
pub(super) struct Writer {
    write: Box<Write>,
    /// Told of the first of several failures.
    tell: Box<dyn Fn(&Error) + Send + Sync>,
    pending: watch::Sender<Pending>,
}

/// Makes changes at a time.
type Write = dyn Fn(i64, &[(Name, Change)]) -> Result<(), Unwritten> + Send + Sync;

/// What is to be written.
#[derive(Default)]
struct Pending {
    changes: Vec<(Name, Change)>,
    /// It is worth a try: something came since the last one, or it is the last chance.
    is_wanted: bool,
    /// Somebody is at it.
    is_writing: bool,
    /// The last write failed, and that was said.
    has_failed: bool,
    /// When the last change was made.
    now: i64,
}

impl Pending {
    /// One change a name, so that this does not grow while the disk is slow; of two the `newer` one.
    fn put(&mut self, newer: Vec<(Name, Change)>) {
        self.changes.retain(|(name, _)| newer.iter().all(|(other, _)| other != name));
        self.changes.extend(newer);
    }
}

impl Writer {
    pub(super) fn new(
        write: impl Fn(i64, &[(Name, Change)]) -> Result<(), Unwritten> + Send + Sync + 'static,
        tell: impl Fn(&Error) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { write: Box::new(write), tell: Box::new(tell), pending: watch::Sender::default() })
    }

    /// Has `change` written soon, with all others that come meanwhile; and what is too old at `now` dropped.
    pub(super) fn write_soon(self: &Arc<Self>, now: i64, change: Option<(Name, Change)>) {
        self.pending.send_modify(|pending| {
            pending.now = now;
            pending.put(change.into_iter().collect());
            pending.is_wanted = true;
        });
        self.begin();
    }

    /// Resolves when nothing is being written, and what could not be was tried once more.
    pub(super) async fn flush(self: &Arc<Self>) {
        self.settled().await;
        self.pending.send_modify(|pending| pending.is_wanted |= !pending.changes.is_empty());
        self.begin();
        self.settled().await;
    }

    async fn settled(&self) {
        let mut pending = self.pending.subscribe();
        let _it_is_here = pending.wait_for(|pending| !pending.is_writing).await;
    }

    /// Begins to write unless somebody is at it, or there is nothing.
    fn begin(self: &Arc<Self>) {
        let mut begins = false;
        self.pending.send_modify(|pending| {
            begins = pending.is_wanted && !pending.is_writing;
            pending.is_writing |= begins;
        });
        if begins {
            let mut turn = Turn { writer: self.clone(), is_over: false };
            tokio::task::spawn_blocking(move || while turn.batch() {});
        }
    }

    /// A panic is a failure like any other; what it says may hold a value.
    fn attempt(&self, now: i64, changes: &[(Name, Change)]) -> Result<(), Unwritten> {
        catch_unwind(AssertUnwindSafe(|| (self.write)(now, changes)))
            .unwrap_or_else(|_| Err(Unwritten::All(Error::new(ErrorKind::Unavailable, "writing it panicked"))))
    }
}

/// The one who writes. However he ends, another one can begin.
struct Turn {
    writer: Arc<Writer>,
    is_over: bool,
}

impl Turn {
    /// Writes what there is; answers false when that was nothing.
    fn batch(&mut self) -> bool {
        let mut taken = None;
        self.writer.pending.send_modify(|pending| {
            if std::mem::take(&mut pending.is_wanted) {
                taken = Some((pending.now, std::mem::take(&mut pending.changes)));
            } else {
                (pending.is_writing, self.is_over) = (false, true);
            }
        });
        let Some((now, changes)) = taken else { return false };
        let outcome = self.writer.attempt(now, &changes);
        let mut had_failed = false;
        self.writer.pending.send_modify(|pending| {
            had_failed = std::mem::replace(&mut pending.has_failed, outcome.is_err());
            if matches!(outcome, Err(Unwritten::All(_))) {
                // With the next ones, or at the end.
                let newer = std::mem::replace(&mut pending.changes, changes);
                pending.put(newer);
            }
        });
        if let (Err(Unwritten::All(error) | Unwritten::Some(error)), false) = (outcome, had_failed) {
            (self.writer.tell)(&error);
        }
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            self.writer.pending.send_modify(|pending| pending.is_writing = false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::sync::{Mutex, MutexGuard};

    use secrecy::zeroize::Zeroizing;

    use super::*;

    /// What is done with the next batches; then they are written.
    enum Fault {
        Panic,
        Fail,
        NoRoom,
        Wait(mpsc::Receiver<()>),
        WaitAndFail(mpsc::Receiver<()>),
    }

    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<Inner>>);

    #[derive(Default)]
    struct Inner {
        faults: Vec<Fault>,
        /// The batches that were tried, as `name=value` or `name` for one to forget.
        tried: Vec<String>,
        told: Vec<String>,
    }

    impl Disk {
        fn with(faults: impl Into<Vec<Fault>>) -> (Self, Arc<Writer>) {
            let disk = Self::default();
            disk.inner().faults = faults.into();
            let (written, told) = (disk.clone(), disk.clone());
            let writer = Writer::new(
                move |_, changes| written.write(changes),
                move |error| told.inner().told.push(error.to_string()),
            );
            (disk, writer)
        }

        fn inner(&self) -> MutexGuard<'_, Inner> {
            self.0.lock().expect("a lock")
        }

        fn write(&self, changes: &[(Name, Change)]) -> Result<(), Unwritten> {
            let text = |(name, change): &(Name, Change)| match &change.value {
                Some(value) => format!("{name}={}", str::from_utf8(value).expect("text")),
                None => name.to_string(),
            };
            let batch = changes.iter().map(text).collect::<Vec<_>>().join(" ");
            let fault = {
                let mut inner = self.inner();
                inner.tried.push(batch);
                if inner.faults.is_empty() { None } else { Some(inner.faults.remove(0)) }
            };
            match fault {
                Some(Fault::Panic) => panic!("hunter2, as a bug would say"),
                Some(Fault::Fail) => Err(full()),
                Some(Fault::WaitAndFail(until)) => {
                    until.recv().ok();
                    Err(full())
                }
                Some(Fault::NoRoom) => Err(Unwritten::Some(Error::new(ErrorKind::Unavailable, "there is no room"))),
                Some(Fault::Wait(until)) => {
                    until.recv().ok();
                    Ok(())
                }
                None => Ok(()),
            }
        }

        fn tried(&self) -> Vec<String> {
            std::mem::take(&mut self.inner().tried)
        }

        fn told(&self) -> Vec<String> {
            std::mem::take(&mut self.inner().told)
        }
    }

    fn full() -> Unwritten {
        Unwritten::All(Error::new(ErrorKind::Unavailable, "the disk is full"))
    }

    impl Writer {
        fn keep(self: &Arc<Self>, name: &str, value: &str) {
            let value = Some(Zeroizing::new(value.as_bytes().to_vec()));
            self.write_soon(1, Some((Name::new(name).expect("a name"), Change { at: 1, value })));
        }

        fn forget(self: &Arc<Self>, name: &str) {
            self.write_soon(1, Some((Name::new(name).expect("a name"), Change { at: 1, value: None })));
        }
    }

    #[tokio::test]
    async fn what_comes_while_a_batch_is_written_is_the_next_one_and_the_end_waits_for_both() {
        let (goes_on, until) = mpsc::channel();
        let (disk, writer) = Disk::with([Fault::Wait(until)]);
        writer.keep("a", "1");
        while disk.inner().tried.is_empty() {
            tokio::task::yield_now().await;
        }
        for value in ["2", "3"] {
            writer.keep("a", value);
        }
        writer.forget("b");
        let mut end = std::pin::pin!(writer.flush());
        assert!(futures_util::poll!(&mut end).is_pending(), "it is being written");
        drop(goes_on);
        end.await;
        assert_eq!(disk.tried(), ["a=1", "a=3 b"]);
        writer.flush().await;
        assert!(disk.tried().is_empty() && disk.told().is_empty(), "nothing is left");
    }

    #[tokio::test]
    async fn a_panic_is_told_of_without_what_it_says_and_the_writer_goes_on() {
        let (disk, writer) = Disk::with([Fault::Panic, Fault::Panic]);
        writer.keep("a", "1");
        writer.settled().await;
        assert_eq!(disk.told(), ["writing it panicked"]);
        writer.forget("b");
        writer.settled().await;
        assert!(disk.told().is_empty(), "said once");
        writer.forget("c");
        writer.settled().await;
        assert_eq!(disk.tried(), ["a=1", "a=1 b", "a=1 b c"], "nothing was lost");
        writer.keep("d", "1");
        writer.settled().await;
        assert_eq!(disk.tried(), ["d=1"]);
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_tried_once_more_at_the_end() {
        let (disk, writer) = Disk::with([Fault::Fail, Fault::Fail]);
        writer.forget("a");
        writer.settled().await;
        writer.flush().await;
        writer.flush().await;
        assert_eq!((disk.tried(), disk.told()), (vec!["a".to_owned(); 3], vec!["the disk is full".to_owned()]));
    }

    #[tokio::test]
    async fn what_is_newer_counts_when_a_batch_failed() {
        let (goes_on, until) = mpsc::channel();
        let (disk, writer) = Disk::with([Fault::WaitAndFail(until), Fault::Fail]);
        writer.keep("a", "1");
        while disk.inner().tried.is_empty() {
            tokio::task::yield_now().await;
        }
        writer.forget("a");
        drop(goes_on);
        writer.settled().await;
        writer.keep("a", "2");
        writer.settled().await;
        assert_eq!(disk.tried(), ["a=1", "a", "a=2"]);
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_told_of_and_not_tried_for_ever() {
        let (disk, writer) = Disk::with([Fault::NoRoom]);
        writer.keep("a", "1");
        writer.flush().await;
        assert_eq!((disk.tried(), disk.told()), (vec!["a=1".to_owned()], vec!["there is no room".to_owned()]));
    }

    #[test]
    fn a_runtime_that_ends_before_it_was_begun_leaves_the_place_to_the_next() {
        let (disk, writer) = Disk::with([]);
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("built");
        let ended = runtime();
        let handle = ended.handle().clone();
        drop(ended);
        {
            let _inside = handle.enter();
            writer.forget("a");
        }
        assert!(disk.tried().is_empty(), "nobody is there");
        runtime().block_on(async {
            let limit = std::time::Duration::from_secs(20);
            tokio::time::timeout(limit, writer.flush()).await.expect("somebody begins");
        });
        assert_eq!(disk.tried(), ["a"]);
    }
}
