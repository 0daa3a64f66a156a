//! `local:`, one encrypted file under `HALFBYTE_HOME`.

mod sealed;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use halfbyte_core::home::Home;
use halfbyte_core::live::Policy;
use secrecy::{ExposeSecret as _, SecretString};

use self::sealed::Values;
use crate::key::Key;
use crate::provider::{Contents, Stamp, Threads, contents, only_current};
use crate::{Ask, Error, ErrorKind, Name, Provider, Reading, Version};

/// `local:`: one file, `secrets/secrets.age` in the home folder, encrypted for the key in `secrets/secrets.key`.
///
/// Both are made by the first [`set`](Self::set). They are [age](https://age-encryption.org) files: the content is a JSON
/// object of names and values, and `age -d -i secrets.key secrets.age` shows it. Processes that share the home folder
/// share the secrets; a change shows in all of them within a second. What cannot be read is reported and left as it is.
///
/// The methods wait for files and for other writers: from async code call them in `spawn_blocking`.
///
/// ```
/// use halfbyte_core::home::Home;
/// use halfbyte_secrets::Local;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let local = Local::open(&Home::open(folder.path().join("state"))?)?;
/// local.set("db-password", &"hunter2".into())?;
/// assert_eq!(local.names()?, ["db-password"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Local {
    folder: Home,
    file: PathBuf,
    threads: Threads,
}

const FILE: &str = "secrets.age";
const KEY: &str = "secrets.key";
const LOCK: &str = "secrets.lock";
const LARGEST_FILE: usize = 16 * 1024 * 1024;
const LARGEST_VALUE: usize = 64 * 1024;

impl Local {
    /// Takes secrets from the folder `secrets` in `home`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or is open to others than its owner.
    pub fn open(home: &Home) -> Result<Self, Error> {
        let path = home.path().join("secrets");
        let folder = home.folder("secrets").map_err(|error| Error::of_file(&path, error))?;
        let file = folder.path().join(FILE);
        Ok(Self { folder, file, threads: Threads::default() })
    }

    /// Sets the secret `name`; other secrets stay as they are, also when another process writes at the same time.
    ///
    /// # Errors
    ///
    /// The name is invalid, the value is empty or over 64 KiB, or the file or its key cannot be used; then nothing changes.
    pub fn set(&self, name: &str, value: &SecretString) -> Result<(), Error> {
        let name = Name::new(name)?;
        if !(1..=LARGEST_VALUE).contains(&value.expose_secret().len()) {
            return Err(Error::new(
                ErrorKind::Malformed,
                format!("the value of {name} must be 1 to {LARGEST_VALUE} bytes"),
            ));
        }
        self.change(|values| {
            values.insert(name.to_string(), value.clone());
            true
        })?;
        Ok(())
    }

    /// Removes the secret `name`; answers whether it was there.
    ///
    /// # Errors
    ///
    /// The name is invalid, or the file or its key cannot be used; then nothing changes.
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        let name = Name::new(name)?;
        self.change(|values| values.remove(name.as_str()).is_some())
    }

    /// The names of all secrets, in order.
    ///
    /// # Errors
    ///
    /// The file or its key cannot be used.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        Ok(self.load()?.map(|(values, _, _)| values.into_keys().collect()).unwrap_or_default())
    }

    /// Changes the file under the lock, if `change` says that there is something to write.
    fn change(&self, change: impl FnOnce(&mut Values) -> bool) -> Result<bool, Error> {
        let fail = |error| Error::of_file(&self.file, error);
        let _held = self.folder.lock(LOCK).map_err(|error| Error::of_file(&self.folder.path().join(LOCK), error))?;
        let (mut values, key) = match self.load()? {
            Some((values, key, _)) => (values, Some(key)),
            None => (Values::new(), Key::read(&self.folder, KEY)?),
        };
        if !change(&mut values) {
            return Ok(false);
        }
        let key = key.map_or_else(|| Key::make(&self.folder, KEY), Ok)?;
        let sealed = sealed::seal(&self.file, &values, &key)?;
        if sealed.len() > LARGEST_FILE {
            let (file, limit) = (self.file.display(), LARGEST_FILE);
            return Err(Error::new(ErrorKind::Malformed, format!("{file} would be larger than {limit} bytes")));
        }
        self.folder.replace(FILE, &sealed).map_err(fail)?;
        Ok(true)
    }

    /// What the file holds, with the key that opened it; `None` if there is no file.
    fn load(&self) -> Result<Option<(Values, Key, Stamp)>, Error> {
        let contents = match read(&self.file) {
            Ok(contents) => contents,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let key = Key::read(&self.folder, KEY)?.ok_or_else(|| {
            let (file, key) = (self.file.display(), self.folder.path().join(KEY));
            let key = key.display();
            Error::new(
                ErrorKind::Denied,
                format!(
                    "{file} is there and its key {key} is not: put the key back, or move {file} away to begin anew"
                ),
            )
        })?;
        let values = sealed::open(&self.file, &contents.bytes, &key, &self.folder.path().join(KEY))?;
        Ok(Some((values, key, contents.stamp)))
    }

    fn look(&self, name: &Name, known: Option<&Version>) -> Result<Reading, Error> {
        if known.is_some() && fs::metadata(&self.file).is_ok_and(|metadata| Stamp::of(&metadata).is(known)) {
            return Ok(Reading::unchanged());
        }
        let found = self.load()?.and_then(|(mut values, _, stamp)| Some((values.remove(name.as_str())?, stamp)));
        let Some((value, stamp)) = found else {
            return Err(Error::new(ErrorKind::NotFound, format!("{} does not hold it", self.file.display())));
        };
        let mut reading = Reading::new(value.expose_secret());
        reading.version = stamp.settled();
        Ok(reading)
    }
}

impl Provider for Local {
    const NAME: &'static str = "local:";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let (name, known) = only_current(&ask)?;
        let (local, name, known) = (self.clone(), name.clone(), known.cloned());
        self.threads.run(move || local.look(&name, known.as_ref())).await
    }

    fn lends(&self, _: &Name) -> bool {
        false
    }

    fn policy(&self) -> Policy {
        // Looked at each second, also when something is wrong with it.
        let second = Duration::from_secs(1);
        Policy { fresh_for: second, max_backoff: second, ..Policy::default() }
    }
}

/// Reads the file `path` as one version of it.
fn read(path: &Path) -> Result<Contents, Error> {
    let fail = |error| Error::of_file(path, error);
    // Before it is opened: opening a pipe waits for who writes into it.
    if !fs::metadata(path).map_err(fail)?.is_file() {
        return Err(Error::new(ErrorKind::Malformed, format!("{} is not a file", path.display())));
    }
    contents(File::open(path).map_err(fail)?, path, LARGEST_FILE)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::provider::stuck::{Hung, LONG};

    #[tokio::test]
    async fn a_home_folder_that_hangs_holds_no_more_threads_than_it_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let local = Local::open(&Home::open(folder.path().join("home")).expect("opened")).expect("opened");
        local.set("token", &"hunter2".into()).expect("set");
        let name = Name::new("token").expect("a name");
        let hung = Hung::under(&local.threads).await;
        let soon = Duration::from_millis(20);
        timeout(soon, local.read(Ask::current(&name))).await.expect_err("it waits for a thread");
        drop(hung);
        timeout(LONG, local.read(Ask::current(&name))).await.expect("the folder is back").expect("read");
    }
}
