//! A product with something for every clause, which is not broken.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use halfbyte_core::{BoxError, Principal, TenantId, problem};
use halfbyte_identity::Identity;
use halfbyte_identity::access::{Action, Authorized, Entity, EntityProvider, EntityRef, SourceFile};
use http::{HeaderName, HeaderValue, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use tower::service_fn;

use super::super::{Conformance, Sample};
use crate::{Builder, Contract, Deviation, Platform, Public, Routes};

const CATALOG: &str = r#"
    [products.sound]
    title = "Sound"
    [meters.things]
    product = "sound"
    unit = "thing"
    [meters.few]
    product = "sound"
    unit = "thing"
    [features.things]
    product = "sound"
    meter = "things"
    [features.few]
    product = "sound"
    meter = "few"
    [features.extras]
    product = "sound"
    [meters.seals]
    product = "sound"
    unit = "seal"
    [features.seals]
    product = "sound"
    meter = "seals"
    [plans.all]
    features.extras = true
    features.few = { limit = 3, per = "month" }
    features.seals = { limit = 20, per = "day" }
    features.things = { limit = 1000, per = "month" }
"#;

const SCHEMA: &str = r#"
entity Thing = { tenant: HalfByte::Tenant };
@scope("things:write")
action MakeThing appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: HalfByte::Tenant };
@scope("things:write")
action DropThing appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: Thing };
@scope("things:read")
action ReadThing in [HalfByte::Action::"Read"] appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: Thing };
"#;

const POLICIES: &str = r#"
permit (principal, action in [Action::"MakeThing", Action::"ReadThing"], resource);
permit (principal in HalfByte::Role::"keeper", action == Action::"DropThing", resource);
"#;

const MAKE: Action = Action::new("MakeThing");
const READ: Action = Action::new("ReadThing");
const DROP: Action = Action::new("DropThing");

/// A role whose name gRPC cannot send as it is.
const CHEF: &str = "chef (100 %) de café";

/// In which header a thing is named.
const THING: HeaderName = HeaderName::from_static("x-thing");

/// Of whom each thing is.
#[derive(Clone, Default)]
struct Things(Arc<Mutex<HashMap<String, TenantId>>>);

impl EntityProvider for Things {
    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name.id()).cloned();
        Ok(owner.map(|tenant| Entity::named(name.clone()).of_tenant(&tenant)))
    }
}

#[derive(Clone)]
struct App {
    things: Things,
    identity: Identity,
}

pub(super) fn product() -> Conformance {
    built(|builder| builder)
}

/// The same, where `change` has a last word on what it is built of.
pub(super) fn built(change: fn(Builder) -> Builder) -> Conformance {
    Conformance::new(move |config| async move {
        let things = Things::default();
        let until = jiff::civil::date(2999, 12, 31);
        let files = [SourceFile::new("sound.cedarschema", SCHEMA), SourceFile::new("sound.cedar", POLICIES)];
        let builder = Platform::builder("sound", Contract::V1)
            .catalog("catalog.toml", CATALOG)
            .policies(files)
            .entities(things.clone())
            .deviate(Deviation::Deadline(Duration::from_secs(5)), "so that tests need not wait", until)
            .deviate(Deviation::RequestsInFlight(100), "so that tests need not send as many", until)
            .deviate(Deviation::Connections(200), "so that tests need not open as many", until)
            .config(config);
        let platform = change(builder).start().await?;
        let routes = routes(&platform, App { things, identity: platform.identity().clone() })?;
        Ok((platform, routes))
    })
    .plan("all")
    .sample(Sample::of("GET /"))
    .sample(Sample::of("POST /things").json("{}"))
    .sample(Sample::of("GET /things/{id}").made_by("POST /things", "/id"))
    .sample(Sample::of("DELETE /things/{id}").made_by("POST /things", "/id").role("keeper"))
    .sample(Sample::of("GET /thing").made_by("POST /things", "/id"))
    .sample(Sample::grpc("sound.v1.Things", "Get"))
    .sample(Sample::of("POST /seals").json(r#"{"letter":7}"#).units(2))
    .sample(Sample::of("GET /tenants/{tenant}"))
    .sample(Sample::of("GET /strong"))
    .sample(Sample::of("GET /extras"))
    .sample(Sample::of("POST /few"))
    .sample(Sample::of("GET /panics").panics())
    .sample(Sample::of("GET /hangs").hangs())
    .sample(Sample::of("GET /stream").streams())
}

fn routes(platform: &Platform, app: App) -> Result<Routes<App>, crate::Error> {
    let may_make = platform.require(&["things:write"]).authorize(MAKE).feature("things")?;
    let may_read = platform.require(&["things:read"]).authorize(READ);
    let may_drop = platform.require(&["things:write"]).authorize(DROP).in_path("Thing", "/things/{id}");
    let strong = platform.require(&["things:read", "things:admin"]).role(CHEF).role("cook");
    let recent = Duration::from_secs(300);
    let may_seal = platform.require(&["seals:write"]).feature("seals")?.units(|_| 2);
    let wax = platform.secrets().get::<SecretString>("wax");
    let seal = async move |order: Json<Value>| match wax.load() {
        Ok(wax) => Ok(Json(json!({ "of": *order, "wax": wax.generation() }))),
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    };
    let called = service_fn(async |_: Request| Ok::<_, Infallible>(called()));
    Ok(platform
        .routes()
        .with_state(app)
        .route("GET /", Public, "hello")
        .route("POST /things", may_make, make)
        .route("GET /things/{id}", may_read.clone().in_path("Thing", "/things/{id}"), show)
        .route("DELETE /things/{id}", may_drop, remove)
        .route("GET /thing", may_read.in_header("Thing", THING), show)
        .route("GET /tenants/{tenant}", platform.require(&[]).tenant_in_path("/tenants/{tenant}"), "yours")
        .route("GET /strong", strong.acr(&["phr", "phrh"]).max_age(recent), "yours")
        .route("GET /extras", platform.require(&[]).feature("extras")?, "yours")
        .route("POST /few", platform.require(&[]).feature("few")?, "yours")
        .route("GET /panics", platform.require(&[]), async || -> &'static str { panic!("on purpose: a secret") })
        .route("GET /hangs", platform.require(&[]), async || std::future::pending::<&'static str>().await)
        .route("GET /stream", platform.require(&[]), flow)
        .route("POST /seals", may_seal, seal)
        .grpc("sound.v1.Things", platform.require(&["things:read"]), called))
}

async fn make(State(app): State<App>, caller: Principal, Json(_order): Json<Value>) -> impl IntoResponse {
    let id = uuid::Uuid::new_v4().simple().to_string();
    app.things.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), caller.tenant().clone());
    Json(json!({ "id": id, "of": caller.tenant().as_str() }))
}

async fn show(thing: Authorized) -> String {
    thing.name().id().to_owned()
}

/// What is not there any more nobody may have, or drop again.
async fn remove(State(app): State<App>, thing: Authorized) -> StatusCode {
    let removed = app.things.0.lock().unwrap_or_else(PoisonError::into_inner).remove(thing.name().id());
    if removed.is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

/// A body that goes on until its caller's credential ends.
async fn flow(State(app): State<App>, caller: Principal, context: problem::Context) -> Response {
    let endless = stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"still here\n")), ()))
    });
    let mut response =
        Response::new(Body::new(app.identity.tie(&caller).body(Body::from_stream(endless), context.grpc)));
    if context.grpc {
        response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    }
    response
}

/// An empty answer of a gRPC method.
fn called() -> Response {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("grpc-status", HeaderValue::from_static("0"));
    response
}
