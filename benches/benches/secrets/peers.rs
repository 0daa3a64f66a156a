//! Ours and the peers, each with the same value and nothing behind it.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_secretsmanager_caching::SecretsManagerCachingClient;
use aws_smithy_http_client::test_util::infallible_client_fn;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte::secrets::{Ask, Error, Provider, Reading, Secret, Secrets};
use moka::sync::Cache;
use tokio::runtime::Runtime;

/// A backend of ours that takes its time, and counts.
#[derive(Clone, Default)]
pub struct Backend {
    pub value: String,
    pub takes: Duration,
    pub reads: Arc<AtomicUsize>,
}

impl Provider for Backend {
    const NAME: &'static str = "bench";

    async fn read(&self, _ask: Ask<'_>) -> Result<Reading, Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        Ok(Reading::new(self.value.as_str()))
    }
}

pub async fn ours(value: &str) -> Result<Secret<String>, Error> {
    let backend = Backend { value: value.to_owned(), ..Backend::default() };
    let secret = Secrets::new(backend, &Lifecycle::new(Clock::system())).get("db-password");
    secret.ready().await?;
    Ok(secret)
}

/// AWS's own cache, in front of an endpoint that answers at once.
pub struct Aws {
    pub cache: SecretsManagerCachingClient,
    pub requests: Arc<AtomicUsize>,
}

impl Aws {
    pub fn new(runtime: &Runtime, value: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let requests = Arc::new(AtomicUsize::new(0));
        let (counted, body) = (requests.clone(), answer(value));
        let http = infallible_client_fn(move |_request| {
            counted.fetch_add(1, Ordering::SeqCst);
            http::Response::builder().status(200).body(body.clone()).unwrap_or_default()
        });
        let config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "bench", "bench", None, None, "bench",
            )))
            .http_client(http)
            .build();
        let client = aws_sdk_secretsmanager::Client::from_conf(config);
        let (most, ttl) = (NonZeroUsize::MIN.saturating_add(999), Duration::from_secs(3600));
        let cache = SecretsManagerCachingClient::new(client, most, ttl, false)?;
        let aws = Self { cache, requests };
        runtime.block_on(aws.cache.get_secret_value("db-password", None, None, false))?;
        Ok(aws)
    }

    /// Of what is in its cache.
    pub fn read(&self) -> usize {
        let read = pin!(self.cache.get_secret_value("db-password", None, None, false));
        match read.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(value)) => value.secret_string.map_or(0, |value| value.len()),
            _ => 0,
        }
    }
}

fn answer(value: &str) -> String {
    serde_json::json!({
        "ARN": "arn:aws:secretsmanager:eu-central-1:000000000000:secret:db-password-AbCdEf",
        "Name": "db-password",
        "VersionId": "00000000-0000-0000-0000-000000000001",
        "SecretString": value,
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": 1_900_000_000,
    })
    .to_string()
}

pub fn moka(value: &str) -> Cache<String, Arc<str>> {
    let cache = Cache::builder().max_capacity(1000).time_to_live(Duration::from_secs(3600)).build();
    cache.insert("db-password".to_owned(), value.into());
    cache
}

/// Any variable will do, and this one is always there.
#[expect(clippy::disallowed_methods, reason = "it is what is measured")]
pub fn env() -> usize {
    std::env::var("PATH").map_or(0, |value| value.len())
}
