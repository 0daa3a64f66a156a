//! What a program holds: a live handle, and a snapshot of its value. Neither prints a value.

use std::fmt;
use std::sync::Arc;

use halfbyte_core::{Live, live};
use secrecy::ExposeSecret;
use secrecy::zeroize::Zeroize;
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use crate::guarded::Guarded;
use crate::journal::{Journal, Outcome};
use crate::lease::Holder;
use crate::rotation::{Previous, Rotation, Verdict};
use crate::{Error, ErrorKind};

pub(crate) const REDACTED: &str = "[REDACTED]";

/// A secret by name, kept current in the background. Cloning is a reference count, and clones share everything.
///
/// Dropping the last clone ends that, and gives back what was lent for the secret: keep one for as long as you use what it
/// answered.
///
/// Reading it is [`load`](Self::load), then [`expose_secret`](ExposeSecret::expose_secret):
///
/// ```
/// use halfbyte_secrets::{Error, ExposeSecret, Secret};
///
/// fn authorization(token: &Secret<String>) -> Result<String, Error> {
///     Ok(format!("Bearer {}", token.load()?.expose_secret()))
/// }
/// ```
pub struct Secret<T: Zeroize>(pub(crate) Arc<Shared<T>>);

/// What the handles to one secret share; the task behind `live` ends with the last of them.
pub(crate) struct Shared<T: Zeroize> {
    pub(crate) live: Live<Arc<Guarded<T>>>,
    pub(crate) rotation: Arc<Rotation<T>>,
    pub(crate) journal: Journal,
    /// None if there is nothing behind it that may lend.
    pub(crate) _holder: Option<Holder>,
}

impl<T: Zeroize + Send + Sync + 'static> Secret<T> {
    /// The value as it is now: no waiting, no I/O, no allocation.
    ///
    /// # Errors
    ///
    /// There is none: it is [not loaded yet](crate::ErrorKind::Pending), or the kind says why the backend gives none and the
    /// last known good value, if there was one, is older than the policy allows.
    #[inline]
    pub fn load(&self) -> Result<Snapshot<T>, Error> {
        self.0.live.load().map(Snapshot).map_err(|error| self.error(error))
    }

    /// Waits until the first load is through; for a boot that wants to be warm. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load). While the backend is left alone after an error, that error comes at once.
    pub async fn ready(&self) -> Result<(), Error> {
        self.0.live.ready().await.map_err(|error| self.error(error))
    }

    /// Counts the values that came from the backend, from 1; 0 while there is none.
    pub fn generation(&self) -> u64 {
        self.0.live.status().generation
    }

    /// Waits for a generation after `seen` and answers its number. Cancel safe.
    pub async fn changed(&self, seen: u64) -> u64 {
        self.0.live.changed(seen).await
    }

    /// Answers a newer value than generation `seen` if the backend has one: one fetch for all who ask meanwhile, and no more
    /// often than the policy's `demand_gap`. Compare [`Snapshot::generation`] with `seen`. Cancel safe.
    ///
    /// What is lent is the newest that there is until it is due to be replaced, since each read makes another credential: its
    /// lease is renewed if that is near, and the same generation is answered. Who was refused with it says so by
    /// [`reject`](Self::reject), which has it replaced however young its lease is.
    ///
    /// # Errors
    ///
    /// The backend could not be asked. The last known good value is still served by [`load`](Self::load).
    pub async fn refresh(&self, seen: u64) -> Result<Snapshot<T>, Error> {
        self.0.live.refresh(seen).await.map(Snapshot).map_err(|error| self.error(error))
    }

    /// Says that the backend which this credential is for did not accept generation `seen`, and answers another one: the
    /// current one if that is newer by now; else what the secret's backend has now, by one read for all who ask meanwhile; else,
    /// where there is such a [stage](crate::Stage), the value that is about to be current, or the one that this process itself
    /// went on from within the policy's [`rotation_window`](crate::Policy::rotation_window).
    ///
    /// All readers have that from then on, for a minute, or until the backend has a new current value; then the current one is
    /// tried again. What stands in is on probation: if it is rejected too, the current value is served again at once, and nothing
    /// stands in for it for a minute, and for twice as long each further time, up to ten minutes. A value that nothing stands in
    /// for is rejected until all that there is was.
    ///
    /// A rejection is believed. Whoever can make a backend answer 401 to this process can so make all its readers switch to the
    /// pending value, or to one that was replaced within the window, for a minute at a time. Reject only what the backend that the
    /// credential is for has said of the credential. Cancel safe.
    ///
    /// ```
    /// # async fn call(_: &str) -> u16 { 200 }
    /// use halfbyte_secrets::{Error, ExposeSecret, Secret};
    ///
    /// async fn call_with(token: &Secret<String>) -> Result<u16, Error> {
    ///     let current = token.load()?;
    ///     match call(current.expose_secret()).await {
    ///         401 => Ok(call(token.reject(current.generation()).await?.expose_secret()).await),
    ///         status => Ok(status),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejected`](ErrorKind::Rejected): the backend has nothing else; or there were more than five rejections, and less than
    /// ten seconds for each further one, so that who is refused for another reason does not make the backend work. Otherwise
    /// as [`refresh`](Self::refresh). What was rejected is still served by [`load`](Self::load).
    pub async fn reject(&self, seen: u64) -> Result<Snapshot<T>, Error> {
        let Shared { live, rotation, journal, .. } = &*self.0;
        if let Ok(newer) = live.load()
            && newer.generation() > seen
        {
            return Ok(Snapshot(newer));
        }
        let answer = match rotation.reject(seen) {
            Verdict::TooMany => return Err(self.rejected("too many values of it were rejected of late")),
            Verdict::Noted => {
                journal.tell(seen, Outcome::Rejected);
                // A read that is under way does not know of it yet.
                live.refetch(seen).await
            }
            Verdict::Awaited => live.refetch(seen).await,
            Verdict::Known => live.refresh(seen).await,
        };
        let answer = answer.map_err(|error| self.error(error))?;
        if answer.generation() > seen {
            Ok(Snapshot(answer))
        } else {
            Err(self.rejected("its backend has no other value"))
        }
    }

    /// The value before the current one, for the policy's [`rotation_window`](crate::Policy::rotation_window): accept both
    /// when you verify, use the current one when you call. No waiting, no I/O, no allocation.
    pub fn previous(&self) -> Option<PreviousValue<T>> {
        self.0.rotation.previous().map(PreviousValue)
    }

    /// Until when the backend lends `generation`, which a renewal moves. `None` if it is not lent: it then lasts until somebody
    /// changes it. The last eight are remembered, so that what was made with an older one can be ended before its lease is.
    pub fn lease_ends(&self, generation: u64) -> Option<Instant> {
        self.0.rotation.lease_ends(generation)
    }

    /// The name that it was asked for by.
    pub fn name(&self) -> &str {
        self.0.journal.name()
    }

    /// State, age, generation, failures and the last error, as readiness shows them.
    pub fn status(&self) -> live::Status {
        self.0.live.status()
    }

    #[cold]
    fn error(&self, error: live::Error) -> Error {
        Error::of_handle(self.name(), error)
    }

    #[cold]
    fn rejected(&self, why: &str) -> Error {
        Error::new(ErrorKind::Rejected, format!("the secret {} was rejected, and {why}", self.name()))
    }
}

impl<T: Zeroize> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, {REDACTED})", self.0.journal.name())
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T: Zeroize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// One generation of a [`Secret`]. It stays what it is while the secret moves on: keep it for one operation only.
pub struct Snapshot<T: Zeroize>(live::Snapshot<Arc<Guarded<T>>>);

impl<T: Zeroize> Snapshot<T> {
    /// Which generation this is, from 1.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }
}

impl<T: Zeroize> ExposeSecret<T> for Snapshot<T> {
    #[inline]
    fn expose_secret(&self) -> &T {
        self.0.expose_secret()
    }
}

impl<T: Zeroize> fmt::Debug for Snapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({REDACTED}, generation {})", self.0.generation())
    }
}

impl<T: Zeroize> fmt::Display for Snapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T: Zeroize> Serialize for Snapshot<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// The value of a [`Secret`] before the current one.
pub struct PreviousValue<T: Zeroize>(Arc<Previous<T>>);

impl<T: Zeroize> PreviousValue<T> {
    /// Which generation it was; 0 if it was current before this process started.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }
}

impl<T: Zeroize> ExposeSecret<T> for PreviousValue<T> {
    #[inline]
    fn expose_secret(&self) -> &T {
        self.0.value.expose_secret()
    }
}

impl<T: Zeroize> fmt::Debug for PreviousValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreviousValue({REDACTED}, generation {})", self.generation())
    }
}

impl<T: Zeroize> fmt::Display for PreviousValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T: Zeroize> Serialize for PreviousValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}
