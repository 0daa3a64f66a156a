use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::asked::{self, Asked};
use super::log::Record;

/// How many decisions wait to be written at most; what comes on top is left out and counted.
const WAITING: usize = 4096;

/// Writes decisions down together with the attributes that policies saw, one JSON object in a line, so that
/// [`Rules::replay`](super::Rules::replay) can decide them again by other policies.
///
/// **What it writes is personal data**: whatever the product lets policies see of its principals and resources. Record for a dry run,
/// keep the file where such data may be, and remove it after. The decision log has none of that.
///
/// Requests do not wait for it: a thread writes, and a decision for which there is no room is left out and
/// [counted](Self::missed). Cloning is cheap; dropping the last one waits until what was taken is written.
#[derive(Clone)]
pub struct Recorder(Arc<Tape>);

struct Tape {
    /// `None` only while it is dropped.
    sender: Option<SyncSender<Message>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    written: AtomicU64,
    missed: AtomicU64,
}

enum Message {
    Decided(Box<(Record, Asked)>),
    /// Answered once all before it is written.
    Flush(SyncSender<()>),
}

impl Recorder {
    /// Adds to the file at `path`, or makes it, for its owner alone (mode 600); at most `bytes` in all by this recorder.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or there can be no thread.
    pub fn create(path: impl AsRef<Path>, bytes: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Self::new(options.open(path)?, bytes)
    }

    /// Writes to `writer`, at most `bytes`.
    ///
    /// # Errors
    ///
    /// There can be no thread.
    pub fn new(writer: impl Write + Send + 'static, bytes: u64) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let counts = Arc::new(Counts::default());
        let seen = counts.clone();
        let thread = thread::Builder::new().name("access-recorder".to_owned());
        let writer = thread.spawn(move || write_all(&receiver, BufWriter::new(writer), bytes, &seen))?;
        Ok(Self(Arc::new(Tape { sender: Some(sender), writer: Mutex::new(Some(writer)), counts })))
    }

    /// How many decisions are written.
    pub fn written(&self) -> u64 {
        self.0.counts.written.load(Ordering::Relaxed)
    }

    /// How many decisions are left out: they came too fast, there were too many bytes, or writing failed.
    pub fn missed(&self) -> u64 {
        self.0.counts.missed.load(Ordering::Relaxed)
    }

    /// Waits until all decisions up to now are written. Blocks the thread: for the end of a program and tests.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if let Some(sender) = &self.0.sender
            && sender.send(Message::Flush(done)).is_ok()
        {
            let _done_or_gone = wait.recv();
        }
    }

    pub(super) fn record(&self, record: Record, asked: Asked) {
        let Some(sender) = &self.0.sender else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            sender.try_send(Message::Decided(Box::new((record, asked))))
        {
            self.0.counts.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.sender = None;
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _panicked = writer.join();
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("written", &self.written()).field("missed", &self.missed()).finish()
    }
}

/// Writes until nobody sends any more.
fn write_all(receiver: &Receiver<Message>, writer: impl Write, room: u64, counts: &Counts) {
    let mut page = Page { writer, room, unflushed: 0, counts };
    loop {
        let message = match receiver.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                page.flush();
                match receiver.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                }
            }
        };
        match message {
            Message::Flush(done) => {
                page.flush();
                let _asker_is_gone = done.send(());
            }
            Message::Decided(decided) => page.write(&line_of(&decided.0, &decided.1)),
        }
    }
    page.flush();
}

struct Page<'a, W> {
    writer: W,
    /// How many bytes there may still be; 0 once something went wrong, as what is there should be whole lines.
    room: u64,
    /// Lines of which it is not sure yet that they are written.
    unflushed: u64,
    counts: &'a Counts,
}

impl<W: Write> Page<'_, W> {
    fn write(&mut self, line: &str) {
        let length = line.len() as u64;
        if length > self.room {
            self.room = 0;
            self.counts.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.room -= length;
        self.unflushed += 1;
        let outcome = self.writer.write_all(line.as_bytes());
        self.told(&outcome);
    }

    fn flush(&mut self) {
        let outcome = self.writer.flush();
        self.told(&outcome);
        self.counts.written.fetch_add(std::mem::take(&mut self.unflushed), Ordering::Relaxed);
    }

    fn told(&mut self, outcome: &io::Result<()>) {
        if let Err(error) = outcome
            && self.unflushed > 0
        {
            self.room = 0;
            self.counts.missed.fetch_add(std::mem::take(&mut self.unflushed), Ordering::Relaxed);
            tracing::warn!(target: "halfbyte::decisions", %error, "decisions cannot be recorded: a dry run will lack some");
        }
    }
}

fn line_of(record: &Record, asked: &Asked) -> String {
    // What it holds has JSON of its own: names, numbers and strings.
    let mut line = serde_json::to_value(record).expect("names and numbers have JSON");
    line["entities"] = asked.entities().map(asked::to_json).collect();
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use halfbyte_core::{Principal, TenantId};
    use jiff::Timestamp;

    use super::*;
    use crate::access::{Entity, EntityRef, name_of};

    fn decided() -> (Record, Asked) {
        let acme = TenantId::new("acme").unwrap();
        let ann = Principal::builder("ann", acme, Timestamp::MAX).build();
        let record = Record {
            time: Timestamp::UNIX_EPOCH,
            principal: name_of(&ann),
            tenant: "acme".into(),
            action: "Read".into(),
            resource: EntityRef::new("Label", "l-1"),
            is_allowed: true,
            policies: Vec::new(),
            errors: Vec::new(),
            version: "1".into(),
            took: Duration::ZERO,
        };
        (record, Asked::new(&ann, "Read", &Entity::new("Label", "l-1")))
    }

    /// Waits for a word before it writes anything.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _released = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_decides_does_not_wait_for_a_writer_that_is_stuck_and_what_is_left_out_is_counted() {
        let (release, stuck): (Sender<()>, _) = channel();
        let recorder = Recorder::new(Stuck(stuck), u64::MAX).unwrap();
        let (record, asked) = decided();
        let all = WAITING as u64 + 1000;
        for _ in 0..all {
            recorder.record(record.clone(), asked.clone());
        }
        let missed = recorder.missed();
        assert!(missed > 0, "all had room");
        drop(release);
        recorder.flush();
        assert_eq!((recorder.written() + missed, recorder.missed()), (all, missed));
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted_as_missed() {
        let recorder = Recorder::new(Full, u64::MAX).unwrap();
        let (record, asked) = decided();
        for _ in 0..10 {
            recorder.record(record.clone(), asked.clone());
            recorder.flush();
        }
        assert_eq!((recorder.written(), recorder.missed()), (0, 10));
    }
}
