use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use halfbyte_billing::{Billing, Stats};
use halfbyte_core::client::Client;
use halfbyte_core::config::{Config, Environment, SecretsBackend};
use halfbyte_core::home::Home;
use halfbyte_core::{BoxError, Lifecycle, ProductId, TenantId, error_chain};
use halfbyte_identity::access::Access;
use halfbyte_identity::embedded::ClientSpec;
use halfbyte_identity::{Identity, TokenSource};
use halfbyte_observe::{RequestIdLayer, ServerLayer, Telemetry, TraceTrust};
use halfbyte_secrets::{Local, Secrets};
use secrecy::{ExposeSecret as _, SecretString};
use tower::Layer as _;
use url::Url;

use crate::asks::Asks;
use crate::bound::Bound;
use crate::builder::Builder;
use crate::contract::{Contract, Limits};
use crate::error::{Error, ErrorKind};
use crate::guard::Guard;
use crate::layers::{CatchPanicLayer, DeadlineLayer, DrainGateLayer, LoadShedLayer};
use crate::manifest::{Declared, Manifest};
use crate::policies::InForce;
use crate::progress::{Progress, Step};
#[cfg(feature = "axum")]
use crate::routes::Routes;
use crate::serve::{self, Sendable, Servable, Tls};
use crate::stack::{Stack, Stacked};

/// The assembled platform of one product: configuration, the five systems, the layers in their one order, and the life
/// cycle. Cheap to clone.
#[derive(Clone)]
pub struct Platform(Arc<Inner>);

struct Inner {
    product: ProductId,
    contract: Contract,
    limits: Limits,
    config: Config,
    public_url: Url,
    home: Home,
    systems: Systems,
    declared: Declared,
    addresses: (SocketAddr, SocketAddr),
    progress: Progress,
    load_shed: LoadShedLayer,
    observe: ServerLayer,
    /// Taken by `serve`.
    held: Mutex<Option<Held>>,
    calls: tokio::sync::Mutex<Calls>,
}

/// What this product calls others for.
#[derive(Default)]
struct Calls {
    audiences: BTreeSet<String>,
    scopes: BTreeSet<String>,
}

/// What there is one of, for the one who serves.
pub(crate) struct Held {
    pub(crate) telemetry: Option<Telemetry>,
    pub(crate) public: Bound,
    pub(crate) admin: Bound,
    pub(crate) tls: Option<Tls>,
}

pub(crate) struct Systems {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) client: Client,
    pub(crate) secrets: Secrets,
    pub(crate) identity: Identity,
    pub(crate) access: Access,
    pub(crate) policies: InForce,
    pub(crate) billing: Billing,
}

impl Platform {
    /// Starts to put a product's platform together; `name` is its [`ProductId`].
    pub fn builder(name: &str, contract: Contract) -> Builder {
        Builder::new(name, contract)
    }

    #[expect(clippy::too_many_arguments, reason = "one caller, which has just made them all")]
    pub(crate) fn new(
        product: ProductId,
        (contract, limits): (Contract, Limits),
        config: Config,
        public_url: Url,
        home: Home,
        systems: Systems,
        declared: Declared,
        held: Held,
    ) -> Self {
        let addresses = (held.public.address(), held.admin.address());
        let progress = Progress::new(systems.lifecycle.clone(), limits.warm_up);
        let load_shed = LoadShedLayer::adaptive(limits.in_flight_floor, limits.in_flight, limits.overload_pause);
        let observe = ServerLayer::new()
            .trusted_proxies(config.trusted_proxies.clone())
            .trace_from(TraceTrust::networks(config.trace_networks.clone()));
        let held = Mutex::new(Some(held));
        Self(Arc::new(Inner {
            product,
            contract,
            limits,
            config,
            public_url,
            home,
            systems,
            declared,
            addresses,
            progress,
            load_shed,
            observe,
            held,
            calls: tokio::sync::Mutex::default(),
        }))
    }

    /// What a route asks of its caller: a principal with all of `scopes`. Put it around the route as a layer.
    pub fn require(&self, scopes: &[&str]) -> Guard {
        self.declared().add_scopes(scopes);
        let scopes_asked = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Guard {
            platform: self.clone(),
            require: self.identity().require(scopes),
            authorize: tower::layer::util::Identity::new(),
            asks: Asks { scopes: scopes_asked, ..Asks::default() },
        }
    }

    /// Tokens of this product's own for calling another one, as any customer would: client credentials with the client id
    /// `PRODUCT` and the secret `OTHER-client-secret`.
    ///
    /// In development, with an issuer and secrets that are embedded, the client is registered and its secret stored, so
    /// that there is nothing to set up. Ask before the product serves: which secrets it may read is fixed then.
    ///
    /// # Errors
    ///
    /// The embedded issuer or the secrets cannot be written; or the issuer is embedded, and secrets that are not `local:` do not
    /// hold the client's secret, which this cannot put there.
    pub async fn calls(&self, other: &str, scopes: &[&str]) -> Result<TokenSource, Error> {
        let id = self.product().as_str();
        let name = format!("{other}-client-secret");
        let mut issued = None;
        if let (Environment::Development, Some(issuer)) = (self.config().environment, self.identity().embedded()) {
            let tenant = TenantId::new(id).map_err(|error| Error::from(Box::new(error) as BoxError))?;
            // One client for all that this product calls: each call adds to what it may do, one after the other.
            let mut calls = self.0.calls.lock().await;
            calls.audiences.insert(other.to_owned());
            calls.scopes.extend(scopes.iter().map(|scope| (*scope).to_owned()));
            let client = ClientSpec::new(id, tenant).scopes(calls.scopes.clone()).audiences(calls.audiences.clone());
            let secret = issuer.register(client.may_exchange()).await?;
            self.store_local_secret(&name, Some(secret.clone())).await?;
            issued = Some(secret).filter(|_| self.config().secrets != SecretsBackend::Local);
        }
        let secret = self.secrets().get::<SecretString>(&name);
        // The first token is asked for at once: a secret that is only on its way would cost it a failure and a pause.
        if let Err(error) = secret.ready().await {
            tracing::warn!(
                secret = name,
                error = error_chain(&error),
                "calls to another product wait for their secret"
            );
        }
        if let Some(issued) = issued {
            let is_there = match secret.load() {
                Ok(current) => current.expose_secret().expose_secret() == issued.expose_secret(),
                Err(error) => !error.is_not_found(),
            };
            if !is_there {
                let message = format!(
                    "the embedded issuer has made a secret for the client {id}, and {name} is not it: set \
                     HALFBYTE_SECRETS_URL=local:, where it is put by itself, or HALFBYTE_IDENTITY_URL to the issuer that \
                     {name} is of"
                );
                return Err(Error::new(ErrorKind::Configuration, message));
            }
        }
        let reveal = move || Ok(secret.load()?.expose_secret().clone());
        Ok(self.identity().tokens(id, reveal, other, scopes))
    }

    /// Where secrets are local: sets the secret to `value`, or makes one up if there is none.
    pub(crate) async fn store_local_secret(&self, name: &str, value: Option<SecretString>) -> Result<(), Error> {
        if self.config().secrets != SecretsBackend::Local {
            return Ok(());
        }
        let (home, name) = (self.0.home.clone(), name.to_owned());
        let work = move || -> Result<(), halfbyte_secrets::Error> {
            let local = Local::open(&home)?;
            match value {
                Some(value) => local.set(&name, &value),
                None if local.names()?.contains(&name) => Ok(()),
                None => local.set(&name, &made_up()),
            }
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| Error::from(Box::new(error) as BoxError))??;
        Ok(())
    }

    /// The product's own environment variable `name`; an empty one counts as unset.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.0.config.other.get(name)
    }

    /// The product's name.
    pub fn product(&self) -> &ProductId {
        &self.0.product
    }

    /// The contract that the product was written against.
    pub fn contract(&self) -> Contract {
        self.0.contract
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The address under which clients know this product.
    pub fn public_url(&self) -> &Url {
        &self.0.public_url
    }

    /// Where the public listener is bound.
    pub fn address(&self) -> SocketAddr {
        self.0.addresses.0
    }

    /// Where the admin listener is bound.
    pub fn admin_address(&self) -> SocketAddr {
        self.0.addresses.1
    }

    /// Phase, background tasks, health and clock. [`Lifecycle::enter`] with
    /// [`LameDuck`](halfbyte_core::lifecycle::Phase::LameDuck) stops the product as SIGTERM does.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.0.systems.lifecycle
    }

    /// The steps of this process's life so far, the current one last: when each was entered, what it may take, what it took and
    /// what it left undone.
    pub fn steps(&self) -> Vec<Step> {
        self.progress().report()
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.0.progress
    }

    /// The outbound HTTP client.
    pub fn client(&self) -> &Client {
        &self.0.systems.client
    }

    /// What must not leak.
    pub fn secrets(&self) -> &Secrets {
        &self.0.systems.secrets
    }

    /// Who is calling.
    pub fn identity(&self) -> &Identity {
        &self.0.systems.identity
    }

    /// What callers may do, by the policies of [`Builder::policies`].
    pub fn access(&self) -> &Access {
        &self.0.systems.access
    }

    /// What callers may use, and what they used.
    pub fn billing(&self) -> &Billing {
        &self.0.systems.billing
    }

    /// What billing has seen, for as long as the platform is there: asking for it does not keep it.
    pub(crate) fn usage_stats(&self) -> impl Fn() -> Option<Stats> + Clone + Send + Sync + 'static {
        let inner = Arc::downgrade(&self.0);
        move || Some(inner.upgrade()?.systems.billing.stats())
    }

    /// What the load is, for as long as the platform is there.
    pub(crate) fn load(&self) -> impl Fn() -> Option<LoadShedLayer> + Clone + Send + Sync + 'static {
        let inner = Arc::downgrade(&self.0);
        move || Some(inner.upgrade()?.load_shed.clone())
    }

    pub(crate) fn policies(&self) -> &InForce {
        &self.0.systems.policies
    }

    pub(crate) fn declared(&self) -> &Declared {
        &self.0.declared
    }

    /// The contract's, but for what the product departs from.
    pub(crate) fn limits(&self) -> Limits {
        self.0.limits
    }

    /// What this build is made of and needs, as far as its routes have been made.
    pub fn manifest(&self) -> Manifest {
        self.declared().manifest(self.secrets().declared())
    }

    /// Begins the routes of the product, each of which says what it asks of its callers: see [`Routes`].
    #[cfg(feature = "axum")]
    pub fn routes(&self) -> Routes {
        Routes::new(self.clone())
    }

    /// The layers around every product, in the one order.
    pub fn stack(&self) -> Stack {
        let limits = self.limits();
        Stack {
            request_id: RequestIdLayer::new(),
            observe: self.0.observe.clone(),
            catch_panic: CatchPanicLayer,
            drain_gate: DrainGateLayer::new(self.lifecycle().clone()),
            load_shed: self.0.load_shed.clone(),
            deadline: DeadlineLayer::new(limits.deadline),
            endpoints: self.identity().endpoints(),
            authenticate: self.identity().authenticate(),
        }
    }

    /// Serves `routes` inside the [`stack`](Self::stack) until the process is told to stop and has drained.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) when routes ask policies that are built in, and there are none, or
    /// none that know the action. [`ErrorKind::Drain`](crate::ErrorKind::Drain) when something was not done within its budget; what, is in the log. Usage is then in the
    /// journal and is counted by the next process.
    #[cfg(feature = "axum")]
    pub async fn serve(self, routes: impl Into<axum::Router>) -> Result<(), Error> {
        // With its state a router makes its routes once, and not for each request.
        serve::run(&self, routes.into().layer(self.stack()).with_state(())).await
    }

    /// As [`serve`](Self::serve), for any service.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve).
    pub async fn serve_service<S, B>(self, service: S) -> Result<(), Error>
    where
        Stacked<S>: Servable<B>,
        B: Sendable,
    {
        serve::run(&self, self.stack().layer(service)).await
    }

    /// The listeners and telemetry; only the first to ask has them.
    pub(crate) fn take_held(&self) -> Option<Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// 256 bits of the operating system's, as text.
fn made_up() -> SecretString {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    format!("{}{}", half(), half()).into()
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform")
            .field("product", self.product())
            .field("contract", &self.contract())
            .field("lifecycle", self.lifecycle())
            .finish_non_exhaustive()
    }
}
