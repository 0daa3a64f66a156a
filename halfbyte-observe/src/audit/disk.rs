//! The folder that a log is in: numbered files, of which the last one grows.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use halfbyte_core::home::Home;

use super::error::AuditError;

const LOCK: &str = "lock";
/// How long it is between two looks at a lock that another process holds.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a log does with a disk. A trait, so that tests can have one that fails.
pub(super) trait Disk: Send + 'static {
    /// Makes file `number`, which is the last one from now on.
    fn begin(&mut self, number: u64) -> io::Result<()>;
    /// Whether the last file is where it was, and `len` bytes long. What is in it is not looked at.
    fn is_ours(&self, len: u64) -> io::Result<bool>;
    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Waits until the disk has what was written.
    fn sync(&mut self) -> io::Result<()>;
}

#[derive(Debug)]
pub(super) struct Folder {
    home: Home,
    lock: File,
    last: Option<(PathBuf, File)>,
}

impl Folder {
    /// Makes the folder where it is not there, and keeps other processes from writing to it.
    pub(super) fn open(path: &Path, patience: Duration) -> Result<Self, AuditError> {
        let failed = |error| AuditError::storage(format!("{}: the audit log cannot be opened", path.display()), error);
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
            return Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, "a symbolic link; put a folder there")));
        }
        let holders = holders(path);
        let home = Home::open(path).map_err(failed)?;
        // As with the names of files: a machine that dies could lose the folder with all that is in it.
        holders.iter().try_for_each(|holder| File::open(holder)?.sync_all()).map_err(failed)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(home.path().join(LOCK));
        let lock = lock.map_err(failed)?;
        let started = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { home, lock, last: None }),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if started.elapsed() >= patience => {
                    return Err(AuditError::in_use(home.path()));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.home.path()
    }
}

impl Disk for Folder {
    fn begin(&mut self, number: u64) -> io::Result<()> {
        let path = self.home.path().join(name(number));
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        // Its name too, or a machine that dies could lose the file with all that is in it.
        File::open(self.home.path())?.sync_all()?;
        self.last = Some((path, file));
        Ok(())
    }

    fn is_ours(&self, len: u64) -> io::Result<bool> {
        let Some((path, file)) = &self.last else { return Ok(false) };
        let held = file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(there) => Ok((there.dev(), there.ino(), there.len()) == (held.dev(), held.ino(), len)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.last()?.write_all_at(bytes, at)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.last()?.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.last()?.sync_data()
    }
}

impl Folder {
    fn last(&self) -> io::Result<&File> {
        self.last.as_ref().map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing the file alone does not give it back while a process that this one is just starting has a copy of it.
        _ = self.lock.unlock();
    }
}

/// The folders that get a new one in them when `path` is made, and none when it is there.
fn holders(path: &Path) -> Vec<PathBuf> {
    // Above a relative path with one name stands an empty one.
    let holder =
        |made: &Path| made.parent().map(|parent| if parent == "" { Path::new(".") } else { parent }.to_owned());
    let missing = path.ancestors().take_while(|path| *path != "" && !path.exists());
    missing.filter_map(holder).collect()
}

/// The files of a log, by their numbers; or the one that `path` is.
pub(super) fn files(path: &Path) -> io::Result<Vec<(Option<u64>, PathBuf)>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![(None, path.to_owned())]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(number) {
            files.push((Some(number), entry.path()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn name(number: u64) -> String {
    format!("audit-{number:08}.jsonl")
}

fn number(file: &str) -> Option<u64> {
    let number = file.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse().ok()?;
    (name(number) == file).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_that_gets_a_new_one_is_told_to_the_disk() {
        let home = tempfile::tempdir().unwrap();
        let [upper, lower] = ["state", "state/audit"].map(|path| home.path().join(path));
        assert_eq!(holders(&lower), [upper.clone(), home.path().to_owned()]);
        fs::create_dir(&upper).unwrap();
        assert_eq!(holders(&lower), [upper]);
        Folder::open(&lower, Duration::ZERO).unwrap();
        assert!(holders(&lower).is_empty());
        assert_eq!(holders(Path::new("not-there/audit")), ["not-there", "."].map(PathBuf::from));
    }
}
