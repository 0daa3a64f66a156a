//! A typed client of Parcel's public API.

use std::time::Duration;

use halfbyte::core::client::Client;
use halfbyte::core::{BoxError, error_chain};
use halfbyte::identity::TokenSource;
use http::HeaderName;
use serde::Deserialize;
use url::Url;

/// Orders labels with tokens of Clinic's own.
#[derive(Clone)]
pub struct ParcelClient {
    labels: Url,
    client: Client,
    tokens: TokenSource,
}

#[derive(Deserialize)]
struct Label {
    id: String,
}

const TRY_AGAIN: Duration = Duration::from_secs(5);

impl ParcelClient {
    pub fn new(base: &str, client: Client, tokens: TokenSource) -> Result<Self, BoxError> {
        let labels = Url::parse(base)?.join("/labels")?;
        Ok(Self { labels, client, tokens })
    }

    /// Orders a label under `key` and answers its id, or when to try again.
    pub async fn order(&self, key: &str, to: &str) -> Result<String, Duration> {
        let request = self
            .client
            .post(self.labels.clone())
            .header(HeaderName::from_static("idempotency-key"), key)
            .json(&serde_json::json!({ "to": to }))
            .repeatable();
        let request = self.tokens.authorize(request).await.map_err(|error| {
            tracing::warn!(error = error_chain(&error), "there is no token for Parcel");
            error.retry_in()
        })?;
        let label = async { request.send().await?.success()?.json::<Label>() }.await;
        label.map(|label| label.id).map_err(|error| {
            tracing::warn!(error = error_chain(&error), "Parcel gave no label");
            TRY_AGAIN
        })
    }
}
