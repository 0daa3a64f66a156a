//! Asks a product for its manifest, within bounds.

use std::time::Duration;

use halfbyte::Manifest;
use halfbyte::core::client::{Client, Error, Limits};
use halfbyte::core::error_chain;
use url::Url;

/// One that answers slowly, or with more than a manifest, is not waited for.
pub fn client() -> Result<Client, Error> {
    let limits = Limits { timeout: Duration::from_secs(5), attempts: 2, ..Limits::default() };
    Client::with_limits(limits)
}

/// `url` is the admin listener's, or that of a manifest.
pub async fn manifest(client: &Client, url: &Url) -> Result<Manifest, String> {
    let mut url = url.clone();
    if url.path() == "/" {
        url.set_path("/manifest");
    }
    let asked = async { client.get(url).send().await?.success()?.json() };
    asked.await.map_err(|error: Error| error_chain(&error).to_string())
}
