use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::BoxError;
use halfbyte_core::config::{ApiKeysBackend, Environment, IdentityBackend};
use halfbyte_core::home::Home;
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

/// What [`Identity::open`](crate::Identity::open) needs to know.
///
/// ```
/// # fn example(home: halfbyte_core::home::Home) -> Result<(), Box<dyn std::error::Error>> {
/// use halfbyte_core::config::IdentityBackend;
/// use halfbyte_identity::Settings;
///
/// let issuer = IdentityBackend::issuer("https://id.example.com");
/// let settings = Settings::new(vec![issuer], "parcel", "https://parcel.example.com".parse()?, home)
///     .cached_tokens(50_000)
///     .trusted_proxies(vec!["10.0.0.0/8".parse()?]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Settings {
    pub(crate) backends: Vec<IdentityBackend>,
    pub(crate) audience: String,
    pub(crate) public_url: Url,
    pub(crate) home: Home,
    pub(crate) environment: Environment,
    pub(crate) api_keys: ApiKeysBackend,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) dpop_nonce: bool,
    pub(crate) dpop_nonce_key: Option<SecretString>,
    pub(crate) client: Option<(Box<str>, SecretFn)>,
    pub(crate) cached_tokens: usize,
    pub(crate) cached_for: Duration,
}

/// Asked at each use, so that a rotated secret is used from then on.
pub(crate) type SecretFn = Arc<dyn Fn() -> Result<SecretString, BoxError> + Send + Sync>;

impl Settings {
    /// With `backends`, whose tokens are accepted; `audience`, what `aud` must hold; `public_url`, the address under which
    /// clients know this product (scheme and host); and `home`, where an embedded issuer keeps its state.
    pub fn new(backends: Vec<IdentityBackend>, audience: impl Into<String>, public_url: Url, home: Home) -> Self {
        Self {
            backends,
            audience: audience.into(),
            public_url,
            home,
            environment: Environment::Development,
            api_keys: ApiKeysBackend::Off,
            trusted_proxies: Vec::new(),
            dpop_nonce: false,
            dpop_nonce_key: None,
            client: None,
            cached_tokens: 10_000,
            cached_for: Duration::from_secs(300),
        }
    }

    /// Accepts API keys of `environment` that are kept in `backend`. Off unless said.
    #[must_use]
    pub fn api_keys(mut self, backend: ApiKeysBackend, environment: Environment) -> Self {
        (self.api_keys, self.environment) = (backend, environment);
        self
    }

    /// Accepts opaque tokens: the first issuer is asked about them (RFC 7662) as the client `id`, and its word is kept for up
    /// to 30 seconds. `secret` is asked at each use. Logout tokens may have `id` for their `aud`, too.
    #[must_use]
    pub fn introspect(
        mut self,
        id: &str,
        secret: impl Fn() -> Result<SecretString, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.client = Some((id.into(), Arc::new(secret)));
        self
    }

    /// Believes proxies in these networks what they say of the client's certificate (`Client-Cert`, RFC 9440). None unless
    /// said: anybody can send a header.
    ///
    /// Who sends is the [`PeerAddress`](halfbyte_core::PeerAddress) in the request's extensions. The server of `halfbyte` puts
    /// it there; with another server the product must, or no proxy is believed. With axum, outside of
    /// [`Identity::authenticate`](crate::Identity::authenticate) and served by `into_make_service_with_connect_info`:
    ///
    /// ```
    /// use std::net::SocketAddr;
    ///
    /// use axum::Router;
    /// use axum::extract::{ConnectInfo, Request};
    /// use axum::middleware::map_request;
    /// use halfbyte_core::PeerAddress;
    ///
    /// async fn peer(ConnectInfo(address): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
    ///     request.extensions_mut().insert(PeerAddress(address));
    ///     request
    /// }
    ///
    /// # fn example(routes: Router) -> Router {
    /// routes.layer(map_request(peer))
    /// # }
    /// ```
    #[must_use]
    pub fn trusted_proxies(mut self, networks: Vec<IpNet>) -> Self {
        self.trusted_proxies = networks;
        self
    }

    /// Asks for a nonce of this process in every DPoP proof (RFC 9449, 9), so that a proof is good at this process only. Without
    /// `key` each process makes up its own: a client whose requests reach several is asked for a new nonce at each change.
    /// Processes that share a `key`, of 32 bytes or more, accept each other's nonces.
    #[must_use]
    pub fn dpop_nonce(mut self, key: Option<SecretString>) -> Self {
        (self.dpop_nonce, self.dpop_nonce_key) = (true, key);
        self
    }

    /// How many verified tokens are remembered. 10,000 unless said; each takes about a kilobyte.
    #[must_use]
    pub fn cached_tokens(mut self, most: usize) -> Self {
        self.cached_tokens = most;
        self
    }

    /// For how long a verified token is remembered at most. Five minutes unless said.
    #[must_use]
    pub fn cached_for(mut self, longest: Duration) -> Self {
        self.cached_for = longest;
        self
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("backends", &self.backends)
            .field("audience", &self.audience)
            .field("public_url", &self.public_url.as_str())
            .field("api_keys", &self.api_keys)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("dpop_nonce", &self.dpop_nonce)
            .field("client_id", &self.client.as_ref().map(|(id, _)| id))
            .finish_non_exhaustive()
    }
}
