//! The folder under which embedded systems keep their state (`HALFBYTE_HOME`), private to its owner.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The state folder of one machine or one development setup. Processes may share it: what they share in it they lock.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let folder = tempfile::tempdir()?;
/// let home = halfbyte_core::home::Home::open(folder.path().join("state"))?;
/// home.replace("greeting", b"hello")?;
/// assert_eq!(std::fs::read(home.path().join("greeting"))?, b"hello");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// Opens the folder, making it with mode 0700 if it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be made, is not a folder, or others than its owner may read or enter it.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| describe(&path, &error))?;
        // Made absolute, so that a later change of the working directory does not move the state.
        let path = path.canonicalize()?;
        require_private(&path)?;
        Ok(Self(path))
    }

    /// The folder without a look at it: for a process whose systems are all elsewhere, which then needs none.
    pub fn unopened(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// A folder inside this one, made if it is not there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn folder(&self, name: &str) -> io::Result<Self> {
        Self::open(self.0.join(name))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Takes the lock `name` for as long as the answer lives, waiting for another process that has it.
    ///
    /// The lock is the operating system's: it is given back however its holder ends. It blocks the thread; call it from
    /// a blocking task when the wait may be long.
    ///
    /// # Errors
    ///
    /// The lock file cannot be made.
    pub fn lock(&self, name: &str) -> io::Result<File> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.0.join(name))?;
        file.lock()?;
        Ok(file)
    }

    /// Replaces the file `name` as a whole: readers see the old content or the new, also after a crash. Mode 0600.
    ///
    /// # Errors
    ///
    /// The folder cannot be written; the old file is then untouched.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let target = self.0.join(name);
        let draft = self.0.join(format!(".{name}.{}.{:08x}", std::process::id(), fastrand::u32(..)));
        let written = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&draft, &target));
        if let Err(error) = written {
            let _nothing_left_to_clean = fs::remove_file(&draft);
            return Err(error);
        }
        File::open(&self.0)?.sync_all()
    }

    /// Reads the file `name`, refusing one that others than its owner may read; `None` if there is none.
    ///
    /// # Errors
    ///
    /// It is there and cannot be read, or is open to others.
    pub fn read_private(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.0.join(name);
        match fs::read(&path) {
            Ok(content) => {
                require_private(&path)?;
                Ok(Some(content))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(describe(&path, &error)),
        }
    }
}

fn require_private(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path).map_err(|error| describe(path, &error))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let (shown, wanted) = (path.display(), mode & 0o700);
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{shown} is open to other users (mode {mode:o}); run: chmod {wanted:o} {shown}"),
    ))
}

fn describe(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let parent = tempfile::tempdir().expect("a folder");
        let open = parent.path().join("open");
        fs::create_dir(&open).expect("made");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("set");
        let error = Home::open(&open).expect_err("it is open to others");
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[test]
    fn what_is_written_is_private_and_replaced_as_a_whole() {
        let parent = tempfile::tempdir().expect("a folder");
        let home = Home::open(parent.path().join("home")).expect("opened");
        home.replace("key", b"one").expect("written");
        home.replace("key", b"two").expect("written");
        assert_eq!(home.read_private("key").expect("read").as_deref(), Some(&b"two"[..]));
        assert_eq!(fs::read_dir(home.path()).expect("listed").count(), 1, "no drafts are left");

        fs::set_permissions(home.path().join("key"), fs::Permissions::from_mode(0o644)).expect("set");
        assert!(home.read_private("key").is_err(), "a readable key is refused");
    }

    #[test]
    fn a_lock_is_exclusive_and_given_back() {
        let parent = tempfile::tempdir().expect("a folder");
        let home = Home::open(parent.path().join("home")).expect("opened");
        let held = home.lock("lock").expect("taken");
        let other = File::open(home.path().join("lock")).expect("opened");
        assert!(other.try_lock().is_err());
        drop(held);
        assert!(other.try_lock().is_ok());
    }
}
