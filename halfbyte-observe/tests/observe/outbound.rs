//! A call that a handler makes belongs to the trace of its request.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use halfbyte_core::client::Client;
use halfbyte_core::config::Config;
use halfbyte_observe::ClientLayer;
use halfbyte_observe::testing::Receiver;
use http::{Request, Response};
use opentelemetry::global;
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::child::{self, assert_success};
use crate::kit::{Body, Kit, finish, get, ok};

/// A server that answers the `traceparent` that it was called with.
async fn echo() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = async |headers: axum::http::HeaderMap| {
        headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let mut server = JoinSet::new();
    server.spawn(async move {
        axum::serve(listener, axum::Router::new().route("/", axum::routing::get(handler))).await.unwrap();
    });
    (address, server)
}

/// The client records with the global provider; this is the only test that sets it.
#[tokio::test]
async fn a_call_of_a_handler_is_a_child_of_the_server_span_and_tells_so_to_whom_it_calls() {
    let kit = Kit::new();
    global::set_tracer_provider(kit.traces.clone());
    global::set_text_map_propagator(TraceContextPropagator::new());
    let (address, _server) = echo().await;
    let client = Client::new().unwrap();
    let handler = service_fn(move |_: Request<Body>| {
        let call = client.get(format!("http://{address}/").parse().unwrap());
        async move { Ok::<_, Infallible>(Response::new(Body::from(call.send().await.unwrap().body().clone()))) }
    });
    let sent = finish(kit.layer().layer(handler).oneshot(get("/")).await.unwrap()).await;

    let spans = kit.spans();
    let find = |kind| spans.iter().find(|span| span.span_kind == kind).expect("present");
    let (server, client) = (find(SpanKind::Server), find(SpanKind::Client));
    assert_eq!(client.parent_span_id, server.span_context.span_id());
    assert_eq!(client.span_context.trace_id(), server.span_context.trace_id());
    let context = &client.span_context;
    assert_eq!(sent, format!("00-{}-{}-01", context.trace_id(), context.span_id()));
}

/// A product that calls others in both ways.
pub async fn play(config: &Config) {
    // Older than telemetry is.
    let client = Client::new().unwrap();
    let telemetry = halfbyte_observe::init(child::settings(config)).unwrap();
    let (address, _server) = echo().await;
    client.get(format!("http://{address}/").parse().unwrap()).send().await.unwrap();
    finish(ClientLayer::new().layer(service_fn(ok)).oneshot(get("http://parcel.example.com/")).await.unwrap()).await;
    let flushed = telemetry.shutdown(Duration::from_secs(10)).await;
    assert!(flushed.is_complete(), "{flushed}");
}

#[tokio::test]
async fn durations_of_calls_are_exported_and_those_of_the_layer_with_exemplars() {
    let receiver = Receiver::start().await.unwrap();
    let endpoint = receiver.endpoint();
    assert_success(&child::play("outbound", &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await);
    let metrics = receiver.metrics();
    for (scope, exemplars, address) in
        [("halfbyte-core", 0, "127.0.0.1"), ("halfbyte-observe", 1, "parcel.example.com")]
    {
        let mut durations = metrics.iter().filter(|metric| metric.name == "http.client.request.duration");
        let metric = durations.rfind(|metric| metric.scope.name == scope).expect(scope);
        let [point] = &metric.points[..] else { panic!("one series of {scope}") };
        let span = receiver.spans().find(|span| span.scope.name == scope);
        assert_eq!((point.count, point.exemplars.len()), (1, exemplars), "{scope}");
        for attributes in [&point.attributes, &span.attributes] {
            assert_eq!(attributes["server.address"], address);
        }
        for exemplar in &point.exemplars {
            let of_span = (Some(&span.trace_id), Some(&span.span_id));
            assert_eq!((exemplar.trace_id.as_ref(), exemplar.span_id.as_ref()), of_span);
        }
    }
}
