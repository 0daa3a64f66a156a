//! Routes that say what they ask of their callers.

use std::num::NonZeroU64;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use halfbyte::core::lifecycle::Phase;
use halfbyte::identity::access::Action;
use halfbyte::{Manifest, Principal, Public, TenantId};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::start;

const CATALOG: &str = include_str!("../../examples/catalog.toml");

#[tokio::test]
async fn the_manifest_has_each_route_with_what_it_asks() {
    let folder = tempfile::tempdir().unwrap();
    let platform = start::start(folder.path(), CATALOG).await.unwrap();
    let may_make = platform.require(&["labels:write"]).role("clerk").feature("labels").unwrap();
    let may_read = platform
        .require(&["labels:read"])
        .acr(&["phr"])
        .max_age(Duration::from_secs(60))
        .tenant_in_path("/tenants/{tenant}")
        .authorize(Action::new("ReadLabel"))
        .in_path("Label", "/tenants/{tenant}/labels/{id}");
    let _routes: Router = platform
        .routes()
        .route("POST /labels", may_make, async || "made")
        .route("GET /tenants/{tenant}/labels/{id}", may_read, async || "read")
        .route("GET /", Public, async || "hello")
        .into();
    // As whoever compares products reads it.
    let manifest: Manifest = serde_json::from_str(&serde_json::to_string(&platform.manifest()).unwrap()).unwrap();
    assert_eq!(manifest, platform.manifest());
    let routes: Vec<_> = manifest.routes.iter().map(|route| (route.method.as_str(), route.path.as_str())).collect();
    assert_eq!(routes, [("GET", "/"), ("POST", "/labels"), ("GET", "/tenants/{tenant}/labels/{id}")]);
    let [hello, make, read] = &manifest.routes[..] else { unreachable!("there are three") };
    assert!(hello.asks.is_public && hello.asks.scopes.is_empty());
    assert!(!make.asks.is_public);
    assert_eq!(
        (&make.asks.scopes[..], &make.asks.roles[..]),
        (&["labels:write".to_owned()][..], &["clerk".to_owned()][..])
    );
    assert_eq!((make.asks.feature.as_deref(), make.asks.meter.as_deref()), (Some("labels"), Some("labels")));
    assert_eq!((&read.asks.acr[..], read.asks.max_age_seconds), (&["phr".to_owned()][..], Some(60)));
    assert_eq!(read.asks.tenant_in_path.as_deref(), Some("/tenants/{tenant}"));
    assert_eq!(read.asks.action.as_deref(), Some("ReadLabel"));
    let resource = read.asks.resource.as_ref().unwrap();
    assert_eq!(resource.kind.as_deref(), Some("Label"));
    assert_eq!(resource.found_in, "path /tenants/{tenant}/labels/{id}");
}

#[tokio::test]
async fn a_guarded_route_is_guarded_and_another_method_is_not_let_through() {
    let folder = tempfile::tempdir().unwrap();
    let platform = start::start(folder.path(), CATALOG).await.unwrap();
    let guard = platform.require(&["labels:read"]);
    let routes =
        platform.routes().route("GET /", Public, async || "hello").route("GET /labels", guard, async || "labels");
    let serving = tokio::spawn(platform.clone().serve(routes));
    platform.lifecycle().reached(Phase::Ready).await;
    let status = async |method: reqwest::Method, path: &str| {
        let url = format!("http://{}{path}", platform.address());
        reqwest::Client::new().request(method, url).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(reqwest::Method::GET, "/").await, 200);
    assert_eq!(status(reqwest::Method::GET, "/labels").await, 401);
    assert_eq!(status(reqwest::Method::HEAD, "/labels").await, 401);
    assert_eq!(status(reqwest::Method::POST, "/labels").await, 405);
    platform.lifecycle().enter(Phase::LameDuck);
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_counted_by_the_body_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let platform = start::start(folder.path(), CATALOG).await.unwrap();
    let guard = platform.require(&[]).feature("labels").unwrap().units_of_body(NonZeroU64::new(100).unwrap());
    let routes = Router::from(platform.routes().route("GET /labels", guard, async || "x".repeat(250)));
    let tenant: TenantId = "acme".parse().unwrap();
    let customers = platform.billing().customers();
    customers.create(&tenant).await.unwrap();
    customers.subscribe(&tenant, "starter").await.unwrap();
    let mut request = http::Request::get("/labels").body(Body::empty()).unwrap();
    request.extensions_mut().insert(Principal::builder("app", tenant.clone(), jiff::Timestamp::MAX).build());
    let response = routes.oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 250);
    let usage = platform.billing().usage_of(&tenant).await.unwrap();
    assert_eq!(usage.iter().map(|usage| usage.used.to_string()).collect::<Vec<_>>(), ["3"]);
}
