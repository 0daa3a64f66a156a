//! One file of the spool: how far it was read, then records one behind the other.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Batch;
use super::record::{Found, Header, checksum, find};

/// What a file takes on a disk at least, and the step in which it grows there.
const BLOCK: u64 = 4096;
/// In names, so that an older program leaves alone what a newer one has written.
const EXTENSION: &str = "v1";

/// Names a segment; in the order in which one process wrote them, and about in that in which several did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) writer: Uuid,
    pub(super) number: u64,
    /// How many items the writer had written before this segment.
    pub(super) base: u64,
}

impl Id {
    fn file_name(&self) -> String {
        let Self { writer, number, base } = self;
        format!("{writer}.{number:020}.{base:020}.{EXTENSION}")
    }

    pub(super) fn of_file(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let (writer, number, base) = (parts.next()?, parts.next()?, parts.next()?);
        let id = Self { writer: writer.parse().ok()?, number: number.parse().ok()?, base: base.parse().ok()? };
        (id.file_name() == name).then_some(id)
    }

    fn salt(&self) -> u32 {
        checksum(crc32fast::hash(self.writer.as_bytes()), &self.number.to_le_bytes())
    }
}

/// How far a segment was read: it stands at its beginning, and is overwritten in place, which a full disk allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    at: u64,
    /// How many items its writer had written before that place.
    before: u64,
}

impl Cursor {
    const LEN: u64 = 20;

    fn start(id: &Id) -> Self {
        Self { at: Self::LEN, before: id.base }
    }

    fn encode(self, salt: u32) -> [u8; Self::LEN as usize] {
        let mut bytes = [0; Self::LEN as usize];
        bytes[..8].copy_from_slice(&self.at.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.before.to_le_bytes());
        let own = checksum(salt, &bytes[..16]);
        bytes[16..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; Self::LEN as usize], salt: u32) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk()?;
        let (before, own) = rest.split_first_chunk()?;
        let whole = checksum(salt, &bytes[..16]).to_le_bytes() == own;
        whole.then(|| Self { at: u64::from_le_bytes(*at), before: u64::from_le_bytes(*before) })
    }
}

/// A record that was read: hand it back to [`Segment::pass`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    behind: Cursor,
    pub(super) items: u64,
}

/// What [`Segment::next`] meets.
#[derive(Debug)]
pub(super) enum Next {
    Record(Batch, Mark),
    /// A record whose payload is not what was written.
    Damaged(Mark),
    End,
}

#[derive(Debug)]
pub(super) struct Segment {
    id: Id,
    path: PathBuf,
    /// Open while it is written or read.
    file: Option<File>,
    len: u64,
    cursor: Cursor,
    /// Those that were not read yet, as far as is known.
    items: u64,
}

impl Segment {
    /// Makes the file, readable by its owner only.
    pub(super) fn create(folder: &Path, id: Id) -> io::Result<Self> {
        let path = folder.join(id.file_name());
        let file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path)?;
        let cursor = Cursor::start(&id);
        if let Err(error) = file.write_all_at(&cursor.encode(id.salt()), 0) {
            _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self { id, path, file: Some(file), len: Cursor::LEN, cursor, items: 0 })
    }

    /// Takes over what another process wrote; answers also how many items of it are lost. `next` is where the writer's
    /// next segment starts, if there is one.
    pub(super) fn adopt(folder: &Path, id: Id, next: Option<u64>) -> io::Result<(Self, u64)> {
        let path = folder.join(id.file_name());
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let file = File::open(&path)?;
        let (len, salt) = (file.metadata()?.len(), id.salt());
        let mut bytes = [0; Cursor::LEN as usize];
        let cursor = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Cursor::decode(&bytes, salt),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        // Where it was damaged, all is read once more: better twice than not at all.
        let cursor = cursor.filter(|cursor| cursor.at <= len).unwrap_or(Cursor::start(&id));
        let Cursor { mut at, before: mut seen } = cursor;
        let (mut items, mut lost) = (0_u64, 0_u64);
        let torn = loop {
            match find(&file, at, len, seen, salt)? {
                Found::Record { at: found, header } => {
                    lost = lost.saturating_add(header.before - seen);
                    items = items.saturating_add(header.items);
                    (at, seen) = (found.saturating_add(header.extent()), header.after());
                }
                Found::End { torn } => break torn,
            }
        };
        lost = lost.saturating_add(match (next, torn) {
            (Some(next), _) => next.saturating_sub(seen),
            (None, Some(torn)) => torn.after().saturating_sub(seen),
            // Of what stands there nothing is known, but that it was a record.
            (None, None) => u64::from(at < len),
        });
        Ok((Self { id, path, file: None, len, cursor, items }, lost))
    }

    /// Moves the file into `folder`.
    pub(super) fn move_to(&mut self, folder: &Path) -> io::Result<()> {
        let path = folder.join(self.id.file_name());
        fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }

    /// Appends a record, which is there as a whole or not at all. After an error the segment may have to be closed:
    /// see [`Failed`].
    pub(super) fn append(&mut self, header: &Header, payload: &[u8]) -> Result<(), Failed> {
        let Some(file) = &self.file else {
            return Err(Failed { error: io::ErrorKind::NotFound.into(), soiled: true });
        };
        let written = file
            .write_all_at(&header.encode(self.id.salt()), self.len)
            .and_then(|()| file.write_all_at(payload, self.len + Header::LEN));
        if let Err(error) = written {
            // What was written of it must not stand before another one.
            return Err(Failed { error, soiled: file.set_len(self.len).is_err() });
        }
        self.len += header.extent();
        self.items = self.items.saturating_add(header.items);
        Ok(())
    }

    /// The oldest record that was not [passed](Self::pass).
    pub(super) fn next(&mut self) -> io::Result<Next> {
        // What was taken back from the file's end is behind `len`.
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().read(true).write(true).open(&self.path)?),
        };
        let Cursor { at, before } = self.cursor;
        let Found::Record { at, header } = find(file, at, self.len, before, self.id.salt())? else {
            return Ok(Next::End);
        };
        let behind = Cursor { at: at + header.extent(), before: header.after() };
        let mark = Mark { behind, items: header.items };
        Ok(match header.payload(file, at)? {
            Some(payload) => Next::Record(Batch { items: header.items, payload: payload.into() }, mark),
            None => Next::Damaged(mark),
        })
    }

    /// Goes on behind a record, and keeps in the file that it did. Answers how many items there are less.
    pub(super) fn pass(&mut self, mark: Mark) -> u64 {
        self.cursor = mark.behind;
        let before = self.items;
        self.items = before.saturating_sub(mark.items);
        if let Some(file) = &self.file {
            // If this fails, a process that adopts the file reads the record a second time.
            _ = file.write_all_at(&self.cursor.encode(self.id.salt()), 0);
        }
        before - self.items
    }

    pub(super) fn is_read(&self) -> bool {
        self.cursor.at >= self.len
    }

    pub(super) fn is_new(&self) -> bool {
        self.len == Cursor::LEN
    }

    pub(super) fn items(&self) -> u64 {
        self.items
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// What it takes of a disk, with `more` bytes in it.
    pub(super) fn cost(&self, more: u64) -> u64 {
        cost(self.len.saturating_add(more))
    }

    /// What a new segment with one record of `extent` takes of a disk.
    pub(super) fn cost_of_one(extent: u64) -> u64 {
        cost(Cursor::LEN.saturating_add(extent))
    }

    /// Closes the file of one that others are read before.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    pub(super) fn remove(self) {
        // If this fails, a process that adopts the file reads what is behind the cursor a second time.
        _ = fs::remove_file(&self.path);
    }
}

/// A record could not be appended.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: io::Error,
    /// Half a record is left at the end, so that nothing can be appended any more.
    pub(super) soiled: bool,
}

fn cost(len: u64) -> u64 {
    len.checked_next_multiple_of(BLOCK).unwrap_or(len)
}
