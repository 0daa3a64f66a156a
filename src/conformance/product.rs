//! The product under test, and what stands around it.

use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock, PoisonError};

use halfbyte_core::config::Config;
use halfbyte_core::lifecycle::Phase;
use halfbyte_core::{TenantId, error_chain};
use halfbyte_identity::testing::Issuer;
use halfbyte_observe::testing::{Received, Receiver, Span};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::bench::fresh;
use super::client::PATIENCE;
use super::credentials::{self, Redaction};
use super::provoke::Provoked;
use super::witness::Witness;
use super::{Conformance, collector};
use crate::error::Error;
use crate::platform::Platform;
use crate::serve;

/// A route that the suite adds to those of the product: its handler panics.
pub(super) const PANICS: &str = "/halfbyte-conformance/panics";

/// What stands around the product.
pub(super) struct Suite {
    pub conformance: Conformance,
    pub issuer: Issuer,
    pub receiver: &'static Receiver,
    pub witness: Witness,
    pub redaction: Redaction,
    /// The value of all secrets of the product that it gave none: it must never be seen anywhere.
    pub canary: String,
    folder: TempDir,
    /// The names of the secrets that the product may read.
    pub secrets: Vec<String>,
    /// Those that were given values and have none left to be rotated to.
    worn_out: Mutex<Vec<String>>,
}

/// The product as it runs.
pub(super) struct Product {
    pub platform: Platform,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Kept for all checks that need them.
    pub provoked: OnceLock<Vec<Provoked>>,
    /// Where its operators ask.
    pub admin: SocketAddr,
    serving: JoinHandle<Result<(), Error>>,
}

/// An issuer for a product of its own, so that what is done to it is not done to all.
pub(super) async fn issuer() -> Result<Issuer, String> {
    Issuer::start().await.map_err(|error| error_chain(&error).to_string())
}

impl Suite {
    pub async fn new(conformance: Conformance) -> Result<Self, String> {
        let issuer = issuer().await?;
        let receiver = collector::receiver()?;
        let folder = tempfile::tempdir().map_err(|error| format!("no folder for the state: {error}"))?;
        let canary = format!("canary-{}", uuid::Uuid::new_v4().simple());
        let mut suite = Self {
            conformance,
            issuer,
            receiver,
            witness: Witness::default(),
            redaction: Redaction::default(),
            canary,
            folder,
            secrets: Vec::new(),
            worn_out: Mutex::default(),
        };
        // A start that fails may tell in the product's own words what it was given.
        for (_, value) in &suite.conformance.secrets {
            suite.redaction.secret(secrecy::ExposeSecret::expose_secret(value));
        }
        match suite.prepare().await {
            Ok(()) => Ok(suite),
            Err(how) => Err(suite.redaction.shown(&how)),
        }
    }

    /// Starts the product a first time, to learn which secrets it asks for, and gives it them.
    async fn prepare(&mut self) -> Result<(), String> {
        let (platform, _routes) = self.assemble(&[]).await?;
        collector::keep_telemetry_of(&platform);
        collector::clear().await;
        self.secrets = platform.secrets().declared();
        self.secret("a secret of the product", &self.canary)?;
        for name in &self.secrets {
            let given = self.given(name).next().map(str::to_owned);
            let value = given.unwrap_or_else(|| self.canary.clone());
            self.secret("a secret of the product", &value).map_err(|how| format!("the secret {name}: {how}"))?;
            let stored = platform.store_local_secret(name, Some(SecretString::from(value))).await;
            stored.map_err(|error| format!("{error:?}"))?;
        }
        platform.lifecycle().stop_tasks(PATIENCE).await;
        Ok(())
    }

    /// The values that the product has given for its secret `name`, in the order in which it is to have them.
    fn given<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let given = self.conformance.secrets.iter().filter(move |(of, _)| of == name);
        given.map(|(_, value)| secrecy::ExposeSecret::expose_secret(value))
    }

    /// What the secret `name` is rotated to; none where the product gave it one value alone, which the report then says.
    pub fn next_secret(&self, name: &str) -> Result<Option<String>, String> {
        let value = match (self.given(name).next(), self.given(name).nth(1)) {
            (None, _) => format!("canary-{}", uuid::Uuid::new_v4().simple()),
            (_, Some(next)) => next.to_owned(),
            (Some(_), None) => {
                self.worn_out.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
                return Ok(None);
            }
        };
        self.secret("a secret of the product", &value)?;
        Ok(Some(value))
    }

    /// The secrets that were to be rotated and had nothing to be rotated to.
    pub fn worn_out(&self) -> Vec<String> {
        self.worn_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on no part of the secret `value` may be seen anywhere.
    pub fn secret(&self, what: &'static str, value: &str) -> Result<(), String> {
        let parts = credentials::parts(value);
        if parts.is_empty() {
            return Err(
                "its value has no 16 letters and digits in a row that could be looked for: give it a longer one"
                    .to_owned(),
            );
        }
        self.redaction.secret(value);
        parts.iter().for_each(|part| self.witness.secret(what, part));
        Ok(())
    }

    /// From now on `credential` may be seen nowhere but where it is sent, and not in the report.
    pub fn credential(&self, what: &'static str, credential: &str) {
        for word in credentials::words(credential) {
            self.witness.credential(what, &word);
            self.redaction.word(&word);
        }
    }

    /// Starts the product, with `variables` over those of the suite, and waits until it is ready.
    #[expect(clippy::disallowed_methods, reason = "a product runs as its process would: beside all that it tracks")]
    pub async fn start(&self, variables: &[(&str, &str)]) -> Result<Product, String> {
        let (platform, routes) = self.assemble(variables).await?;
        let serving = {
            let platform = platform.clone();
            #[cfg(test)]
            let service = self.conformance.mutation.outside(routes.layer(platform.stack()));
            #[cfg(not(test))]
            let service = routes.layer(platform.stack());
            let serving = async move { serve::run(&platform, service).await };
            #[cfg(test)]
            let serving = {
                let mutation = self.conformance.mutation.clone();
                async move { mutation.ended(serving.await) }
            };
            tokio::spawn(serving)
        };
        let (address, admin) = (platform.address(), platform.admin_address());
        #[cfg(test)]
        let (address, admin) = {
            let mutation = &self.conformance.mutation;
            (mutation.front(address), mutation.admin(admin).await)
        };
        let mut product = Product { platform, address, admin, provoked: OnceLock::new(), serving };
        let ready = async {
            tokio::select! {
                () = product.platform.lifecycle().reached(Phase::Ready) => Ok(()),
                ended = &mut product.serving => Err(format!("the product does not serve: {ended:?}")),
            }
        };
        timeout(PATIENCE, ready).await.unwrap_or_else(|_| Err("the product does not get ready".to_owned()))?;
        Ok(product)
    }

    /// What the product is started with: `variables` over those of the suite.
    pub fn config(&self, variables: &[(&str, &str)]) -> Result<Config, String> {
        let home = self.folder.path().join("home").display().to_string();
        let (issuer, collector) = (self.issuer.config_url(), self.receiver.endpoint());
        let fixed = [
            ("HALFBYTE_HOME", home.as_str()),
            ("HALFBYTE_LISTEN", "127.0.0.1:0"),
            ("HALFBYTE_ADMIN_LISTEN", "127.0.0.1:0"),
            ("HALFBYTE_IDENTITY_URL", issuer.as_str()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
            // Who wants to see something has it sent.
            ("OTEL_METRIC_EXPORT_INTERVAL", "10000"),
        ];
        let filter = collector::log_filter();
        let filter = filter.as_deref().map(|filter| ("RUST_LOG", filter));
        Config::parse(fixed.into_iter().chain(filter).chain(variables.iter().copied()))
            .map_err(|error| error_chain(&error).to_string())
    }

    async fn assemble(&self, variables: &[(&str, &str)]) -> Result<(Platform, axum::Router), String> {
        let config = self.config(variables)?;
        let started = (self.conformance.start)(config).await;
        let (platform, routes) = started.map_err(|error| format!("the product does not start: {error:?}"))?;
        let panics = async || -> &'static str { panic!("the suite wants to see what a client sees of this") };
        let routes = routes.merge(axum::Router::new().route(PANICS, axum::routing::get(panics)));
        #[cfg(test)]
        let routes = self.conformance.mutation.with(&platform, self.conformance.mutation.inside(routes));
        Ok((platform, routes))
    }

    /// All that has arrived at the collector in this run, once everything that was made has.
    pub async fn received(&self) -> Result<Received, String> {
        let received = collector::received().await;
        #[cfg(test)]
        let received = received.map(|received| self.conformance.mutation.arrived(received));
        received
    }

    /// The spans of servers in which the requests with these ids were handled, once each has one.
    pub async fn spans_of(&self, ids: &[String]) -> Result<Vec<Vec<Span>>, String> {
        let spans = collector::spans_of(ids).await;
        #[cfg(test)]
        let spans = spans.map(|spans| spans.into_iter().map(|spans| self.conformance.mutation.spans(spans)).collect());
        spans
    }

    /// A customer without a plan.
    pub async fn stranger(&self, product: &Product) -> Result<TenantId, String> {
        let tenant = TenantId::new(fresh()).map_err(|error| error.to_string())?;
        let customers = product.platform.billing().customers();
        customers.create(&tenant).await.map_err(|error| error_chain(&error).to_string())?;
        self.witness.customer(&tenant);
        Ok(tenant)
    }

    /// A customer who may use all routes, if the product said with which plan.
    pub async fn customer(&self, product: &Product, name: &str) -> Result<TenantId, String> {
        let tenant = TenantId::new(name).map_err(|error| error.to_string())?;
        let customers = product.platform.billing().customers();
        customers.create(&tenant).await.map_err(|error| error_chain(&error).to_string())?;
        self.witness.customer(&tenant);
        if let Some(plan) = &self.conformance.plan {
            customers.subscribe(&tenant, plan).await.map_err(|error| error_chain(&error).to_string())?;
        }
        Ok(tenant)
    }
}

impl Product {
    /// Drains it as SIGTERM does; an error if that does not end cleanly.
    pub async fn stop(self) -> Result<(), String> {
        self.platform.lifecycle().enter(Phase::LameDuck);
        self.ended().await?.map_err(|error| format!("the drain ends badly: {error:?}"))
    }

    /// What serving comes to, once it ends.
    pub async fn ended(mut self) -> Result<Result<(), Error>, String> {
        match timeout(PATIENCE, &mut self.serving).await {
            Ok(ended) => ended.map_err(|panicked| format!("serving panicked: {panicked}")),
            Err(_) => Err(format!("the drain does not end within {} s", PATIENCE.as_secs())),
        }
    }
}

/// One that a check did not stop, since it failed or took too long, stops by itself.
impl Drop for Product {
    fn drop(&mut self) {
        let life = self.platform.lifecycle();
        life.enter(Phase::LameDuck);
        life.enter(Phase::Draining);
    }
}
