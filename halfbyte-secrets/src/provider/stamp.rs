//! Tells whether a file is the one that was read last, by one `stat`.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use halfbyte_core::Clock;
use secrecy::zeroize::Zeroizing;

use crate::{Error, ErrorKind, Version};

/// File systems count time in steps of up to this; a file may change twice within one step and look the same.
const COARSEST: Duration = Duration::from_secs(2);

/// Which file it is, and when it last changed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    version: Version,
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let (modified, nanos) = (metadata.mtime(), metadata.mtime_nsec());
        let (device, file, size) = (metadata.dev(), metadata.ino(), metadata.size());
        let version = format!("{device:x}.{file:x}.{size:x}.{modified}.{nanos}.{}.{}", changed.0, changed.1);
        Self { version: Version::new(version), changed }
    }

    /// Whether this is the file of the `known` version.
    pub(crate) fn is(&self, known: Option<&Version>) -> bool {
        known == Some(&self.version)
    }

    /// The version to remember; none while the file is so new that the next change may leave no mark.
    pub(crate) fn settled(&self) -> Option<Version> {
        let now = Clock::system().now();
        let changed = i128::from(self.changed.0) * 1_000_000_000 + i128::from(self.changed.1);
        let age = now.as_nanosecond() - changed;
        (age > COARSEST.as_nanos().cast_signed()).then(|| self.version.clone())
    }
}

/// What a file holds, and which file that was.
pub(crate) struct Contents {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) stamp: Stamp,
}

/// Reads an open file of at most `limit` bytes, as one version of it; `path` is how errors name it.
pub(crate) fn contents(mut file: File, path: &Path, limit: usize) -> Result<Contents, Error> {
    let fail = |error| Error::of_file(path, error);
    let malformed = |what: String| Error::new(ErrorKind::Malformed, format!("{} {what}", path.display()));
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(malformed("is not a file".into()));
    }
    let before = Stamp::of(&metadata);
    // Of full size from the start: a buffer that grows leaves copies behind.
    let size = usize::try_from(metadata.len()).unwrap_or(limit).min(limit);
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    (&mut file).take(limit as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() > limit {
        return Err(malformed(format!("is larger than {limit} bytes")));
    }
    let stamp = Stamp::of(&file.metadata().map_err(fail)?);
    if stamp != before {
        let path = path.display();
        return Err(Error::new(ErrorKind::Unavailable, format!("{path} was being written while it was read")));
    }
    Ok(Contents { bytes, stamp })
}

/// Reads the file `path`, whose symbolic links are followed, of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Contents, Error> {
    // Before it is opened: opening a pipe waits for who writes into it.
    let metadata = std::fs::metadata(path).map_err(|error| Error::of_file(path, error))?;
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::Malformed, format!("{} is not a file", path.display())));
    }
    contents(File::open(path).map_err(|error| Error::of_file(path, error))?, path, limit)
}
