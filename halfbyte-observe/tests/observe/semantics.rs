//! What spans and durations say, by the semantic conventions for HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use halfbyte_core::problem::{Context, Problem};
use halfbyte_core::{Caller, PeerAddress, Principal, PrincipalKind, TenantId};
use halfbyte_observe::{Route, ServerLayer, UserHasher};
use http::{HeaderName, HeaderValue, Method, Request, Response, Version};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};

use crate::kit::{Body, Kit, attribute, finish, get, ok};

#[tokio::test]
async fn a_span_says_what_was_asked_for() {
    let kit = Kit::new();
    let request = Request::post("/labels?token=hidden")
        .header("host", "parcel.example.com:8443")
        .header("user-agent", "curl/8")
        .body(Body::default())
        .unwrap();
    finish(ServiceBuilder::new().layer(kit.layer()).service_fn(ok).oneshot(request).await.unwrap()).await;
    let (span, series) = kit.once();
    assert_eq!(span.name, "POST");
    assert_eq!(span.span_kind, SpanKind::Server);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("url.path", "/labels"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("server.address", "parcel.example.com"),
        ("server.port", "8443"),
        ("user_agent.original", "curl/8"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    let attributes: Vec<_> = series.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        attributes,
        [
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("network.protocol.version", "1.1"),
            ("url.scheme", "http"),
        ]
    );
    assert_eq!(series.bounds, [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]);
}

/// The span of one request.
async fn span_of(layer: &ServerLayer, kit: &Kit, request: Request<Body>) -> SpanData {
    finish(layer.layer(service_fn(ok)).oneshot(request).await.unwrap()).await;
    kit.spans().pop().expect("a span")
}

#[tokio::test]
async fn each_attribute_is_there_when_the_conventions_want_it_and_only_then() {
    let with = |request: Request<Body>, extension: PeerAddress| {
        let mut request = request;
        request.extensions_mut().insert(extension);
        request
    };
    let builder = || Request::get("/labels/1?page=2&sig=hidden");
    let plain = |kit: &Kit| kit.layer();
    let peer = PeerAddress(SocketAddr::from(([192, 0, 2, 1], 4711)));
    type Make = fn(&Kit) -> ServerLayer;
    let cases: Vec<(Make, Request<Body>, &str, Option<&str>)> = vec![
        (plain, builder().body(Body::default()).unwrap(), "http.request.method", Some("GET")),
        (plain, get("/"), "http.request.method_original", None),
        (plain, get("/"), "http.route", None),
        (plain, get("/"), "error.type", None),
        (plain, builder().body(Body::default()).unwrap(), "url.path", Some("/labels/1")),
        (plain, builder().body(Body::default()).unwrap(), "url.query", None),
        (
            |kit| kit.layer().query(true),
            builder().body(Body::default()).unwrap(),
            "url.query",
            Some("page=2&sig=REDACTED"),
        ),
        (|kit| kit.layer().query(true), get("/"), "url.query", None),
        (plain, get("/"), "url.scheme", Some("http")),
        (plain, get("https://shop.example/"), "url.scheme", Some("https")),
        (plain, get("/"), "network.protocol.version", Some("1.1")),
        (
            plain,
            Request::get("/").version(Version::HTTP_2).body(Body::default()).unwrap(),
            "network.protocol.version",
            Some("2"),
        ),
        (
            plain,
            Request::get("/").version(Version::HTTP_10).body(Body::default()).unwrap(),
            "network.protocol.version",
            Some("1.0"),
        ),
        // Only if it is not http.
        (plain, get("/"), "network.protocol.name", None),
        (plain, get("/"), "server.address", None),
        (plain, get("/"), "server.port", None),
        (plain, get("http://shop.example/"), "server.address", Some("shop.example")),
        (plain, get("http://shop.example/"), "server.port", None),
        (plain, get("http://me@shop.example:8080/"), "server.address", Some("shop.example")),
        (plain, get("http://shop.example:8080/"), "server.port", Some("8080")),
        (plain, get("http://[2001:db8::1]:8080/"), "server.address", Some("2001:db8::1")),
        (
            plain,
            Request::get("http://shop.example/").header("host", "other").body(Body::default()).unwrap(),
            "server.address",
            Some("shop.example"),
        ),
        (plain, builder().header("host", "shop").body(Body::default()).unwrap(), "server.address", Some("shop")),
        (plain, builder().header("host", "no host").body(Body::default()).unwrap(), "server.address", None),
        (plain, get("/"), "client.address", None),
        (plain, get("/"), "network.peer.address", None),
        (plain, with(get("/"), peer), "client.address", Some("192.0.2.1")),
        (plain, with(get("/"), peer), "client.port", None),
        (|kit| kit.layer().client_port(true), with(get("/"), peer), "client.port", Some("4711")),
        (plain, with(get("/"), peer), "network.peer.address", Some("192.0.2.1")),
        (plain, with(get("/"), peer), "network.peer.port", Some("4711")),
        (plain, get("/"), "user_agent.original", None),
        (
            plain,
            builder().header("user-agent", "curl/8").body(Body::default()).unwrap(),
            "user_agent.original",
            Some("curl/8"),
        ),
        (plain, get("/"), "http.response.status_code", Some("200")),
        (plain, get("/"), "enduser.pseudo.id", None),
    ];
    for (layer, request, key, expected) in cases {
        let kit = Kit::new();
        let what = format!("{key} of {request:?}");
        let span = span_of(&layer(&kit), &kit, request).await;
        assert_eq!(attribute(&span, key).as_deref(), expected, "{what}");
    }
}

#[tokio::test]
async fn headers_are_said_when_they_are_asked_for_and_credentials_never() {
    let kit = Kit::new();
    let names = ["x-tag", "authorization", "cookie", "x-api-key", "x-auth-token", "x-hidden", "set-cookie"];
    let names = || names.map(HeaderName::from_static);
    let layer = kit.layer().request_headers(names()).response_headers(names());
    let service = layer.layer(service_fn(async |_: Request<Body>| {
        let response = Response::builder().header("x-tag", "three").header("set-cookie", "s3cret");
        Ok::<_, Infallible>(response.header("x-other", "s3cret").body(Body::default()).unwrap())
    }));
    let mut request = get("/");
    let headers = request.headers_mut();
    for (name, value) in [
        ("x-tag", "one"),
        ("x-tag", "two"),
        ("authorization", "Bearer s3cret"),
        ("cookie", "s3cret"),
        ("x-api-key", "s3cret"),
        ("x-auth-token", "s3cret"),
        ("x-other", "s3cret"),
    ] {
        headers.append(name, value.parse().unwrap());
    }
    let mut hidden: HeaderValue = "s3cret".parse().unwrap();
    hidden.set_sensitive(true);
    headers.insert("x-hidden", hidden);
    finish(service.oneshot(request).await.unwrap()).await;
    let span = kit.once().0;
    assert_eq!(attribute(&span, "http.request.header.x-tag").as_deref(), Some("[\"one\",\"two\"]"));
    assert_eq!(attribute(&span, "http.response.header.x-tag").as_deref(), Some("[\"three\"]"));
    assert!(!format!("{span:?}").contains("s3cret"), "{span:?}");
}

#[tokio::test]
async fn what_is_known_of_methods_can_be_replaced() {
    let kit = Kit::new();
    let layer = kit.layer().known_methods(["GET", "PROPFIND"]);
    for (method, expected, name) in [("PROPFIND", "PROPFIND", "PROPFIND"), ("POST", "_OTHER", "HTTP")] {
        let request = Request::builder().method(method).uri("/").body(Body::default()).unwrap();
        let span = span_of(&layer, &kit, request).await;
        assert_eq!(attribute(&span, "http.request.method").as_deref(), Some(expected));
        assert_eq!(span.name, name);
    }
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
    for method in known {
        let kit = Kit::new();
        let request = Request::builder().method(method).uri("/").body(Body::default()).unwrap();
        let span = span_of(&kit.layer(), &kit, request).await;
        assert_eq!((span.name.as_ref(), attribute(&span, "http.request.method").as_deref()), (method, Some(method)));
        assert_eq!(attribute(&span, "http.request.method_original"), None);
    }
}

#[tokio::test]
async fn a_router_of_any_make_names_the_route_before_or_after_its_work() {
    let kit = Kit::new();
    let mut before = get("/labels/1");
    before.extensions_mut().insert(Route::new("/labels/{id}"));
    span_of(&kit.layer(), &kit, before).await;
    let routed = service_fn(async |_: Request<Body>| {
        let mut response = Response::new(Body::default());
        response.extensions_mut().insert(Route::new("/labels/{id}"));
        Ok::<_, Infallible>(response)
    });
    finish(kit.layer().layer(routed).oneshot(get("/labels/2")).await.unwrap()).await;
    for span in kit.spans() {
        assert_eq!(span.name, "GET /labels/{id}");
        assert_eq!(attribute(&span, "http.route").as_deref(), Some("/labels/{id}"));
    }
    let durations = kit.durations();
    assert_eq!(durations.len(), 1, "{durations:?}");
    assert_eq!((durations[0].count, durations[0].attributes["http.route"].as_str()), (2, "/labels/{id}"));
}

#[tokio::test]
async fn a_user_is_named_by_a_hash_once_there_is_a_key() {
    let kit = Kit::new();
    let who = service_fn(async |_request: Request<Body>| {
        let tenant = TenantId::new("acme").unwrap();
        Caller::tell(&Principal::builder("someone", tenant, "2030-01-01T00:00:00Z".parse().unwrap()).build());
        Ok::<_, Infallible>(Response::new(Body::default()))
    });
    let layer = ServerLayer::with(
        &kit.instrumentation().pseudonyms(UserHasher::new(b"a key of thirty-two random bytes").unwrap()),
    );
    finish(layer.layer(who).oneshot(get("/")).await.unwrap()).await;
    let span = kit.once().0;
    let pseudonym = attribute(&span, "enduser.pseudo.id").expect("there is a key");
    assert_eq!(pseudonym.len(), 32);
    assert!(!format!("{span:?}").contains("someone"));
}

#[tokio::test]
async fn a_method_that_nobody_knows_is_other() {
    let kit = Kit::new();
    for method in ["BREW", "get", "X1", "X2"] {
        let request = Request::builder().method(method).uri("/").body(Body::default()).unwrap();
        finish(ServiceBuilder::new().layer(kit.layer()).service_fn(ok).oneshot(request).await.unwrap()).await;
    }
    let spans = kit.spans();
    assert!(spans.iter().all(|span| span.name == "HTTP"));
    assert!(spans.iter().all(|span| attribute(span, "http.request.method").as_deref() == Some("_OTHER")));
    assert_eq!(attribute(&spans[0], "http.request.method_original").as_deref(), Some("BREW"));
    assert_eq!(kit.durations().len(), 1, "inventions of clients do not make series");
}

#[tokio::test]
async fn only_what_is_the_servers_fault_is_an_error() {
    for (status, error) in [(200, None), (302, None), (404, None), (429, None), (500, Some("500")), (503, Some("503"))]
    {
        let kit = Kit::new();
        let service =
            service_fn(move |_: Request<Body>| async move { Response::builder().status(status).body(Body::default()) });
        finish(ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/")).await.unwrap()).await;
        let (span, series) = kit.once();
        assert_eq!(attribute(&span, "error.type").as_deref(), error, "{status}");
        assert_eq!(series.attributes.get("error.type").map(String::as_str), error, "{status}");
        let expected = if error.is_some() { Status::error("") } else { Status::Unset };
        assert_eq!(span.status, expected, "{status}");
    }
}

#[tokio::test]
async fn a_refusal_is_named() {
    let kit = Kit::new();
    let service = service_fn(async |request: Request<Body>| {
        let refusal = Problem::unavailable(Duration::from_secs(1));
        Ok::<_, Infallible>(refusal.to_response::<Body>(&Context::of(&request)))
    });
    finish(ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/")).await.unwrap()).await;
    assert_eq!(attribute(&kit.once().0, "halfbyte.refusal").as_deref(), Some("unavailable"));
}

#[tokio::test]
async fn a_tenant_is_named_but_never_who_of_it() {
    let kit = Kit::new();
    let service = service_fn(async |_request: Request<Body>| {
        let tenant = TenantId::new("acme").unwrap();
        let expires_at = "2030-01-01T00:00:00Z".parse().unwrap();
        let builder = Principal::builder("someone@acme.example", tenant, expires_at);
        Caller::tell(&builder.kind(PrincipalKind::Service).build());
        Ok::<_, Infallible>(Response::new(Body::default()))
    });
    finish(ServiceBuilder::new().layer(kit.layer()).service(service).oneshot(get("/")).await.unwrap()).await;
    let (span, series) = kit.once();
    assert_eq!(attribute(&span, "halfbyte.tenant").as_deref(), Some("acme"));
    assert_eq!(attribute(&span, "halfbyte.principal.kind").as_deref(), Some("service"));
    assert!(!format!("{span:?}").contains("someone"));
    assert!(!format!("{series:?}").contains("acme"), "tenants are too many for a metric");
}

#[tokio::test]
async fn head_is_a_method_that_is_known() {
    let kit = Kit::new();
    let request = Request::builder().method(Method::HEAD).uri("/").body(Body::default()).unwrap();
    drop(ServiceBuilder::new().layer(kit.layer()).service_fn(ok).oneshot(request).await.unwrap());
    assert_eq!(kit.once().0.name, "HEAD");
}
