//! A product that trusts the provider.

use halfbyte::core::client::Client;
use halfbyte::core::config::IdentityBackend;
use halfbyte::core::home::Home;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte::identity::{Identity, Settings};
use halfbyte::{Principal, Problem};
use tempfile::TempDir;

use super::{AUDIENCE, Provider};

pub struct Product {
    pub identity: Identity,
    pub lifecycle: Lifecycle,
    pub home: Home,
    _folder: TempDir,
}

/// A product that is called `audience`, at an address where nobody listens.
pub fn settings(provider: &Provider, audience: &str, home: Home) -> Settings {
    let issuer = IdentityBackend::issuer(provider.issuer.clone());
    Settings::new(vec![issuer], audience, "http://127.0.0.1:8080".parse().unwrap(), home)
}

impl Product {
    /// One that has the provider's keys.
    pub async fn trusting(provider: &Provider) -> Self {
        let product = Self::opened(provider).await;
        product.identity.ready().await.unwrap();
        product
    }

    /// One that has only just been opened.
    pub async fn opened(provider: &Provider) -> Self {
        Self::with(Clock::system(), |home| settings(provider, AUDIENCE, home)).await
    }

    pub async fn with(clock: Clock, settings: impl FnOnce(Home) -> Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path().join("home")).unwrap();
        let lifecycle = Lifecycle::new(clock);
        let identity = Identity::open(settings(home.clone()), Client::new().unwrap(), &lifecycle).await.unwrap();
        Self { identity, lifecycle, home, _folder: folder }
    }

    pub async fn ask(&self, token: &str) -> Result<Principal, Problem> {
        self.identity.authenticator().authenticate(token).await
    }

    /// Whether its health checks let it have traffic.
    pub fn is_ready(&self) -> bool {
        self.lifecycle.health().report().iter().all(|check| check.ready)
    }
}
