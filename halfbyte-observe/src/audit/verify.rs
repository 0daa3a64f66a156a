//! Whether a log is what was written.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::vec;

use jiff::Timestamp;

use super::chain::{Hash, Key, Link, Sealer};
use super::disk;
use super::entry::{Begun, Entry, Event, FORMAT};

/// Longer than any line that is written.
const MAX_LINE: u64 = 1024 * 1024;

/// What [`verify`] found, of a log that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// How many files there are.
    pub files: u64,
    /// How many lines, those by which files begin and by which repairs are noted among them.
    pub lines: u64,
    /// How many records.
    pub records: u64,
    /// How many times a process had died while it wrote.
    pub repairs: u64,
    /// How many times the clock was set back between two lines.
    pub clock_set_back: u64,
    /// The first line. What was before it, if it is not number 1, is not known: old files may have been moved away.
    pub first: Link,
    /// The last line: what [`verify_to`] needs later on.
    pub last: Link,
}

/// Where a log is not what was written, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct Broken {
    /// In which file.
    pub file: PathBuf,
    /// In which line, from 1; 0 where it is none in particular.
    pub line: u64,
    /// Why.
    pub why: Why,
}

/// Why a log is not what was written.
#[derive(Debug)]
#[non_exhaustive]
pub enum Why {
    /// The line's hash is not that of the line, or the line before was replaced by another one.
    Changed,
    /// Lines are missing before this one.
    Removed {
        /// How many.
        lines: u64,
    },
    /// The line is not the log's own, or a copy of an earlier one.
    Inserted,
    /// The line that should stand here stands further on.
    Reordered,
    /// The last line is cut short. A process died while it wrote, or writes at this moment; the next one that opens the
    /// log repairs that.
    Torn,
    /// The log ends, or begins again, before the line that it is known to have had.
    Truncated,
    /// It was written with a key and none was given, or the other way round.
    Key,
    /// It could not be read.
    Unreadable(io::Error),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.display(), self.line) {
            (file, 0) => write!(f, "{file}: {}", self.why),
            (file, line) => write!(f, "{file}:{line}: {}", self.why),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Changed => f.write_str("the line was changed, or the one before it (or another key was used)"),
            Why::Removed { lines: 1 } => f.write_str("a line before this one was removed"),
            Why::Removed { lines } => write!(f, "{lines} lines before this one were removed"),
            Why::Inserted => f.write_str("the line was inserted"),
            Why::Reordered => f.write_str("the lines from here on are in another order"),
            Why::Torn => f.write_str("the last line is cut short"),
            Why::Truncated => f.write_str("the log ends without the line that it is known to have had"),
            Why::Key => f.write_str("the log was written with a key and none was given, or the other way round"),
            Why::Unreadable(error) => write!(f, "it could not be read: {error}"),
        }
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.why {
            Why::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

/// Checks the log in a folder, or one file of it, with the key that it was written with, if any. It takes no lock.
///
/// Lines that are missing at the end cannot be told from lines that were never written: [`verify_to`] can. Without a key,
/// who may write the files can make a whole new chain; what then differs is its last hash.
///
/// # Errors
///
/// Where it is not what was written, and why: the first such place.
pub fn verify(path: impl AsRef<Path>, key: Option<&Key>) -> Result<Verified, Broken> {
    check(path.as_ref(), key, None)
}

/// As [`verify`], for a log that is known to have had the line with this `hash`: what was removed or replaced up to there
/// is found, also at the end. Keep a [`Link`] now and then where who may write the log may not write.
///
/// # Errors
///
/// As [`verify`], and [`Why::Truncated`].
pub fn verify_to(path: impl AsRef<Path>, key: Option<&Key>, hash: Hash) -> Result<Verified, Broken> {
    check(path.as_ref(), key, Some(hash))
}

/// The lines of a log or of one file of it, in order, without a look at their hashes: for showing them.
///
/// # Errors
///
/// The folder or the file cannot be read; a line that cannot is an item that is an error.
pub fn read(path: impl AsRef<Path>) -> io::Result<impl Iterator<Item = io::Result<Entry>>> {
    let lines = Lines::open(path.as_ref())?;
    Ok(lines.map(|line| serde_json::from_slice(&line?.bytes).map_err(io::Error::from)))
}

fn check(path: &Path, key: Option<&Key>, hash: Option<Hash>) -> Result<Verified, Broken> {
    let broken = |why| Broken { file: path.to_owned(), line: 0, why };
    let sealer = Sealer::new(key);
    let mut lines = Lines::open(path).map_err(|error| broken(Why::Unreadable(error)))?;
    let files = lines.files.len() as u64;
    let mut walk = Walk::new(&sealer, None);
    let mut met = hash.is_none_or(|hash| hash == Hash::START);
    let mut end = (path.to_owned(), 0);
    while let Some(line) = lines.next() {
        let line = line.map_err(|error| lines.broken(Why::Unreadable(error)))?;
        if let Err(doubt) = walk.step(&line) {
            let found = lines.broken(Why::Changed);
            let why = doubt.explain(&walk, &sealer, &line, lines);
            return Err(Broken { why, ..found });
        }
        met |= hash == Some(walk.last.hash);
        end = (lines.path.clone(), lines.line);
    }
    if !met {
        return Err(Broken { file: end.0, line: end.1, why: Why::Truncated });
    }
    Ok(Verified {
        files,
        lines: walk.lines,
        records: walk.records,
        repairs: walk.repairs,
        clock_set_back: walk.clock_set_back,
        first: walk.first.unwrap_or(Link::START),
        last: walk.last,
    })
}

/// Goes along a chain.
pub(super) struct Walk<'a> {
    sealer: &'a Sealer,
    pub(super) last: Link,
    first: Option<Link>,
    /// The file that the last line is in.
    file: Option<u64>,
    time: Option<Timestamp>,
    lines: u64,
    records: u64,
    repairs: u64,
    clock_set_back: u64,
}

/// What is wrong with a line by itself and with the ones before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    Torn,
    Key,
    /// Its hash is not that of the line, or it is none.
    Hash,
    /// It does not follow the one before; it says that it has this number.
    Chain(u64),
}

impl<'a> Walk<'a> {
    /// From behind `last` on; from wherever the first line stands if that is not known.
    pub(super) fn new(sealer: &'a Sealer, last: Option<Link>) -> Self {
        Self {
            sealer,
            last: last.unwrap_or(Link::START),
            first: last,
            file: None,
            time: None,
            lines: 0,
            records: 0,
            repairs: 0,
            clock_set_back: 0,
        }
    }

    pub(super) fn step(&mut self, line: &Line) -> Result<(), Doubt> {
        if !line.whole {
            return Err(Doubt::Torn);
        }
        let Some(hash) = self.sealer.check(&line.bytes) else {
            let other = begun(&line.bytes).is_some_and(|begun| begun.algorithm != self.sealer.algorithm());
            return Err(if other { Doubt::Key } else { Doubt::Hash });
        };
        let entry: Entry = serde_json::from_slice(&line.bytes).map_err(|_| Doubt::Hash)?;
        let chained = match self.first {
            Some(_) => entry.sequence == self.last.sequence + 1 && entry.prev == self.last.hash,
            None => entry.sequence > 0 && (entry.sequence == 1) == (entry.prev == Hash::START),
        };
        let placed = match &entry.event {
            Event::File(begun) => {
                line.number == 1
                    && begun.format == FORMAT
                    && line.file.is_none_or(|file| file == begun.file)
                    && self.file.is_none_or(|before| before + 1 == begun.file)
            }
            _ => line.number > 1,
        };
        if !chained || !placed {
            return Err(Doubt::Chain(entry.sequence));
        }
        let link = Link { sequence: entry.sequence, hash };
        self.last = link;
        self.first.get_or_insert(link);
        self.lines += 1;
        match entry.event {
            Event::File(begun) => self.file = Some(begun.file),
            Event::Repaired(_) => self.repairs += 1,
            Event::Record(_) => self.records += 1,
        }
        self.clock_set_back += u64::from(self.time.is_some_and(|before| entry.time < before));
        self.time = Some(entry.time);
        Ok(())
    }

    /// The number that the next line has, once there was a first one.
    fn expected(&self) -> Option<u64> {
        self.first.map(|_| self.last.sequence + 1)
    }
}

impl Doubt {
    /// Looks at what comes behind the line to say what was done to it.
    fn explain(self, walk: &Walk<'_>, sealer: &Sealer, line: &Line, rest: Lines) -> Why {
        let Some(expected) = walk.expected() else {
            return match self {
                Self::Torn => Why::Torn,
                Self::Key => Why::Key,
                // A file by itself can stand anywhere in the log, but begins as files do.
                Self::Chain(_) if line.number == 1 => Why::Removed { lines: 1 },
                _ => Why::Changed,
            };
        };
        let mut rest = rest.map_while(Result::ok).map(|line| {
            let whole = line.whole && sealer.check(&line.bytes).is_some();
            whole.then(|| serde_json::from_slice::<Entry>(&line.bytes).ok()).flatten()
        });
        let follows = |entry: &Entry| entry.sequence == expected && entry.prev == walk.last.hash;
        match self {
            Self::Torn => Why::Torn,
            Self::Key | Self::Hash => match rest.next() {
                // What should stand here comes right behind it.
                Some(Some(next)) if follows(&next) => Why::Inserted,
                _ => Why::Changed,
            },
            Self::Chain(number) if number < expected => Why::Inserted,
            Self::Chain(number) if number == expected => match rest.next() {
                Some(Some(next)) if follows(&next) => Why::Inserted,
                _ => Why::Changed,
            },
            Self::Chain(number) => {
                if rest.flatten().any(|entry| follows(&entry)) {
                    Why::Reordered
                } else {
                    Why::Removed { lines: number - expected }
                }
            }
        }
    }
}

fn begun(line: &[u8]) -> Option<Begun> {
    match serde_json::from_slice::<Entry>(line).ok()?.event {
        Event::File(begun) => Some(begun),
        _ => None,
    }
}

/// A line, without its end.
#[derive(Debug)]
pub(super) struct Line {
    /// The number of its file, as its name says.
    pub(super) file: Option<u64>,
    /// From 1, in its file.
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
    /// It has an end.
    pub(super) whole: bool,
}

/// The lines of files, one behind the other.
pub(super) struct Lines {
    files: vec::IntoIter<(Option<u64>, PathBuf)>,
    reader: Option<BufReader<File>>,
    file: Option<u64>,
    path: PathBuf,
    line: u64,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        let files = disk::files(path)?;
        if files.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there is no audit log in this folder"));
        }
        Ok(Self { path: path.to_owned(), ..Self::of(files) })
    }

    pub(super) fn of(files: Vec<(Option<u64>, PathBuf)>) -> Self {
        Self { files: files.into_iter(), reader: None, file: None, path: PathBuf::new(), line: 0 }
    }

    fn broken(&self, why: Why) -> Broken {
        Broken { file: self.path.clone(), line: self.line, why }
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(reader) = &mut self.reader {
                let mut bytes = Vec::new();
                reader.take(MAX_LINE).read_until(b'\n', &mut bytes)?;
                if !bytes.is_empty() {
                    self.line += 1;
                    let whole = bytes.pop_if(|last| *last == b'\n').is_some();
                    if bytes.len() as u64 == MAX_LINE {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            "a line is longer than any that is written",
                        ));
                    }
                    return Ok(Some(Line { file: self.file, number: self.line, bytes, whole }));
                }
            }
            let Some((file, path)) = self.files.next() else { return Ok(None) };
            (self.file, self.line) = (file, 0);
            self.reader = None;
            let opened = File::open(&path);
            self.path = path;
            self.reader = Some(BufReader::new(opened?));
        }
    }
}

impl Iterator for Lines {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<io::Result<Line>> {
        self.read().transpose()
    }
}
