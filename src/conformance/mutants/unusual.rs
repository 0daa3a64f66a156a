//! A sound product of what is not usual: bodies that are not JSON, metered gRPC, secrets that are keys, public routes that do not end, several
//! parameters in a path, and routes for people alone, that want an idempotency key, reserve more than they use, or are counted by their body.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use halfbyte_core::{BoxError, Principal, TenantId, problem};
use halfbyte_identity::access::{Action, Entity, EntityProvider, EntityRef, SourceFile};
use halfbyte_secrets::zeroize::Zeroize;
use halfbyte_secrets::{FromSecret, ParseError};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tower::service_fn;

use super::super::{Conformance, Sample};
use crate::{Contract, Deviation, Platform, Public, Routes};

const CATALOG: &str = r#"
    [products.unusual]
    title = "Unusual"
    [meters.imports]
    product = "unusual"
    unit = "import"
    [features.imports]
    product = "unusual"
    meter = "imports"
    [meters.exports]
    product = "unusual"
    unit = "KiB"
    [features.exports]
    product = "unusual"
    meter = "exports"
    [meters.calls]
    product = "unusual"
    unit = "call"
    [features.calls]
    product = "unusual"
    meter = "calls"
    [meters.feeds]
    product = "unusual"
    unit = "feed"
    [features.feeds]
    product = "unusual"
    meter = "feeds"
    [features.searches]
    product = "unusual"
    [plans.all]
    features.feeds = { limit = 10, per = "day" }
    features.searches = true
    features.exports = { limit = 50, per = "day" }
    features.imports = { limit = 40, per = "day" }
    features.calls = { limit = 30, per = "month" }
"#;

const SCHEMA: &str = r#"
entity Note = { tenant: HalfByte::Tenant };
@scope("notes:read")
action ReadNote in [HalfByte::Action::"Read"] appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: Note };
@scope("NOTES:FIND")
action FindNotes in [HalfByte::Action::"Read"] appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: HalfByte::Tenant };
"#;

const POLICIES: &str = r#"
permit (principal, action == Action::"ReadNote", resource);
permit (principal is HalfByte::User, action == Action::"FindNotes", resource);
"#;

const READ: Action = Action::new("ReadNote");
const FIND: Action = Action::new("FindNotes");

const KIB: NonZeroU64 = NonZeroU64::new(1024).unwrap();

const CSV: &str = "to\n1 Main Street\n";

/// What a partner of the product has to send.
const PARTNER: HeaderName = HeaderName::from_static("x-partner");
pub(super) const PARTNERS_KEY: &str = "partner-7f3e9b2c5d8a1e4f6071";

/// The message of a call, in protobuf.
const MESSAGE: &[u8] = b"\x0a\x0d1 Main Street";

/// A private key, which no other text is.
struct Seal(Vec<u8>);

impl Zeroize for Seal {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl FromSecret for Seal {
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
        let pem =
            std::str::from_utf8(bytes).ok().and_then(|text| text.trim().strip_prefix("-----BEGIN PRIVATE KEY-----"));
        let lines = pem.and_then(|pem| pem.strip_suffix("-----END PRIVATE KEY-----"));
        let der = lines.and_then(|lines| STANDARD.decode(lines.replace('\n', "")).ok());
        let der = der.ok_or(ParseError::new("no private key in PEM"))?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der);
        key.map(|_| Self(der)).map_err(|_| ParseError::new("no key of P-256"))
    }
}

impl Seal {
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.0).unwrap();
        key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}

/// A new key, as the product wants it.
pub(super) fn pem() -> String {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    let text = STANDARD.encode(key.as_ref());
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

/// Of whom each note is.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<HashMap<String, TenantId>>>);

impl EntityProvider for Notes {
    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name.id()).cloned();
        Ok(owner.map(|tenant| Entity::named(name.clone()).of_tenant(&tenant)))
    }
}

pub(super) fn product() -> Conformance {
    let bare = Conformance::new(async |config| {
        let notes = Notes::default();
        let until = jiff::civil::date(2999, 12, 31);
        let files = [SourceFile::new("unusual.cedarschema", SCHEMA), SourceFile::new("unusual.cedar", POLICIES)];
        let platform = Platform::builder("unusual", Contract::V1)
            .catalog("catalog.toml", CATALOG)
            .policies(files)
            .entities(notes.clone())
            .deviate(Deviation::Deadline(Duration::from_secs(5)), "so that tests need not wait", until)
            .deviate(Deviation::RequestsInFlight(100), "so that tests need not send as many", until)
            .config(config)
            .start()
            .await?;
        let routes = routes(&platform, notes)?;
        Ok((platform, routes))
    });
    let mut partner = HeaderValue::from_static(PARTNERS_KEY);
    partner.set_sensitive(true);
    bare.plan("all")
        .secret("seal", &pem())
        .secret("seal", &pem())
        .sample(Sample::of("GET /export").units(3).counted_in_body())
        .sample(Sample::of("POST /imports").body("text/csv", CSV).header(PARTNER, partner).keyed().units(2).reserves(5))
        .sample(Sample::grpc("unusual.v1.Labels", "Make").message(MESSAGE))
        .sample(Sample::of("GET /events").streams())
        .sample(Sample::of("GET /feed").streams())
        .sample(Sample::of("POST /found").json("{}").reads().by_user())
        .sample(Sample::of("POST /found/more").json("{}").reads().by_user())
        .sample(Sample::of("POST /opening").once())
        .sample(Sample::of("GET /waits").hangs())
        .sample(Sample::of("POST /tenants/{tenant}/notes"))
        .sample(Sample::of("GET /tenants/{tenant}/notes/{id}").made_by("POST /tenants/{tenant}/notes", "/id"))
        .sample(
            Sample::of("GET /conformance/{region}/notes/{note}")
                .parameter("region", "eu")
                .made_by("POST /tenants/{tenant}/notes", "/id"),
        )
        .without_sample("POST /payouts", "a bank would have to be there")
}

fn routes(platform: &Platform, notes: Notes) -> Result<Routes<Notes>, crate::Error> {
    const OF_TENANT: &str = "/tenants/{tenant}/notes/{id}";
    let seal = platform.secrets().get::<Seal>("seal");
    let import = async move |headers: HeaderMap, body: Bytes| {
        let is_partner = headers.get(PARTNER).is_some_and(|key| key == PARTNERS_KEY);
        if !is_partner || !headers.contains_key("idempotency-key") {
            return Err(StatusCode::BAD_REQUEST);
        }
        if headers.get(CONTENT_TYPE).is_none_or(|is| is != "text/csv") || body != CSV {
            return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let seal = seal.load().map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        Ok(Json(json!({ "signed": !seal.expose_secret().sign(&body).is_empty() })))
    };
    let events = async || {
        let endless = stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"still here\n")), ()))
        });
        Response::new(Body::from_stream(endless))
    };
    let identity = platform.identity().clone();
    let feed = async move |caller: Principal, context: problem::Context| {
        let (body, is_grpc) = (events().await.into_body(), context.grpc);
        let mut response = Response::new(Body::new(identity.tie(&caller).body(body, is_grpc)));
        if is_grpc {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        }
        response
    };
    // A tenant opens its books once.
    let opened = Arc::new(Mutex::new(HashSet::new()));
    let open = async move |caller: Principal| {
        let is_first = opened.lock().unwrap_or_else(PoisonError::into_inner).insert(caller.tenant().clone());
        if is_first { StatusCode::CREATED } else { StatusCode::CONFLICT }
    };
    let may_find = platform.require(&["NOTES:FIND"]).authorize(FIND);
    let in_path = platform.require(&["notes:write"]).tenant_in_path("/tenants/{tenant}/notes");
    let may_read = platform.require(&["notes:read"]).tenant_in_path(OF_TENANT).authorize(READ);
    // Of up to five lines that a request may have.
    let imports = platform.require(&["imports:write"]).feature("imports")?.units(|_| 5).units_of_response(|_| Some(2));
    let exports = platform.require(&["exports"]).feature("exports")?.units(|_| 3).units_of_body(KIB);
    let export = async || {
        // Not all at once: who hangs up after the head has not had the last.
        let parts = stream::iter(0..3).then(async |_| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, Infallible>(Bytes::from(vec![b'x'; 1024]))
        });
        Response::new(Body::from_stream(parts))
    };
    Ok(platform
        .routes()
        .with_state(notes)
        .route("GET /events", Public, events)
        .route("GET /feed", platform.require(&["feed"]).feature("feeds")?, feed)
        .route("POST /found", may_find.clone(), "found")
        .route("POST /found/more", may_find.feature("searches")?, "found")
        .route("POST /opening", platform.require(&["opening"]), open)
        .route("GET /waits", Public, async || std::future::pending::<&'static str>().await)
        .route("GET /export", exports, export)
        .route("POST /imports", imports, import)
        .route("POST /tenants/{tenant}/notes", in_path, make)
        .route("GET /tenants/{tenant}/notes/{id}", may_read.in_path("Note", OF_TENANT), "a note")
        .route("GET /conformance/{region}/notes/{note}", platform.require(&["notes:read"]), find)
        .route("POST /payouts", platform.require(&["payouts:write"]), async || StatusCode::BAD_GATEWAY)
        .grpc("unusual.v1.Labels", platform.require(&["calls"]).feature("calls")?, service_fn(call)))
}

async fn make(State(notes): State<Notes>, caller: Principal) -> Json<Value> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    notes.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), caller.tenant().clone());
    Json(json!({ "id": id }))
}

async fn find(State(notes): State<Notes>, Path((region, note)): Path<(String, String)>) -> StatusCode {
    let is_there = notes.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&note);
    if region == "eu" && is_there { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

/// As a server of gRPC does it: a message and its status in the trailers, or a status alone.
async fn call(request: Request) -> Result<Response, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let is_grpc = head.headers.get(CONTENT_TYPE).is_some_and(|is| is == "application/grpc");
    if !is_grpc {
        return Ok(StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response());
    }
    let grpc = (CONTENT_TYPE, "application/grpc");
    let is_whole = body.get(5..) == Some(MESSAGE) && body[..5] == [0, 0, 0, 0, 15];
    if !is_whole || head.uri.path() != "/unusual.v1.Labels/Make" {
        return Ok(([grpc, (HeaderName::from_static("grpc-status"), "3")], ()).into_response());
    }
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let frames = [Frame::data(Bytes::from_static(&[0, 0, 0, 0, 0])), Frame::trailers(trailers)];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
    Ok(([grpc], Body::new(body)).into_response())
}
