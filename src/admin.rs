//! What operators ask a process: is it alive, is it ready and why not, what is it.

use std::convert::Infallible;

use bytes::Bytes;
use halfbyte_core::lifecycle::{Check, Phase};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::platform::Platform;

/// Serves the admin listener until it is dropped: through the whole of a drain.
pub(crate) async fn serve(platform: Platform, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _peer)) = accepted.inspect_err(|error| tracing::warn!(%error, "an admin connection could not be accepted")) else {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                };
                let platform = platform.clone();
                connections.spawn(async move {
                    let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&platform, &request))));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(platform.limits().first_byte)
                        .serve_connection(TokioIo::new(stream), service);
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "an admin connection ended");
                    }
                });
            }
        }
    }
}

fn answer(platform: &Platform, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "ask with GET" }));
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => respond(StatusCode::OK, &json!({ "alive": true })),
        "/readyz" => {
            let phase = platform.lifecycle().phase();
            let checks = platform.lifecycle().health().report();
            let ready = phase == Phase::Ready && checks.iter().all(|check| check.ready);
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let checks: Vec<Value> = checks.iter().map(show).collect();
            respond(status, &json!({ "ready": ready, "phase": phase.as_str(), "checks": checks }))
        }
        "/manifest" => respond(StatusCode::OK, &json!(platform.manifest())),
        _ => respond(StatusCode::NOT_FOUND, &json!({ "error": "there are /livez, /readyz and /manifest" })),
    }
}

fn show(check: &Check) -> Value {
    json!({
        "name": &*check.name,
        "ready": check.ready,
        "state": check.state,
        "age_seconds": check.age.map(|age| age.as_secs()),
        "detail": check.detail,
    })
}

fn respond(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{body:#}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
