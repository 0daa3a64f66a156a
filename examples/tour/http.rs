//! The customers' side: plain HTTP with no help from the platform, so that nothing is retried behind the tour's back.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;

/// What a customer got.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
    pub took: Duration,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The last part of the problem `type`.
    pub fn problem(&self) -> &str {
        self.body["type"].as_str().and_then(|urn| urn.rsplit(':').next()).unwrap_or_default()
    }

    /// An error unless the answer has that status.
    pub fn expect(self, status: u16) -> Outcome<Self> {
        if self.status == status {
            Ok(self)
        } else {
            Err(format!("expected {status}, got {}: {}", self.status, self.body).into())
        }
    }
}

/// A customer's program: its token, and how it calls.
#[derive(Clone)]
pub struct Caller {
    client: reqwest::Client,
    token: Option<String>,
}

impl Caller {
    pub fn anonymous() -> Self {
        Self { client: reqwest::Client::new(), token: None }
    }

    pub fn with_token(token: impl Into<String>) -> Self {
        Self { client: reqwest::Client::new(), token: Some(token.into()) }
    }

    /// Gets a token by client credentials.
    pub async fn sign_in(token_url: &str, id: &str, secret: &str, scope: &str, audience: &str) -> Outcome<Self> {
        let form = format!("grant_type=client_credentials&scope={}&audience={audience}", scope.replace(' ', "+"));
        let response = reqwest::Client::new()
            .post(token_url)
            .basic_auth(id, Some(secret))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await?;
        let answer: Value = serde_json::from_slice(&response.bytes().await?)?;
        let token = answer["access_token"].as_str().ok_or_else(|| format!("no token: {answer}"))?;
        Ok(Self::with_token(token))
    }

    /// Gives the token back (RFC 7009).
    pub async fn give_back(&self, url: &str, id: &str, secret: &str) -> Outcome<Answer> {
        let request = reqwest::Client::new().post(url).basic_auth(id, Some(secret));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        Self::anonymous().send(request.body(format!("token={}", self.token()))).await
    }

    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    pub async fn get(&self, url: &str) -> Outcome<Answer> {
        self.send(self.client.get(url)).await
    }

    pub async fn post(&self, url: &str, key: &str, body: &Value) -> Outcome<Answer> {
        let request = self.client.post(url).header("idempotency-key", key).header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Outcome<Answer> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let began = Instant::now();
        let response = request.timeout(Duration::from_secs(10)).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Ok(Answer { status, headers, body, took: began.elapsed() })
    }
}
