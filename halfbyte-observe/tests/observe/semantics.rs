//! What spans and durations say, by the semantic conventions for HTTP.

use std::convert::Infallible;
use std::time::Duration;

use halfbyte_core::problem::{Context, Problem};
use halfbyte_core::{Caller, Principal, PrincipalKind, TenantId};
use http::{Method, Request, Response};
use opentelemetry::trace::{SpanKind, Status};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

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
