//! The provider as its clients and its operator see it, and a product that trusts it.

use halfbyte::core::client::Client;
use halfbyte::core::config::IdentityBackend;
use halfbyte::core::home::Home;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte::identity::{Identity, Settings};
use halfbyte::{Principal, Problem};
use reqwest::Response;
use serde_json::Value;
use tempfile::TempDir;

use super::AUDIENCE;

pub struct Provider {
    pub issuer: String,
    http: reqwest::Client,
}

impl Provider {
    /// The one that all tests share: whatever is told to it is told to all.
    pub fn shared() -> Self {
        Self::at(crate::server("HB_TEST_OIDC_ISSUER"))
    }

    pub fn at(issuer: String) -> Self {
        Self { issuer, http: reqwest::Client::new() }
    }

    /// A token of the client `acme`: a JWT for `resource`, otherwise opaque.
    pub async fn token(&self, resource: Option<&str>, scope: &str) -> String {
        let mut form = format!("grant_type=client_credentials&scope={}", scope.replace(' ', "+"));
        if let Some(resource) = resource {
            form = format!("{form}&resource={resource}");
        }
        let request =
            self.http.post(format!("{}/token", self.issuer)).basic_auth("acme", Some("acme-secret-for-tests"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = json(request.send().await.unwrap()).await;
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// A token that is good at the product of these tests; no two are the same.
    pub async fn good_token(&self) -> String {
        self.token(Some(AUDIENCE), "labels:read").await
    }

    /// Does what the top of the provider's `server.mjs` says of `path`.
    pub async fn tell(&self, path: &str) -> Value {
        let response = self.http.post(format!("{}/test/{path}", self.issuer)).send().await.unwrap();
        let status = response.status();
        let answer = json(response).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// How often `endpoint` was asked since the provider started.
    pub async fn asked(&self, endpoint: &str) -> u64 {
        let stats = json(self.http.get(format!("{}/test/stats", self.issuer)).send().await.unwrap()).await;
        stats[endpoint].as_u64().unwrap_or_else(|| panic!("{endpoint} is not counted: {stats}"))
    }
}

pub async fn json(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

pub struct Product {
    pub identity: Identity,
    pub lifecycle: Lifecycle,
    pub home: Home,
    _folder: TempDir,
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
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path().join("home")).unwrap();
        let lifecycle = Lifecycle::new(Clock::system());
        let settings = Settings::new(
            vec![IdentityBackend::issuer(provider.issuer.clone())],
            AUDIENCE,
            "http://127.0.0.1:8080".parse().unwrap(),
            home.clone(),
        );
        let identity = Identity::open(settings, Client::new().unwrap(), &lifecycle).await.unwrap();
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
