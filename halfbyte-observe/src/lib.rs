//! One call sets up the log, traces, metrics and OTLP export of a product, and one layer accounts for every request.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use halfbyte_core::TraceId;
//! use halfbyte_observe::{RequestIdLayer, ServerLayer};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt as _};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Infallible> {
//! // A product calls `halfbyte_observe::init` first; the layers also work without.
//! let service = ServiceBuilder::new()
//!     .layer(RequestIdLayer::new())
//!     .layer(ServerLayer::new())
//!     .service_fn(async |_request: Request<String>| {
//!         assert!(TraceId::current().is_some());
//!         Ok::<_, Infallible>(Response::new(String::from("hello")))
//!     });
//! let request = Request::get("/").header("x-request-id", "order-42").body(String::new()).unwrap();
//! let response = service.oneshot(request).await?;
//! assert_eq!(response.headers()["x-request-id"], "order-42");
//! # Ok(()) }
//! ```
//!
//! With axum and the feature `axum`, put the layers on the router with `layer`, so that they run behind the matching of
//! routes and see which route it was:
//!
#![cfg_attr(feature = "axum", doc = "```")]
#![cfg_attr(not(feature = "axum"), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use halfbyte_observe::{RequestIdLayer, ServerLayer};
//!
//! // The last one is the outermost.
//! let app: Router = Router::new()
//!     .route("/labels/{id}", get(async || "a label"))
//!     .layer(ServerLayer::new())
//!     .layer(RequestIdLayer::new());
//! ```
//!
//! # What it guarantees
//!
//! - A request is one server span, one duration and one line of the log: also when the client hangs up, when the body is
//!   dropped half-way, when the service answers an error, and when it panics.
//! - Spans of the product's own `tracing` code, and the calls of [`halfbyte_core::client`], are children of the server
//!   span; an inbound `traceparent` of [somebody who is believed](ServerLayer::trace_from) goes on, from others it is
//!   linked to, and a malformed one is ignored.
//! - Every request has a [`RequestId`](halfbyte_core::RequestId) in its extensions and a
//!   [`TraceId`](halfbyte_core::TraceId) that is current, and every response says `x-request-id`.
//! - A query, a credential and the value of a header other than `Host` and `User-Agent` appear in no span, no metric and
//!   no log line that this crate makes, unless [asked for](ServerLayer::request_headers), credentials never. What a
//!   client sends is taken up to a length of 256.
//! - Neither paths, methods, gRPC methods nor tenants that clients make up make series: there are at most 2,000 of the
//!   duration, and one that overflows.
//! - What sends telemetry runs on threads of its own and is never traced itself.
//! - A panic is one event, in the trace of its request; see [`panics`].
//! - A line of the log is one line, of at most 64 KiB outside of development, whatever is in it.
//! - Of a warning or an error that repeats in the same words, 10 lines are logged in 10 seconds; how many more there were
//!   is told by one line, with the first event that is logged after that, or at shutdown. Spans keep all of them.
//! - [`Telemetry::shutdown`] keeps its budget with a collector that hangs, blocks no worker thread, and says what could
//!   not be sent.
//!
//! # What it emits
//!
//! By the semantic conventions 1.42 of OpenTelemetry. The span of a request has the kind SERVER and is called
//! `{method} {route}`, or `{method}` where there is no route (`HTTP` for a method that is not known); that of a gRPC call
//! is called `{package}.{Service}/{Method}`, or `grpc` where the method is not known. Its status is Error, without a
//! description, when the fault is the server's: 5xx; the codes UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
//! UNAVAILABLE and DATA_LOSS; an error of the service or of the body; a panic. It stays unset when the client went away.
//!
//! | attribute | on the span of | on the duration | value |
//! |---|---|---|---|
//! | `http.request.method` | a request | of requests | one of those that are [known](ServerLayer::known_methods), or `_OTHER` |
//! | `http.request.method_original` | a request, when `_OTHER` | | as it was sent |
//! | `http.route` | a request | of requests | `/labels/{id}`, with the feature `axum` or by [`Route`] |
//! | `http.response.status_code` | a request, when there was a response | of requests | |
//! | `url.path` | a request | | without the query |
//! | `url.query` | a request, [if asked for](ServerLayer::query) | | with secrets replaced by `REDACTED` |
//! | `url.scheme` | a request | of requests | `http`, `https` |
//! | `user_agent.original` | a request, when the client said | | |
//! | `http.request.header.<name>`, `http.response.header.<name>` | a request, [if asked for](ServerLayer::request_headers) | | |
//! | `rpc.system.name` | a call | of calls | `grpc` |
//! | `rpc.method` | a call | of calls | one that is [known](ServerLayer::rpc_methods), or `_OTHER` |
//! | `rpc.method_original` | a call, when `_OTHER` | | as it was sent |
//! | `rpc.response.status_code` | a call, when it came to one | of calls | `OK`, `NOT_FOUND` |
//! | `rpc.request.metadata.<name>`, `rpc.response.metadata.<name>` | a call, [if asked for](ServerLayer::request_headers) | | |
//! | `error.type` | both, when it failed | both | the status from 500 up or the code, or `cancelled`, `panic`, `body_error`, `service_error` |
//! | `network.protocol.name` | a call | | `http` |
//! | `network.protocol.version` | both | of requests | `1.1`, `2` |
//! | `server.address`, `server.port` | both, when the client said | | from a [trusted proxy](ServerLayer::trusted_proxies), the request line or `Host` |
//! | `client.address` | both | | from a [trusted proxy](ServerLayer::trusted_proxies), or the [peer](halfbyte_core::PeerAddress) |
//! | `client.port` | a call, and a request [if asked for](ServerLayer::client_port) | | the same |
//! | `network.peer.address`, `network.peer.port` | both | | the [peer](halfbyte_core::PeerAddress) |
//! | `halfbyte.refusal` | both, when the response is a refusal | | [`Kind::slug`](halfbyte_core::problem::Kind::slug) |
//! | `halfbyte.tenant` | both, once the [caller](halfbyte_core::Caller) is known | [if asked for](ServerLayer::tenants) | |
//! | `halfbyte.principal.kind` | the same | | `user`, `service` |
//! | `enduser.pseudo.id` | the same, [with a key](Instrumentation::pseudonyms) | | a hash |
//!
//! | metric | kind | unit | |
//! |---|---|---|---|
//! | `http.server.request.duration` | histogram, boundaries 0.005 to 10, with exemplars | s | from the request to the end of its response's body |
//! | `rpc.server.call.duration` | the same | s | the same, of gRPC calls |
//! | `http.server.active_requests` | up-down counter | {request} | requests and calls that are under way, by `http.request.method` and `url.scheme` |
//!
//! | log | level | |
//! |---|---|---|
//! | `halfbyte::panic` | ERROR | a panic, named `exception`, also as an event of the span; see [`panics`] |
//! | `halfbyte::access` | INFO | `POST /labels 201 1.3ms`, with `request_id`, `tenant` and `refusal` where there is one |
//!
//! The resource is `service.name` (the product), `service.version`, `service.instance.id` (a UUID),
//! `deployment.environment.name` and `telemetry.sdk.*`; `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` go before it.
//!
//! # Configuration
//!
//! | variable | what it does |
//! |---|---|
//! | `HALFBYTE_ENV` | `development`: a log for people on standard error. Otherwise: JSON lines on standard output, with `trace_id`, `span_id` and `trace_flags`, `tenant` and `principal_kind`, `product` and `version` |
//! | `RUST_LOG` | what is logged; `info`, and of HTTP and telemetry libraries `warn`, unless set. Traces do not depend on it: spans from INFO up are part of them |
//! | `NO_COLOR` | no colours on a terminal |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | all three signals go there; one of them goes to `OTEL_EXPORTER_OTLP_{TRACES,METRICS,LOGS}_ENDPOINT` |
//! | `OTEL_{TRACES,METRICS,LOGS}_EXPORTER` | a list: without `otlp` in it, such as `none`, the signal is left out. `console` is there for logs, which are on the console anyway |
//! | `OTEL_EXPORTER_OTLP[_…]_PROTOCOL` | `http/protobuf` unless it is `grpc`, for which the endpoint has no path |
//! | `OTEL_EXPORTER_OTLP[_…]_HEADERS` | `name=value` between commas, values percent-encoded; shown nowhere |
//! | `OTEL_EXPORTER_OTLP[_…]_{COMPRESSION,TIMEOUT}` | `none` or `gzip`; of one attempt, in milliseconds, 10,000 unless set |
//! | `OTEL_EXPORTER_OTLP[_…]_{CERTIFICATE,CLIENT_KEY,CLIENT_CERTIFICATE}` | files in PEM: whom to trust in place of what the machine trusts, and who we are |
//! | `OTEL_EXPORTER_OTLP[_…]_INSECURE` | `true`: an endpoint of gRPC that names no scheme has no TLS |
//! | `OTEL_BSP_*`, `OTEL_BLRP_*` | delay, timeout, queue and batch of spans and of log records, with the defaults of the specification; a queue also holds no more than 32 MiB |
//! | `OTEL_METRIC_EXPORT_{INTERVAL,TIMEOUT}`, `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE` | milliseconds; `cumulative`, `delta` or `lowmemory` |
//! | `OTEL_SDK_DISABLED` | `true`: no traces, metrics and logs but on the console |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_SPAN_*_LIMIT` | read by the OpenTelemetry SDK |
//!
//! # What it does not do
//!
//! - No OTLP over HTTP/JSON. What a queue cannot hold at once, and what a collector refuses for good, is lost; it is
//!   counted: see [`Telemetry::stats`].
//! - gRPC-Web is a plain request: its status stands inside of the body.
//! - `tracing` events and spans of the product are sent as the product writes them: nothing in them is redacted.
//! - No route without axum or [`Route`].
//!
//! # Features
//!
//! - `axum`: `http.route`, from axum's `MatchedPath`.
//! - `testing`: the module `testing`, which captures telemetry in tests and stands for a collector.

pub mod audit;
mod chain;
pub mod client;
mod console;
mod error;
mod export;
mod init;
mod instrumentation;
mod keep;
mod metrics;
pub mod panics;
mod propagation;
mod redact;
mod repeats;
pub mod request_id;
mod resource;
pub mod server;
mod settings;
mod signal;
mod spool;
mod stamp;
mod subscriber;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod wall;

#[doc(no_inline)]
pub use opentelemetry;

pub use self::client::{ClientLayer, ResendCount, UrlTemplate};
/// The instrumentation scope of what this crate itself records.
pub(crate) const SCOPE: &str = env!("CARGO_PKG_NAME");

pub use self::error::{Error, ErrorKind};
pub use self::export::{Dropped, SignalStats, Stats};
pub use self::init::init;
pub use self::instrumentation::Instrumentation;
pub use self::keep::{Keep, Kept};
pub use self::propagation::{BaggageKeys, Propagators, TraceTrust};
pub use self::redact::{Redaction, RedactionBuilder, Sensitive};
pub use self::request_id::RequestIdLayer;
pub use self::server::{Route, ServerLayer};
pub use self::settings::Settings;
pub use self::signal::Signal;
pub use self::stamp::UserHasher;
pub use self::telemetry::{Failure, Flushed, Telemetry};
