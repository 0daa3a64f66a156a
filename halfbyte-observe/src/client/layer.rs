use std::sync::Arc;

use http::Uri;
use tower_layer::Layer;

use super::Client;
use super::target::Server;
use crate::Instrumentation;
use crate::instrumentation::Tracer;
use crate::metrics::Durations;
use crate::propagation::Propagators;

/// Makes one client span and one measurement of each call, and sends its trace context along.
///
/// It goes around any client that is a tower service of [`http::Request`]s, such as a channel of tonic or a client of
/// hyper, and around a [`reqwest::Client`](::reqwest::Client), which is a service of its own requests. A request of gRPC
/// (`content-type: application/grpc`) follows the conventions for RPC, any other one those for HTTP.
///
/// ```
/// use std::convert::Infallible;
///
/// use halfbyte_observe::{ClientLayer, UrlTemplate};
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt as _};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Infallible> {
/// // In place of a client that connects:
/// let client = ServiceBuilder::new()
///     .layer(ClientLayer::new())
///     .service_fn(async |_request: Request<String>| Ok::<_, Infallible>(Response::new(String::from("a label"))));
/// let request = Request::get("https://parcel.example.com/labels/42")
///     .extension(UrlTemplate::new("/labels/{id}"))
///     .body(String::new())
///     .unwrap();
/// let response = client.oneshot(request).await?;
/// assert_eq!(response.into_body().into_inner(), "a label");
/// # Ok(()) }
/// ```
///
/// A channel of tonic, whose requests do not say where they go:
///
#[cfg_attr(feature = "grpc", doc = "```no_run")]
#[cfg_attr(not(feature = "grpc"), doc = "```ignore")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use halfbyte_observe::ClientLayer;
/// use tower::ServiceBuilder;
///
/// let uri: http::Uri = "https://ledger.example.com:50051".parse()?;
/// let channel = tonic::transport::Channel::builder(uri.clone()).connect_lazy();
/// let observed = ServiceBuilder::new().layer(ClientLayer::new().server(&uri)).service(channel);
/// // let client = LedgerClient::new(observed);
/// # Ok(()) }
/// ```
///
/// reqwest takes no layer around what it sends, so its client goes inside:
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use halfbyte_observe::ClientLayer;
/// use tower::{Service as _, ServiceBuilder, ServiceExt as _};
///
/// let http = reqwest::Client::new();
/// let mut observed = ServiceBuilder::new().layer(ClientLayer::new()).service(http.clone());
/// let request = http.get("https://parcel.example.com/labels/42").build()?;
/// let response: reqwest::Response = observed.ready().await?.call(request).await?;
/// # Ok(()) }
/// ```
///
/// # What it records
///
/// The span has the kind CLIENT and is called `{method} {template}`, or `{method}` without an
/// [`UrlTemplate`](super::UrlTemplate) (`HTTP` for a method that is not known), or `{package}.{Service}/{Method}` of gRPC
/// (`grpc` where that is not known).
///
/// | attribute | on the span | on the duration | value |
/// |---|---|---|---|
/// | `http.request.method` | HTTP | the same | one of those that are [known](Self::known_methods), or `_OTHER` |
/// | `http.request.method_original` | when `_OTHER` | | as it is sent |
/// | `url.full` | HTTP | | without credentials, and with `REDACTED` for each value of the query |
/// | `url.template` | when there is one | the same | `/labels/{id}` |
/// | `server.address`, `server.port` | when known | the same | from the request's address, its `Host`, or [`server`](Self::server) |
/// | `http.request.resend_count` | when there is a [`ResendCount`](super::ResendCount) above 0 | | |
/// | `http.response.status_code` | when HTTP was answered | the same | |
/// | `network.protocol.version` | the same | the same | `1.1`, `2`, as it was answered |
/// | `network.peer.address`, `network.peer.port` | with reqwest, when answered | | |
/// | `rpc.system.name` | gRPC | the same | `grpc` |
/// | `rpc.method` | gRPC | the same | `{package}.{Service}/{Method}`, or `_OTHER` for any other path |
/// | `rpc.method_original` | when `_OTHER` | | the path |
/// | `rpc.response.status_code` | gRPC, when known | the same | `OK`, `NOT_FOUND` |
/// | `error.type` | when it failed | the same | see below |
///
/// | metric | kind | unit | boundaries | exemplars |
/// |---|---|---|---|---|
/// | `http.client.request.duration` | histogram | s | 0.005 to 10 | the span of the call, if it is sampled |
/// | `rpc.client.call.duration` | histogram | s | 0.005 to 10 | the same |
///
/// Of each there are as many series as the SDK keeps, over all layers: 2,000 unless a view says otherwise. What is measured
/// of any other is the one with `otel.metric.overflow`. The first 1,000 stay and have exemplars; with the temporality
/// delta the others make room again when they are not measured any more.
///
/// A call failed, and the status of its span is Error without a description, when HTTP answered 400 or above
/// (`error.type` is the status), when gRPC ended with any code but `OK` (it is the code), or else with one of
/// `timeout`, `connect`, `connection_refused`, `connection_reset`, `connection_aborted`, `broken_pipe`,
/// `unexpected_eof`, `not_connected`, `unreachable`, `redirect`, `request`, `body`, `cancelled`, `panic`, the name of the
/// client's error type, or `_OTHER`.
///
/// # When it ends
///
/// A span ends, once, when the body of the response has ended or is dropped. A body that is dropped before anything was
/// read of it is no failure: many a caller needs the status alone. One that is dropped half-way is `cancelled`, and so
/// is a call that is dropped before it was answered. A call of gRPC that is dropped without its status is `CANCELLED`,
/// and one that ends without it `UNKNOWN`.
///
/// # What it does not do
///
/// - Redirects and retries inside a client are not seen: the span is that of the call. With a retry around this layer
///   each attempt is a span; let the retry put in a [`ResendCount`](super::ResendCount).
/// - With reqwest there is no `url.template`, since its requests carry no extensions.
/// - gRPC-Web counts as HTTP, since its status is part of the body.
/// - Telemetry's own calls, whose context is suppressed, are passed on as they are.
#[derive(Clone, Debug)]
pub struct ClientLayer(Arc<Instruments>);

#[derive(Clone, Debug)]
pub(super) struct Instruments {
    pub(super) tracer: Tracer,
    pub(super) propagators: Arc<Propagators>,
    pub(super) http: Arc<Durations>,
    pub(super) rpc: Arc<Durations>,
    /// Where requests go that do not say so.
    pub(super) server: Option<Server>,
    /// In place of those of the conventions.
    pub(super) methods: Option<Box<[Arc<str>]>>,
}

impl ClientLayer {
    /// A layer that records with what [`init`](crate::init) has set up: make it after that.
    pub fn new() -> Self {
        Self::with_instrumentation(&Instrumentation::process())
    }

    /// A layer that records with `instrumentation`, such as that of a test.
    ///
    /// The first one makes the instruments, for which the SDK waits for a collection that is under way and for the
    /// callbacks in it. Calls never do.
    pub fn with_instrumentation(instrumentation: &Instrumentation) -> Self {
        let Instrumentation { tracer, meter, propagators, exemplars, .. } = instrumentation.clone();
        let http = exemplars.shared(&meter, "http.client.request.duration", "Duration of HTTP client requests.");
        let description = "Measures the duration of an outgoing Remote Procedure Call (RPC).";
        let rpc = exemplars.shared(&meter, "rpc.client.call.duration", description);
        Self(Arc::new(Instruments { tracer, propagators, http, rpc, server: None, methods: None }))
    }

    /// Where requests go that name no server themselves, such as those to a channel of tonic. Of `uri` the scheme, the
    /// host and the port are used.
    pub fn server(mut self, uri: &Uri) -> Self {
        Arc::make_mut(&mut self.0).server = Server::of(uri);
        self
    }

    /// The methods of HTTP that are recorded as they are, in place of those that the conventions know (`GET`, `HEAD`,
    /// `POST`, `PUT`, `DELETE`, `CONNECT`, `OPTIONS`, `TRACE`, `PATCH` and `QUERY`). Case matters.
    pub fn known_methods<M: Into<Arc<str>>>(mut self, methods: impl IntoIterator<Item = M>) -> Self {
        Arc::make_mut(&mut self.0).methods = Some(methods.into_iter().map(Into::into).collect());
        self
    }
}

impl Default for ClientLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Client { inner, instruments: self.0.clone() }
    }
}
