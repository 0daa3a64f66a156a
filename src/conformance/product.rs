//! The product under test, and what stands around it.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use halfbyte_core::config::Config;
use halfbyte_core::lifecycle::Phase;
use halfbyte_core::{TenantId, error_chain};
use halfbyte_identity::testing::Issuer;
use halfbyte_observe::testing::Receiver;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Conformance;
use super::provoke::Provoked;
use crate::error::Error;
use crate::platform::Platform;
use crate::serve;

/// Longer than a product takes to be ready or to drain.
const PATIENCE: Duration = Duration::from_secs(60);

/// What stands around the product.
pub(super) struct Suite {
    pub conformance: Conformance,
    pub issuer: Issuer,
    pub receiver: Receiver,
    /// The value of all secrets of the product, and a part of it that nothing else holds: it must never be seen anywhere.
    pub canary: String,
    folder: TempDir,
    /// The names of the secrets that the product may read.
    secrets: Vec<String>,
}

/// The product as it runs.
pub(super) struct Product {
    pub platform: Platform,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Kept for all checks that need them.
    pub provoked: OnceLock<Vec<Provoked>>,
    serving: JoinHandle<Result<(), Error>>,
}

/// An issuer for a product of its own, so that what is done to it is not done to all.
pub(super) async fn issuer() -> Result<Issuer, String> {
    Issuer::start().await.map_err(|error| error_chain(&error).to_string())
}

impl Suite {
    pub async fn new(conformance: Conformance) -> Result<Self, String> {
        let issuer = issuer().await?;
        let receiver = Receiver::start().await.map_err(|error| format!("no collector: {error}"))?;
        let folder = tempfile::tempdir().map_err(|error| format!("no folder for the state: {error}"))?;
        let canary = format!("canary-{}", uuid::Uuid::new_v4().simple());
        let mut suite = Self { conformance, issuer, receiver, canary, folder, secrets: Vec::new() };
        // A first time, to learn which secrets it asks for.
        let (platform, _routes) = suite.assemble(&[]).await?;
        suite.secrets = platform.secrets().declared();
        for name in &suite.secrets {
            let value = SecretString::from(suite.canary.clone());
            platform.store_local_secret(name, Some(value)).await.map_err(|error| format!("{error:?}"))?;
        }
        platform.lifecycle().stop_tasks(PATIENCE).await;
        Ok(suite)
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
            tokio::spawn(async move { serve::run(&platform, service).await })
        };
        let address = platform.address();
        #[cfg(test)]
        let address = self.conformance.mutation.front(address);
        let mut product = Product { platform, address, provoked: OnceLock::new(), serving };
        let ready = async {
            tokio::select! {
                () = product.platform.lifecycle().reached(Phase::Ready) => Ok(()),
                ended = &mut product.serving => Err(format!("the product does not serve: {ended:?}")),
            }
        };
        timeout(PATIENCE, ready).await.unwrap_or_else(|_| Err("the product does not get ready".to_owned()))?;
        Ok(product)
    }

    async fn assemble(&self, variables: &[(&str, &str)]) -> Result<(Platform, axum::Router), String> {
        let home = self.folder.path().join("home").display().to_string();
        let (issuer, collector) = (self.issuer.config_url(), self.receiver.endpoint());
        let fixed = [
            ("HALFBYTE_HOME", home.as_str()),
            ("HALFBYTE_LISTEN", "127.0.0.1:0"),
            ("HALFBYTE_ADMIN_LISTEN", "127.0.0.1:0"),
            ("HALFBYTE_IDENTITY_URL", issuer.as_str()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
            // Often enough for a test.
            ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ];
        let config = Config::parse(fixed.into_iter().chain(variables.iter().copied()))
            .map_err(|error| error_chain(&error).to_string())?;
        let started = (self.conformance.start)(config).await;
        let (platform, routes) = started.map_err(|error| format!("the product does not start: {error:?}"))?;
        #[cfg(test)]
        let routes = self.conformance.mutation.inside(routes);
        Ok((platform, routes))
    }

    /// A customer who may use all routes, if the product said with which plan.
    pub async fn customer(&self, product: &Product, name: &str) -> Result<TenantId, String> {
        let tenant = TenantId::new(name).map_err(|error| error.to_string())?;
        let customers = product.platform.billing().customers();
        customers.create(&tenant).await.map_err(|error| error_chain(&error).to_string())?;
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
        match timeout(PATIENCE, self.serving).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(format!("the drain ends badly: {error:?}")),
            Ok(Err(panicked)) => Err(format!("serving panicked: {panicked}")),
            Err(_) => Err(format!("the drain does not end within {} s", PATIENCE.as_secs())),
        }
    }
}
