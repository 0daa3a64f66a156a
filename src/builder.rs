use std::fmt;
use std::sync::Arc;

use halfbyte_billing::{Billing, Catalog, CatalogError, CatalogSource};
use halfbyte_core::client::Client;
use halfbyte_core::config::{ApiKeysBackend, BillingBackend, Config, IdentityBackend, SecretsBackend};
use halfbyte_core::home::Home;
use halfbyte_core::{BoxError, Clock, Lifecycle, Live, ProductId};
use halfbyte_identity::Identity;
use halfbyte_identity::access::{Access, Action, DecisionLog, EntityProvider, Policies, Rules, SourceFile};
use halfbyte_secrets::Secrets;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::bound::Bound;
use crate::contract::Contract;
use crate::demo::Demo;
use crate::deviation::{self, Deviation};
use crate::error::{Error, ErrorKind};
use crate::handed_over::HandedOver;
use crate::manifest::Declared;
use crate::platform::{Held, Platform, Systems};
use crate::policies::InForce;
use crate::serve::Tls;
use crate::tenants::WithBilling;
use crate::{signals, vitals};

/// Puts a [`Platform`] together, from [`Platform::builder`].
#[must_use = "nothing happens before `start`"]
#[derive(Debug)]
pub struct Builder {
    name: String,
    contract: Contract,
    version: String,
    catalog: Option<Plans>,
    policies: Vec<SourceFile>,
    policies_from: Option<Policies>,
    actions: Vec<Action>,
    entities: Entities,
    decisions: Option<DecisionLog>,
    deviations: Vec<deviation::Declared>,
    demo: Option<Demo>,
    config: Option<Config>,
}

/// What was said of the plan catalogue.
#[derive(Clone, Debug)]
enum Plans {
    Text { file: String, text: String },
    Source(CatalogSource),
}

/// What makes the access control of its rules, with what the product and billing know.
#[derive(Clone)]
struct Entities(Arc<dyn Fn(Live<Rules>, Billing) -> Access + Send + Sync>);

impl Entities {
    fn new(product: impl EntityProvider) -> Self {
        let product = Arc::new(product);
        Self(Arc::new(move |rules, billing| Access::new(rules, WithBilling { product: product.clone(), billing })))
    }
}

impl fmt::Debug for Entities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entities")
    }
}

impl Builder {
    pub(crate) fn new(name: &str, contract: Contract) -> Self {
        let version = "0.0.0".to_owned();
        let (name, policies, actions, entities) = (name.to_owned(), Vec::new(), Vec::new(), Entities::new(()));
        Self {
            name,
            contract,
            version,
            catalog: None,
            policies,
            policies_from: None,
            actions,
            entities,
            decisions: None,
            deviations: Vec::new(),
            demo: None,
            config: None,
        }
    }

    /// The product's version, as telemetry and the manifest show it: `env!("CARGO_PKG_VERSION")`.
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// The plan catalogue, where the product has plans; `file` names it in errors, `text` is `include_str!` of it.
    pub fn catalog(mut self, file: &str, text: &str) -> Self {
        self.catalog = Some(Plans::Text { file: file.to_owned(), text: text.to_owned() });
        self
    }

    /// A plan catalogue that changes while the product runs, in place of one that is built in: a file, or what was last
    /// [published](halfbyte_billing::Customers::publish) to the store.
    ///
    /// ```no_run
    /// # use halfbyte::{Contract, Platform, billing::CatalogSource};
    /// let builder = Platform::builder("parcel", Contract::V1).catalog_source(CatalogSource::File("/etc/plans.toml".into()));
    /// ```
    pub fn catalog_source(mut self, source: impl Into<CatalogSource>) -> Self {
        self.catalog = Some(Plans::Source(source.into()));
        self
    }

    /// The policies and the schema of what callers may do, by name and text: `include_str!` of files in the product's repository.
    /// Without any a product does not serve whose routes ask for something by [`Guard::authorize`](crate::Guard::authorize).
    pub fn policies(mut self, files: impl IntoIterator<Item = SourceFile>) -> Self {
        self.policies = files.into_iter().collect();
        self
    }

    /// Policies that change while the product runs, in place of those that are built in: a folder, or a URL. What is wrong with them
    /// then is no error at the start: nothing is permitted, and `/readyz` says why, until they are right.
    ///
    /// ```no_run
    /// # use halfbyte::{Contract, Platform, identity::access::Policies};
    /// let builder = Platform::builder("parcel", Contract::V1).policies_from(Policies::folder("/etc/parcel/policies"));
    /// ```
    pub fn policies_from(mut self, policies: Policies) -> Self {
        self.policies_from = Some(policies);
        self
    }

    /// Actions that handlers ask for by themselves, with [`Checks`](halfbyte_identity::access::Checks) say, besides those of the
    /// [guards](crate::Guard::authorize). When the product begins to serve, all of them are compared with schema and policies.
    pub fn actions(mut self, actions: impl IntoIterator<Item = Action>) -> Self {
        self.actions = actions.into_iter().collect();
        self
    }

    /// What the product knows of principals, tenants and things that policies look at. That a tenant is suspended whose subscription
    /// is [paused](halfbyte_billing::Operation::Pause), the platform knows.
    pub fn entities(mut self, provider: impl EntityProvider) -> Self {
        self.entities = Entities::new(provider);
        self
    }

    /// How decisions are told of: how many allowed ones are logged, who listens, where they are recorded to be
    /// [replayed](halfbyte_identity::access::Replay). Denials are logged without it.
    ///
    /// ```no_run
    /// # use halfbyte::{Contract, Platform, identity::access::DecisionLog};
    /// let log = DecisionLog::new().listen(|record| println!("{} {}", record.action, record.is_allowed));
    /// let builder = Platform::builder("parcel", Contract::V1).decisions(log);
    /// ```
    pub fn decisions(mut self, log: DecisionLog) -> Self {
        self.decisions = Some(log);
        self
    }

    /// Departs from a limit of the contract, for a reason that is told in the manifest, until the end of a day in UTC. After it the
    /// limit stays as it is, and the product warns at each start and does not conform.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use halfbyte::{Contract, Deviation, Platform};
    ///
    /// let builder = Platform::builder("parcel", Contract::V1).deviate(
    ///     Deviation::Deadline(Duration::from_secs(120)),
    ///     "customs documents are made while the caller waits; PARCEL-311 makes them ahead",
    ///     jiff::civil::date(2027, 3, 1),
    /// );
    /// ```
    pub fn deviate(mut self, deviation: Deviation, reason: &str, until: jiff::civil::Date) -> Self {
        self.deviations.push(deviation::Declared { deviation, reason: reason.to_owned(), until });
        self
    }

    /// A customer to try the product with, in development with an embedded issuer: see [`Demo`].
    pub fn demo(mut self, demo: Demo) -> Self {
        self.demo = Some(demo);
        self
    }

    /// A configuration in place of the environment's, for tests.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Reads the configuration, starts telemetry, binds the listeners, and opens secrets, identity and billing.
    ///
    /// What is elsewhere is not waited for: `/readyz` says when it is there. From now on until it serves, SIGTERM and SIGINT end the
    /// process at once, also the first one of a container.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] with every fault of the environment, or else of the catalogue, or of the policies, at once, or [`ErrorKind::Unavailable`] for what must be there.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub async fn start(self) -> Result<Platform, Error> {
        signals::end_the_process()?;
        let configuration =
            |error: BoxError| Error::new(ErrorKind::Configuration, "the configuration cannot be used").caused_by(error);
        let product = ProductId::new(&self.name).map_err(|error| configuration(error.into()))?;
        let config = self.config.map_or_else(Config::from_env, Ok).map_err(|error| configuration(error.into()))?;
        let catalog = catalog(self.catalog, &product).map_err(|error| configuration(error.into()))?;
        let rules = Rules::compile(&self.policies).map_err(|error| configuration(error.into()))?;
        let limits = deviation::limits(self.contract, &self.deviations).map_err(|fault| configuration(fault.into()))?;

        let settings = halfbyte_observe::Settings::new(&product, &self.version, &config).scraped();
        // Thousands of requests of the suite say nothing on the console.
        #[cfg(feature = "conformance")]
        let settings = settings.console(crate::conformance::shows_the_log());
        let telemetry = match halfbyte_observe::init(settings) {
            Ok(telemetry) => Some(telemetry),
            // Several products in one process, as in tests, share what the first has set up.
            Err(error) if error.is_already_initialized() => None,
            Err(error) if error.is_configuration() => return Err(configuration(error.into())),
            Err(error) => return Err(Error::new(ErrorKind::Unavailable, "telemetry could not start").caused_by(error)),
        };

        for warning in rules.warnings() {
            tracing::warn!(target: "halfbyte::decisions", "{warning}");
        }
        for deviation in &self.deviations {
            deviation.tell(Clock::system().now());
        }
        let handed_over = HandedOver::take(&config.other)?;
        let public = Bound::new("HALFBYTE_LISTEN", config.listen, handed_over.public)?;
        let admin = Bound::new("HALFBYTE_ADMIN_LISTEN", config.admin_listen, handed_over.admin)?;
        let public_url = match &config.public_url {
            Some(url) => url.clone(),
            None => public.own_url(config.tls_secret.is_some())?,
        };

        let lifecycle = Lifecycle::new(Clock::system());
        vitals::register_health(lifecycle.health());
        let home = open_home(&config)?;
        let client = Client::new()
            .map_err(|error| Error::new(ErrorKind::Unavailable, "outbound calls cannot be set up").caused_by(error))?;
        let secrets = Secrets::configured(&config)?.who(product.as_str()).build(&lifecycle);
        let tls = Tls::configured(&config, &secrets, lifecycle.health())?;
        let settings = identity_settings(&self.name, &config, &public_url, &home, &secrets);
        let identity = Identity::open(settings, client.clone(), &lifecycle).await?;
        let settings = halfbyte_billing::Settings::new(&config.billing, &home, product.clone(), catalog);
        let billing = Billing::open(settings, &lifecycle).await?;
        let policies = match self.policies_from {
            Some(policies) => InForce { rules: policies.start(&lifecycle), are_built_in: false },
            None => InForce { rules: Live::fixed("access.policies", rules), are_built_in: true },
        };
        let access = (self.entities.0)(policies.rules.clone(), billing.clone());
        let access = access.resource_metadata(identity.resource_metadata());
        let access = match self.decisions {
            Some(log) => access.log(log),
            None => access,
        };

        let declared =
            Declared::new(&product, &self.version, (self.contract, &limits), &self.deviations, &config, &public_url);
        self.actions.into_iter().for_each(|action| declared.add_action(action));
        let systems = Systems { lifecycle, client, secrets, identity, access, policies, billing };
        let platform = Platform::new(
            product,
            (self.contract, limits),
            config,
            public_url,
            home,
            systems,
            declared,
            Held { telemetry, public, admin, tls },
        );
        vitals::register_usage(platform.usage_stats());
        vitals::register_load(platform.load());
        if let Some(demo) = self.demo {
            demo.set_up(&platform).await?;
        }
        Ok(platform)
    }
}

/// A product that sells nothing yet need not say so.
fn catalog(plans: Option<Plans>, product: &ProductId) -> Result<CatalogSource, CatalogError> {
    let catalog = match plans {
        Some(Plans::Source(source)) => return Ok(source),
        Some(Plans::Text { file, text }) => Catalog::parse(&file, &text),
        None => Catalog::parse("catalog.toml", &format!("[products.{product}]")),
    };
    catalog.map(CatalogSource::Fixed)
}

fn identity_settings(
    product: &str,
    config: &Config,
    public_url: &Url,
    home: &Home,
    secrets: &Secrets,
) -> halfbyte_identity::Settings {
    let audience = config.audience.clone().unwrap_or_else(|| product.to_owned());
    let mut settings =
        halfbyte_identity::Settings::new(config.identity.clone(), audience, public_url.clone(), home.clone())
            .api_keys(config.api_keys.clone(), config.environment)
            .trusted_proxies(config.trusted_proxies.clone());
    if config.dpop_nonce {
        settings = settings.dpop_nonce(None);
    }
    if let Some(id) = &config.client_id {
        let secret = secrets.get::<SecretString>("identity-client-secret");
        settings = settings.introspect(id, move || Ok(secret.load()?.expose_secret().clone()));
    }
    settings
}

/// The state folder; one that nothing embedded needs is not asked for, so that a read-only root will do.
fn open_home(config: &Config) -> Result<Home, Error> {
    let embedded = config.secrets == SecretsBackend::Local
        || config.identity.contains(&IdentityBackend::Embedded)
        || matches!(config.api_keys, ApiKeysBackend::Embedded)
        // With PostgreSQL the journal of usage is there.
        || matches!(config.billing, BillingBackend::Sqlite(None) | BillingBackend::Postgres(_));
    if !embedded {
        return Ok(Home::unopened(&config.home));
    }
    Home::open(&config.home).map_err(|error| {
        let message = "the state folder cannot be used; set HALFBYTE_HOME to one that can";
        Error::new(ErrorKind::Unavailable, message).caused_by(error)
    })
}
