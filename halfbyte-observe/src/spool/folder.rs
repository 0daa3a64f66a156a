//! Where spools are: one folder a process, with a lock that tells whether the process lives.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use halfbyte_core::home::Home;
use uuid::Uuid;

use super::segment::{Id, Segment};

const LOCK: &str = "lock";
/// Somebody who tidies up can be quicker than the maker of a folder, once or twice.
const TRIES: usize = 16;

/// The folder of this process. Holding it keeps others from adopting it.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) owner: Uuid,
    parent: PathBuf,
    path: PathBuf,
    _lock: Lock,
}

impl Folder {
    /// Makes one in `parent`, which is made where it is not there, and must be nobody else's.
    pub(super) fn create(parent: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(parent).is_ok_and(|found| found.is_symlink()) {
            return Err(refused(parent, "is a symbolic link; put a folder there"));
        }
        let parent = Home::open(parent)?.path().to_owned();
        for _ in 0..TRIES {
            let owner = Uuid::now_v7();
            let path = parent.join(owner.to_string());
            DirBuilder::new().mode(0o700).create(&path)?;
            if let Some(lock) = claim(&path)? {
                let folder = Self { owner, parent, path, _lock: lock };
                if fs::metadata(&folder.parent)?.uid() != fs::metadata(&folder.path)?.uid() {
                    folder.discard();
                    return Err(refused(&folder.parent, "belongs to another user; give each user a HALFBYTE_HOME"));
                }
                return Ok(folder);
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{}: no folder could be made", parent.display())))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the segments here of processes that are gone, oldest first; answers also how many items of them are lost.
    /// What cannot be read now stays where it is, for whoever comes next.
    pub(super) fn adopt(&self) -> io::Result<(Vec<Segment>, u64)> {
        let user = fs::metadata(&self.path)?.uid();
        let mut orphans: Vec<Uuid> = names(&self.parent)?.iter().filter_map(|name| name.parse().ok()).collect();
        orphans.sort_unstable();
        let (mut segments, mut lost) = (Vec::new(), 0_u64);
        for orphan in orphans {
            let path = self.parent.join(orphan.to_string());
            let ours = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir() && found.uid() == user);
            // The lock of this process's own folder is not free either.
            if ours
                && let Ok(Some(lock)) = claim(&path)
                && let Ok(left) = self.take_over(&path)
            {
                segments.extend(left.0);
                lost = lost.saturating_add(left.1);
                discard(&path);
                drop(lock);
            }
        }
        Ok((segments, lost))
    }

    fn take_over(&self, orphan: &Path) -> io::Result<(Vec<Segment>, u64)> {
        let mut ids: Vec<Id> = names(orphan)?.iter().filter_map(|name| Id::of_file(name)).collect();
        ids.sort_unstable();
        let (mut segments, mut lost) = (Vec::new(), 0_u64);
        for (index, &id) in ids.iter().enumerate() {
            let next = ids.get(index + 1).filter(|next| next.writer == id.writer).map(|next| next.base);
            let adopted = Segment::adopt(orphan, id, next).and_then(|(mut segment, lost)| {
                segment.move_to(&self.path)?;
                Ok((segment, lost))
            });
            if let Ok((segment, missing)) = adopted {
                segments.push(segment);
                lost = lost.saturating_add(missing);
            }
        }
        Ok((segments, lost))
    }

    /// Removes it, if nothing is left in it.
    pub(super) fn discard(&self) {
        discard(&self.path);
    }
}

/// Given back at once when it is dropped: closing the file alone does not while a process that this one is just starting
/// has a copy of it.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        _ = self.0.unlock();
    }
}

/// The lock of a folder, if nobody holds it.
fn claim(folder: &Path) -> io::Result<Option<Lock>> {
    let path = folder.join(LOCK);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let lock = match opened {
        Ok(lock) => lock,
        // Its owner has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Another process can have removed the file between the two, and others then lock another one; a link is none.
    let lock = Lock(lock);
    let (held, there) = (lock.0.metadata()?, fs::symlink_metadata(&path));
    Ok(there.is_ok_and(|there| there.ino() == held.ino() && there.dev() == held.dev()).then_some(lock))
}

/// Removes a folder that holds a lock at most. Who finds it without its lock meanwhile makes that anew, and has an
/// empty folder.
fn discard(folder: &Path) {
    let only_the_lock = names(folder).is_ok_and(|names| names.iter().all(|name| name == LOCK));
    if only_the_lock && fs::remove_file(folder.join(LOCK)).is_ok() {
        _ = fs::remove_dir(folder);
    }
}

/// The names in a folder that are text.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display()))
}
