//! The one outbound HTTP stack, which every typed client uses.

mod duration;
mod error;
mod redact;
mod request;
mod response;
mod retry;
mod telemetry;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use url::Url;

pub use self::error::{Error, ErrorKind};
pub use self::redact::redacted_query;
pub use self::request::Request;
pub use self::response::Response;
use self::retry::RetryBudget;
use self::telemetry::Attempt;

/// Calls other services over HTTP with limits on everything.
///
/// ```no_run
/// # async fn example() -> Result<(), halfbyte_core::client::Error> {
/// let client = halfbyte_core::client::Client::new()?;
/// let url = "https://issuer.example.com/.well-known/openid-configuration".parse().unwrap();
/// let metadata: serde_json::Value = client.get(url).send().await?.success()?.json()?;
/// # Ok(()) }
/// ```
///
/// # What it guarantees
///
/// - An attempt ends within [`Limits::timeout`], and no body is read past [`Limits::max_body`].
/// - What may be repeated (GET, HEAD, PUT, DELETE, OPTIONS, or [marked so](Request::repeatable)) is repeated up to
///   [`Limits::attempts`] times after a connection that failed or 429, 502, 503, 504, with jittered back-off or as
///   `Retry-After` says, and within a budget: retries are at most a tenth of the calls, so that a backend in trouble is
///   not made worse.
/// - Redirects are not followed and no proxy is used: a credential never goes where it was not addressed to.
/// - Each attempt is one client span and one measurement of `http.client.request.duration` (in seconds, to the last byte
///   of the body), with the global providers of OpenTelemetry. Its W3C trace context goes out with it, also when the span
///   is not recorded.
/// - No query, user name, password or header appears in an error or a span; of a query, spans have the names of its
///   parameters.
///
/// # The duration
///
/// It has the attributes of the semantic conventions: `http.request.method`, `server.address`, `server.port`,
/// `http.response.status_code` and `network.protocol.version` when there was an answer, and `error.type` when there was
/// none, an incomplete one, or one from 400 up. There is a series for each server, so the addresses have to be those of
/// the product's configuration, of which there are few; that there are not too many is up to the SDK, which keeps 2,000
/// series of a metric and counts any other as `otel.metric.overflow`. Paths and queries make no series. A call whose
/// context [suppresses telemetry](opentelemetry::Context::is_telemetry_suppressed) is not measured.
///
/// It is recorded with the global meter provider that there is when the attempt ends. A client that is made has its
/// instrument; so set telemetry up first. Where the provider is replaced later, the next attempt makes the new one's
/// instrument as it ends, and then waits on its thread for a collection that is under way and for the callbacks in it.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    limits: Limits,
    budget: RetryBudget,
}

/// The limits of a [`Client`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For one attempt from connect to the last byte of the body. Default 10 seconds.
    pub timeout: Duration,
    /// For the connection alone. Default 3 seconds.
    pub connect_timeout: Duration,
    /// The largest response body in bytes. Default 1 MiB.
    pub max_body: usize,
    /// Attempts in all, the first one included. Default 3.
    pub attempts: u32,
    /// The longest `Retry-After` that is waited for; with a longer one the response is answered as it is. Default 2 seconds.
    pub max_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            max_body: 1 << 20,
            attempts: 3,
            max_wait: Duration::from_secs(2),
        }
    }
}

impl Client {
    /// A client with the default limits.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up on this machine.
    pub fn new() -> Result<Self, Error> {
        Self::with_limits(Limits::default())
    }

    /// A client with limits of your own.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_limits(limits: Limits) -> Result<Self, Error> {
        Self::build(limits, |http| http)
    }

    /// A client that trusts servers by the certificates in `pem` alone, not by those of this machine.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); or `pem` holds no certificate.
    pub fn trusting(pem: &[u8], limits: Limits) -> Result<Self, Error> {
        let setup = |error: reqwest::Error| Error::new(ErrorKind::Setup, None, error);
        let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(setup)?;
        if roots.is_empty() {
            return Err(Error::new(ErrorKind::Setup, None, "there is no certificate in the PEM text"));
        }
        Self::build(limits, |http| http.tls_certs_only(roots))
    }

    fn build(
        limits: Limits,
        trust: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .timeout(limits.timeout)
            .connect_timeout(limits.connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // Plain http is for this machine: a proxy from the environment would take tokens off it.
            .no_proxy()
            // Below what servers and load balancers keep idle connections for.
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("halfbyte/", env!("CARGO_PKG_VERSION")));
        let http = trust(http).build().map_err(|error| Error::new(ErrorKind::Setup, None, error.without_url()))?;
        duration::prepare();
        Ok(Self(Arc::new(Inner { http, limits, budget: RetryBudget::default() })))
    }

    /// Starts a GET.
    pub fn get(&self, url: Url) -> Request {
        self.request(Method::GET, url)
    }

    /// Starts a POST.
    pub fn post(&self, url: Url) -> Request {
        self.request(Method::POST, url)
    }

    /// Starts a request.
    pub fn request(&self, method: Method, url: Url) -> Request {
        Request::new(self.clone(), method, url)
    }

    async fn send(&self, request: Request) -> Result<Response, Error> {
        self.0.budget.deposit();
        let mut attempt = 1;
        loop {
            let outcome = self.attempt(&request, attempt - 1).await;
            let wait = match &outcome {
                _ if !request.repeatable || attempt >= self.0.limits.attempts => None,
                Ok(response) if retry::is_worth_it(response.status()) => {
                    let asked = response.retry_after();
                    asked
                        .is_none_or(|asked| asked <= self.0.limits.max_wait)
                        .then(|| asked.unwrap_or_else(|| retry::backoff(attempt)))
                }
                Ok(_) => None,
                Err(error) => error.is_connect().then(|| retry::backoff(attempt)),
            };
            match wait {
                Some(wait) if self.0.budget.withdraw() => tokio::time::sleep(wait).await,
                _ => return outcome,
            }
            attempt += 1;
        }
    }

    /// Sends the request, which was sent `resent` times before.
    async fn attempt(&self, request: &Request, resent: u32) -> Result<Response, Error> {
        let mut telemetry = Attempt::start(&request.method, &request.url, resent);
        let mut headers = request.headers.clone();
        telemetry.inject(&mut headers);
        let outcome = self.exchange(request, headers, &mut telemetry).await;
        telemetry.end(outcome.as_ref());
        outcome
    }

    async fn exchange(
        &self,
        request: &Request,
        headers: http::HeaderMap,
        telemetry: &mut Attempt,
    ) -> Result<Response, Error> {
        let sent = self
            .0
            .http
            .request(request.method.clone(), request.url.clone())
            .headers(headers)
            .body(request.body.clone())
            .send()
            .await
            .map_err(|error| Error::from_reqwest(&request.url, error))?;
        telemetry.answered(&sent);
        Response::read(sent, self.0.limits.max_body, &request.url).await
    }
}
