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
        let labels = Url::parse(base).and_then(|base| base.join("/labels"));
        let labels = labels
            .map_err(|error| format!("PARCEL_URL ({base}) is not a URL such as http://127.0.0.1:8080: {error}"))?;
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
        let failed = |error| {
            tracing::warn!(error = error_chain(&error), "Parcel gave no label");
            TRY_AGAIN
        };
        let answer = request.send().await.map_err(failed)?;
        // Parcel knows best when it makes sense to ask again: a used-up quota is not back in a moment.
        let retry_in = answer.retry_after();
        let label = answer.success().and_then(|answer| answer.json::<Label>());
        label.map(|label| label.id).map_err(|error| retry_in.unwrap_or(failed(error)))
    }
}
