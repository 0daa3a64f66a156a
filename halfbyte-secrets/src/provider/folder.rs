//! A folder of files, seen as it is at one moment.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, openat};

use crate::{Error, ErrorKind};

/// The link that Kubernetes swaps: it leads to the folder with the files of now.
pub(super) const DATA: &str = "..data";

/// How often a reader that meets a swap begins anew. A kubelet swaps about once a minute.
const TRIES: u32 = 32;

/// The folder that holds the files now, open: what is read through it is of one version, whatever is swapped meanwhile.
pub(super) struct View<'a> {
    folder: &'a Path,
    held: OwnedFd,
}

/// Why a file of a view was not read.
pub(super) enum Failure {
    /// It may be that the view is of yesterday.
    Perhaps(Error),
    Surely(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // A file that is unlinked while it is read looks like one that is written.
        if error.is_not_found() || error.is_unavailable() { Failure::Perhaps(error) } else { Failure::Surely(error) }
    }
}

/// Reads with `read` what is in `folder`; when the folder was swapped meanwhile, all of it again.
pub(super) fn read_whole<T>(folder: &Path, read: impl Fn(&View<'_>) -> Result<T, Failure>) -> Result<T, Error> {
    let mut tries = 0;
    loop {
        let view = View::open(folder)?;
        match read(&view) {
            Ok(whole) => return Ok(whole),
            Err(Failure::Surely(error)) => return Err(error),
            // A file that is missing may be one that is replaced: seen twice in the same folder, it is so.
            Err(Failure::Perhaps(error)) if tries > 0 && view.is_current() => return Err(error),
            Err(Failure::Perhaps(error)) if tries >= TRIES => {
                let message = format!("{} was swapped each time that it was read", folder.display());
                return Err(Error::new(ErrorKind::Unavailable, message).with_source(error));
            }
            Err(Failure::Perhaps(_)) => tries += 1,
        }
    }
}

impl<'a> View<'a> {
    /// The target of `..data`, or the folder itself if it has no such link.
    fn open(folder: &'a Path) -> Result<Self, Error> {
        let data = folder.join(DATA);
        for _ in 0..TRIES {
            match open_folder(&data) {
                Ok(held) => return Ok(Self { folder, held }),
                // No link, or one to what was removed just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::of_file(&data, error)),
            }
            if data.symlink_metadata().is_err() {
                let held = open_folder(folder).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                        Error::new(ErrorKind::Unavailable, format!("the folder {} is not there", folder.display()))
                    }
                    _ => Error::of_file(folder, error),
                })?;
                return Ok(Self { folder, held });
            }
        }
        let message = format!("{} leads to a folder that is not there", data.display());
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Opens the file `name` in it, following links.
    pub(super) fn file(&self, name: &str) -> Result<File, Failure> {
        // Not blocking: opening a pipe would wait for who writes into it. For a file it says nothing.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(&self.held, name, flags, Mode::empty());
        Ok(file.map(File::from).map_err(|error| Error::of_file(&self.path(name), error.into()))?)
    }

    /// How people know the file `name`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether the folder still leads here. What is held is not deleted as long, so that its number is not used again.
    fn is_current(&self) -> bool {
        let identity = |held: &OwnedFd| fstat(held).ok().map(|stat| (stat.st_dev, stat.st_ino));
        let now = Self::open(self.folder).ok().and_then(|now| identity(&now.held));
        now.is_some() && now == identity(&self.held)
    }
}

/// To open files in; it need not be readable itself.
fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(rustix::fs::CWD, path, folder_flags(), Mode::empty())?)
}

#[cfg(target_os = "linux")]
fn folder_flags() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC
}

#[cfg(not(target_os = "linux"))]
fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}
