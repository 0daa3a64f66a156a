//! State that several processes share as one file: changed as a whole under a lock, read as a whole.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use halfbyte_core::home::Home;
use halfbyte_core::live::{Fetched, Source};
use halfbyte_core::{BoxError, error_chain};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// What such a file holds: a JSON object with the member `version`.
pub(crate) trait State: Serialize + DeserializeOwned + Send + 'static {
    /// The one version that this program reads and writes.
    const VERSION: u32;
    /// The name of the file; the lock beside it ends in `.lock`.
    const FILE: &'static str;
    /// What is made of it for use.
    type View: Send + Sync + 'static;

    /// Checks all of it, and says what of it is corrupt. Never what stands there: it may be a secret.
    fn view(&self) -> Result<Self::View, &'static str>;
}

type Digest = Box<[u8]>;

/// The file. Its methods block: see [`blocking`].
pub(crate) struct StateFile<S> {
    folder: Home,
    /// The content that was read last, as a digest. Neither the time of a file nor its number tells it from one that it
    /// replaced a moment ago.
    seen: Arc<Mutex<Option<Digest>>>,
    state: PhantomData<fn() -> S>,
}

impl<S> Clone for StateFile<S> {
    fn clone(&self) -> Self {
        Self { folder: self.folder.clone(), seen: self.seen.clone(), state: PhantomData }
    }
}

/// As much of the file as is read before the rest is understood.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl<S: State> StateFile<S> {
    pub(crate) fn new(folder: Home) -> Self {
        Self { folder, seen: Arc::default(), state: PhantomData }
    }

    /// Reads it, making it when there is none.
    pub(crate) fn read_or_make(&self, make: impl FnOnce() -> S) -> Result<S, Error> {
        let _lock = self.lock()?;
        if let Some(content) = self.content()? {
            return Ok(self.parse(&content)?.0);
        }
        let state = make();
        self.write(&state)?;
        Ok(state)
    }

    pub(crate) fn read(&self) -> Result<S, Error> {
        Ok(self.parse(&self.content()?.ok_or_else(|| self.gone())?)?.0)
    }

    /// Changes it; when `change` fails, it is left as it is.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut S) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = self.lock()?;
        let mut state = self.read()?;
        let outcome = change(&mut state)?;
        self.write(&state)?;
        Ok(outcome)
    }

    fn lock(&self) -> Result<std::fs::File, Error> {
        let name = format!("{}.lock", S::FILE.trim_end_matches(".json"));
        self.folder.lock(&name).map_err(|error| self.failed("cannot be locked", error))
    }

    fn content(&self) -> Result<Option<Vec<u8>>, Error> {
        self.folder.read_private(S::FILE).map_err(|error| self.failed("cannot be read", error))
    }

    /// What the file holds and what comes of it; all of it is checked before any of it is used.
    fn parse(&self, content: &[u8]) -> Result<(S, S::View), Error> {
        let unreadable = |error: serde_json::Error| {
            self.corrupt(&format!("is corrupt at line {} column {}", error.line(), error.column()))
        };
        let Version { version } = serde_json::from_slice(content).map_err(unreadable)?;
        if version != S::VERSION {
            return Err(self.corrupt(&format!("is of version {version}, which this program does not know")));
        }
        let state: S = serde_json::from_slice(content).map_err(unreadable)?;
        let view = state.view().map_err(|what| self.corrupt(&format!("is corrupt ({what})")))?;
        Ok((state, view))
    }

    fn write(&self, state: &S) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(state).map_err(|error| self.failed("cannot be written", error))?;
        self.folder.replace(S::FILE, &json).map_err(|error| self.failed("cannot be written", error))
    }

    /// What comes of the file; `None` when its content is what was seen before.
    fn look(&self) -> Result<Option<(S::View, Digest)>, Error> {
        let content = self.content()?.ok_or_else(|| self.gone())?;
        let digest: Digest = digest::digest(&digest::SHA256, &content).as_ref().into();
        if self.seen.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&digest) {
            return Ok(None);
        }
        Ok(Some((self.parse(&content)?.1, digest)))
    }

    fn path(&self) -> String {
        self.folder.path().join(S::FILE).display().to_string()
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("{} {what}; it is left as it is", self.path()))
    }

    fn gone(&self) -> Error {
        Error::new(ErrorKind::Storage, format!("{} is gone", self.path()))
    }

    fn failed(&self, what: &str, source: impl Into<BoxError>) -> Error {
        Error::new(ErrorKind::Storage, format!("{} {what}", self.path())).caused_by(source)
    }
}

impl<S: State> Source<S::View> for StateFile<S> {
    async fn fetch(&self) -> Result<Fetched<S::View>, BoxError> {
        let file = self.clone();
        Ok(match blocking(move || file.look()).await? {
            None => Fetched::unchanged(),
            Some((view, digest)) => {
                // Not before the view is handed over: what is given up on the way was not seen.
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
                Fetched::new(view)
            }
        })
    }
}

/// Opens the folder of this crate's state.
pub(crate) fn folder(home: &Home) -> Result<Home, Error> {
    home.folder("identity").map_err(|error| {
        let message = format!("the folder of identity's state cannot be used: {}", error_chain(&error));
        Error::new(ErrorKind::Storage, message).caused_by(error)
    })
}

/// File locks and fsync block; they have threads of their own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Storage, "the work on the file ended early").caused_by(error))
    })
}
