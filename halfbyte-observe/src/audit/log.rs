use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use halfbyte_core::{Clock, ProductId};
use tokio::sync::{mpsc, oneshot};

use super::chain::{Key, Link, Sealer};
use super::disk::{Disk, Folder};
use super::entry::Event;
use super::error::AuditError;
use super::open::resume;
use super::record::Record;
use super::writer::{Product, Writer};

/// So many records wait for the disk; who has more waits before they are taken.
const QUEUE: usize = 1024;
/// So many records share a write and a wait for the disk.
const GROUP: usize = 256;
const ROTATE_AT: u64 = 16 * 1024 * 1024;

/// An open audit log. Clones share it; the last one that is dropped waits for what is on its way, and closes it.
///
/// See the [module](super) for what it guarantees.
#[derive(Clone)]
pub struct AuditLog(Arc<Shared>);

struct Shared {
    /// None while it is closed.
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    subjects: Option<Key>,
    last: Arc<Mutex<Link>>,
}

/// How an audit log is opened: [`AuditLog::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct AuditLogBuilder {
    folder: PathBuf,
    product: Product,
    key: Option<Key>,
    subjects: Option<Key>,
    clock: Clock,
    rotate_at: u64,
    patience: Duration,
}

struct Job {
    event: Event,
    reply: oneshot::Sender<Result<Link, AuditError>>,
}

impl AuditLog {
    /// A log in `folder`, written by this version of this product.
    pub fn builder(folder: impl Into<PathBuf>, product: &ProductId, version: impl Into<String>) -> AuditLogBuilder {
        AuditLogBuilder {
            folder: folder.into(),
            product: Product { name: product.as_str().to_owned(), version: version.into() },
            key: None,
            subjects: None,
            clock: Clock::system(),
            rotate_at: ROTATE_AT,
            patience: Duration::ZERO,
        }
    }

    /// Records, and answers where it stands once the disk has it; many that record at once wait for the disk together.
    ///
    /// Do what is to be recorded afterwards, or undo it if this fails. Dropping the future before it was first polled
    /// records nothing; afterwards it may be recorded or not.
    ///
    /// # Errors
    ///
    /// The record is over a bound, or the disk did not take it. It is then not in the log; only a machine that dies at
    /// this moment, or a disk that does not take the removal either, may leave it there.
    pub async fn record(&self, record: Record) -> Result<Link, AuditError> {
        let gone =
            || AuditError::storage("the thread that writes the audit log is gone", std::io::ErrorKind::Other.into());
        let event = Event::Record(Box::new(record.into_recorded(self.0.subjects.as_ref())?));
        let (reply, answer) = oneshot::channel();
        let queue = self.0.queue.as_ref().ok_or_else(gone)?;
        queue.send(Job { event, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// As [`record`](Self::record), blocking this thread: for code that is not asynchronous.
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record).
    pub fn record_blocking(&self, record: Record) -> Result<Link, AuditError> {
        block_on(self.record(record))
    }

    /// The last line that the disk has, for [`verify_to`](super::verify_to): keep it where who may write the log may not.
    pub fn last(&self) -> Link {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").field("last", &self.last()).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.queue.take());
        // The lock is given back when this returns, so that the log can be opened anew.
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

impl AuditLogBuilder {
    /// Hashes lines with a key, so that who can write the files cannot make the chain anew. A log has one key, or none,
    /// from its beginning to its end.
    pub fn key(self, key: Key) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Writes HMAC-SHA-256 of issuer and subject with this key instead of the subject, of actors too.
    pub fn hash_subjects(self, key: Key) -> Self {
        Self { subjects: Some(key), ..self }
    }

    /// The clock that says when; that of the machine unless said.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// A new file begins when one has so many bytes: about, since what is written at once stays together. 16 MiB unless
    /// said.
    pub fn rotate_at(self, bytes: u64) -> Self {
        Self { rotate_at: bytes, ..self }
    }

    /// How long to wait for another process that has the log open, such as the one that this one replaces. No time
    /// unless said.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Opens the log: makes the folder (0700) where it is not there, keeps other processes from writing to it, checks the
    /// last file, and repairs the end of it that a process left that died. It blocks this thread.
    ///
    /// # Errors
    ///
    /// Another process has it open, the last file is not what was written, or the disk or the system does not allow it.
    pub fn open(self) -> Result<AuditLog, AuditError> {
        let disk = Folder::open(&self.folder, self.patience)?;
        let mut writer = resume(disk, Sealer::new(self.key.as_ref()), self.product, self.clock, self.rotate_at)?;
        let last = Arc::new(Mutex::new(writer.end.last));
        let (queue, jobs) = mpsc::channel(QUEUE);
        let told = Arc::clone(&last);
        let thread = thread::Builder::new()
            .name("halfbyte-audit".into())
            .spawn(move || work(&mut writer, jobs, &told))
            .map_err(|error| AuditError::storage("the thread that writes the audit log cannot be started", error))?;
        Ok(AuditLog(Arc::new(Shared { queue: Some(queue), thread: Some(thread), subjects: self.subjects, last })))
    }
}

/// Until nobody can ask any more.
fn work<D: Disk>(writer: &mut Writer<D>, mut jobs: mpsc::Receiver<Job>, last: &Mutex<Link>) {
    while let Some(first) = jobs.blocking_recv() {
        let (mut events, mut replies) = (vec![first.event], vec![first.reply]);
        while events.len() < GROUP
            && let Ok(job) = jobs.try_recv()
        {
            events.push(job.event);
            replies.push(job.reply);
        }
        let outcome = writer.commit(events);
        *last.lock().unwrap_or_else(PoisonError::into_inner) = writer.end.last;
        // Nobody listens where a future was dropped.
        match outcome {
            Ok(links) => {
                for (reply, link) in replies.into_iter().zip(links) {
                    _ = reply.send(Ok(link));
                }
            }
            Err(error) => {
                for reply in replies {
                    _ = reply.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Works with a runtime and without, unlike what the channels have for it.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
