//! Ours and the peers, each with the same value and nothing behind it.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_sdk_secretsmanager::config::http::{HttpRequest, HttpResponse};
use aws_sdk_secretsmanager::config::{
    BehaviorVersion, Credentials, HttpClient, Region, RuntimeComponents, SharedCredentialsProvider,
};
use aws_secretsmanager_caching::SecretsManagerCachingClient;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte::secrets::{Ask, Error, Provider, Reading, Secret, Secrets};
use moka::future::Cache;
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

/// What AWS answers, and how long that takes; it counts.
#[derive(Clone, Debug)]
struct Endpoint {
    body: Arc<str>,
    takes: Duration,
    requests: Arc<AtomicUsize>,
}

impl HttpConnector for Endpoint {
    fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
        let Self { body, takes, requests } = self.clone();
        HttpConnectorFuture::new(async move {
            requests.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(takes).await;
            Ok(HttpResponse::new(StatusCode::try_from(200).expect("a status"), SdkBody::from(&*body)))
        })
    }
}

impl HttpClient for Endpoint {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// AWS's own cache, in front of an endpoint.
pub struct Aws {
    pub cache: SecretsManagerCachingClient,
    pub requests: Arc<AtomicUsize>,
}

impl Aws {
    pub fn new(runtime: &Runtime, value: &str, takes: Duration) -> Result<Self, Box<dyn std::error::Error>> {
        let requests = Arc::new(AtomicUsize::new(0));
        let http = Endpoint { body: answer(value).into(), takes, requests: requests.clone() };
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

/// moka, in front of a backend that is not asked again.
pub struct Moka(Cache<String, Arc<str>>);

impl Moka {
    pub fn new(runtime: &Runtime, value: &str) -> Self {
        let cache = Cache::builder().max_capacity(1000).time_to_live(Duration::from_secs(3600)).build();
        runtime.block_on(cache.insert("db-password".to_owned(), value.into()));
        Self(cache)
    }

    /// What is in the cache, or is fetched.
    pub fn read(&self) -> usize {
        let read = pin!(self.0.try_get_with_by_ref("db-password", async { Err::<Arc<str>, _>("it is there") }));
        match read.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(value)) => value.len(),
            _ => 0,
        }
    }

    /// What is in the cache.
    pub fn get(&self) -> usize {
        let get = pin!(self.0.get("db-password"));
        match get.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(value)) => value.len(),
            _ => 0,
        }
    }
}

/// Any variable will do, and this one is always there.
#[expect(clippy::disallowed_methods, reason = "it is what is measured")]
pub fn env() -> usize {
    std::env::var("PATH").map_or(0, |value| value.len())
}
