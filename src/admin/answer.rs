//! What operators ask a process: is it alive, has it started, is it ready and why not, how does it do, what is it.

use std::time::Duration;

use bytes::Bytes;
use halfbyte_core::Lifecycle;
use halfbyte_core::lifecycle::{Check, Phase};
use halfbyte_observe::prometheus::{Format, Scraper};
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::platform::Platform;

const PATHS: [&str; 5] = ["/livez", "/startupz", "/readyz", "/metrics", "/manifest"];

/// How long a scrape may take: less than Prometheus waits for one, unless it is told otherwise.
const SCRAPE: Duration = Duration::from_secs(5);

pub(super) async fn to(platform: &Platform, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "ask with GET" }));
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let life = platform.lifecycle();
    match request.uri().path() {
        "/livez" => respond(StatusCode::OK, &json!({ "alive": true })),
        "/startupz" => startup(life),
        "/readyz" => readiness(life),
        "/metrics" => metrics(request.headers()).await,
        "/manifest" => respond(StatusCode::OK, &json!(platform.manifest())),
        _ => respond(StatusCode::NOT_FOUND, &json!({ "error": "there is no such path", "paths": PATHS })),
    }
}

/// Whether it has been ready, for the first time: what comes later is no matter of starting.
fn startup(life: &Lifecycle) -> Response<Full<Bytes>> {
    let started = life.entered(Phase::Ready);
    // As `serve` waits for them.
    let unsettled = |check: &Check| started.is_none() && !check.ready && check.detail.is_none();
    let waits_for: Vec<Value> = life
        .health()
        .report()
        .iter()
        .filter(|check| unsettled(check))
        .map(|check| check.name.to_string().into())
        .collect();
    let body = json!({
        "started": started.is_some(),
        "since": started.map(|at| at.to_string()),
        "phase": life.phase().as_str(),
        "waits_for": waits_for,
    });
    respond(status(started.is_some()), &body)
}

fn readiness(life: &Lifecycle) -> Response<Full<Bytes>> {
    let phase = life.phase();
    let checks = life.health().report();
    let ready = phase == Phase::Ready && checks.iter().all(|check| check.ready);
    let checks: Vec<Value> = checks.iter().map(check).collect();
    let body = json!({ "ready": ready, "phase": phase.as_str(), "life": history(life, phase), "checks": checks });
    respond(status(ready), &body)
}

/// The phases that were entered, up to the one now.
fn history(life: &Lifecycle, now: Phase) -> Value {
    let entered = |phase: Phase| life.entered(phase).map(|at| at.to_string());
    let phases = Phase::ALL.into_iter().filter_map(|phase| {
        let at = entered(phase).filter(|_| phase <= now)?;
        Some(json!({ "phase": phase.as_str(), "entered": at }))
    });
    json!({ "since": entered(now), "phases": phases.collect::<Vec<_>>() })
}

fn check(check: &Check) -> Value {
    json!({
        "name": &*check.name,
        "ready": check.ready,
        "state": check.state,
        "age_seconds": check.age.map(|age| age.as_secs()),
        "detail": check.detail,
    })
}

async fn metrics(headers: &HeaderMap) -> Response<Full<Bytes>> {
    let Some(scraper) = Scraper::process() else {
        let why = "there are no metrics: OTEL_SDK_DISABLED is set, or telemetry was set up without Settings::scraped";
        return respond(StatusCode::NOT_FOUND, &json!({ "error": why }));
    };
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>();
    let format = Format::accepted(&accepted.join(","));
    match scraper.scrape(format, SCRAPE).await {
        Ok(page) => with(StatusCode::OK, format.content_type(), page),
        Err(error) => respond(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error.to_string() })),
    }
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn respond(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    with(status, "application/json", format!("{body:#}\n"))
}

fn with(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
