//! What spans and durations say, by the semantic conventions for clients of gRPC.

use std::convert::Infallible;
use std::pin::pin;

use bytes::Bytes;
use futures_util::{poll, stream};
use halfbyte_observe::ClientLayer;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use tower::{ServiceBuilder, ServiceExt as _};

use super::{Body, Recorder, Series, attributes, pairs};

const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

type Frames = stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>;

/// An answer of one message, and its status in the trailers.
fn answer(http: u16, in_headers: Option<&str>, in_trailers: Option<&str>) -> Response<StreamBody<Frames>> {
    let mut frames = vec![Ok(Frame::data(Bytes::from_static(b"message")))];
    frames.extend(in_trailers.map(|status| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        trailers.insert("grpc-message", "hunter2".parse().unwrap());
        Ok(Frame::trailers(trailers))
    }));
    if in_headers.is_some() {
        frames.clear();
    }
    let mut response = Response::builder().status(http);
    if let Some(status) = in_headers {
        response = response.header("grpc-status", status).header("grpc-message", "hunter2");
    }
    response.body(StreamBody::new(stream::iter(frames))).unwrap()
}

fn request(uri: &str, content_type: &str) -> Request<Body> {
    Request::post(uri).header("content-type", content_type).body(Body::default()).unwrap()
}

fn echo() -> Request<Body> {
    request("http://ledger.example.com:50051/pkg.Echo/Say", "application/grpc")
}

/// Makes the call and reads so many frames of its body, or all of them.
async fn call(
    layer: impl Fn(ClientLayer) -> ClientLayer,
    request: Request<Body>,
    response: Response<StreamBody<Frames>>,
    frames: usize,
) -> (SpanData, Series) {
    let recorder = Recorder::new();
    let response = std::sync::Mutex::new(Some(response));
    let service = ServiceBuilder::new().layer(layer(recorder.layer())).service_fn(move |_: Request<Body>| {
        let response = response.lock().unwrap().take().unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    let mut body = service.oneshot(request).await.unwrap().into_body();
    for _ in 0..frames {
        if body.frame().await.is_none() {
            break;
        }
    }
    drop(body);
    recorder.once()
}

const ALL: usize = usize::MAX;

fn same(layer: ClientLayer) -> ClientLayer {
    layer
}

fn ended(of: &(SpanData, Series), code: Option<&str>, error: Option<&str>, what: &str) {
    let (span, series) = of;
    let expected = if error.is_some() { Status::error("") } else { Status::Unset };
    assert_eq!(span.status, expected, "{what}");
    for attributes in [&attributes(span), &series.attributes] {
        assert_eq!(attributes.get("rpc.response.status_code").map(String::as_str), code, "{what}");
        assert_eq!(attributes.get("error.type").map(String::as_str), error, "{what}");
    }
    assert!(!format!("{span:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_span_and_a_duration_say_what_was_called() {
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc; charset=x"] {
        let request = request("http://ledger.example.com:50051/pkg.Echo/Say", content_type);
        let (span, series) = call(same, request, answer(200, None, Some("0")), ALL).await;
        assert_eq!((&*span.name, &span.span_kind, &span.status), ("pkg.Echo/Say", &SpanKind::Client, &Status::Unset));
        let all = pairs(&[
            ("rpc.system.name", "grpc"),
            ("rpc.method", "pkg.Echo/Say"),
            ("rpc.response.status_code", "OK"),
            ("server.address", "ledger.example.com"),
            ("server.port", "50051"),
        ]);
        assert_eq!(attributes(&span), all);
        assert_eq!((series.metric.as_str(), series.attributes), ("rpc.client.call.duration", all));
        assert_eq!(series.bounds, [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]);
    }
}

#[tokio::test]
async fn what_is_not_grpc_is_http() {
    for content_type in ["application/json", "application/grpc-web", "application/grpc-web+proto", "application/grpcx"]
    {
        let request = request("http://example.com/pkg.Echo/Say", content_type);
        let (span, series) = call(same, request, answer(200, None, Some("5")), ALL).await;
        assert_eq!((&*span.name, series.metric.as_str()), ("POST", "http.client.request.duration"), "{content_type}");
    }
}

#[tokio::test]
async fn every_status_but_ok_is_a_failure_wherever_it_is_told() {
    for (number, code) in CODES.into_iter().enumerate() {
        let error = (code != "OK").then_some(code);
        let number = number.to_string();
        ended(&call(same, echo(), answer(200, None, Some(&number)), ALL).await, Some(code), error, "trailers");
        ended(&call(same, echo(), answer(200, Some(&number), None), ALL).await, Some(code), error, "headers");
    }
    for unknown in ["17", "99", "-1", "x", "4294967296"] {
        ended(
            &call(same, echo(), answer(200, None, Some(unknown)), ALL).await,
            Some("UNKNOWN"),
            Some("UNKNOWN"),
            unknown,
        );
    }
}

#[tokio::test]
async fn an_answer_without_a_status_has_the_one_that_http_stands_for() {
    for (http, code) in [
        (200, "UNKNOWN"),
        (204, "UNKNOWN"),
        (302, "UNKNOWN"),
        (400, "INTERNAL"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "UNIMPLEMENTED"),
        (429, "UNAVAILABLE"),
        (500, "UNKNOWN"),
        (502, "UNAVAILABLE"),
        (503, "UNAVAILABLE"),
        (504, "UNAVAILABLE"),
    ] {
        ended(&call(same, echo(), answer(http, None, None), ALL).await, Some(code), Some(code), &http.to_string());
    }
    // What gRPC says itself comes first.
    ended(&call(same, echo(), answer(503, None, Some("5")), ALL).await, Some("NOT_FOUND"), Some("NOT_FOUND"), "both");
}

#[tokio::test]
async fn a_call_that_is_dropped_without_its_status_is_cancelled() {
    for frames in [0, 1] {
        let of = call(same, echo(), answer(200, None, Some("0")), frames).await;
        ended(&of, Some("CANCELLED"), Some("CANCELLED"), "dropped");
    }
    ended(&call(same, echo(), answer(200, None, Some("0")), 2).await, Some("OK"), None, "nobody asks for the end");
    ended(&call(same, echo(), answer(200, Some("0"), None), 0).await, Some("OK"), None, "it was told at once");

    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(recorder.layer())
        .service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    {
        let mut call = pin!(service.oneshot(echo()));
        assert!(poll!(call.as_mut()).is_pending());
    }
    ended(&recorder.once(), Some("CANCELLED"), Some("CANCELLED"), "not answered yet");
}

#[tokio::test]
async fn a_client_that_fails_with_a_status_has_that_and_with_another_error_none() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(recorder.layer())
        .service_fn(async |_: Request<Body>| Err::<Response<Body>, _>(tonic::Status::deadline_exceeded("hunter2")));
    assert!(service.oneshot(echo()).await.is_err());
    ended(&recorder.once(), Some("DEADLINE_EXCEEDED"), Some("DEADLINE_EXCEEDED"), "a status");

    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(recorder.layer())
        .service_fn(async |_: Request<Body>| Err::<Response<Body>, _>(std::fmt::Error));
    assert!(service.oneshot(echo()).await.is_err());
    ended(&recorder.once(), None, Some("core::fmt::Error"), "no status");
}

#[tokio::test]
async fn a_path_that_is_no_method_is_other() {
    for (path, name, method, original) in [
        ("/pkg.Echo/Say", "pkg.Echo/Say", "pkg.Echo/Say", None),
        ("/Echo/Say", "Echo/Say", "Echo/Say", None),
        ("/", "grpc", "_OTHER", Some("")),
        ("/Echo", "grpc", "_OTHER", Some("Echo")),
        ("/Echo/", "grpc", "_OTHER", Some("Echo/")),
        ("//Say", "grpc", "_OTHER", Some("/Say")),
        ("/a/b/c", "grpc", "_OTHER", Some("a/b/c")),
    ] {
        let (span, series) = call(same, request(path, "application/grpc"), answer(200, None, Some("0")), ALL).await;
        assert_eq!((&*span.name, &*attributes(&span)["rpc.method"]), (name, method));
        assert_eq!(attributes(&span).get("rpc.method_original").map(String::as_str), original);
        assert_eq!(series.attributes["rpc.method"], method);
    }
}

mod tonic_channel {
    use std::net::{Ipv4Addr, SocketAddr};

    use halfbyte_observe::client::Client;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tonic::transport::server::TcpIncoming;
    use tonic::transport::{Channel, Server};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

    async fn server() -> (SocketAddr, JoinSet<()>) {
        let (_reporter, service) = tonic_health::server::health_reporter();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut running = JoinSet::new();
        running.spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        (address, running)
    }

    fn client(recorder: &Recorder, address: SocketAddr) -> HealthClient<Client<Channel>> {
        let uri: http::Uri = format!("http://{address}").parse().unwrap();
        let channel = Channel::builder(uri.clone()).connect_lazy();
        HealthClient::new(ServiceBuilder::new().layer(recorder.layer().server(&uri)).service(channel))
    }

    #[tokio::test]
    async fn calls_of_a_channel_are_spans_with_the_status_that_the_caller_sees() {
        let (address, _running) = server().await;
        for (service, code, error) in [("", "OK", None), ("nobody", "NOT_FOUND", Some("NOT_FOUND"))] {
            let recorder = Recorder::new();
            let answered = client(&recorder, address).check(HealthCheckRequest { service: service.to_owned() }).await;
            assert_eq!(answered.is_err(), error.is_some());
            let of = recorder.once();
            ended(&of, Some(code), error, service);
            assert_eq!(of.0.name, "grpc.health.v1.Health/Check");
            assert_eq!(attributes(&of.0)["server.address"], "127.0.0.1");
            assert_eq!(attributes(&of.0)["server.port"], address.port().to_string());
        }
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_is_cancelled() {
        let (address, _running) = server().await;
        let recorder = Recorder::new();
        let watched = client(&recorder, address).watch(HealthCheckRequest::default()).await.unwrap();
        let mut stream = watched.into_inner();
        assert!(stream.message().await.unwrap().is_some());
        assert!(recorder.spans().is_empty());
        drop(stream);
        ended(&recorder.once(), Some("CANCELLED"), Some("CANCELLED"), "dropped");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        let recorder = Recorder::new();
        assert!(client(&recorder, nobody).check(HealthCheckRequest::default()).await.is_err());
        ended(&recorder.once(), None, Some("connection_refused"), "nobody");
    }
}
