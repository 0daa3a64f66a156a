//! Opens the backend that the configuration names, and hands out handles.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use halfbyte_core::config::{Config, SecretsBackend};
use halfbyte_core::home::Home;
use halfbyte_core::live::{Fetched, Policy, Source};
use halfbyte_core::{BoxError, Lifecycle, Live};
use secrecy::SecretBox;

use crate::handle::Shared;
use crate::provider::{Erased, Provider, Reading, Version};
use crate::{Env, Error, ErrorKind, Files, FromSecret, Local, Name, Secret};

/// The secrets of one process. Cloning is cheap and clones share their handles.
#[derive(Clone)]
pub struct Secrets(Arc<Inner>);

struct Inner {
    provider: Arc<dyn Erased>,
    policy: Policy,
    lifecycle: Lifecycle,
    /// The handles that are alive, so that a name asked for twice is fetched once.
    handles: Mutex<HashMap<(Box<str>, TypeId), Handle>>,
}

/// A handle's shared part, whatever its type; it does not keep the secret alive.
type Handle = Weak<dyn Any + Send + Sync>;

impl Secrets {
    /// Opens the backend that `HALFBYTE_SECRETS_URL` names.
    ///
    /// # Errors
    ///
    /// The home folder cannot be used, or is open to others than its owner. A backend that cannot be reached is no error
    /// here: each secret says so for itself, and readiness shows it.
    pub fn open(config: &Config, lifecycle: &Lifecycle) -> Result<Self, Error> {
        match &config.secrets {
            SecretsBackend::Local => {
                let home = Home::open(&config.home).map_err(|error| Error::of_file(&config.home, error))?;
                let local = Local::open(&home)?;
                Ok(Self::new(local, lifecycle))
            }
            SecretsBackend::Env => Ok(Self::new(Env::new(&config.other), lifecycle)),
            SecretsBackend::Files(folder) => Ok(Self::new(Files::new(folder), lifecycle)),
            other => Err(Error::new(ErrorKind::Unavailable, format!("{other:?} is not a backend of this version"))),
        }
    }

    /// Takes secrets from `provider`, by its own policy.
    pub fn new(provider: impl Provider, lifecycle: &Lifecycle) -> Self {
        let policy = provider.policy();
        Self::with_policy(provider, policy, lifecycle)
    }

    /// Takes secrets from `provider`, by a policy of yours.
    pub fn with_policy(provider: impl Provider, policy: Policy, lifecycle: &Lifecycle) -> Self {
        Self(Arc::new(Inner {
            provider: Arc::new(provider),
            policy,
            lifecycle: lifecycle.clone(),
            handles: Mutex::default(),
        }))
    }

    /// A handle to the secret `name`. Does no I/O: the first fetch begins in the background, and the handle's
    /// [`ready`](Secret::ready) waits for it. Readiness shows it as `secret.NAME`.
    ///
    /// Asking twice for the same name and type shares one fetch and one value. An
    /// [invalid](crate::ErrorKind::InvalidName) name gives a handle that answers just that.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn get<T: FromSecret>(&self, name: &str) -> Secret<T> {
        let mut handles = self.0.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Box::from(name), TypeId::of::<T>());
        if let Some(Ok(shared)) = handles.get(&key).and_then(Weak::upgrade).map(Arc::downcast::<Shared<T>>) {
            return Secret(shared);
        }
        let shared = Arc::new(self.start::<T>(name));
        handles.retain(|_, handle| handle.strong_count() > 0);
        handles.insert(key, Arc::downgrade(&shared) as Handle);
        Secret(shared)
    }

    fn start<T: FromSecret>(&self, name: &str) -> Shared<T> {
        let valid = Name::new(name);
        // What cannot be a name may be a value in the wrong place, and is shown nowhere.
        let shown = valid.as_ref().map_or("(invalid)", Name::as_str);
        let title = format!("secret.{shown}");
        let (policy, name) = (self.0.policy.clone(), Box::from(shown));
        let reader = Reader {
            provider: self.0.provider.clone(),
            name: valid,
            last: Mutex::new(Last { version: None, digest: None }),
            hasher: RandomState::new(),
        };
        Shared { name, live: Live::start(title, policy, reader, &self.0.lifecycle) }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secrets").field(&self.0.provider.name()).finish()
    }
}

/// Reads one secret of one type, and knows what it read last without keeping it.
struct Reader {
    provider: Arc<dyn Erased>,
    name: Result<Name, Error>,
    last: Mutex<Last>,
    hasher: RandomState,
}

struct Last {
    version: Option<Version>,
    /// Of the value, under a random key: a backend that stores many secrets as one changes its version with each of them.
    digest: Option<u64>,
}

impl Reader {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this differs from what was read last, which it is from now on.
    fn is_news(&self, value: Option<&[u8]>, version: Option<Version>) -> bool {
        let digest = Some(self.hasher.hash_one(value));
        let mut last = self.last();
        last.version = version;
        std::mem::replace(&mut last.digest, digest) != digest
    }
}

impl<T: FromSecret> Source<SecretBox<T>> for Reader {
    async fn fetch(&self) -> Result<Fetched<SecretBox<T>>, BoxError> {
        let name = self.name.as_ref().map_err(Clone::clone)?;
        let known = self.last().version.clone();
        let (value, parsed, version) = match self.provider.read(name, known.as_ref()).await {
            Ok(Reading { value: None, .. }) => return Ok(Fetched::unchanged()),
            Ok(Reading { value: Some(value), version }) => {
                let parsed = T::from_secret(&value).map_err(|error| {
                    Error::new(ErrorKind::Malformed, format!("the value of {name} cannot be used")).with_source(error)
                })?;
                (Some(value), parsed, version)
            }
            Err(error) => match T::absent() {
                Some(absent) if error.is_not_found() => (None, absent, None),
                _ => return Err(error.into()),
            },
        };
        // Only now that nothing can fail any more: what could not be used must be read again.
        let parsed = SecretBox::new(Box::new(parsed));
        let news = self.is_news(value.as_deref().map(Vec::as_slice), version);
        Ok(if news { Fetched::new(parsed) } else { Fetched::unchanged() })
    }
}
