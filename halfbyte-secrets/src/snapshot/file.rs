//! The encrypted file, which processes share.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use age::DecryptError;
use halfbyte_core::home::Home;

use super::contents::{Change, Contents, LARGEST};
use crate::key::Key;
use crate::{Error, ErrorKind, Name};

const KEY: &str = "boot.key";
const LOCK: &str = "boot.lock";

/// What age adds is less than a part in a hundred, and a header.
const LARGEST_FILE: u64 = LARGEST as u64 + 64 * 1024;

#[derive(Clone)]
pub(super) struct File {
    folder: Home,
    /// One for each backend, so that products with others in the same folder do not replace each other's.
    file: String,
    path: PathBuf,
    backend: String,
    /// `None` for one in a file.
    key: Option<Arc<Key>>,
}

/// Which changes were not made, and why.
pub(super) enum Unwritten {
    All(Error),
    Some(Error),
}

impl From<Error> for Unwritten {
    fn from(error: Error) -> Self {
        Unwritten::All(error)
    }
}

impl File {
    pub(super) fn new(folder: Home, backend: &str, key: Option<Arc<Key>>) -> Self {
        let file = format!("boot-{:016x}.age", digest(backend));
        Self { path: folder.path().join(&file), file, folder, backend: backend.to_owned(), key }
    }

    pub(super) fn with_key(&self, key: Key) -> Self {
        Self { key: Some(Arc::new(key)), ..self.clone() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds of this backend; `None` if there is nothing, or it is another backend's.
    pub(super) fn read(&self) -> Result<Option<Contents>, Error> {
        let fail = |error| Error::of_file(&self.path, error);
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > LARGEST_FILE => {
                let path = self.path.display();
                return Err(Error::new(ErrorKind::Malformed, format!("{path} is larger than {LARGEST_FILE} bytes")));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        }
        let Some(sealed) = self.folder.read_private(&self.file).map_err(fail)? else { return Ok(None) };
        let Some(key) = self.key()? else {
            let (path, key) = (self.path.display(), self.folder.path().join(KEY));
            let message = format!("{path} is there and its key {} is not", key.display());
            return Err(Error::new(ErrorKind::Denied, message));
        };
        let plain = key.decrypt(&sealed).map_err(|error| {
            let (kind, what) = match error {
                DecryptError::NoMatchingKeys => (ErrorKind::Denied, "was encrypted for another key"),
                _ => (ErrorKind::Malformed, "is damaged or cut short"),
            };
            Error::new(kind, format!("{} {what}", self.path.display())).with_source(error)
        })?;
        match Contents::from_bytes(&plain) {
            Some(contents) => Ok(Some(contents).filter(|contents| contents.is_of(&self.backend))),
            None => {
                let message = format!("{} does not hold what a boot snapshot does", self.path.display());
                Err(Error::new(ErrorKind::Malformed, message))
            }
        }
    }

    /// Makes `changes`, and drops what is too old at `now`; what other processes have written meanwhile stays.
    pub(super) fn change(&self, now: i64, max_age: Duration, changes: &[(Name, Change)]) -> Result<(), Unwritten> {
        let lock = self.folder.path().join(LOCK);
        let _held = self.folder.lock(LOCK).map_err(|error| Error::of_file(&lock, error))?;
        // What cannot be read was reported when it was needed; all of it is at the backend.
        let mut contents = self.read().ok().flatten().unwrap_or_else(|| Contents::empty(&self.backend));
        contents.expire(now, max_age);
        let mut left_out = 0;
        for (name, change) in changes {
            left_out += usize::from(!contents.apply(name.as_str(), change.clone()));
        }
        if contents.is_empty() {
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::of_file(&self.path, error).into());
                }
                _ => {}
            }
        } else {
            let key = self.key()?.map_or_else(|| Key::make(&self.folder, KEY).map(Arc::new), Ok)?;
            let sealed = key.encrypt(&contents.to_bytes(), &self.path)?;
            self.folder.replace(&self.file, &sealed).map_err(|error| Error::of_file(&self.path, error))?;
        }
        if left_out > 0 {
            let message = format!("{} has no room for {left_out} more", self.path.display());
            return Err(Unwritten::Some(Error::new(ErrorKind::Unavailable, message)));
        }
        Ok(())
    }

    fn key(&self) -> Result<Option<Arc<Key>>, Error> {
        match &self.key {
            Some(key) => Ok(Some(key.clone())),
            None => Ok(Key::read(&self.folder, KEY)?.map(Arc::new)),
        }
    }
}

/// FNV-1a: it only tells files apart, and two backends with the same one replace each other's file and read none of the other's.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
