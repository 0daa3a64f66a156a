//! State that several processes share as one file: changed as a whole under a lock, read as a whole.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use halfbyte_core::home::Home;
use halfbyte_core::live::{self, Fetched, Live, Policy, Source};
use halfbyte_core::{BoxError, Clock, Lifecycle, error_chain};
use jiff::Timestamp;
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
    fn view(&self, now: Timestamp) -> Result<Self::View, &'static str>;

    /// Until when a view is what the file says, where that is not until the file changes.
    fn good_until(_view: &Self::View) -> Option<Timestamp> {
        None
    }
}

/// The file. Its methods block: see [`blocking`].
pub(crate) struct StateFile<S> {
    folder: Home,
    clock: Clock,
    /// The content that was read last, as a digest, and how long what was made of it is good. Neither the time of a file nor
    /// its number tells it from one that it replaced a moment ago.
    seen: Arc<Mutex<Option<Seen>>>,
    state: PhantomData<fn() -> S>,
}

struct Seen {
    content: Box<[u8]>,
    good_until: Option<Timestamp>,
}

impl<S> Clone for StateFile<S> {
    fn clone(&self) -> Self {
        let (folder, clock, seen) = (self.folder.clone(), self.clock.clone(), self.seen.clone());
        Self { folder, clock, seen, state: PhantomData }
    }
}

/// As much of the file as is read before the rest is understood.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl<S: State> StateFile<S> {
    /// In the folder of this crate's state.
    pub(crate) fn in_home(home: &Home, clock: &Clock) -> Result<Self, Error> {
        let folder = home.folder("identity").map_err(|error| {
            let message = format!("the folder of identity's state cannot be used: {}", error_chain(&error));
            Error::new(ErrorKind::Storage, message).caused_by(error)
        })?;
        Ok(Self { folder, clock: clock.clone(), seen: Arc::default(), state: PhantomData })
    }

    /// What comes of it, as it changes, once it is there.
    pub(crate) async fn watch(&self, name: &'static str, lifecycle: &Lifecycle) -> Result<Live<S::View>, Error> {
        let policy = Policy {
            fresh_for: Duration::from_secs(2),
            // The file is on this machine: when it cannot be read, something is wrong that waiting does not mend.
            max_stale: Duration::from_secs(60),
            // What is asked for is a look at a small file, and another process may have changed it just now.
            demand_gap: Duration::ZERO,
            ..Policy::default()
        };
        let live = Live::start(name, policy, self.clone(), lifecycle);
        live.ready().await.map_err(|error| self.failed("cannot be read", error))?;
        Ok(live)
    }

    /// Reads it, making it when there is none.
    pub(crate) fn read_or_make(&self, make: impl FnOnce() -> Result<S, Error>) -> Result<S, Error> {
        let _lock = self.lock()?;
        if let Some(content) = self.content()? {
            return Ok(self.parse(&content)?.0);
        }
        let state = make()?;
        self.write(&self.json(&state)?)?;
        Ok(state)
    }

    pub(crate) fn read(&self) -> Result<S, Error> {
        Ok(self.parse(&self.content()?.ok_or_else(|| self.gone())?)?.0)
    }

    /// Changes it; when `change` fails or changes nothing, it is left as it is.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut S) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = self.lock()?;
        let before = self.content()?.ok_or_else(|| self.gone())?;
        let (mut state, _) = self.parse(&before)?;
        let outcome = change(&mut state)?;
        let json = self.json(&state)?;
        // What is the same already costs no fsync, and nobody a cache.
        if json != before {
            self.write(&json)?;
        }
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
        // Where the fault is, and never what stands there: it may be a secret.
        let unreadable = |error: serde_json::Error| {
            self.corrupt(&format!("is corrupt at line {} column {}", error.line(), error.column()))
        };
        let Version { version } = serde_json::from_slice(content).map_err(unreadable)?;
        if version != S::VERSION {
            return Err(self.corrupt(&format!("is of version {version}, which this program does not know")));
        }
        let state: S = serde_json::from_slice(content).map_err(unreadable)?;
        let view = state.view(self.clock.now()).map_err(|what| self.corrupt(&format!("is corrupt ({what})")))?;
        Ok((state, view))
    }

    fn json(&self, state: &S) -> Result<Vec<u8>, Error> {
        serde_json::to_vec_pretty(state).map_err(|error| self.failed("cannot be written", error))
    }

    fn write(&self, json: &[u8]) -> Result<(), Error> {
        self.folder.replace(S::FILE, json).map_err(|error| self.failed("cannot be written", error))
    }

    /// What comes of the file; `None` when that is what was seen before.
    fn look(&self) -> Result<Option<(S::View, Seen)>, Error> {
        let content = self.content()?.ok_or_else(|| self.gone())?;
        let digest: Box<[u8]> = digest::digest(&digest::SHA256, &content).as_ref().into();
        if let Some(seen) = &*self.seen.lock().unwrap_or_else(PoisonError::into_inner)
            && seen.content == digest
            && seen.good_until.is_none_or(|until| self.clock.now() < until)
        {
            return Ok(None);
        }
        let (_, view) = self.parse(&content)?;
        let seen = Seen { content: digest, good_until: S::good_until(&view) };
        Ok(Some((view, seen)))
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
            Some((view, seen)) => {
                // Not before the view is handed over: what is given up on the way was not seen.
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
                Fetched::new(view)
            }
        })
    }
}

/// Has what comes of a file be no older than this call.
pub(crate) async fn reread<T: Send + Sync + 'static>(live: &Live<T>) -> Result<(), live::Error> {
    // Twice, as the first may join a read that began before this call.
    for _ in 0..2 {
        let seen = live.load().map_or(u64::MAX, |view| view.generation());
        live.refresh(seen).await?;
    }
    Ok(())
}

impl<S> fmt::Debug for StateFile<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateFile").field("folder", &self.folder.path()).finish_non_exhaustive()
    }
}

/// File locks and fsync block; they have threads of their own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Storage, "the work on the file ended early").caused_by(error))
    })
}
