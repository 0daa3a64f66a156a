//! What spans and durations say, by the semantic conventions for HTTP clients.

use std::convert::Infallible;

use halfbyte_observe::{ClientLayer, ResendCount, UrlTemplate};
use http::{Request, Response, Version};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use tower::{ServiceBuilder, ServiceExt as _};

use super::{Body, Recorder, Series, attributes, finish, get, ok, pairs};

/// One call that is answered so.
async fn call(
    configure: impl Fn(ClientLayer) -> ClientLayer,
    request: Request<Body>,
    response: Response<Body>,
) -> (SpanData, Series) {
    let recorder = Recorder::new();
    let response = std::sync::Mutex::new(Some(response));
    let service = ServiceBuilder::new().layer(configure(recorder.layer())).service_fn(move |_: Request<Body>| {
        let response = response.lock().unwrap().take().unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    finish(service.oneshot(request).await.unwrap()).await;
    recorder.once()
}

fn same(layer: ClientLayer) -> ClientLayer {
    layer
}

#[tokio::test]
async fn a_span_and_a_duration_say_what_was_called() {
    let request = Request::post("https://ada:hunter2@parcel.example.com:8443/labels/42?token=hunter2&page=3")
        .header("authorization", "hunter2")
        .header("cookie", "hunter2")
        .extension(UrlTemplate::new("/labels/{id}"))
        .extension(ResendCount(2))
        .body(Body::from("hunter2"))
        .unwrap();
    let response = Response::builder().status(201).version(Version::HTTP_2).header("x", "hunter2");
    let (span, series) = call(same, request, response.body(Body::from("hunter2")).unwrap()).await;
    assert_eq!((&*span.name, &span.span_kind, &span.status), ("POST /labels/{id}", &SpanKind::Client, &Status::Unset));
    let common = [
        ("http.request.method", "POST"),
        ("http.response.status_code", "201"),
        ("network.protocol.version", "2"),
        ("server.address", "parcel.example.com"),
        ("server.port", "8443"),
        ("url.template", "/labels/{id}"),
    ];
    let full = "https://REDACTED:REDACTED@parcel.example.com:8443/labels/42?token=REDACTED&page=REDACTED";
    let mut of_span = pairs(&common);
    of_span.extend(pairs(&[("url.full", full), ("http.request.resend_count", "2")]));
    assert_eq!(attributes(&span), of_span);
    assert_eq!(series.metric, "http.client.request.duration");
    assert_eq!(series.attributes, pairs(&common));
    assert_eq!(series.bounds, [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]);
    assert!(!format!("{span:?} {series:?}").contains("hunter2"));
}

#[tokio::test]
async fn from_400_up_a_call_has_failed() {
    for (status, error) in [
        (200, None),
        (204, None),
        (302, None),
        (399, None),
        (400, Some("400")),
        (404, Some("404")),
        (429, Some("429")),
        (499, Some("499")),
        (500, Some("500")),
        (503, Some("503")),
        (999, Some("999")),
    ] {
        let response = Response::builder().status(status).body(Body::default()).unwrap();
        let (span, series) = call(same, get("http://example.com/"), response).await;
        let expected = if error.is_some() { Status::error("") } else { Status::Unset };
        assert_eq!(span.status, expected, "{status}");
        assert_eq!(attributes(&span).get("error.type").map(String::as_str), error, "{status}");
        assert_eq!(attributes(&span)["http.response.status_code"], status.to_string());
        assert_eq!(series.attributes.get("error.type").map(String::as_str), error, "{status}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_known_is_other() {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
    let as_it_is = known.map(|method| (method, method, method, None));
    let others = [("BREW", "HTTP", "_OTHER", Some("BREW")), ("get", "HTTP", "_OTHER", Some("get"))];
    for (method, name, recorded, original) in as_it_is.into_iter().chain(others) {
        let request = Request::builder().method(method).uri("http://example.com/").body(Body::default()).unwrap();
        let (span, series) = call(same, request, ok()).await;
        assert_eq!((&*span.name, &*attributes(&span)["http.request.method"]), (name, recorded));
        assert_eq!(attributes(&span).get("http.request.method_original").map(String::as_str), original);
        assert_eq!(series.attributes["http.request.method"], recorded);
        assert!(!series.attributes.contains_key("http.request.method_original"));
    }
}

#[tokio::test]
async fn other_methods_can_be_made_known_in_place_of_these() {
    for (method, recorded) in [("BREW", "BREW"), ("GET", "_OTHER")] {
        let request = Request::builder().method(method).uri("http://example.com/").body(Body::default()).unwrap();
        let (span, _) = call(|layer| layer.known_methods(["BREW", "POST"]), request, ok()).await;
        assert_eq!(attributes(&span)["http.request.method"], recorded);
    }
}

#[tokio::test]
async fn a_span_is_called_by_the_template_and_never_by_the_path() {
    for (template, name) in [(None, "GET"), (Some("/labels/{id}"), "GET /labels/{id}")] {
        let mut request = get("http://example.com/labels/42");
        if let Some(template) = template {
            request.extensions_mut().insert(UrlTemplate::new(template));
        }
        let (span, series) = call(same, request, ok()).await;
        assert_eq!(span.name, name);
        assert_eq!(attributes(&span).get("url.template").map(String::as_str), template);
        assert_eq!(series.attributes.get("url.template").map(String::as_str), template);
    }
}

#[tokio::test]
async fn the_server_is_named_as_the_request_names_it_or_else_as_the_layer_does() {
    for (uri, host, configured, address, port) in [
        ("https://example.com/", None, None, Some("example.com"), Some("443")),
        ("http://example.com/", None, None, Some("example.com"), Some("80")),
        ("http://[::1]:81/", None, None, Some("::1"), Some("81")),
        (
            "http://example.com/",
            Some("other.example.com"),
            Some("http://third.example.com"),
            Some("example.com"),
            Some("80"),
        ),
        ("/", Some("example.com:81"), Some("http://third.example.com"), Some("example.com"), Some("81")),
        ("/", Some("example.com"), None, Some("example.com"), None),
        ("/", None, Some("https://third.example.com"), Some("third.example.com"), Some("443")),
        ("/", None, None, None, None),
    ] {
        let mut request = get(uri);
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        let server = |layer: ClientLayer| match configured {
            Some(configured) => layer.server(&configured.parse().unwrap()),
            None => layer,
        };
        let (span, series) = call(server, request, ok()).await;
        for attributes in [attributes(&span), series.attributes] {
            assert_eq!(attributes.get("server.address").map(String::as_str), address, "{uri} {host:?}");
            assert_eq!(attributes.get("server.port").map(String::as_str), port, "{uri} {host:?}");
        }
    }
}

#[tokio::test]
async fn the_version_is_the_one_that_was_answered() {
    for (version, name) in [
        (Version::HTTP_09, "0.9"),
        (Version::HTTP_10, "1.0"),
        (Version::HTTP_11, "1.1"),
        (Version::HTTP_2, "2"),
        (Version::HTTP_3, "3"),
    ] {
        let response = Response::builder().version(version).body(Body::default()).unwrap();
        let (span, series) = call(same, get("http://example.com/"), response).await;
        assert_eq!(attributes(&span)["network.protocol.version"], name);
        assert_eq!(series.attributes["network.protocol.version"], name);
    }
}

#[tokio::test]
async fn a_request_that_is_sent_for_the_first_time_is_not_resent() {
    for (count, said) in [(0, None), (1, Some("1")), (7, Some("7"))] {
        let mut request = get("http://example.com/");
        request.extensions_mut().insert(ResendCount(count));
        let (span, series) = call(same, request, ok()).await;
        assert_eq!(attributes(&span).get("http.request.resend_count").map(String::as_str), said);
        assert!(!series.attributes.contains_key("http.request.resend_count"));
    }
}

#[tokio::test]
async fn a_tunnel_is_not_what_it_was_asked_for_with() {
    for (status, version) in [(200, None), (403, Some("1.1"))] {
        let request = Request::connect("example.com:443").body(Body::default()).unwrap();
        let response = Response::builder().status(status).body(Body::default()).unwrap();
        let (span, _) = call(same, request, response).await;
        assert_eq!(attributes(&span).get("network.protocol.version").map(String::as_str), version);
        assert_eq!(attributes(&span)["server.port"], "443");
    }
}
