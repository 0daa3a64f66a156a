use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use ipnet::IpNet;
use tower_layer::Layer;

use super::Server;
use super::headers::Allowed;
use super::instruments::Instruments;
use crate::Instrumentation;
use crate::TraceTrust;
use crate::metrics::Texts;
use crate::propagation::canonical;

/// Makes one server span and one measurement of the duration per request, and counts the requests that are under way; see
/// the [crate's documentation](crate) for all that it records.
///
/// What it records with is fetched when it is made: make it after [`init`](crate::init). Without `init` it costs
/// little, and still gives each request a [`TraceId`](halfbyte_core::TraceId). To make it takes locks of the SDK, which a
/// collection of metrics holds too; requests do not.
///
/// Make one and clone it: clones share their series.
///
/// ```
/// # fn main() -> Result<(), ipnet::AddrParseError> {
/// use halfbyte_observe::{ServerLayer, TraceTrust};
///
/// let cluster = "10.0.0.0/8".parse()?;
/// let layer = ServerLayer::new().trusted_proxies([cluster]).trace_from(TraceTrust::networks([cluster]));
/// # let _ = layer;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ServerLayer(Arc<Shared>);

#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) instruments: Arc<Instruments>,
    pub(super) policy: Policy,
}

/// What may be believed, and what is to be said.
#[derive(Clone, Default)]
pub(super) struct Policy {
    pub(super) proxies: Vec<IpNet>,
    pub(super) traces: TraceTrust,
    pub(super) query: bool,
    pub(super) client_port: bool,
    pub(super) request_headers: Allowed,
    pub(super) response_headers: Allowed,
    /// None if durations are not told apart by tenant.
    pub(super) tenants: Option<Arc<Texts>>,
}

impl Policy {
    /// Whether anything that is believed depends on who is at the other end.
    pub(super) fn depends_on_the_peer(&self) -> bool {
        !self.proxies.is_empty() || self.traces != TraceTrust::nobody()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("proxies", &self.proxies).field("traces", &self.traces).finish_non_exhaustive()
    }
}

impl ServerLayer {
    /// A layer that records with what [`init`](crate::init) has set up: [`Instrumentation::process`].
    pub fn new() -> Self {
        Self::with(&Instrumentation::process())
    }

    /// A layer that records with providers of your own, such as those of a test.
    pub fn with(instrumentation: &Instrumentation) -> Self {
        let instruments = Arc::new(Instruments::new(instrumentation.clone(), None));
        Self(Arc::new(Shared { instruments, policy: Policy::default() }))
    }

    /// The networks of the proxies in front. What they say in `Forwarded`, or else in `X-Forwarded-For`, `-Proto` and
    /// `-Host`, goes before what the connection says (where the two differ on who it was, nothing does: proxies that write
    /// one pass on what a client has written into the other): `client.address` is the rightmost address that is none of
    /// theirs, and scheme and host are those that this client asked for. From anyone else these headers mean nothing.
    ///
    /// None unless set: the client is then the other end of the connection,
    /// [`PeerAddress`](halfbyte_core::PeerAddress).
    #[must_use]
    pub fn trusted_proxies(self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.change(|policy| policy.proxies = networks.into_iter().map(canonical).collect())
    }

    /// From whom inbound trace context is taken up. Nobody unless set.
    #[must_use]
    pub fn trace_from(self, trust: TraceTrust) -> Self {
        self.change(|policy| policy.traces = trust)
    }

    /// Whether spans have `url.query`. No unless set, since a query may hold anything; what [`Redaction`](crate::Redaction)
    /// says is secret is replaced by `REDACTED` in any case.
    #[must_use]
    pub fn query(self, recorded: bool) -> Self {
        self.change(|policy| policy.query = recorded)
    }

    /// Whether the spans of HTTP requests have `client.port`, where it is known. No unless set: the conventions have it
    /// as opt-in, and `network.peer.port` is there.
    #[must_use]
    pub fn client_port(self, recorded: bool) -> Self {
        self.change(|policy| policy.client_port = recorded)
    }

    /// The headers of requests that spans have, as `http.request.header.<name>`, or `rpc.request.metadata.<name>` for
    /// gRPC. None unless set. One that carries credentials is left out although it is asked for: `authorization`,
    /// `cookie` and whatever sounds like a token, a password, a key, a secret or a signature.
    #[must_use]
    pub fn request_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let redaction = self.0.instruments.instrumentation.redaction.clone();
        self.change(|policy| policy.request_headers = Allowed::new(names, "request", &redaction))
    }

    /// As [`request_headers`](Self::request_headers), of responses: `http.response.header.<name>`.
    #[must_use]
    pub fn response_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let redaction = self.0.instruments.instrumentation.redaction.clone();
        self.change(|policy| policy.response_headers = Allowed::new(names, "response", &redaction))
    }

    /// Tells durations apart by tenant, `halfbyte.tenant`, for a product that has few: the first `most` of them, and all
    /// others together as `_OTHER`. Not unless set, since series multiply.
    #[must_use]
    pub fn tenants(self, most: usize) -> Self {
        self.change(|policy| policy.tenants = Some(Arc::new(Texts::new(most))))
    }

    /// The HTTP methods that are known, in place of those of the conventions; all others are `_OTHER`. They are
    /// case-sensitive, and 254 at most.
    #[must_use]
    pub fn known_methods(mut self, methods: impl IntoIterator<Item = &'static str>) -> Self {
        let shared = Arc::make_mut(&mut self.0);
        // Numbers stand for methods in the keys of series, so these begin anew.
        let instrumentation = shared.instruments.instrumentation.clone();
        let methods = methods.into_iter().take(254).collect();
        let instruments = Instruments::new(instrumentation, Some(methods));
        for method in shared.instruments.rpc_methods.all() {
            let _there_is_room = instruments.intern_rpc(method);
        }
        shared.instruments = Arc::new(instruments);
        self
    }

    /// The gRPC methods that there are, as `package.Service/Method`. One that is not named becomes known when it answers
    /// as only a method that there is would; until then its calls are `_OTHER`, since clients can make names up. At
    /// most 512 are told apart.
    #[must_use]
    pub fn rpc_methods<M: AsRef<str>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        for method in methods {
            let _or_too_many = self.0.instruments.intern_rpc(method.as_ref());
        }
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut Arc::make_mut(&mut self.0).policy);
        self
    }
}

impl Default for ServerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Server { inner, shared: self.0.clone() }
    }
}
