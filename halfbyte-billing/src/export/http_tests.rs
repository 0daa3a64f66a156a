//! The HTTP destination against a real server.

use std::collections::{HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use halfbyte_core::client::Client;
use halfbyte_core::{Clock, Lifecycle};
use serde_json::{Map, Value, json};
use url::Url;

use super::memory::{Memory, event, exported};
use super::{Bell, Destination as _, Export, ExportState, Exported, Exporter, HttpDestination, HttpFormat};

/// A server that answers as told, 204 when told nothing, and remembers what it was sent.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Conversation>>);

#[derive(Default)]
struct Conversation {
    answers: VecDeque<Response>,
    requests: Vec<(HeaderMap, Value)>,
}

impl Server {
    fn answer(&self, answer: impl IntoResponse) {
        self.0.lock().unwrap().answers.push_back(answer.into_response());
    }

    fn requests(&self) -> Vec<(HeaderMap, Value)> {
        self.0.lock().unwrap().requests.clone()
    }

    async fn start(&self) -> Url {
        serve(Router::new().route("/events", post(converse)).with_state(self.clone())).await
    }
}

async fn converse(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let mut conversation = server.0.lock().unwrap();
    conversation.requests.push((headers, serde_json::from_slice(&body).expect("JSON")));
    conversation.answers.pop_front().unwrap_or_else(|| StatusCode::NO_CONTENT.into_response())
}

async fn serve(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let url = format!("http://{}/events", listener.local_addr().expect("bound"));
    let router = router.layer(axum::extract::DefaultBodyLimit::max(4 << 20));
    Lifecycle::new(Clock::system()).spawn("server", async move { axum::serve(listener, router).await });
    url.parse().expect("a URL")
}

fn destination(url: Url, format: HttpFormat) -> HttpDestination {
    HttpDestination::new(Client::new().expect("TLS"), url, format)
}

fn events(range: std::ops::Range<usize>) -> Vec<Exported> {
    range.map(|id| exported(event(&id.to_string(), r#"{"units":1}"#))).collect()
}

#[tokio::test]
async fn a_batch_of_cloud_events_goes_out_with_a_token_that_may_change() {
    let server = Server::default();
    let turn = AtomicU32::new(0);
    let token = move || format!("secret-{}", turn.fetch_add(1, Ordering::Relaxed)).into();
    let url = server.start().await;
    let destination = destination(url, HttpFormat::CloudEventsBatch).bearer(token).expect("this machine");
    for _ in 0..2 {
        assert_eq!(destination.send(&events(0..3)).await, Ok(3));
    }
    let requests = server.requests();
    for (turn, (headers, body)) in requests.iter().enumerate() {
        assert_eq!(headers["content-type"], "application/cloudevents-batch+json");
        assert_eq!(headers["authorization"], format!("Bearer secret-{turn}"));
        assert_eq!(body.as_array().map(Vec::len), Some(3));
        assert_eq!(body[2]["id"], "2");
        assert_eq!(body[2]["halfbytetenant"], "acme");
        assert_eq!(body[2]["data"]["units"], 1);
    }
    assert!(!format!("{destination:?}").contains("secret"));
}

#[tokio::test]
async fn a_token_does_not_travel_over_plain_http() {
    for (url, goes) in [
        ("http://meter.example.com/events", false),
        ("http://10.0.0.1/events", false),
        ("https://meter.example.com/events", true),
        ("http://[::1]:8888/events", true),
        ("http://localhost/events", true),
    ] {
        let destination = destination(url.parse().expect("a URL"), HttpFormat::Lago);
        assert_eq!(destination.bearer(|| "secret".into()).is_ok(), goes, "{url}");
    }
}

#[tokio::test]
async fn what_an_answer_says_of_events_is_told_from_what_it_says_of_the_endpoint() {
    let server = Server::default();
    let destination = destination(server.start().await, HttpFormat::CloudEventsBatch);
    for (status, is_permanent) in
        [(400, true), (409, true), (413, true), (422, true), (302, false), (401, false), (403, false), (404, false)]
            .into_iter()
            .chain([(408, false), (425, false), (429, false), (500, false), (503, false)])
    {
        server.answer(StatusCode::from_u16(status).expect("a status"));
        let error = destination.send(&events(0..1)).await.expect_err("not a success");
        assert_eq!(error.is_permanent(), is_permanent, "{status}");
        assert!(error.to_string().starts_with(&status.to_string()), "{error}");
    }
}

#[tokio::test]
async fn retry_after_is_handed_on_and_one_request_is_one_request() {
    let server = Server::default();
    let destination = destination(server.start().await, HttpFormat::CloudEventsBatch);
    server.answer((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]));
    let error = destination.send(&events(0..1)).await.expect_err("too many");
    assert_eq!(error.retry_in, Some(Duration::from_secs(1)));
    assert_eq!(server.requests().len(), 1, "the export repeats, and not the client too");
}

#[tokio::test]
async fn a_problem_says_why_and_any_other_body_is_kept_to_itself() {
    let server = Server::default();
    let destination = destination(server.start().await, HttpFormat::CloudEventsBatch);
    server.answer((StatusCode::BAD_REQUEST, Json(json!({"title": "Bad Request", "detail": "no\nsuch meter"}))));
    let error = destination.send(&events(0..1)).await.expect_err("refused");
    assert_eq!(error.to_string(), "400 Bad Request: no such meter");
    server.answer((StatusCode::BAD_REQUEST, "<b>your token is hunter2</b>"));
    let error = destination.send(&events(0..1)).await.expect_err("refused");
    assert_eq!(error.to_string(), "400 Bad Request");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failure_that_names_it_and_no_secret() {
    let url: Url = "http://127.0.0.1:9/events?key=hunter2".parse().expect("a URL");
    let destination = destination(url, HttpFormat::CloudEventsBatch).bearer(|| "hunter2".into()).expect("this machine");
    let error = destination.send(&events(0..1)).await.expect_err("nobody listens on the port of discard");
    assert!(!error.is_permanent());
    let message = error.to_string();
    assert!(message.contains("127.0.0.1:9") && !message.contains("hunter2"), "{message}");
}

#[tokio::test]
async fn a_request_is_about_a_megabyte_at_most() {
    let server = Server::default();
    let destination = destination(server.start().await, HttpFormat::CloudEventsBatch);
    let data = format!(r#"{{"blob":"{}"}}"#, "x".repeat(60_000));
    let large: Vec<Exported> = (0..30).map(|id| exported(event(&id.to_string(), &data))).collect();
    let sent = destination.send(&large).await.expect("accepted");
    assert!((10..20).contains(&sent), "{sent}");
    assert_eq!(server.requests()[0].1.as_array().map(Vec::len), Some(sent));
    let one = format!(r#"{{"blob":"{}"}}"#, "x".repeat(2 << 20));
    assert_eq!(destination.send(&[exported(event("1", &one))]).await, Ok(1), "one event is never too large to try");
}

#[tokio::test]
async fn an_event_that_cannot_be_written_holds_up_none_before_it() {
    let server = Server::default();
    let destination = destination(server.start().await, HttpFormat::CloudEventsBatch);
    let mut events = events(0..3);
    events[1] = exported(event("1", "{\"damaged"));
    assert_eq!(destination.send(&events).await, Ok(1));
    assert!(destination.send(&events[1..]).await.expect_err("damaged").is_permanent());
    assert_eq!(server.requests().len(), 1);
}

/// Lago: takes a batch whole or not at all, refuses what it has, and refuses events with the id in `bad`.
#[derive(Clone, Default)]
struct Lago(Arc<Mutex<LagoState>>);

#[derive(Default)]
struct LagoState {
    known: HashSet<String>,
    order: Vec<String>,
    bad: HashSet<String>,
    /// Says nothing of bad events while there are known ones.
    is_shy: bool,
    requests: u32,
}

impl Lago {
    async fn start(&self) -> Url {
        serve(Router::new().route("/events", post(ingest)).with_state(self.clone())).await
    }

    fn set_bad(&self, id: Option<usize>) {
        self.0.lock().unwrap().bad = id.map(|id| format!("/test#{id}")).into_iter().collect();
    }

    fn order(&self) -> Vec<String> {
        self.0.lock().unwrap().order.clone()
    }

    fn requests(&self) -> u32 {
        self.0.lock().unwrap().requests
    }
}

async fn ingest(State(lago): State<Lago>, Json(body): Json<Value>) -> Response {
    let mut state = lago.0.lock().unwrap();
    state.requests += 1;
    let events = body["events"].as_array().expect("events");
    let mut details = Map::new();
    if events.len() > 100 {
        details.insert("events".to_owned(), json!(["too_many_events"]));
    }
    let ids: Vec<String> =
        events.iter().map(|event| event["transaction_id"].as_str().expect("a text").to_owned()).collect();
    for (index, id) in ids.iter().enumerate() {
        if state.known.contains(id) {
            details.insert(index.to_string(), json!({"transaction_id": ["value_already_exist"]}));
        } else if state.bad.contains(id) {
            details.insert(index.to_string(), json!({"timestamp": ["invalid_format"]}));
        }
    }
    if state.is_shy && ids.iter().any(|id| state.known.contains(id)) {
        details.retain(|_, fault| fault.get("transaction_id").is_some());
    }
    if details.is_empty() {
        state.known.extend(ids.iter().cloned());
        state.order.extend(ids);
        return Json(json!({"events": []})).into_response();
    }
    let refusal =
        json!({"status": 422, "error": "Unprocessable Entity", "code": "validation_errors", "error_details": details});
    (StatusCode::UNPROCESSABLE_ENTITY, Json(refusal)).into_response()
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|id| format!("/test#{id}")).collect()
}

#[tokio::test]
async fn lago_gets_a_hundred_events_at_a_time() {
    let lago = Lago::default();
    let destination = destination(lago.start().await, HttpFormat::Lago);
    assert_eq!(destination.send(&events(0..256)).await, Ok(100));
    assert_eq!((lago.order(), lago.requests()), (ids(0..100), 1));
}

#[tokio::test]
async fn what_lago_has_already_is_safe_and_the_rest_is_sent_without_it() {
    let lago = Lago::default();
    let destination = destination(lago.start().await, HttpFormat::Lago);
    assert_eq!(destination.send(&events(0..60)).await, Ok(60));
    assert_eq!(destination.send(&events(0..90)).await, Ok(90), "after a crash the first sixty come again");
    assert_eq!(destination.send(&events(0..90)).await, Ok(90), "and then all");
    assert_eq!((lago.order(), lago.requests()), (ids(0..90), 4));
}

#[tokio::test]
async fn an_event_that_lago_refuses_lets_those_before_it_pass_and_none_behind_it() {
    let lago = Lago::default();
    let destination = destination(lago.start().await, HttpFormat::Lago);
    assert_eq!(destination.send(&events(0..20)).await, Ok(20));
    lago.set_bad(Some(30));
    assert_eq!(destination.send(&events(0..50)).await, Ok(30));
    assert_eq!(lago.order(), ids(0..30));
    let error = destination.send(&events(30..50)).await.expect_err("the first is refused");
    assert!(error.is_permanent());
    assert_eq!(error.to_string(), r#"422 Unprocessable Entity: {"timestamp":["invalid_format"]}"#);
    lago.set_bad(None);
    assert_eq!(destination.send(&events(30..50)).await, Ok(20));
    assert_eq!(lago.order(), ids(0..50));
}

#[tokio::test]
async fn what_lago_says_of_a_shortened_batch_is_about_the_shortened_batch() {
    let lago = Lago::default();
    let destination = destination(lago.start().await, HttpFormat::Lago);
    assert_eq!(destination.send(&events(0..20)).await, Ok(20));
    lago.set_bad(Some(30));
    lago.0.lock().unwrap().is_shy = true;
    assert_eq!(destination.send(&events(0..50)).await, Ok(30));
    assert_eq!((lago.order(), lago.requests()), (ids(0..30), 4));
}

#[tokio::test]
async fn an_export_gets_through_to_a_server_that_fails_at_first() {
    let (server, memory, life) = (Server::default(), Memory::with(5), Lifecycle::new(Clock::system()));
    server.answer(StatusCode::INTERNAL_SERVER_ERROR);
    let destination = destination(server.start().await, HttpFormat::CloudEventsBatch);
    let export = Export::new("http", destination).expect("a name").poll(Duration::from_millis(10)).batch(4);
    let exporter = Exporter::start(export, Arc::new(memory.clone()), Bell::default(), &life);
    let current = async {
        while exporter.stats().state != ExportState::Current {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), current).await.expect("it is tried again");
    let sizes: Vec<Option<usize>> = server.requests().iter().map(|(_, body)| body.as_array().map(Vec::len)).collect();
    assert_eq!(sizes, [Some(4), Some(4), Some(1)]);
    assert_eq!((memory.position("http"), exporter.stats().failed), (5, 1));
    assert!(life.stop_tasks(Duration::from_secs(5)).await);
}
