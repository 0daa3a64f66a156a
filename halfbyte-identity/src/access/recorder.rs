use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::fs::OFlags;

use super::asked;
use super::entity::{Entity, EntityRef, Value};
use super::log::Record;

/// How many decisions wait to be written at most; what comes on top is left out and counted.
const WAITING: usize = 4096;

/// How many bytes of what policies saw wait to be written at most, all decisions together. What several have in common counts for
/// each.
const WAITING_BYTES: u64 = 32 << 20;

/// How long a line is at most, in bytes and with its end: what replays it reads no longer ones.
pub(super) const LONGEST: u64 = 4 << 20;

/// Writes decisions down together with the attributes that policies saw, one JSON object in a line, so that
/// [`Rules::replay`](super::Rules::replay) can decide them again by other policies.
///
/// **What it writes is personal data**: whatever the product lets policies see of its principals and resources. Record for a dry run,
/// keep the file where such data may be, and remove it after. The decision log has none of that.
///
/// Requests do not wait for it: a thread writes. A decision for which there is no room (4096 that wait, or 32 MiB of what policies saw)
/// is left out and [counted](Self::missed), and so is one whose line would be longer than 4 MiB. The log tells how many there are: at the
/// first, and whenever they are twice as many.
/// Of a list each decision is written with what it was about, and not with all of the list. Cloning is cheap; dropping the last one
/// waits until what was taken is written.
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
    /// Bytes that wait.
    waiting: AtomicU64,
}

impl Counts {
    /// Counts those that are left out, and tells of it as seldom as they double.
    fn miss(&self, count: u64) {
        let before = self.missed.fetch_add(count, Ordering::Relaxed);
        let missed = before + count;
        if missed.checked_ilog2() != before.checked_ilog2() {
            tracing::warn!(
                target: "halfbyte::decisions", missed,
                "decisions are not recorded, as they came too fast, were too many or too long, or cannot be written: a dry run will lack them"
            );
        }
    }
}

enum Message {
    Decided(Box<Decided>),
    /// Answered once all before it is written.
    Flush(SyncSender<()>),
}

struct Decided {
    record: Record,
    seen: Vec<Arc<Entity>>,
    /// What it counts for while it waits.
    bytes: u64,
}

impl Recorder {
    /// Makes the file at `path`, for its owner alone (mode 600), or adds to it if it is one already. It gets no longer than `bytes`, with
    /// what stood in it before.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or there can be no thread. What is there is refused, and left as it is, unless it is a plain file of this
    /// process's own user, under one name, that nobody else may read or write: a symbolic link is not followed.
    pub fn create(path: impl AsRef<Path>, bytes: u64) -> io::Result<Self> {
        let path = path.as_ref();
        let said = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let (file, length) = open(path).map_err(said)?;
        Self::new(file, bytes.saturating_sub(length))
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

    /// How many decisions are left out: they came too fast, there were too many bytes, one by itself was too long, or writing failed.
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

    /// `seen` is what policies saw, the principal first. What no policy decided, none can decide again: it is not written.
    pub(super) fn record(&self, record: Record, seen: Vec<Arc<Entity>>) {
        let Some(sender) = &self.0.sender else { return };
        if seen.is_empty() {
            return;
        }
        let (counts, bytes) = (&self.0.counts, seen.iter().map(|thing| size_of_entity(thing)).sum::<u64>());
        let waiting = counts.waiting.fetch_add(bytes, Ordering::Relaxed);
        let is_taken = waiting.saturating_add(bytes) <= WAITING_BYTES
            && match sender.try_send(Message::Decided(Box::new(Decided { record, seen, bytes }))) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            };
        if !is_taken {
            counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
            counts.miss(1);
        }
    }
}

/// The file, to add to, and how long it is.
fn open(path: &Path) -> io::Result<(File, u64)> {
    // What is no file is not waited for: it is refused below.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    let mut file = options.create(true).append(true).read(true).mode(0o600).custom_flags(flags).open(path)?;
    let there = file.metadata()?;
    let mode = there.mode() & 0o777;
    let refused = |reason: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    if !there.is_file() || there.nlink() != 1 {
        return refused("this is no plain file with one name: record to another path".to_owned());
    }
    if there.uid() != rustix::process::geteuid().as_raw() {
        return refused("this is the file of another user: record to another path".to_owned());
    }
    if mode & 0o077 != 0 {
        return refused(format!(
            "it is open to other users (mode {mode:o}); run: chmod 600, or record to another path"
        ));
    }
    let mut length = there.len();
    // A process that died in the middle of a line has not spoilt the next one.
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            length += 1;
        }
    }
    Ok((file, length))
}

/// About how much memory it takes, and how long its line is.
fn size_of_entity(entity: &Entity) -> u64 {
    let attributes = entity.attributes().map(|(name, value)| size_of_text(name) + size_of_value(value));
    size_of_name(entity.name()) + entity.parents().iter().map(size_of_name).sum::<u64>() + attributes.sum::<u64>()
}

fn size_of_value(value: &Value) -> u64 {
    match value {
        Value::String(text) => size_of_text(text),
        Value::Entity(name) => size_of_name(name),
        Value::Set(items) => SIZE + items.iter().map(size_of_value).sum::<u64>(),
        Value::Record(fields) => {
            SIZE + fields.iter().map(|(name, value)| size_of_text(name) + size_of_value(value)).sum::<u64>()
        }
        _ => SIZE,
    }
}

fn size_of_name(name: &EntityRef) -> u64 {
    size_of_text(name.kind()) + size_of_text(name.id())
}

fn size_of_text(text: &str) -> u64 {
    SIZE + text.len() as u64
}

/// Of something without a size of its own.
const SIZE: u64 = 32;

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
            Message::Decided(decided) => {
                page.write(&line_of(&decided.record, &decided.seen));
                counts.waiting.fetch_sub(decided.bytes, Ordering::Relaxed);
            }
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
        // Those after it may be written.
        if length > LONGEST {
            self.counts.miss(1);
            return;
        }
        if length > self.room {
            self.room = 0;
            self.counts.miss(1);
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
            tracing::warn!(target: "halfbyte::decisions", %error, "decisions cannot be recorded");
            self.counts.miss(std::mem::take(&mut self.unflushed));
        }
    }
}

/// With the end of the line.
pub(super) fn line_of(record: &Record, seen: &[Arc<Entity>]) -> String {
    // What it holds has JSON of its own: names, numbers and strings.
    let mut line = serde_json::to_value(record).expect("names and numbers have JSON");
    line["entities"] = seen.iter().map(|thing| asked::to_json(thing)).collect();
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use halfbyte_core::{Principal, TenantId};
    use jiff::Timestamp;

    use super::*;
    use crate::access::name_of;

    fn decided() -> (Record, Vec<Arc<Entity>>) {
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
        (record, vec![Arc::new(Entity::new("Label", "l-1"))])
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
        let (record, seen) = decided();
        let all = WAITING as u64 + 1000;
        for _ in 0..all {
            recorder.record(record.clone(), seen.clone());
        }
        let missed = recorder.missed();
        assert!(missed > 0, "all had room");
        drop(release);
        recorder.flush();
        assert_eq!((recorder.written() + missed, recorder.missed()), (all, missed));
    }

    #[test]
    fn what_waits_is_bounded_by_bytes_too_and_let_go_once_it_is_written() {
        let (release, stuck): (Sender<()>, _) = channel();
        let recorder = Recorder::new(Stuck(stuck), u64::MAX).unwrap();
        let (record, _) = decided();
        let large = Entity::new("Label", "l-1").attribute("note", "x".repeat(1 << 20));
        let seen = vec![Arc::new(large)];
        for _ in 0..100 {
            recorder.record(record.clone(), seen.clone());
        }
        let missed = recorder.missed();
        // A megabyte and its names: 31 of them, and what the writer holds by itself.
        assert!((68..=69).contains(&missed), "{missed}");
        drop(release);
        recorder.flush();
        assert_eq!(recorder.0.counts.waiting.load(Ordering::Relaxed), 0);
        for _ in 0..31 {
            recorder.record(record.clone(), seen.clone());
        }
        recorder.flush();
        assert_eq!((recorder.missed(), recorder.written()), (missed, 131 - missed));
    }

    #[test]
    fn each_part_of_a_thing_counts_for_its_size() {
        let bare = size_of_entity(&Entity::new("Label", "l-1"));
        let of = |value: Value| size_of_entity(&Entity::new("Label", "l-1").attribute("note", value)) - bare;
        let text = || Value::from("x".repeat(1000));
        let record = |value| Value::Record([("a".into(), value)].into());
        assert!(of(Value::Bool(true)) >= 4);
        for value in
            [text(), Value::Set(vec![text()]), record(text()), EntityRef::new("Label", "x".repeat(1000)).into()]
        {
            assert!((1000..1200).contains(&of(value.clone())), "{value:?}");
        }
        let inside = size_of_entity(&Entity::new("Label", "l-1").parent(EntityRef::new("Folder", "x".repeat(1000))));
        assert!((1000..1200).contains(&(inside - bare)));
    }

    #[test]
    fn a_line_is_as_long_as_what_replays_it_reads_and_no_longer() {
        let (record, _) = decided();
        let of = |length: usize| vec![Arc::new(Entity::new("Label", "l-1").attribute("note", "x".repeat(length)))];
        let room = LONGEST as usize - line_of(&record, &of(0)).len();
        let recorder = Recorder::new(io::sink(), u64::MAX).unwrap();
        for (length, expected) in [(room + 1, (0, 1)), (room, (1, 1)), (0, (2, 1))] {
            recorder.record(record.clone(), of(length));
            recorder.flush();
            assert_eq!((recorder.written(), recorder.missed()), expected, "{length}");
        }
        // What takes the reader a line to skip is a byte longer.
        let rules = crate::access::Rules::compile(&[]).unwrap_or_else(|invalid| panic!("{invalid}"));
        for (length, expected) in [(room, "principal is not among"), (room + 1, "longer than what a recorder writes")] {
            let replay = rules.replay(line_of(&record, &of(length)).as_bytes(), 1).unwrap();
            assert!(replay.first_unreadable.is_some_and(|(_, reason)| reason.contains(expected)), "{length}");
        }
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
        let (record, seen) = decided();
        for _ in 0..10 {
            recorder.record(record.clone(), seen.clone());
            recorder.flush();
        }
        assert_eq!((recorder.written(), recorder.missed()), (0, 10));
    }
}
