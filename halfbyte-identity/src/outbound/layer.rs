use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::hosts::Hosts;
use super::{Error, TokenService, TokenSource};

/// Puts the token of a [`TokenSource`] on outgoing requests, for a client that is a tower service.
///
/// ```no_run
/// use halfbyte_identity::outbound::TokenLayer;
/// use http_body_util::Full;
/// use tower::ServiceBuilder;
/// # fn example<S>(tokens: halfbyte_identity::TokenSource, connection: S) -> Result<(), halfbyte_core::BoxError> {
/// let layer = TokenLayer::<Full<bytes::Bytes>>::new(tokens, ["clinic.example.com"])?.retrying();
/// let client = ServiceBuilder::new().layer(layer).service(connection);
/// # Ok(()) }
/// ```
///
/// # What it guarantees
///
/// - The token goes to the hosts named, by https, or by plain http to this machine (`localhost`, `127.0.0.0/8`, `::1`).
/// - A request to any other address leaves without an `Authorization` header, also when it came with one: what follows
///   redirects carries such headers along. An `Authorization` header on a request to one of the hosts is replaced.
/// - Without a token nothing is sent: the call fails with [`CallError::Token`](super::CallError::Token).
/// - The header is marked sensitive, so that it is not shown in logs nor kept in HTTP/2's table.
/// - A 401 (or gRPC status 16) to the token that was sent has it renewed, at most once a second however many requests meet one, and the request
///   is [sent again](Self::retrying) once with the new token. Without a new one the 401 is the answer.
///
/// # Where it stands
///
/// Inside of what follows redirects: each step of the way then passes through it, and only steps to the hosts get the token.
/// The other way around, what follows redirects sees the token on the request and decides alone where it goes.
///
/// In front of a tonic `Channel`: make the client by `with_origin`, with the address of the channel's endpoint. Without it a
/// request names no host, and what names no host gets no token.
///
/// ```no_run
/// # async fn example(tokens: halfbyte_identity::TokenSource) -> Result<(), halfbyte_core::BoxError> {
/// use halfbyte_identity::outbound::TokenLayer;
/// use tonic::transport::Channel;
/// use tonic_health::pb::health_client::HealthClient;
/// use tower::Layer as _;
///
/// let origin: http::Uri = "https://clinic.example.com".parse()?;
/// let channel = Channel::builder(origin.clone()).connect_lazy();
/// let client = HealthClient::with_origin(TokenLayer::new(tokens, ["clinic.example.com"])?.layer(channel), origin);
/// # Ok(()) }
/// ```
pub struct TokenLayer<B> {
    pub(super) source: TokenSource,
    pub(super) hosts: Arc<Hosts>,
    /// What to send the second time; `None` when that body cannot be sent twice.
    pub(super) again: fn(&B) -> Option<B>,
}

impl<B> TokenLayer<B> {
    /// Adds the token of `source` to requests for `hosts`: each `HOST` or `HOST:PORT`, matched exactly. Without a port it is
    /// the one of the scheme. Nothing is sent twice; see [`retrying`](Self::retrying).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](super::ErrorKind::Configuration): there is no host, or one of them is none.
    pub fn new(source: TokenSource, hosts: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, Error> {
        Ok(Self { source, hosts: Arc::new(Hosts::parse(hosts)?), again: |_| None })
    }

    /// Sends a request once more after a 401, with a copy of its body. For a body that is a clone of itself, as
    /// `Full<Bytes>` and `String` are; a streaming one, such as tonic's, is not.
    #[must_use]
    pub fn retrying(self) -> Self
    where
        B: Clone,
    {
        self.retrying_with(|body| Some(body.clone()))
    }

    /// Sends a request once more after a 401, with the body that `again` makes of the first one; `None` where there can be
    /// none, and the 401 is then the answer. It is asked before the first attempt.
    #[must_use]
    pub fn retrying_with(mut self, again: fn(&B) -> Option<B>) -> Self {
        self.again = again;
        self
    }
}

impl<S, B> Layer<S> for TokenLayer<B> {
    type Service = TokenService<S, B>;

    fn layer(&self, inner: S) -> TokenService<S, B> {
        TokenService { inner, layer: self.clone() }
    }
}

// Not derived: a body need not be a clone of itself for the layer to be one.
impl<B> Clone for TokenLayer<B> {
    fn clone(&self) -> Self {
        Self { source: self.source.clone(), hosts: self.hosts.clone(), again: self.again }
    }
}

impl<B> fmt::Debug for TokenLayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenLayer").field("source", &self.source).field("hosts", &self.hosts).finish_non_exhaustive()
    }
}
