//! Parcel makes shipping labels: a whole product on the platform.
//!
//! `cargo run --example parcel` and paste the two lines that it prints.

use std::process::ExitCode;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use halfbyte::billing::Usage;
use halfbyte::identity::access::{Authorized, name_of};
use halfbyte::secrets::Secret;
use halfbyte::{Builder, Contract, Demo, Platform, Principal, Problem, Public, Routes, problem};
use secrecy::SecretString;
use serde_json::{Value, json};

#[path = "access.rs"]
pub(crate) mod access;
#[path = "labels.rs"]
pub(crate) mod labels;
use access::{CREATE_LABEL, READ_LABEL, READ_USAGE};
use labels::{Label, Labels, Order, Unmade};

#[tokio::main]
pub(crate) async fn main() -> ExitCode {
    halfbyte::exit_code(run().await)
}

async fn run() -> Result<(), halfbyte::Error> {
    let demo = Demo::new("acme", "starter")
        .scopes(&["labels:read", "labels:write"])
        .secret("label-seal")
        .request("/labels -H 'Idempotency-Key: first' --json '{\"to\":\"1 Main Street\"}'");
    let labels = Labels::default();
    let platform = builder(&labels).demo(demo).start().await?;
    let routes = routes(&platform, labels)?;
    platform.serve(routes).await
}

pub(crate) fn builder(labels: &Labels) -> Builder {
    Platform::builder("parcel", Contract::V1)
        .version(env!("CARGO_PKG_VERSION"))
        .catalog("catalog.toml", include_str!("../catalog.toml"))
        .policies(access::policies())
        .entities(labels.clone())
}

pub(crate) fn routes(platform: &Platform, labels: Labels) -> Result<Routes<App>, halfbyte::Error> {
    let may_create = platform.require(&["labels:write"]).authorize(CREATE_LABEL).feature("labels")?;
    let may_read = platform.require(&["labels:read"]).authorize(READ_LABEL).in_path("Label", "/labels/{id}");
    let may_read_usage = platform.require(&["labels:read"]).authorize(READ_USAGE);
    let seal = platform.secrets().get("label-seal");
    Ok(platform
        .routes()
        .with_state(App { labels, seal, platform: platform.clone() })
        // It is about nobody's things, so there is nothing to ask policies.
        .route("GET /", Public, async || "Parcel makes shipping labels. POST /labels\n")
        .route("POST /labels", may_create, make)
        .route("GET /labels/{id}", may_read, show)
        .route("GET /usage", may_read_usage, usage))
}

#[derive(Clone)]
pub(crate) struct App {
    labels: Labels,
    seal: Secret<SecretString>,
    platform: Platform,
}

type Refusable<T> = Result<T, Response>;

/// The same `Idempotency-Key` gives its maker the same label, and the platform counts it once.
async fn make(
    State(app): State<App>,
    caller: Principal,
    context: problem::Context,
    headers: HeaderMap,
    Json(order): Json<Order>,
) -> Refusable<(StatusCode, Json<Label>)> {
    let key = headers.get("idempotency-key").map(|key| key.as_bytes());
    match app.labels.make(caller.tenant(), name_of(&caller), key, order, &app.seal) {
        Ok(label) => Ok((StatusCode::CREATED, Json((*label).clone()))),
        Err(Unmade::KeyIsTaken) => Err(StatusCode::UNPROCESSABLE_ENTITY.into_response()),
        Err(Unmade::NoSeal { retry_in }) => Err(Problem::unavailable(retry_in).refuse(&context)),
    }
}

/// The label was found for the policies; whoever gets here may see it.
async fn show(label: Authorized<Label>) -> Json<Label> {
    Json((*label).clone())
}

async fn usage(State(app): State<App>, caller: Principal, context: problem::Context) -> Refusable<Json<Vec<Value>>> {
    let usage = app.platform.billing().usage_of(caller.tenant()).await;
    let usage = usage.map_err(|_| Problem::unavailable(Duration::from_secs(1)).refuse(&context))?;
    // Labels are whole, and numbers are what clients of this address expect.
    let number = |units| u64::try_from(units).ok();
    let row = |usage: &Usage| {
        json!({
            "meter": &*usage.meter,
            "used": number(usage.used),
            "limit": usage.limit.and_then(number),
            "resets_at": usage.period.end().to_string(),
        })
    };
    Ok(Json(usage.iter().map(row).collect()))
}
