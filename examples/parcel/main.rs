//! Parcel makes shipping labels: a whole product on the platform.
//!
//! `cargo run --example parcel` and paste the two lines that it prints.

use std::process::ExitCode;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use halfbyte::billing::Usage;
use halfbyte::{Contract, Demo, Platform, Principal, Problem, problem};
use serde_json::{Value, json};

#[path = "labels.rs"]
mod labels;
use labels::{Label, Labels, Order};

#[tokio::main]
pub(crate) async fn main() -> ExitCode {
    halfbyte::exit_code(run().await)
}

async fn run() -> Result<(), halfbyte::Error> {
    let demo = Demo::new("acme", "starter")
        .scopes(&["labels:read", "labels:write"])
        .secret("label-seal")
        .request("/labels -H 'Idempotency-Key: first' --json '{\"to\":\"1 Main Street\"}'");
    let platform = Platform::builder("parcel", Contract::V1)
        .version(env!("CARGO_PKG_VERSION"))
        .catalog("catalog.toml", include_str!("../catalog.toml"))
        .demo(demo)
        .start()
        .await?;
    let read = platform.require(&["labels:read"]);
    let write = platform.require(&["labels:write"]).feature("labels")?;
    let routes = Router::new()
        .route("/", get("Parcel makes shipping labels. POST /labels\n"))
        .route("/labels", post(make).route_layer(write))
        .route("/labels/{id}", get(show).route_layer(read))
        .route("/usage", get(usage).route_layer(platform.require(&[])))
        .with_state(App { labels: Labels::new(platform.secrets().get("label-seal")), platform: platform.clone() });
    platform.serve(routes).await
}

#[derive(Clone)]
struct App {
    labels: Labels,
    platform: Platform,
}

type Refusable<T> = Result<T, axum::response::Response>;

/// The same `Idempotency-Key` gives the same label, and the platform counts it once.
async fn make(
    State(app): State<App>,
    caller: Principal,
    context: problem::Context,
    headers: HeaderMap,
    Json(order): Json<Order>,
) -> Refusable<(StatusCode, Json<Label>)> {
    let key = headers.get("idempotency-key").map(|key| key.as_bytes());
    let label = app.labels.make(caller.tenant(), key, order);
    label
        .map(|label| (StatusCode::CREATED, Json(label)))
        .map_err(|retry_in| Problem::unavailable(retry_in).refuse(&context))
}

async fn show(State(app): State<App>, caller: Principal, Path(id): Path<String>) -> Result<Json<Label>, StatusCode> {
    app.labels.find(caller.tenant(), &id).map(Json).ok_or(StatusCode::NOT_FOUND)
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
