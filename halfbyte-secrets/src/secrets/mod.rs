//! Opens the backend that the configuration names, and hands out handles.

mod builder;

use std::any::{Any, TypeId};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use halfbyte_core::config::{Config, Environment, SecretsBackend};
use halfbyte_core::lifecycle::Phase;
use halfbyte_core::live::Status;
use halfbyte_core::{Lifecycle, Live};
use tokio::time::Instant;

pub use self::builder::Builder;
use crate::boot::{self, Boot, Memory};
use crate::handle::Shared;
use crate::journal::Audience;
use crate::lease::{Borrower, Loans};
use crate::openbao::{self, OpenBao};
use crate::provider::Provider;
use crate::reader::Reader;
use crate::rotation::Rotation;
use crate::{Env, Error, ErrorKind, Files, FromSecret, Name, Policy, Secret};

/// How long giving leases back may take in all at the end.
const ENDING: Duration = Duration::from_secs(5);

/// The secrets of one process. Cloning is cheap and clones share their handles.
#[derive(Clone)]
pub struct Secrets(Arc<Inner>);

struct Inner {
    policy: Policy,
    /// Of those that have one of their own.
    policies: HashMap<Box<str>, Policy>,
    lifecycle: Lifecycle,
    audience: Audience,
    loans: Loans,
    memory: Option<Arc<dyn Memory>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The handles that are alive, so that a name asked for twice is fetched once.
    handles: HashMap<(Box<str>, TypeId), Arc<dyn Handle>>,
    /// The names that may be asked for.
    declared: BTreeSet<Box<str>>,
    /// No name comes to them, though the process is not ready yet.
    is_sealed: bool,
    /// Somebody gives back what is lent, at the end.
    is_attended: bool,
}

impl State {
    /// Where the handle to the secret `name` is, or will be.
    fn slot<T: FromSecret>(&mut self, name: &Name) -> Arc<Slot<T>> {
        let key = (Box::from(name.as_str()), TypeId::of::<T>());
        let known = self.handles.get(&key).filter(|handle| !handle.is_gone()).cloned();
        let known = known.map(|handle| -> Arc<dyn Any + Send + Sync> { handle });
        if let Some(Ok(slot)) = known.map(Arc::downcast) {
            return slot;
        }
        self.handles.retain(|_, handle| !handle.is_gone());
        let slot = Arc::new(Slot(OnceLock::new()));
        self.handles.insert(key, slot.clone());
        slot
    }
}

/// A handle's shared part, once it is started; it does not keep the secret alive. Who starts it holds no lock that others need.
struct Slot<T: FromSecret>(OnceLock<Weak<Shared<T>>>);

/// A slot, whatever its type.
trait Handle: Any + Send + Sync {
    /// Whether the last handle was dropped.
    fn is_gone(&self) -> bool;
    fn status(&self) -> Option<Status>;
}

impl<T: FromSecret> Handle for Slot<T> {
    fn is_gone(&self) -> bool {
        self.0.get().is_some_and(|shared| shared.strong_count() == 0)
    }

    fn status(&self) -> Option<Status> {
        Some(self.0.get()?.upgrade()?.live.status())
    }
}

/// How handles are shown that were not started; what was asked for may be an outsider's choice, or a value in the wrong place.
const UNDECLARED: &str = "(undeclared)";
const INVALID: &str = "(invalid)";

impl Secrets {
    /// Opens the backend that `HALFBYTE_SECRETS_URL` names.
    ///
    /// # Errors
    ///
    /// As [`configured`](Self::configured).
    pub fn open(config: &Config, lifecycle: &Lifecycle) -> Result<Self, Error> {
        Ok(Self::configured(config)?.build(lifecycle))
    }

    /// The backend that `HALFBYTE_SECRETS_URL` names, with more to say about how it is used. Of one on the network an
    /// encrypted copy is kept under `HALFBYTE_HOME`, for a start while it is down.
    ///
    /// # Errors
    ///
    /// The home folder cannot be used, or is open to others than its owner; the URL says something that the backend cannot do;
    /// or the backend is not built in. A backend that cannot be reached is no error here: each secret says so for itself, and
    /// readiness shows it.
    pub fn configured(config: &Config) -> Result<Builder, Error> {
        match &config.secrets {
            SecretsBackend::Local => local(config),
            SecretsBackend::Env => {
                if config.environment == Environment::Production && !Env::is_taken() {
                    tracing::warn!(
                        target: "halfbyte::secrets",
                        "secrets are in the environment of this process, and of each that it starts: call Env::take first in main",
                    );
                }
                Ok(Self::builder(Env::new(&config.other)))
            }
            SecretsBackend::Files(folder) => Ok(Self::builder(Files::new(folder))),
            SecretsBackend::OpenBao(url) => {
                let auth = openbao::Auth::from_url(url, &config.other)?;
                Ok(Self::builder(OpenBao::from_url(url, auth)?).remembering(config, url.as_str()))
            }
            #[cfg(feature = "aws")]
            SecretsBackend::AwsSecretsManager { region, prefix } => {
                let builder = Self::builder(crate::Aws::new(region, prefix)?);
                Ok(builder.remembering(config, &format!("aws-sm://{region}/{prefix}")))
            }
            other => {
                let what =
                    format!("{other:?} is not in this build of halfbyte-secrets: turn its feature on, such as `aws`");
                Err(Error::new(ErrorKind::Unavailable, what))
            }
        }
    }

    /// Takes secrets from `provider`, by its own policy.
    pub fn new(provider: impl Provider, lifecycle: &Lifecycle) -> Self {
        Self::builder(provider).build(lifecycle)
    }

    /// Takes secrets from `provider`, with more to say about how.
    pub fn builder(provider: impl Provider) -> Builder {
        Builder::new(provider)
    }

    /// A handle to the secret `name`. Does no I/O: the first fetch begins in the background, and the handle's
    /// [`ready`](Secret::ready) waits for it. Readiness shows it as `secret.NAME`.
    ///
    /// Asking twice for the same name and type shares one fetch and one value. An
    /// [invalid](crate::ErrorKind::InvalidName) name gives a handle that answers just that, and that readiness does not show.
    /// So does, with [`Undeclared`](crate::ErrorKind::Undeclared), a name that was not asked for, or
    /// [declared](Self::declare), before the process was [ready](Phase::Ready) or the names were [sealed](Self::seal): what a
    /// request says must not choose what is read.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn get<T: FromSecret>(&self, name: &str) -> Secret<T> {
        let name = match Name::new(name) {
            Ok(name) => name,
            Err(error) => return Secret(Arc::new(self.refused(INVALID, error))),
        };
        loop {
            // What follows calls others, who may ask for a secret themselves: the lock is for the decision alone.
            let slot = match self.slot::<T>(&name) {
                Ok(slot) => slot,
                Err(error) => return Secret(Arc::new(self.refused(UNDECLARED, error))),
            };
            let mut started = None;
            let shared = slot.0.get_or_init(|| Arc::downgrade(started.insert(Arc::new(self.start(name.clone())))));
            if started.is_some() {
                let was_attended = std::mem::replace(&mut self.state().is_attended, true);
                if !was_attended {
                    self.attend();
                    if let Some(memory) = &self.0.memory {
                        boot::flush_at_the_end(memory.clone(), &self.0.lifecycle);
                    }
                }
            }
            // None if another one has started it and dropped it again since.
            if let Some(shared) = started.or_else(|| shared.upgrade()) {
                return Secret(shared);
            }
        }
    }

    /// Says that `name` may be asked for later, once the process serves.
    ///
    /// # Errors
    ///
    /// The name is [invalid](crate::ErrorKind::InvalidName), or the process serves already, or the names are
    /// [sealed](Self::seal).
    pub fn declare(&self, name: &str) -> Result<(), Error> {
        let name = Name::new(name)?;
        let allowed = self.allow(&mut self.state(), &name);
        allowed.inspect_err(|error| self.0.audience.of(UNDECLARED).failed(0, error))
    }

    /// From now on only names that were asked for or [declared](Self::declare) can be read, for all clones and for good. It is
    /// so by itself once the life cycle is at [`Phase::Ready`], which a product's server enters; a program that runs this crate
    /// alone calls this before it serves.
    pub fn seal(&self) {
        self.state().is_sealed = true;
    }

    /// The names that were asked for or declared, in order: what the manifest of a product lists.
    pub fn declared(&self) -> Vec<String> {
        self.state().declared.iter().map(ToString::to_string).collect()
    }

    fn slot<T: FromSecret>(&self, name: &Name) -> Result<Arc<Slot<T>>, Error> {
        let mut state = self.state();
        self.allow(&mut state, name)?;
        Ok(state.slot(name))
    }

    fn allow(&self, state: &mut State, name: &Name) -> Result<(), Error> {
        if self.0.lifecycle.phase() < Phase::Ready && !state.is_sealed {
            state.declared.insert(name.as_str().into());
        } else if !state.declared.contains(name.as_str()) {
            let message = format!("the secret {name} was not asked for at start: get or declare it before serving");
            return Err(Error::new(ErrorKind::Undeclared, message));
        }
        Ok(())
    }

    /// What only ever answers `error`.
    fn refused<T: FromSecret>(&self, shown: &str, error: Error) -> Shared<T> {
        let journal = self.0.audience.of(shown);
        journal.failed(0, &error);
        let live = Live::failed(format!("secret.{shown}"), error);
        Shared { live, rotation: Arc::new(Rotation::new()), journal, _holder: None }
    }

    fn start<T: FromSecret>(&self, name: Name) -> Shared<T> {
        let inner = &self.0;
        let policy = inner.policies.get(name.as_str()).unwrap_or(&inner.policy).clone();
        let (rotation, journal) = (Arc::new(Rotation::new()), inner.audience.of(name.as_str()));
        let (live, shown) = (policy.live.clone(), format!("secret.{name}"));
        let boot = Boot::new(inner.memory.clone(), policy.snapshot, inner.lifecycle.clock().clone());
        let (borrower, holder) = Borrower::new(&inner.loans, journal.clone(), live.fetch_timeout);
        let reader = Reader::new(name, policy, rotation.clone(), borrower, boot, journal.clone());
        let live = Live::start(shown, live, reader, &inner.lifecycle);
        Shared { live, rotation, journal, _holder: Some(holder) }
    }

    /// Gives back what is lent when the process ends, and those that work with it have.
    fn attend(&self) {
        let loans = self.0.loans.clone();
        self.0.lifecycle.spawn_last("secrets", move |until| async move {
            loans.end(until.min(Instant::now() + ENDING)).await;
        });
    }

    fn statuses(&self) -> Vec<Status> {
        let handles: Vec<_> = self.state().handles.values().cloned().collect();
        handles.iter().filter_map(|handle| handle.status()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "local")]
fn local(config: &Config) -> Result<Builder, Error> {
    let home = halfbyte_core::home::Home::open(&config.home);
    let home = home.map_err(|error| Error::of_file(&config.home, error))?;
    Ok(Secrets::builder(crate::Local::open(&home)?))
}

#[cfg(not(feature = "local"))]
fn local(_config: &Config) -> Result<Builder, Error> {
    let message =
        "local: is not in this build: set HALFBYTE_SECRETS_URL to another, or build with the feature \"local\"";
    Err(Error::new(ErrorKind::Unavailable, message))
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secrets").field(&self.0.audience.provider).finish()
    }
}
