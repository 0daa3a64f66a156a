//! What a collector could not be given, on the disk until it can: one spool a signal, with all that processes before this
//! one have left.
//!
//! # Promise
//!
//! - A batch that [`push`](Spool::push) took survives the death of the process, however it dies. It does not survive that
//!   of the machine: nothing is fsynced, since telemetry is not worth the wait; what a power failure damages is found by
//!   its checksum, counted and skipped.
//! - A batch is shown until it is [popped](Spool::pop), and not again afterwards. It is shown again (at least once, not
//!   exactly once) if the process dies between its delivery and the pop, or if the disk does not take the note that
//!   it was popped, which stands in space that is allocated already.
//! - Batches come in the order in which they were pushed; those of processes before come first, by when these started,
//!   and those that are [adopted](Spool::adopt) later come next, whatever there is.
//! - All that this process holds stays below the cap, adopted or its own. The oldest goes first, by segments, which are
//!   an eighth of the cap each and at most 1 MiB; of what [`front`](Spool::front) has shown nothing goes.
//! - What is damaged is skipped and counted. Headers say how many items there were before, so the count is exact, but
//!   at the very end of what a process left: there a record whose header cannot be read counts as one item, and one of
//!   which nothing is left is not known of.
//!
//! # Files
//!
//! `FOLDER/PROCESS/WRITER.NUMBER.BASE.v1`, and `FOLDER/PROCESS/lock`, which its process holds locked. A process that opens
//! moves the segments of all folders whose lock is free into its own, file by file, so that nothing is lost or doubled
//! when it dies meanwhile: what it has moved is in a folder whose lock is free again.

mod folder;
mod record;
mod segment;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use bytes::Bytes;

use self::folder::Folder;
use self::record::Header;
use self::segment::{Id, Mark, Next, Segment};

const MAX_SEGMENT: u64 = 1024 * 1024;
/// The cap of a segment is this part of the whole one: so much goes at once where room is needed.
const PARTS: u64 = 8;

/// One encoded `Export*ServiceRequest`, and how many spans, points or log records are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) items: u64,
    pub(crate) payload: Bytes,
}

/// The spool of one signal. It blocks on the disk, so that it belongs on the thread that exports.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: Folder,
    cap: u64,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The last one of them, if there is one, is of this process and may grow.
    growing: bool,
    shown: Option<Shown>,
    /// How many segments this process has begun.
    begun: u64,
    /// How many items this process has written.
    written: u64,
    items: u64,
    corrupt: u64,
    /// Those that no answer of `push` has told of yet.
    evicted: u64,
}

/// The front, once somebody has looked at it.
#[derive(Debug)]
struct Shown {
    batch: Batch,
    /// Where it stands in the first segment, unless that had to go meanwhile.
    mark: Option<Mark>,
}

impl Spool {
    /// Opens the spool in `folder`, which is made (0700) where it is not there, and takes over what processes have left
    /// in it that are gone. What of it is over `cap_bytes` goes; the next [`push`](Self::push) says how much.
    ///
    /// # Errors
    ///
    /// The folder cannot be made or read, is a link, belongs to another user, or is open to others.
    pub(crate) fn open(folder: &Path, cap_bytes: u64) -> io::Result<Self> {
        let folder = Folder::create(folder)?;
        let (segments, corrupt) = folder.adopt()?;
        let items = segments.iter().map(Segment::items).sum();
        let mut spool = Self {
            folder,
            cap: cap_bytes,
            segments: segments.into(),
            growing: false,
            shown: None,
            begun: 0,
            written: 0,
            items,
            corrupt,
            evicted: 0,
        };
        spool.make_room(0);
        Ok(spool)
    }

    /// Takes over what processes have left that are gone since that was last done: how many items, and how many more of
    /// theirs are lost. It comes next. What is over the cap goes when [room is made](Self::trim).
    ///
    /// # Errors
    ///
    /// The folder cannot be read now.
    pub(crate) fn adopt(&mut self) -> io::Result<(u64, u64)> {
        let (segments, lost) = self.folder.adopt()?;
        let found = segments.iter().map(Segment::items).sum();
        // Behind the one that is being read, if that is so.
        let at = usize::from(self.shown.as_ref().is_some_and(|shown| shown.mark.is_some()));
        self.growing &= self.segments.len() > at || segments.is_empty();
        for segment in segments.into_iter().rev() {
            self.segments.insert(at, segment);
        }
        self.items = self.items.saturating_add(found);
        Ok((found, lost))
    }

    /// Lets go what is over the cap, the oldest first; answers how many items that were.
    pub(crate) fn trim(&mut self) -> u64 {
        self.make_room(0);
        std::mem::take(&mut self.evicted)
    }

    /// Keeps a batch. Answers how many items had to go for it, or have gone since that was last answered.
    ///
    /// # Errors
    ///
    /// The disk does not take it, or it alone is over the cap ([`QuotaExceeded`](io::ErrorKind::QuotaExceeded)). It is
    /// then not in the spool, and what is in there can still be read.
    pub(crate) fn push(&mut self, batch: &Batch) -> io::Result<u64> {
        let header = Header::of(batch.items, self.written, &batch.payload)
            .filter(|header| Segment::cost_of_one(header.extent()) <= self.cap)
            .ok_or_else(|| io::Error::new(io::ErrorKind::QuotaExceeded, "one batch is larger than the spool may be"))?;
        let extent = header.extent();
        let fits = |segment: &Segment| segment.is_new() || segment.len() + extent <= self.segment_cap();
        self.growing &= self.segments.back().is_some_and(fits);
        // One that may grow is never in the way itself: it and its growth are less than a part of the cap.
        self.make_room(match self.segments.back() {
            Some(last) if self.growing => last.cost(extent) - last.cost(0),
            _ => Segment::cost_of_one(extent),
        });
        let last = match self.segments.back_mut() {
            Some(last) if self.growing => last,
            _ => self.begin()?,
        };
        if let Err(failed) = last.append(&header, &batch.payload) {
            self.growing &= !failed.soiled;
            return Err(failed.error);
        }
        self.written = header.after();
        self.items = self.items.saturating_add(batch.items);
        Ok(std::mem::take(&mut self.evicted))
    }

    /// The oldest batch, until it is [popped](Self::pop). `None` also while files cannot be opened, for want of
    /// descriptors or memory.
    pub(crate) fn front(&mut self) -> Option<Batch> {
        while self.shown.is_none() {
            let segment = self.segments.front_mut()?;
            match segment.next() {
                Ok(Next::Record(batch, mark)) => self.shown = Some(Shown { batch, mark: Some(mark) }),
                Ok(Next::Damaged(mark)) => {
                    let lost = segment.pass(mark);
                    self.items = self.items.saturating_sub(lost);
                    self.corrupt = self.corrupt.saturating_add(lost);
                }
                Err(error) if is_for_now(&error) => return None,
                Ok(Next::End) | Err(_) => {
                    let lost = self.remove_first();
                    self.corrupt = self.corrupt.saturating_add(lost);
                }
            }
        }
        self.shown.as_ref().map(|shown| shown.batch.clone())
    }

    /// Removes the batch that [`front`](Self::front) has shown; nothing, if it has shown none since the last time.
    pub(crate) fn pop(&mut self) {
        let Some(shown) = self.shown.take() else { return };
        let (Some(mark), Some(segment)) = (shown.mark, self.segments.front_mut()) else {
            self.items = self.items.saturating_sub(shown.batch.items);
            return;
        };
        self.items = self.items.saturating_sub(segment.pass(mark));
        if segment.is_read() {
            let lost = self.remove_first();
            self.corrupt = self.corrupt.saturating_add(lost);
        }
    }

    /// How many items were lost to damage since this was last asked.
    pub(crate) fn take_corrupt(&mut self) -> u64 {
        std::mem::take(&mut self.corrupt)
    }

    /// How many items are in it, as far as headers say.
    pub(crate) fn items(&self) -> u64 {
        self.items
    }

    /// How many of them are in no file any more: they were [shown](Self::front), and had to make room.
    pub(crate) fn loose(&self) -> u64 {
        self.shown.as_ref().filter(|shown| shown.mark.is_none()).map_or(0, |shown| shown.batch.items)
    }

    /// Lets go what is [loose](Self::loose); answers how many items that were.
    pub(crate) fn let_go(&mut self) -> u64 {
        let loose = self.shown.take_if(|shown| shown.mark.is_none()).map_or(0, |shown| shown.batch.items);
        self.items = self.items.saturating_sub(loose);
        loose
    }

    fn segment_cap(&self) -> u64 {
        (self.cap / PARTS).min(MAX_SEGMENT)
    }

    fn begin(&mut self) -> io::Result<&mut Segment> {
        let id = Id { writer: self.folder.owner, number: self.begun, base: self.written };
        // Counted also when it fails: its file may be left.
        self.begun += 1;
        let segment = Segment::create(self.folder.path(), id)?;
        // The first one is being read.
        if self.segments.len() > 1
            && let Some(last) = self.segments.back_mut()
        {
            last.close();
        }
        self.growing = true;
        Ok(self.segments.push_back_mut(segment))
    }

    /// Lets the oldest go until `more` bytes fit.
    fn make_room(&mut self, more: u64) {
        let mut cost: u64 = self.segments.iter().map(|segment| segment.cost(0)).sum();
        while cost.saturating_add(more) > self.cap
            && let Some(first) = self.segments.front_mut()
        {
            cost -= first.cost(0);
            // Somebody may be sending it at this moment: it stays until he says.
            if let Some(mark) = self.shown.as_mut().and_then(|shown| shown.mark.take()) {
                first.pass(mark);
            }
            self.evicted = self.evicted.saturating_add(self.remove_first());
        }
    }

    /// Removes the oldest segment; answers how many items were left in it.
    fn remove_first(&mut self) -> u64 {
        let Some(segment) = self.segments.pop_front() else { return 0 };
        let left = segment.items();
        self.items = self.items.saturating_sub(left);
        segment.remove();
        left
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.folder.discard();
    }
}

/// Whether the machine is short of something that it may have later.
fn is_for_now(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    error.kind() == io::ErrorKind::Interrupted || matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE))
}
