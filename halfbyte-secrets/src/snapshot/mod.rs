//! An encrypted copy of what was read last, for a start while the backend is down.

mod contents;
mod file;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::config::Config;
use halfbyte_core::error_chain;
use halfbyte_core::home::Home;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use self::contents::{Change, Found};
use self::file::File;
use self::writer::Writer;
use crate::boot::{Memory, Recalled};
use crate::key::Key;
use crate::provider::{Boxed, Threads};
use crate::{Error, ErrorKind, Name};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An encrypted copy of the values that were read last, so that a product restarts while the backend is down.
///
/// ```
/// use halfbyte_core::config::Config;
/// use halfbyte_core::{Clock, Lifecycle};
/// use halfbyte_secrets::{BootSnapshot, Files, Secrets};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let config = Config::parse([("HALFBYTE_HOME", folder.path().join("state").to_str().unwrap())])?;
/// # let lifecycle = Lifecycle::new(Clock::system());
/// let snapshot = BootSnapshot::for_backend(&config, "https://vault.example.com/v1/secret");
/// let secrets = Secrets::builder(Files::new("/mnt/network/secrets")).snapshot(snapshot).build(&lifecycle);
/// # Ok(()) }
/// ```
///
/// It is one file for each backend, `secrets/boot-DIGEST.age` in the home folder: processes that share the home folder and the
/// backend share it, and a write replaces it as a whole. In it are at most 1,000 values of together 1 MiB, each with when the backend last confirmed it. A value is used
///
/// - only when the first read of its secret fails and [may work later](Error::is_temporary): the backend cannot be reached, is
///   overloaded, or does not answer within half of the policy's `fetch_timeout`. What the backend denies, does not have, or has
///   in a form that cannot be used, stays so;
/// - only for the backend that it came from, by its URL;
/// - until 24 hours after the backend last confirmed it, or [`max_age`](Self::max_age); then it is refused, and deleted. Within
///   that as long as the policy's `max_stale` says;
/// - until the backend is back: it is asked again after five seconds, and then as after any failed read.
///
/// Never in it are leased values, those with a policy that is [`never_on_disk`](crate::Policy::never_on_disk), and those of a
/// [stage](crate::Stage) other than the current one. What the backend no longer has or gives is removed from it.
///
/// # What it protects
///
/// The file is an [age](https://age-encryption.org) file, and so is of no use without its key. Unless a key is
/// [given](Self::key), that lies beside it in `secrets/boot.key` (mode 0600): then it keeps values out of `grep`, of screens, and
/// of backups that have the one file and not the other, and **not** from who can read the home folder as this user or as root,
/// nor from who has the disk. For that, give it a key from elsewhere: systemd's `LoadCredentialEncrypted`, a TPM, a mounted
/// secret. Who can write to the folder can put back an older copy of the file, which counts until its values are too old.
///
/// What is read is written at once, in the background; what is still to be written when the life cycle of the process
/// [ends](halfbyte_core::Lifecycle::stop_tasks) is written then, so that what the backend took back a moment before does not come
/// back with the next start. A write that fails is told of in the log, and made up for by the next one, or at the end. However the
/// process ends, the file is the one before a write or the one after it.
///
/// A file that is damaged or has lost its key is reported in the log and replaced: nothing in it is the only copy.
#[derive(Clone)]
pub struct BootSnapshot(Arc<Inner>);

struct Inner {
    file: File,
    max_age: Duration,
    writer: Arc<Writer>,
    threads: Threads,
}

impl BootSnapshot {
    /// A snapshot in the home folder, of the values of the backend with the URL `backend`. Files are made with the first value.
    ///
    /// # Errors
    ///
    /// The folder `secrets` cannot be made, or is open to others than its owner.
    pub fn open(home: &Home, backend: &str) -> Result<Self, Error> {
        let path = home.path().join("secrets");
        let folder = home.folder("secrets").map_err(|error| Error::of_file(&path, error))?;
        Ok(Self::of(File::new(folder, backend, None), DAY))
    }

    /// The same in `HALFBYTE_HOME`; `None`, with a warning, where that cannot be used: secrets are then read from the backend
    /// or not at all.
    pub fn for_backend(config: &Config, backend: &str) -> Option<Self> {
        let home = Home::open(&config.home).map_err(|error| Error::of_file(&config.home, error));
        home.and_then(|home| Self::open(&home, backend)).inspect_err(|error| tell("there is none", error)).ok()
    }

    /// The same with a key of the caller's (`AGE-SECRET-KEY-1...`, as `age-keygen` makes one) in place of one beside the file.
    ///
    /// # Errors
    ///
    /// It is not such a key.
    pub fn key(self, key: &SecretString) -> Result<Self, Error> {
        let key = Key::parse(key.expose_secret().as_bytes()).ok_or_else(|| {
            Error::new(ErrorKind::Malformed, "the key of the boot snapshot is not an age key (AGE-SECRET-KEY-1...)")
        })?;
        Ok(Self::of(self.0.file.with_key(key), self.0.max_age))
    }

    /// The same with another bound on the age of values, counted from when the backend last confirmed them.
    #[must_use]
    pub fn max_age(self, max_age: Duration) -> Self {
        Self::of(self.0.file.clone(), max_age)
    }

    fn of(file: File, max_age: Duration) -> Self {
        let target = file.clone();
        let writer = Writer::new(
            move |now, changes| target.change(now, max_age, changes),
            |error| tell("values are not kept for the next start, or not forgotten", error),
        );
        Self(Arc::new(Inner { file, max_age, writer, threads: Threads::default() }))
    }
}

impl Memory for BootSnapshot {
    fn recall<'a>(&'a self, name: &'a Name, now: i64) -> Boxed<'a, Option<Recalled>> {
        Box::pin(async move {
            let (inner, wanted) = (self.0.clone(), name.clone());
            let found = self.0.threads.run(move || {
                let contents = inner.file.read()?;
                Ok(contents.map_or(Found::Nothing, |mut held| held.find(wanted.as_str(), now, inner.max_age)))
            });
            match found.await {
                Ok(Found::Value(value, left)) => Some(Recalled { value, left }),
                Ok(Found::Nothing) => None,
                Ok(Found::TooOld) => {
                    let message = format!("what it has of {name} was confirmed too long ago, and is deleted");
                    tell("a value was not restored", &Error::new(ErrorKind::Unavailable, message));
                    // Each write drops what is too old.
                    self.0.writer.write_soon(now, None);
                    None
                }
                Err(error) => {
                    tell("a value was not restored", &error);
                    None
                }
            }
        })
    }

    fn keep(&self, name: &Name, value: &[u8], now: i64) {
        let value = Some(Zeroizing::new(value.to_vec()));
        self.0.writer.write_soon(now, Some((name.clone(), Change { at: now, value })));
    }

    fn forget(&self, name: &Name, now: i64) {
        self.0.writer.write_soon(now, Some((name.clone(), Change { at: now, value: None })));
    }

    fn flush(&self) -> Boxed<'_, ()> {
        Box::pin(self.0.writer.flush())
    }
}

fn tell(what: &str, error: &Error) {
    let error = error_chain(error);
    tracing::warn!(target: "halfbyte::secrets", error, "the boot snapshot: {what}");
}

impl fmt::Debug for BootSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootSnapshot").field("file", &self.0.file.path()).finish_non_exhaustive()
    }
}
