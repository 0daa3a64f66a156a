//! What becomes of a denial: of one that a handler returns, and of a request that does not say what it asks for.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::get as route;
use halfbyte_core::Live;
use halfbyte_identity::access::{Access, Checks, DecisionLog, Denied, Record, Recorder};
use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

use crate::decision_log::Written;
use crate::parcel::{CREATE, Desk, READ, Seen, get, label, send, user};

/// A denial, as handlers come by it.
async fn denied(checks: &Checks) -> Denied {
    let theirs = label("acme", "l-7", &user("bob", "acme", &[]));
    checks.check(READ, &theirs).await.expect_err("not hers")
}

/// What a client sees of a denial that the handler has made something else of.
async fn remade<R: IntoResponse + 'static>(remake: fn(Denied) -> R) -> Seen {
    let handler = async move |checks: Checks| remake(denied(&checks).await);
    let routes = Router::new().route("/", route(handler)).layer(Desk::with_labels().access().authorize(CREATE));
    send(&routes, get("/", Some(&user("ann", "acme", &["clerk"])))).await
}

/// The same, of a layer inside.
async fn passed(through: fn(Response<Body>) -> Response<Body>) -> Seen {
    let handler = async |checks: Checks| denied(&checks).await;
    let inside = tower::util::MapResponseLayer::new(through);
    let guard = Desk::with_labels().access().authorize(CREATE);
    let routes = Router::new().route("/", route(handler)).layer(inside).layer(guard);
    send(&routes, get("/", Some(&user("ann", "acme", &["clerk"])))).await
}

fn with(mut response: Response<Body>, name: &'static str, value: &'static str) -> Response<Body> {
    response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
    response
}

#[tokio::test]
async fn a_handler_that_makes_something_else_of_a_denial_has_the_last_word() {
    let seen = remade(|denied| (StatusCode::NOT_FOUND, [("etag", "\"7\"")], denied)).await;
    assert_eq!((seen.status.as_u16(), seen.header("etag")), (404, "\"7\""));
    let seen = remade(|denied| (StatusCode::SEE_OTHER, [("location", "/ask")], denied)).await;
    assert_eq!((seen.status.as_u16(), seen.header("location")), (303, "/ask"));
    let seen = remade(|denied| ([("content-type", "text/plain")], denied)).await;
    assert_eq!((seen.status.as_u16(), seen.header("content-type")), (403, "text/plain"));
}

#[tokio::test]
async fn a_layer_inside_that_makes_something_else_of_a_denial_has_the_last_word() {
    let seen = passed(|response| {
        let (mut parts, _) = with(response, "content-encoding", "gzip").into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        Response::from_parts(parts, Body::from("packed"))
    })
    .await;
    assert_eq!((seen.header("content-encoding"), seen.body.as_str()), ("gzip", "packed"));
    // Without a change of length, too.
    let seen = passed(|response| with(response, "content-encoding", "identity")).await;
    assert_eq!(seen.header("content-encoding"), "identity");

    let seen = passed(|response| {
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        Response::from_parts(parts, Body::from("{\"title\":\"mine\"}"))
    })
    .await;
    assert_eq!((seen.status.as_u16(), seen.body.as_str()), (403, "{\"title\":\"mine\"}"));

    let seen = passed(|mut response| {
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    })
    .await;
    assert_eq!(seen.status, 404);
    let seen = passed(|response| with(response, "content-type", "text/html")).await;
    assert_eq!(seen.headers.get_all("content-type").iter().count(), 2, "not ours, and left alone");
}

#[tokio::test]
async fn what_was_said_of_the_body_before_is_not_said_of_the_refusal() {
    for name in [
        "content-language",
        "content-location",
        "content-range",
        "content-disposition",
        "content-digest",
        "repr-digest",
        "digest",
        "etag",
        "last-modified",
        "accept-ranges",
        "trailer",
        "transfer-encoding",
    ] {
        let handler = async move |checks: Checks| ([(name, "x")], denied(&checks).await);
        let routes = Router::new().route("/", route(handler)).layer(Desk::with_labels().access().authorize(CREATE));
        let mut request = get("/", Some(&user("ann", "acme", &["clerk"])));
        request.extensions_mut().insert(halfbyte_core::RequestId::random());
        let seen = send(&routes, request).await;
        assert_eq!(
            (seen.status.as_u16(), seen.problem().as_str(), seen.header(name)),
            (403, "forbidden", ""),
            "{name}"
        );
        assert!(seen.body.contains("request_id"), "said anew: {}", seen.body);
        assert_eq!(seen.header("content-length"), seen.body.len().to_string());
    }
}

#[tokio::test]
async fn of_a_header_that_stands_several_times_each_stays() {
    let seen = passed(|response| {
        let response = with(with(response, "set-cookie", "a=1"), "set-cookie", "b=2");
        with(response, "content-security-policy", "default-src 'none'")
    })
    .await;
    let cookies: Vec<_> = seen.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(seen.header("content-security-policy"), "default-src 'none'");
}

#[tokio::test]
async fn a_request_that_does_not_say_what_it_asks_for_is_told_of_as_a_denial() {
    let (exporter, heard) = (InMemoryMetricExporter::default(), Arc::new(Mutex::new(Vec::<Record>::new())));
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    let (written, keep) = (Written::default(), heard.clone());
    let recorder = Recorder::new(written.clone(), u64::MAX).expect("a thread");
    let told = move |record: &Record| keep.lock().expect("nobody panics").push(record.clone());
    let log = DecisionLog::new().listen(told).record(recorder.clone());
    let access = Desk::with_labels().access().meter(&provider.meter("test")).log(log);
    let (ann, by_header) = (user("ann", "acme", &[]), HeaderName::from_static("x-label"));
    let handler = || route(async || "read");
    let in_path = access.authorize(READ).in_path("Label", "/labels/{id}");
    let by_path = Router::new().route("/{*rest}", handler()).route_layer(in_path);
    let by_name = Router::new().route("/", handler()).layer(access.authorize(READ).in_header("Label", by_header));
    let found = access.authorize(READ).found_by(|_| None::<halfbyte_identity::access::EntityRef>);
    let found = Router::new().route("/", handler()).layer(found);

    let logged = crate::log::Log::capture().await;
    assert_eq!(send(&by_path, get("/labels/..%2fl-1", Some(&ann))).await.status, 403);
    assert_eq!(send(&by_path, get("/other", Some(&ann))).await.status, 403);
    let mut doubled = get("/", Some(&ann));
    for _ in 0..2 {
        doubled.headers_mut().append("x-label", HeaderValue::from_static("l-1"));
    }
    assert_eq!(send(&by_name, doubled).await.status, 403);
    assert_eq!(send(&found, get("/", Some(&ann))).await.status, 403);
    assert_eq!(logged.count("INFO", "denied: ReadLabel, and the request does not say on what"), 4);
    drop(logged);

    let heard = heard.lock().expect("nobody panics");
    assert_eq!(heard.len(), 4);
    for record in heard.iter() {
        assert!(record.is_unclear() && !record.is_allowed && !record.version.is_empty(), "{record:?}");
        assert_eq!((&*record.action, record.principal.id()), ("ReadLabel", "acme/ann"));
        assert!(record.policies.is_empty() && record.errors.is_empty(), "{record:?}");
        let line = serde_json::to_string(record).expect("JSON");
        assert_eq!(*record, serde_json::from_str(&line).expect("what was written"));
        let replay = crate::parcel::rules().replay(line.as_bytes(), 1).expect("it reads");
        assert_eq!((replay.decisions, replay.unreadable), (0, 1));
        assert!(replay.to_string().contains("line 1: the request did not say what it asked for"), "{replay}");
    }
    recorder.flush();
    assert_eq!((written.text().as_str(), recorder.missed()), ("", 0), "there is nothing to decide again");

    provider.force_flush().expect("exported");
    let metrics = exporter.get_finished_metrics().expect("exported");
    let scopes = metrics.last().into_iter().flat_map(|metrics| metrics.scope_metrics());
    let counted = scopes.flat_map(|scope| scope.metrics()).find(|metric| metric.name() == "halfbyte.access.decisions");
    let Some(AggregatedMetrics::U64(MetricData::Sum(sum))) = counted.map(|metric| metric.data()) else {
        panic!("no such counter")
    };
    let counts: Vec<_> = sum
        .data_points()
        .map(|point| {
            let mut words: Vec<_> = point.attributes().map(|pair| pair.value.to_string()).collect();
            words.sort_unstable();
            (words.join(" "), point.value())
        })
        .collect();
    assert_eq!(counts, [("ReadLabel deny".to_owned(), 4)]);
}

#[tokio::test]
async fn a_request_that_does_not_say_what_it_asks_for_is_refused_the_same_without_policies() {
    let heard = Arc::new(Mutex::new(Vec::<Record>::new()));
    let keep = heard.clone();
    let log = DecisionLog::new().listen(move |record| keep.lock().expect("nobody panics").push(record.clone()));
    let access = Access::new(Live::failed("access", "no such folder"), ()).log(log);
    let layer = access.authorize(READ).in_path("Label", "/labels/{id}");
    let routes = Router::new().route("/{*rest}", route(async || "read")).route_layer(layer);
    assert_eq!(send(&routes, get("/other", Some(&user("ann", "acme", &[])))).await.status, 403);
    let heard = heard.lock().expect("nobody panics");
    assert_eq!((heard.len(), heard[0].is_unclear(), &*heard[0].version), (1, true, ""));
}

#[tokio::test(start_paused = true)]
async fn that_nothing_can_be_decided_is_warned_of_once_in_a_second() {
    let desk = Desk::with_labels();
    let (access, ann) = (desk.access(), user("ann", "acme", &["clerk"]));
    desk.go_down();
    // Before anybody listens, as its first use may be missed.
    desk.access().check(&ann, CREATE, &crate::parcel::tenant("acme")).await.expect_err("the database is down");
    let logged = crate::log::Log::capture().await;
    let fail = async |times: usize| {
        for _ in 0..times {
            access.check(&ann, CREATE, &crate::parcel::tenant("acme")).await.expect_err("the database is down");
        }
    };
    fail(50).await;
    assert_eq!(logged.count("WARN", "access cannot be decided"), 1);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    fail(50).await;
    assert_eq!(logged.count("WARN", "access cannot be decided"), 2);
    assert_eq!(logged.count("WARN", "cause=\"provider\" error=\"the database is away\" more=49"), 1);
}
