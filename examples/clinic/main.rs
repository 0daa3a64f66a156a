//! Clinic makes appointments: another product, in another market, on the same platform. For a home kit it orders a label
//! from Parcel, as any customer would.
//!
//! `cargo run --example parcel`, and in another terminal
//! `HALFBYTE_LISTEN=127.0.0.1:8081 HALFBYTE_ADMIN_LISTEN=127.0.0.1:9091 cargo run --example clinic`.

use std::process::ExitCode;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use halfbyte::identity::access::{Checks, name_of};
use halfbyte::{Builder, Contract, Demo, Platform, Principal, Problem, Routes, problem};

#[path = "access.rs"]
pub(crate) mod access;
#[path = "appointments.rs"]
mod appointments;
#[path = "parcel_client.rs"]
mod parcel_client;
use access::{BOOK_APPOINTMENT, LIST_APPOINTMENTS, READ_APPOINTMENT};
use appointments::{Appointment, Appointments, Draft, Request};
use parcel_client::ParcelClient;

#[tokio::main]
pub(crate) async fn main() -> ExitCode {
    halfbyte::exit_code(run().await)
}

async fn run() -> Result<(), halfbyte::Error> {
    let demo = Demo::new("globex", "business")
        .scopes(&["appointments:read", "appointments:write"])
        .request("/appointments -H 'Idempotency-Key: first' --json '{\"patient\":\"Ann\",\"at\":\"2030-01-01T09:00\",\"home_kit\":true}'");
    let platform = builder().demo(demo).start().await?;
    let routes = routes(&platform).await?;
    platform.serve(routes).await
}

pub(crate) fn builder() -> Builder {
    Platform::builder("clinic", Contract::V1)
        .version(env!("CARGO_PKG_VERSION"))
        .catalog("catalog.toml", include_str!("../catalog.toml"))
        .policies(access::policies())
        .actions([READ_APPOINTMENT])
}

pub(crate) async fn routes(platform: &Platform) -> Result<Routes<App>, halfbyte::Error> {
    let parcel = platform.setting("PARCEL_URL").unwrap_or("http://127.0.0.1:8080");
    let tokens = platform.calls("parcel", &["labels:write"]).await?;
    let app = App {
        appointments: Appointments::default(),
        parcel: ParcelClient::new(parcel, platform.client().clone(), tokens)?,
    };
    let may_book = platform.require(&["appointments:write"]).authorize(BOOK_APPOINTMENT).feature("booking")?;
    let may_list = platform.require(&["appointments:read"]).authorize(LIST_APPOINTMENTS);
    let routes = platform.routes().with_state(app).route("POST /appointments", may_book, book).route(
        "GET /appointments",
        may_list,
        list,
    );
    Ok(routes)
}

#[derive(Clone)]
pub(crate) struct App {
    appointments: Appointments,
    parcel: ParcelClient,
}

async fn book(
    State(app): State<App>,
    caller: Principal,
    context: problem::Context,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<(StatusCode, Json<Appointment>), Response> {
    let key = headers.get("idempotency-key").map(|key| key.as_bytes());
    let mut appointment = match app.appointments.draft(caller.tenant(), name_of(&caller), key, request) {
        Draft::New(appointment) => appointment,
        Draft::Booked(appointment) => return Ok((StatusCode::CREATED, Json(appointment))),
        Draft::KeyIsTaken => return Err(StatusCode::UNPROCESSABLE_ENTITY.into_response()),
    };
    if appointment.wants_label() {
        // Ordered under the appointment's id: a retry orders nothing twice.
        let label = app.parcel.order(&appointment.id, &appointment.patient).await;
        appointment.label = Some(label.map_err(|retry_in| Problem::unavailable(retry_in).refuse(&context))?);
    }
    app.appointments.book(appointment.clone());
    Ok((StatusCode::CREATED, Json(appointment)))
}

/// Those that the caller may read.
async fn list(
    State(app): State<App>,
    checks: Checks,
    context: problem::Context,
) -> Result<Json<Vec<Appointment>>, Response> {
    let appointments = app.appointments.of(checks.principal().tenant());
    let appointments = checks.filter(READ_APPOINTMENT, appointments).await;
    appointments.map(Json).map_err(|denied| denied.problem().refuse(&context))
}
