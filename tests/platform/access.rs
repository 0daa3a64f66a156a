//! What a route asks the policies.

use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use halfbyte::core::BoxError;
use halfbyte::identity::access::{Action, Authorized, Entity, EntityProvider, EntityRef, SourceFile};
use halfbyte::{Contract, Error, ErrorKind, Platform, Principal, TenantId};
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::start;

const PRINT: Action = Action::new("PrintLabel");

const CATALOG: &str = r#"
    [products.parcel]
    [features.labels]
    product = "parcel"
    [plans.none]
"#;

const SCHEMA: &str = r#"
entity Label = { tenant: HalfByte::Tenant };
action PrintLabel appliesTo { principal: [HalfByte::User], resource: Label };
"#;

const POLICIES: &str = r#"permit (principal in HalfByte::Role::"clerk", action == Action::"PrintLabel", resource);"#;

struct Desk;

impl EntityProvider for Desk {
    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        let of = name.id().split('-').next().and_then(|tenant| tenant.parse::<TenantId>().ok());
        Ok(of.map(|tenant| Entity::named(name.clone()).of_tenant(&tenant)))
    }
}

async fn started(folder: &Path, policies: &str) -> Result<Platform, Error> {
    let files = [SourceFile::new("parcel.cedarschema", SCHEMA), SourceFile::new("parcel.cedar", policies)];
    let builder = Platform::builder("parcel", Contract::V1).config(start::config(folder, &[]).unwrap());
    builder.catalog("plans.toml", CATALOG).policies(files).entities(Desk).start().await
}

/// Asks for `path`; answers the status and the last part of a problem's type.
async fn ask(routes: &Router, path: &str, roles: &[&str]) -> (u16, String) {
    let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let ann = Principal::builder("ann", "acme".parse().unwrap(), jiff::Timestamp::MAX);
    request.extensions_mut().insert(ann.scopes(["labels:write"]).roles(roles.iter().copied()).build());
    let response = routes.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let kind = problem["type"].as_str().and_then(|urn| urn.rsplit(':').next()).unwrap_or_default();
    (status, kind.to_owned())
}

#[tokio::test]
async fn a_route_asks_for_scopes_and_then_the_policies_and_then_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let platform = started(folder.path(), POLICIES).await.unwrap();
    let guard = platform.require(&["labels:write"]).authorize(PRINT).in_path("Label", "/labels/{id}");
    let sold = guard.feature("labels").unwrap();
    let more = platform.require(&["labels:delete"]).authorize(PRINT).in_path("Label", "/{labels}/{id}");
    let shown = async |label: Authorized| label.name().id().to_owned();
    let routes = Router::new()
        .route("/labels/{id}", get(shown).layer(guard))
        .route("/labels/{id}/sold", get(shown).layer(sold))
        .route("/scopes/{id}", get(shown).layer(more));
    let good = (200, String::new());
    let refused = |status: u16, kind: &str| (status, kind.to_owned());
    assert_eq!(ask(&routes, "/labels/acme-1", &["clerk"]).await, good);
    assert_eq!(ask(&routes, "/labels/acme-1", &[]).await, refused(403, "forbidden"));
    assert_eq!(ask(&routes, "/labels/globex-1", &["clerk"]).await, refused(403, "forbidden"));
    assert_eq!(ask(&routes, "/labels/acme-1/sold", &["clerk"]).await, refused(403, "not-entitled"));
    assert_eq!(ask(&routes, "/labels/acme-1/sold", &[]).await, refused(403, "forbidden"));
    assert_eq!(ask(&routes, "/scopes/acme-1", &[]).await, refused(403, "insufficient-scope"));
    assert!(!format!("{platform:?}").contains("acme"));
}

#[tokio::test]
async fn who_has_not_signed_in_is_told_where_to_by_the_policies_too() {
    let folder = tempfile::tempdir().unwrap();
    let platform = started(folder.path(), POLICIES).await.unwrap();
    let routes = Router::new().route("/", get(async || {})).layer(platform.access().authorize(PRINT));
    let response = routes.oneshot(Request::builder().uri("/").body(Body::empty()).unwrap()).await.unwrap();
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("/.well-known/oauth-protected-resource"), "{challenge}");
}

#[tokio::test]
async fn policies_that_do_not_fit_their_schema_are_refused_at_start_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let policies = POLICIES.replace("PrintLabel", "PrintLabels");
    let error = started(folder.path(), &policies).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Configuration, 78));
    assert!(format!("{error:?}").contains("parcel.cedar:1"), "{error:?}");
}
