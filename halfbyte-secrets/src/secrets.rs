//! Opens the backend that the configuration names, and hands out handles.

use std::any::{Any, TypeId};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use halfbyte_core::config::{Config, Environment, SecretsBackend};
use halfbyte_core::lifecycle::Phase;
use halfbyte_core::{Lifecycle, Live};

use crate::boot::{Boot, Memory};
use crate::handle::Shared;
use crate::journal::Journal;
use crate::lease::Ledger;
use crate::provider::{Erased, Provider};
use crate::reader::{Reader, give_back};
use crate::rotation::Rotation;
use crate::{Env, Error, ErrorKind, Files, FromSecret, Name, Policy, Secret};

/// How long giving leases back may take in all.
const GIVING_BACK: Duration = Duration::from_secs(5);

/// The secrets of one process. Cloning is cheap and clones share their handles.
#[derive(Clone)]
pub struct Secrets(Arc<Inner>);

struct Inner {
    provider: Arc<dyn Erased>,
    policy: Policy,
    /// Of those that have one of their own.
    policies: HashMap<Box<str>, Policy>,
    lifecycle: Lifecycle,
    ledger: Ledger,
    memory: Option<Arc<dyn Memory>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The handles that are alive, so that a name asked for twice is fetched once.
    handles: HashMap<(Box<str>, TypeId), Handle>,
    /// The names that may be asked for.
    declared: BTreeSet<Box<str>>,
    /// Somebody gives back what is lent, at the end.
    is_attended: bool,
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
            SecretsBackend::Local => Self::open_local(config, lifecycle),
            SecretsBackend::Env => {
                if config.environment == Environment::Production && !Env::is_taken() {
                    tracing::warn!(
                        target: "halfbyte::secrets",
                        "secrets are in the environment of this process, and of each that it starts: call Env::take first in main",
                    );
                }
                Ok(Self::new(Env::new(&config.other), lifecycle))
            }
            SecretsBackend::Files(folder) => Ok(Self::new(Files::new(folder), lifecycle)),
            other => Err(Error::new(ErrorKind::Unavailable, format!("{other:?} is not a backend of this version"))),
        }
    }

    #[cfg(feature = "local")]
    fn open_local(config: &Config, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let home = halfbyte_core::home::Home::open(&config.home);
        let home = home.map_err(|error| Error::of_file(&config.home, error))?;
        Ok(Self::new(crate::Local::open(&home)?, lifecycle))
    }

    #[cfg(not(feature = "local"))]
    fn open_local(_config: &Config, _lifecycle: &Lifecycle) -> Result<Self, Error> {
        let message =
            "local: is not in this build: set HALFBYTE_SECRETS_URL to another, or build with the feature \"local\"";
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Takes secrets from `provider`, by its own policy.
    pub fn new(provider: impl Provider, lifecycle: &Lifecycle) -> Self {
        Self::builder(provider).build(lifecycle)
    }

    /// Takes secrets from `provider`, with more to say about how.
    pub fn builder(provider: impl Provider) -> Builder {
        let policy = Policy::from(provider.policy());
        Builder { provider: Arc::new(provider), policy, policies: HashMap::new(), memory: None }
    }

    /// A handle to the secret `name`. Does no I/O: the first fetch begins in the background, and the handle's
    /// [`ready`](Secret::ready) waits for it. Readiness shows it as `secret.NAME`.
    ///
    /// Asking twice for the same name and type shares one fetch and one value. An
    /// [invalid](crate::ErrorKind::InvalidName) name gives a handle that answers just that. So does, with
    /// [`Undeclared`](crate::ErrorKind::Undeclared), a name that was not asked for, or [declared](Self::declare), before the
    /// process was [ready](Phase::Ready): what a request says must not choose what is read.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn get<T: FromSecret>(&self, name: &str) -> Secret<T> {
        let mut state = self.state();
        let key = (Box::from(name), TypeId::of::<T>());
        if let Some(Ok(shared)) = state.handles.get(&key).and_then(Weak::upgrade).map(Arc::downcast::<Shared<T>>) {
            return Secret(shared);
        }
        let valid = Name::new(name).and_then(|name| self.allow(&mut state, name));
        let shared = Arc::new(self.start::<T>(name, valid));
        state.handles.retain(|_, handle| handle.strong_count() > 0);
        state.handles.insert(key, Arc::downgrade(&shared) as Handle);
        if !std::mem::replace(&mut state.is_attended, true) {
            self.attend();
        }
        Secret(shared)
    }

    /// Says that `name` may be asked for later, once the process serves.
    ///
    /// # Errors
    ///
    /// The name is [invalid](crate::ErrorKind::InvalidName), or the process serves already.
    pub fn declare(&self, name: &str) -> Result<(), Error> {
        self.allow(&mut self.state(), Name::new(name)?).map(drop)
    }

    /// The names that were asked for or declared, in order: what the manifest of a product lists.
    pub fn declared(&self) -> Vec<String> {
        self.state().declared.iter().map(ToString::to_string).collect()
    }

    fn allow(&self, state: &mut State, name: Name) -> Result<Name, Error> {
        if self.0.lifecycle.phase() < Phase::Ready {
            state.declared.insert(name.as_str().into());
        } else if !state.declared.contains(name.as_str()) {
            let message = format!("the secret {name} was not asked for at start: get or declare it before serving");
            let error = Error::new(ErrorKind::Undeclared, message);
            Journal::new(name.as_str(), self.0.provider.name()).failed(&error);
            return Err(error);
        }
        Ok(name)
    }

    fn start<T: FromSecret>(&self, name: &str, valid: Result<Name, Error>) -> Shared<T> {
        let inner = &self.0;
        // What cannot be a name may be a value in the wrong place, and is shown nowhere.
        let shown = Name::new(name).map_or_else(|_| "(invalid)".to_owned(), |name| name.to_string());
        let policy = inner.policies.get(name).unwrap_or(&inner.policy).clone();
        let (rotation, journal) = (Arc::new(Rotation::new()), Journal::new(&shown, inner.provider.name()));
        let live = policy.live.clone();
        let boot = Boot::new(inner.memory.clone(), policy.snapshot, inner.lifecycle.clock().clone());
        let (provider, ledger) = (inner.provider.clone(), inner.ledger.clone());
        let reader = Reader::new(provider, valid, policy, rotation.clone(), ledger, boot, journal.clone());
        let live = Live::start(format!("secret.{shown}"), live, reader, &inner.lifecycle);
        Shared { live, rotation, journal }
    }

    /// Gives back what is lent when the process is asked to end.
    fn attend(&self) {
        let Inner { provider, ledger, lifecycle, .. } = &*self.0;
        let (provider, ledger, stopping) = (provider.clone(), ledger.clone(), lifecycle.stopping());
        lifecycle.spawn("secrets", async move {
            stopping.await;
            let _ends_by_itself = tokio::time::timeout(GIVING_BACK, give_back(&*provider, &ledger)).await;
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How secrets are taken from a provider; see [`Secrets::builder`].
pub struct Builder {
    provider: Arc<dyn Erased>,
    policy: Policy,
    policies: HashMap<Box<str>, Policy>,
    memory: Option<Arc<dyn Memory>>,
}

impl Builder {
    /// The policy for all, in place of the provider's own.
    #[must_use]
    pub fn policy(mut self, policy: impl Into<Policy>) -> Self {
        self.policy = policy.into();
        self
    }

    /// The policy for the secret `name`.
    #[must_use]
    pub fn policy_for(mut self, name: &str, policy: impl Into<Policy>) -> Self {
        self.policies.insert(name.into(), policy.into());
        self
    }

    /// Keeps an encrypted copy of what is read, for a start while the backend is down. `None` for no copy.
    #[cfg(feature = "snapshot")]
    #[must_use]
    pub fn snapshot(mut self, snapshot: impl Into<Option<crate::BootSnapshot>>) -> Self {
        self.memory = snapshot.into().map(|snapshot| Arc::new(snapshot) as Arc<dyn Memory>);
        self
    }

    /// The secrets, which live as long as `lifecycle`.
    pub fn build(self, lifecycle: &Lifecycle) -> Secrets {
        let Self { provider, policy, policies, memory } = self;
        Secrets(Arc::new(Inner {
            provider,
            policy,
            policies,
            lifecycle: lifecycle.clone(),
            ledger: Ledger::default(),
            memory,
            state: Mutex::default(),
        }))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Builder").field(&self.provider.name()).finish()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secrets").field(&self.0.provider.name()).finish()
    }
}
