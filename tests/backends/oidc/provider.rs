//! The provider as its clients, its people and its operator see it.

use halfbyte::identity::ClientAuthentication;
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;
use serde_json::Value;

use super::AUDIENCE;

pub struct Provider {
    pub issuer: String,
    http: reqwest::Client,
}

/// What a person's client has after she signed in.
#[derive(Deserialize)]
pub struct SignedIn {
    pub access_token: String,
    pub refresh_token: String,
    /// Which of her sessions at the provider it is.
    pub session: String,
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
        let answer = json(self.token_request(resource, scope).send().await.unwrap()).await;
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// The request for it, to add to.
    pub fn token_request(&self, resource: Option<&str>, scope: &str) -> RequestBuilder {
        let mut form = format!("grant_type=client_credentials&scope={}", scope.replace(' ', "+"));
        if let Some(resource) = resource {
            form = format!("{form}&resource={resource}");
        }
        let request = self.http.post(self.token_endpoint()).basic_auth("acme", Some(secret_text("acme")));
        request.header("content-type", "application/x-www-form-urlencoded").body(form)
    }

    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.issuer)
    }

    /// A token that is good at the product of these tests; no two are the same.
    pub async fn good_token(&self) -> String {
        self.token(Some(AUDIENCE), "labels:read").await
    }

    /// Has a person sign in; `query` as the provider's `server.mjs` has it.
    pub async fn sign_in(&self, query: &str) -> SignedIn {
        serde_json::from_value(self.tell(&format!("sign-in?{query}")).await).unwrap()
    }

    /// Adds a client with `metadata` of RFC 7591.
    pub async fn register(&self, metadata: &Value) {
        self.post("client", metadata.to_string()).await;
    }

    /// Does what the top of the provider's `server.mjs` says of `path`.
    pub async fn tell(&self, path: &str) -> Value {
        self.post(path, String::new()).await
    }

    async fn post(&self, path: &str, body: String) -> Value {
        let response = self.http.post(format!("{}/test/{path}", self.issuer)).body(body).send().await.unwrap();
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

/// How the client `id` of the provider proves who it is.
pub fn secret(id: &'static str) -> ClientAuthentication {
    ClientAuthentication::secret(move || Ok(secret_text(id).into()))
}

pub fn secret_text(id: &str) -> String {
    format!("{id}-secret-for-tests")
}

pub async fn json(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}
