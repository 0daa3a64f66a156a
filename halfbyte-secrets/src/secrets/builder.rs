use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use halfbyte_core::Lifecycle;
use halfbyte_core::config::Config;
use opentelemetry::global;
use opentelemetry::metrics::Meter;

use super::{Inner, Secrets};
use crate::boot::Memory;
use crate::journal::{Audience, Event, Listener};
use crate::lease::Loans;
use crate::provider::{Erased, Provider};
use crate::{Policy, metrics};

/// How secrets are taken from a provider; see [`Secrets::builder`].
pub struct Builder {
    provider: Arc<dyn Erased>,
    policy: Policy,
    policies: HashMap<Box<str>, Policy>,
    who: Arc<str>,
    listener: Option<Listener>,
    meter: Option<Meter>,
    memory: Option<Arc<dyn Memory>>,
}

impl Builder {
    pub(super) fn new(provider: impl Provider) -> Self {
        let policy = Policy::from(provider.policy());
        let who = std::env::args_os().next().map(PathBuf::from);
        let who = who.as_deref().and_then(Path::file_name).map_or_else(Cow::default, OsStr::to_string_lossy);
        Self {
            provider: Arc::new(provider),
            policy,
            policies: HashMap::new(),
            who: who.into(),
            listener: None,
            meter: None,
            memory: None,
        }
    }

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

    /// Who reads, as events name him: the product. The name of the program unless it is said.
    #[must_use]
    pub fn who(mut self, who: &str) -> Self {
        self.who = who.into();
        self
    }

    /// Tells `listener` of everything that happens to a secret: for an audit log of the product's own. It is called where it
    /// happens, so it must be quick, and it must not read secrets itself.
    #[must_use]
    pub fn listen(mut self, listener: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Where metrics go; to the global meter provider of OpenTelemetry, as it is when the secrets are built, unless it is
    /// said.
    #[must_use]
    pub fn meter(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Keeps an encrypted copy of what is read, for a start while the backend is down. `None` for no copy.
    #[cfg(feature = "snapshot")]
    #[must_use]
    pub fn snapshot(mut self, snapshot: impl Into<Option<crate::BootSnapshot>>) -> Self {
        self.memory = snapshot.into().map(|snapshot| Arc::new(snapshot) as Arc<dyn Memory>);
        self
    }

    /// With the copy for a start without the backend at `url`.
    pub(super) fn remembering(self, config: &Config, url: &str) -> Self {
        #[cfg(feature = "snapshot")]
        return self.snapshot(crate::BootSnapshot::for_backend(config, url));
        #[cfg(not(feature = "snapshot"))]
        {
            let _nowhere_to_keep_it = (config, url);
            self
        }
    }

    /// The secrets, which live as long as `lifecycle`.
    pub fn build(self, lifecycle: &Lifecycle) -> Secrets {
        let Self { provider, policy, policies, who, listener, meter, memory } = self;
        let meter = meter.unwrap_or_else(|| global::meter("halfbyte-secrets"));
        let audience = Audience { who, provider: provider.name(), listener, reads: metrics::reads(&meter) };
        let secrets = Secrets(Arc::new(Inner {
            policy,
            policies,
            lifecycle: lifecycle.clone(),
            loans: Loans::new(provider, audience.clone()),
            audience,
            memory,
            state: Mutex::default(),
        }));
        let inner = Arc::downgrade(&secrets.0);
        metrics::register_ages(&meter, move || {
            inner.upgrade().map(|inner| Secrets(inner).statuses()).unwrap_or_default()
        });
        secrets
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Builder").field(&self.provider.name()).finish()
    }
}
