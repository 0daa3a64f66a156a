//! Clinic makes appointments: another product, in another market, on the same platform. For a home kit it orders a label
//! from Parcel, as any customer would.
//!
//! `cargo run --example parcel`, and in another terminal
//! `HALFBYTE_LISTEN=127.0.0.1:8081 HALFBYTE_ADMIN_LISTEN=127.0.0.1:9091 cargo run --example clinic`.

use std::process::ExitCode;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use halfbyte::{Contract, Demo, Platform, Principal, Problem, problem};

#[path = "appointments.rs"]
mod appointments;
#[path = "parcel_client.rs"]
mod parcel_client;
use appointments::{Appointment, Appointments, Request};
use parcel_client::ParcelClient;

#[tokio::main]
pub(crate) async fn main() -> ExitCode {
    halfbyte::exit_code(run().await)
}

async fn run() -> Result<(), halfbyte::Error> {
    let demo = Demo::new("globex", "business")
        .scopes(&["appointments:read", "appointments:write"])
        .request("/appointments -H 'Idempotency-Key: first' --json '{\"patient\":\"Ann\",\"at\":\"2030-01-01T09:00\",\"home_kit\":true}'");
    let platform = Platform::builder("clinic", Contract::V1)
        .version(env!("CARGO_PKG_VERSION"))
        .catalog("catalog.toml", include_str!("../catalog.toml"))
        .demo(demo)
        .start()
        .await?;
    let parcel = platform.setting("PARCEL_URL").unwrap_or("http://127.0.0.1:8080");
    let tokens = platform.calls("parcel", &["labels:write"]).await?;
    let app = App {
        appointments: Appointments::default(),
        parcel: ParcelClient::new(parcel, platform.client().clone(), tokens)?,
    };
    let write = platform.require(&["appointments:write"]).feature("booking")?;
    let read = platform.require(&["appointments:read"]);
    let routes = Router::new()
        .route("/appointments", post(book).route_layer(write).merge(get(list).route_layer(read)))
        .with_state(app);
    platform.serve(routes).await
}

#[derive(Clone)]
struct App {
    appointments: Appointments,
    parcel: ParcelClient,
}

async fn book(
    State(app): State<App>,
    caller: Principal,
    context: problem::Context,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<(StatusCode, Json<Appointment>), axum::response::Response> {
    let key = headers.get("idempotency-key").map(|key| key.as_bytes());
    let mut appointment = app.appointments.draft(caller.tenant(), key, request);
    if appointment.wants_label() {
        // Ordered under the appointment's id: a retry orders nothing twice.
        let label = app.parcel.order(&appointment.id, &appointment.patient).await;
        appointment.label = Some(label.map_err(|retry_in| Problem::unavailable(retry_in).refuse(&context))?);
    }
    app.appointments.book(caller.tenant(), appointment.clone());
    Ok((StatusCode::CREATED, Json(appointment)))
}

async fn list(State(app): State<App>, caller: Principal) -> Json<Vec<Appointment>> {
    Json(app.appointments.of(caller.tenant()))
}
