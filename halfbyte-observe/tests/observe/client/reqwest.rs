//! A client of reqwest, against a real server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::Redirect;
use axum::routing::get;
use opentelemetry::trace::Status;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt as _};

use super::{Recorder, attributes, pairs};

async fn server() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/", get(async |headers: HeaderMap| headers["traceparent"].to_str().unwrap().to_owned()))
        .route("/moved", get(async || Redirect::temporary("/?token=hunter2")))
        .route("/slow", get(async || std::future::pending::<()>().await));
    let mut running = JoinSet::new();
    running.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, running)
}

#[tokio::test]
async fn a_call_is_a_span_from_its_start_to_the_end_of_its_body() {
    let (address, _running) = server().await;
    let recorder = Recorder::new();
    let http = reqwest::Client::new();
    let client = ServiceBuilder::new().layer(recorder.layer()).service(http.clone());
    let request = http.get(format!("http://ada:hunter2@{address}/?token=hunter2")).build().unwrap();
    let url = request.url().clone();
    let response: reqwest::Response = client.oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.url(), response.remote_addr()), (200, &url, Some(address)));
    assert!(recorder.spans().is_empty(), "the body is still to come");
    let arrived = response.text().await.unwrap();
    let (span, series) = recorder.once();
    assert_eq!(arrived, format!("00-{}-{}-03", span.span_context.trace_id(), span.span_context.span_id()));
    let port = address.port().to_string();
    let common = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
    ];
    let full = format!("http://{address}/?token=REDACTED");
    let mut of_span = pairs(&common);
    of_span.extend(pairs(&[("url.full", &full), ("network.peer.address", "127.0.0.1"), ("network.peer.port", &port)]));
    assert_eq!(attributes(&span), of_span, "reqwest has made a header of the credentials");
    assert_eq!((series.metric.as_str(), series.attributes), ("http.client.request.duration", pairs(&common)));
    assert!(!format!("{span:?}").contains("hunter2"));
}

#[tokio::test]
async fn redirects_are_part_of_the_call_and_the_response_says_where_it_is_from() {
    let (address, _running) = server().await;
    let recorder = Recorder::new();
    let http = reqwest::Client::new();
    let client = ServiceBuilder::new().layer(recorder.layer()).service(http.clone());
    let request = http.get(format!("http://{address}/moved")).build().unwrap();
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(response.url().as_str(), format!("http://{address}/?token=hunter2"));
    drop(response);
    let (span, _) = recorder.once();
    assert_eq!(attributes(&span)["url.full"], format!("http://{address}/moved"), "as it was asked for");
    assert_eq!(span.status, Status::Unset, "the status is all that was wanted");
}

#[tokio::test]
async fn what_fails_is_named_by_its_cause() {
    let (address, running) = server().await;
    let recorder = Recorder::new();
    let http = reqwest::Client::builder().timeout(Duration::from_millis(50)).build().unwrap();
    let client = ServiceBuilder::new().layer(recorder.layer()).service(http.clone());
    let slow = http.get(format!("http://{address}/slow")).build().unwrap();
    assert!(client.oneshot(slow).await.unwrap_err().is_timeout());
    assert_eq!(attributes(&recorder.once().0)["error.type"], "timeout");
    drop(running);

    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let recorder = Recorder::new();
    let client = ServiceBuilder::new().layer(recorder.layer()).service(http.clone());
    let request = http.get(format!("http://{nobody}/")).build().unwrap();
    assert!(client.oneshot(request).await.unwrap_err().is_connect());
    let (span, series) = recorder.once();
    assert_eq!((attributes(&span)["error.type"].as_str(), span.status), ("connection_refused", Status::error("")));
    assert_eq!(series.attributes["error.type"], "connection_refused");
}
