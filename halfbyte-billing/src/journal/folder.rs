//! Where journals are: one folder a process, with a lock that tells whether the process lives.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use halfbyte_core::home::Home;
use uuid::Uuid;

use super::segment::Segment;
use super::{Bounds, Item, Journal};

/// Held while a journal is made, so that whoever tidies up does not take one that is half made for one left behind.
const MAKING: &str = "making.lock";
const LOCK: &str = "lock";
const SEGMENTS: [&str; 2] = ["a", "b"];
const JOURNAL: &str = "journal";
const HALF_MADE: &str = "new";
const CORRUPT: &str = "corrupt";
/// Where what the store refuses is kept: with what a journal has, so that it becomes one by another name.
const REFUSED: &str = "refused";
const REFUSING: &str = "refused.lock";
/// So many bytes of it are kept. What does not fit stays where it is.
const MAX_REFUSED: u64 = 64 * 1024 * 1024;

/// The folder with the journals of all processes that share a store.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    home: Home,
    bounds: Bounds,
}

/// The journal of a process that is gone. Holding it keeps others from adopting it too.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) owner: Uuid,
    path: PathBuf,
    _lock: File,
}

impl Folder {
    pub(crate) fn new(home: Home) -> Self {
        Self { home, bounds: Bounds::default() }
    }

    /// With other bounds for the journals that are made in it.
    pub(crate) fn bounded(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Makes a journal for this process. It comes into being under its name with its lock held.
    pub(crate) fn create<T: Item>(&self) -> io::Result<Journal<T>> {
        let _making = self.home.lock(MAKING)?;
        let owner = Uuid::now_v7();
        let (draft, path) = (self.path(owner, HALF_MADE), self.path(owner, JOURNAL));
        DirBuilder::new().mode(0o700).create(&draft)?;
        let lock = OpenOptions::new().create_new(true).write(true).mode(0o600).open(draft.join(LOCK))?;
        lock.try_lock()?;
        let [a, b] = SEGMENTS.map(|name| Segment::create(&draft.join(name)));
        let segments = [a?, b?];
        fs::rename(&draft, &path)?;
        Ok(Journal::new(owner, path, lock, segments, self.bounds))
    }

    /// Whose journals there are, of processes that live and of such that are gone.
    pub(crate) fn owners(&self) -> io::Result<BTreeSet<Uuid>> {
        self.named(JOURNAL)
    }

    /// The journals of processes that are gone, locked, but for those of `others`, which are not looked at. Removes what
    /// processes left that died while making one.
    pub(crate) fn orphans(&self, others: &BTreeSet<Uuid>) -> io::Result<Vec<Orphan>> {
        let half_made = self.named(HALF_MADE)?;
        if !half_made.is_empty() {
            let _making = self.home.lock(MAKING)?;
            for owner in half_made {
                remove(&self.path(owner, HALF_MADE))?;
            }
        }
        let mut orphans = Vec::new();
        for &owner in self.named(JOURNAL)?.difference(others) {
            let path = self.path(owner, JOURNAL);
            if let Some(lock) = try_lock(&path.join(LOCK))? {
                orphans.push(Orphan { owner, path, _lock: lock });
            }
        }
        Ok(orphans)
    }

    /// Keeps a record aside that the store refuses, for people to look at; answers where once the disk has it.
    ///
    /// A journal is what that folder becomes when it is named `UUID.journal`: then it is counted with the next look.
    pub(crate) fn keep_refused(&self, record: &[u8]) -> io::Result<PathBuf> {
        let _refusing = self.home.lock(REFUSING)?;
        let path = self.home.path().join(REFUSED);
        let private = |name: &str| OpenOptions::new().create(true).append(true).mode(0o600).open(path.join(name));
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => private(LOCK)?,
        };
        let mut file = private(SEGMENTS[0])?;
        if file.metadata()?.len() + record.len() as u64 > MAX_REFUSED {
            let message = format!("{} is full; look at what is in it, and move it away", path.display());
            return Err(io::Error::new(io::ErrorKind::StorageFull, message));
        }
        file.write_all(record)?;
        file.sync_data()?;
        // Its name too, and that of the folder, where they are new.
        File::open(&path)?.sync_all()?;
        File::open(self.home.path())?.sync_all()?;
        Ok(path)
    }

    fn path(&self, owner: Uuid, extension: &str) -> PathBuf {
        self.home.path().join(format!("{owner}.{extension}"))
    }

    fn named(&self, extension: &str) -> io::Result<BTreeSet<Uuid>> {
        let mut owners = BTreeSet::new();
        for entry in fs::read_dir(self.home.path())? {
            let name = entry?.file_name();
            let owner =
                name.to_str().and_then(|name| name.strip_suffix(extension)?.strip_suffix('.')?.parse::<Uuid>().ok());
            owners.extend(owner);
        }
        Ok(owners)
    }
}

impl Orphan {
    /// What its files hold, each by itself: either can end in half a record.
    pub(crate) fn read(&self) -> io::Result<[Vec<u8>; 2]> {
        let [a, b] = SEGMENTS.map(|name| match fs::read(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            outcome => outcome,
        });
        Ok([a?, b?])
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves only these records in it, for whoever knows them: the store has the others. A crash in the midst leaves more.
    pub(crate) fn leave(&self, records: &[u8]) -> io::Result<()> {
        let [a, b] = SEGMENTS.map(|name| self.path.join(name));
        let draft = self.path.join(HALF_MADE);
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(records)?;
        file.sync_data()?;
        fs::rename(&draft, &a)?;
        File::open(&self.path)?.sync_all()?;
        match fs::remove_file(&b) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes it: the store has all that it held.
    pub(crate) fn remove(self) -> io::Result<()> {
        remove(&self.path)
    }

    /// Keeps it for people to look at, under another name; answers where.
    pub(crate) fn keep_aside(self) -> io::Result<PathBuf> {
        let aside = self.path.with_extension(CORRUPT);
        fs::rename(&self.path, &aside)?;
        Ok(aside)
    }
}

/// The lock, if nobody holds it; a lock file that is gone was somebody else's to adopt.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        // Another process can have adopted and removed it between the two.
        Ok(()) => Ok(path.exists().then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes a journal. It loses its name first, so that one that is half removed is not taken for one to adopt.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let draft = path.with_extension(HALF_MADE);
    match fs::rename(path, &draft).and_then(|()| fs::remove_dir_all(&draft)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
