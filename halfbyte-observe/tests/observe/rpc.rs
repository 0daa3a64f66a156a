//! What spans and durations say of gRPC, by the semantic conventions for RPC.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use halfbyte_core::PeerAddress;
use halfbyte_observe::{Route, ServerLayer};
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::kit::{Body, Kit, Series, attribute, finish};

const METHOD: &str = "parcel.v1.Labels/Print";

fn call(method: &str) -> Request<Body> {
    let uri = format!("http://parcel.example:50051/{method}");
    let mut request = Request::post(uri).version(http::Version::HTTP_2).body(Body::default()).unwrap();
    request.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    request.extensions_mut().insert(PeerAddress(SocketAddr::from(([192, 0, 2, 1], 4711))));
    request
}

type Frames = Vec<Result<Frame<Bytes>, &'static str>>;

fn message() -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0")))
}

fn trailers(code: &str) -> Result<Frame<Bytes>, &'static str> {
    let status = (HeaderName::from_static("grpc-status"), code.parse().unwrap());
    Ok(Frame::trailers(HeaderMap::from_iter([status])))
}

/// Calls `method` of a service that answers with these frames, and takes the response as far as they go.
async fn answered(layer: ServerLayer, method: &str, status: u16, header: Option<&str>, frames: Frames) {
    let response = |frames: Frames| {
        let mut response = Response::builder().status(status).header("content-type", "application/grpc");
        if let Some(code) = header {
            response = response.header("grpc-status", code);
        }
        response.body(StreamBody::new(stream::iter(frames).chain(stream::empty()))).unwrap()
    };
    let service = layer.layer(service_fn(move |_: Request<Body>| {
        let response = response(frames.iter().map(copied).collect());
        async { Ok::<_, Infallible>(response) }
    }));
    let mut body = service.oneshot(call(method)).await.unwrap().into_body();
    while let Some(Ok(_)) = body.frame().await {}
}

fn of_grpc<B>(body: B) -> Response<B> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn copied(frame: &Result<Frame<Bytes>, &'static str>) -> Result<Frame<Bytes>, &'static str> {
    match frame {
        Ok(frame) => match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Ok(Frame::data(data.clone())),
            (None, Some(trailers)) => Ok(Frame::trailers(trailers.clone())),
            (None, None) => unreachable!("there are two kinds"),
        },
        Err(error) => Err(error),
    }
}

fn once(kit: &Kit) -> (SpanData, Series) {
    assert!(kit.durations().is_empty(), "a call is no plain request");
    assert!(kit.active().values().all(|active| *active == 0), "{:?}", kit.active());
    let mut series = kit.durations_of("rpc.server.call.duration");
    assert_eq!(series.iter().map(|series| series.count).sum::<u64>(), 1, "{series:?}");
    (kit.span(), series.remove(0))
}

#[tokio::test]
async fn a_span_says_which_call_it_was() {
    let kit = Kit::new();
    answered(kit.layer().rpc_methods([METHOD]), METHOD, 200, None, vec![message(), trailers("0")]).await;
    let (span, series) = once(&kit);
    assert_eq!((span.name.as_ref(), &span.span_kind), (METHOD, &SpanKind::Server));
    let mut said: Vec<_> = span.attributes.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
    said.sort();
    assert_eq!(
        said,
        [
            "client.address=192.0.2.1",
            "client.port=4711",
            "network.peer.address=192.0.2.1",
            "network.peer.port=4711",
            "network.protocol.name=http",
            "network.protocol.version=2",
            "rpc.method=parcel.v1.Labels/Print",
            "rpc.response.status_code=OK",
            "rpc.system.name=grpc",
            "server.address=parcel.example",
            "server.port=50051",
        ]
    );
    let measured: Vec<_> = series.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(measured, ["rpc.method=parcel.v1.Labels/Print", "rpc.response.status_code=OK", "rpc.system.name=grpc"]);
    assert_eq!(series.bounds, [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]);
}

#[tokio::test]
async fn a_status_is_an_error_of_the_server_or_none() {
    let codes = [
        ("0", "OK", false),
        ("1", "CANCELLED", false),
        ("2", "UNKNOWN", true),
        ("3", "INVALID_ARGUMENT", false),
        ("4", "DEADLINE_EXCEEDED", true),
        ("5", "NOT_FOUND", false),
        ("6", "ALREADY_EXISTS", false),
        ("7", "PERMISSION_DENIED", false),
        ("8", "RESOURCE_EXHAUSTED", false),
        ("9", "FAILED_PRECONDITION", false),
        ("10", "ABORTED", false),
        ("11", "OUT_OF_RANGE", false),
        ("12", "UNIMPLEMENTED", true),
        ("13", "INTERNAL", true),
        ("14", "UNAVAILABLE", true),
        ("15", "DATA_LOSS", true),
        ("16", "UNAUTHENTICATED", false),
        ("99", "UNKNOWN", true),
        ("nonsense", "UNKNOWN", true),
    ];
    for (code, name, is_error) in codes {
        for (header, frames) in [(None, vec![message(), trailers(code)]), (Some(code), vec![])] {
            let (kit, place) = (Kit::new(), if header.is_some() { "headers" } else { "trailers" });
            answered(kit.layer().rpc_methods([METHOD]), METHOD, 200, header, frames).await;
            let (span, series) = once(&kit);
            assert_eq!(attribute(&span, "rpc.response.status_code").as_deref(), Some(name), "{code} in {place}");
            assert_eq!(attribute(&span, "error.type").as_deref(), is_error.then_some(name), "{code} in {place}");
            let status = if is_error { Status::error("") } else { Status::Unset };
            assert_eq!(span.status, status, "{code} in {place}");
            assert_eq!(series.attributes["rpc.response.status_code"], name);
            assert_eq!(series.attributes.get("error.type").map(String::as_str), is_error.then_some(name));
        }
    }
}

#[tokio::test]
async fn a_response_without_a_status_has_the_one_that_its_client_makes_of_it() {
    for (status, name) in [
        (200, "UNKNOWN"),
        (400, "INTERNAL"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "UNIMPLEMENTED"),
        (429, "UNAVAILABLE"),
        (503, "UNAVAILABLE"),
        (500, "UNKNOWN"),
    ] {
        let kit = Kit::new();
        answered(kit.layer(), METHOD, status, None, vec![]).await;
        assert_eq!(attribute(&once(&kit).0, "rpc.response.status_code").as_deref(), Some(name), "{status}");
    }
}

#[tokio::test]
async fn a_call_that_does_not_come_to_its_status_has_none() {
    let kit = Kit::new();
    answered(kit.layer(), METHOD, 200, None, vec![message(), Err("the disk is gone")]).await;
    let (span, series) = once(&kit);
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("body_error"));
    assert_eq!(span.status, Status::error(""));
    assert!(!series.attributes.contains_key("rpc.response.status_code"));

    let kit = Kit::new();
    let mut service = kit.layer().layer(service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>()));
    drop(service.call(call(METHOD)));
    let (span, series) = once(&kit);
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("cancelled"));
    assert_eq!((attribute(&span, "rpc.response.status_code"), span.status), (None, Status::Unset));
    assert_eq!(series.attributes["error.type"], "cancelled");
}

#[tokio::test]
async fn a_stream_that_is_dropped_before_its_trailers_is_cancelled() {
    let kit = Kit::new();
    let service = kit.layer().layer(service_fn(async |_: Request<Body>| {
        let frames = stream::iter([message(), trailers("0")]);
        Ok::<_, Infallible>(of_grpc(StreamBody::new(frames)))
    }));
    let mut body = service.oneshot(call(METHOD)).await.unwrap().into_body();
    assert!(body.frame().await.is_some());
    drop(body);
    assert_eq!(attribute(&once(&kit).0, "error.type").as_deref(), Some("cancelled"));
}

#[tokio::test]
async fn a_call_whose_trailers_were_taken_is_complete_although_its_end_is_never_asked_for() {
    let kit = Kit::new();
    let service = kit.layer().layer(service_fn(async |_: Request<Body>| {
        let frames = stream::iter([message(), trailers("0")]).chain(stream::pending());
        Ok::<_, Infallible>(of_grpc(StreamBody::new(frames)))
    }));
    let mut body = service.oneshot(call(METHOD)).await.unwrap().into_body();
    assert!(body.frame().await.is_some() && body.frame().await.is_some());
    drop(body);
    let (span, _) = once(&kit);
    assert_eq!(attribute(&span, "error.type"), None);
    assert_eq!(attribute(&span, "rpc.response.status_code").as_deref(), Some("OK"));
}

/// A message whose length is known, and trailers.
struct Known(Option<u8>);

impl http_body::Body for Known {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let next = self.0;
        self.0 = next.and_then(|left| left.checked_sub(1));
        Poll::Ready(next.map(|left| if left == 1 { message() } else { trailers("0") }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(if self.0 == Some(1) { 5 } else { 0 })
    }
}

#[tokio::test]
async fn a_message_of_known_length_is_not_the_end_of_a_call() {
    for (frames, error, code) in [(1, Some("cancelled"), None), (2, None, Some("OK"))] {
        let kit = Kit::new();
        let service =
            kit.layer().layer(service_fn(async |_: Request<Body>| Ok::<_, Infallible>(of_grpc(Known(Some(1))))));
        let mut body = service.oneshot(call(METHOD)).await.unwrap().into_body();
        for _ in 0..frames {
            assert!(body.frame().await.is_some());
        }
        drop(body);
        let (span, _) = once(&kit);
        assert_eq!(attribute(&span, "error.type").as_deref(), error);
        assert_eq!(attribute(&span, "rpc.response.status_code").as_deref(), code);
    }
}

/// What the calls of methods that nobody named are called: span name, `rpc.method`, `rpc.method_original`.
async fn named(kit: &Kit, layer: &ServerLayer, method: &str, code: &str) -> (String, Option<String>, Option<String>) {
    answered(layer.clone(), method, 200, None, vec![trailers(code)]).await;
    let span = kit.spans().pop().unwrap();
    let method = attribute(&span, "rpc.method");
    (span.name.to_string(), method, attribute(&span, "rpc.method_original"))
}

#[tokio::test]
async fn a_method_that_does_not_exist_makes_no_series_and_names_no_span() {
    let kit = Kit::new();
    let layer = kit.layer();
    for n in 0..50 {
        let made_up = format!("evil.Service/Method{n}");
        let (name, method, original) = named(&kit, &layer, &made_up, "12").await;
        assert_eq!(name, "grpc");
        assert_eq!((method.as_deref(), original), (Some("_OTHER"), Some(made_up)));
    }
    let series = kit.durations_of("rpc.server.call.duration");
    assert_eq!((series.len(), series[0].count), (1, 50), "{series:?}");
    assert_eq!(series[0].attributes["rpc.method"], "_OTHER");
}

#[tokio::test]
async fn a_method_becomes_known_by_an_answer_that_only_it_can_give() {
    let known = |name: &str| (name.to_owned(), Some(name.to_owned()), None);
    let other = |name: &str| ("grpc".to_owned(), Some("_OTHER".to_owned()), Some(name.to_owned()));
    let (kit, name) = (Kit::new(), "parcel.v1.Labels/Print");
    let layer = kit.layer();
    for refused in ["16", "7", "8", "14", "12", "4", "1", "2", "13"] {
        assert_eq!(named(&kit, &layer, name, refused).await, other(name), "{refused}");
    }
    assert_eq!(named(&kit, &layer, name, "5").await, known(name));
    assert_eq!(named(&kit, &layer, name, "16").await, known(name), "from now on");
    for proof in ["0", "3", "6", "9", "10", "11", "15"] {
        let kit = Kit::new();
        assert_eq!(named(&kit, &kit.layer(), name, proof).await, known(name), "{proof}");
    }
}

#[tokio::test]
async fn methods_that_become_known_have_a_bound() {
    let kit = Kit::new();
    let layer = kit.layer();
    for n in 0..600 {
        answered(layer.clone(), &format!("proxy.Anything/{n}"), 200, None, vec![trailers("0")]).await;
    }
    let series = kit.durations_of("rpc.server.call.duration");
    assert_eq!(series.len(), 513);
    let other = series.iter().find(|series| series.attributes["rpc.method"] == "_OTHER").unwrap();
    assert_eq!(other.count, 88);
}

#[tokio::test]
async fn grpc_web_is_a_plain_request() {
    let kit = Kit::new();
    let mut request = call(METHOD);
    request.headers_mut().insert("content-type", "application/grpc-web+proto".parse().unwrap());
    let service = kit.layer().layer(service_fn(crate::kit::ok));
    crate::kit::finish(service.oneshot(request).await.unwrap()).await;
    assert_eq!(kit.once().0.name, "POST");
}

#[tokio::test]
async fn a_request_is_a_call_only_if_what_answers_is_grpc_whatever_the_client_says() {
    let route = |mut response: Response<Body>| {
        response.extensions_mut().insert(Route::new("/labels/{id}"));
        response
    };
    // The method would do, the path would not, and the other way round; then all but the answer would.
    for (method, path) in [("POST", "labels"), ("GET", "labels/7"), ("POST", "labels/7")] {
        let kit = Kit::new();
        let mut request = call(path);
        *request.method_mut() = method.parse().unwrap();
        let service = service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(route(
                Response::builder().header("content-type", "text/plain").body(Body::default()).unwrap(),
            ))
        });
        finish(kit.layer().layer(service).oneshot(request).await.unwrap()).await;
        let span = kit.span();
        assert_eq!((span.name.as_ref(), &span.status), (format!("{method} /labels/{{id}}").as_str(), &Status::Unset));
        let path = format!("/{path}");
        for (key, value) in [
            ("http.request.method", method),
            ("http.route", "/labels/{id}"),
            ("http.response.status_code", "200"),
            ("url.path", &path),
            ("url.scheme", "http"),
        ] {
            assert_eq!(attribute(&span, key).as_deref(), Some(value), "{method} {path} {key}");
        }
        assert_eq!((attribute(&span, "error.type"), attribute(&span, "rpc.response.status_code")), (None, None));
        assert!(kit.durations_of("rpc.server.call.duration").is_empty());
        let durations = kit.durations();
        assert_eq!((durations.len(), durations[0].attributes["http.route"].as_str()), (1, "/labels/{id}"));
        assert!(kit.active().values().all(|active| *active == 0));
    }
}

#[tokio::test]
async fn what_is_not_http_2_is_a_plain_request_whatever_it_calls_itself() {
    let kit = Kit::new();
    let mut request = call(METHOD);
    *request.version_mut() = http::Version::HTTP_11;
    let service = kit.layer().layer(service_fn(crate::kit::ok));
    crate::kit::finish(service.oneshot(request).await.unwrap()).await;
    assert_eq!(kit.once().0.name, "POST");
}
