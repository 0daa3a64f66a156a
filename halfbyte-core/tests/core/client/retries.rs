use std::time::Duration;

use halfbyte_core::client::Limits;
use http::Method;
use tokio::time::Instant;

use super::{Arrived, Server, client, respond};

/// Each attempt is a span of its own, if another test has set up tracing.
fn without_trace(mut request: Arrived) -> Arrived {
    request.headers.remove("x-trace");
    request
}

const AT_ONCE: [(&str, &str); 1] = [("retry-after", "0")];

#[tokio::test]
async fn a_get_is_repeated_until_it_is_answered() {
    for status in [429, 502, 503, 504] {
        let server = Server::start(move |number, _| respond(if number < 3 { status } else { 200 }, &AT_ONCE, "")).await;
        let response = client(Limits::default()).get(server.url("")).send().await.expect("an answer");
        assert_eq!((response.status().as_u16(), server.count()), (200, 3), "{status}");
        let arrived: Vec<_> = server.arrived().into_iter().map(without_trace).collect();
        assert!(arrived.windows(2).all(|pair| pair[0] == pair[1]), "each attempt is the same request");
    }
}

#[tokio::test]
async fn after_the_last_attempt_its_answer_is_the_answer() {
    let server = Server::start(|number, _| respond(503, &AT_ONCE, number.to_string())).await;
    let response = client(Limits { attempts: 4, ..Limits::default() }).get(server.url("")).send().await.expect("one");
    assert_eq!((response.status().as_u16(), &response.body()[..], server.count()), (503, &b"4"[..], 4));
}

#[tokio::test]
async fn what_another_attempt_cannot_mend_is_not_repeated() {
    for status in [200, 204, 301, 400, 401, 403, 404, 500, 501, 505] {
        let server = Server::start(move |_, _| respond(status, &AT_ONCE, "")).await;
        client(Limits::default()).get(server.url("")).send().await.expect("an answer");
        assert_eq!(server.count(), 1, "{status}");
    }
}

#[tokio::test]
async fn only_what_may_be_repeated_is_repeated() {
    for (method, marked, attempts) in [
        (Method::GET, false, 3),
        (Method::HEAD, false, 3),
        (Method::PUT, false, 3),
        (Method::DELETE, false, 3),
        (Method::OPTIONS, false, 3),
        (Method::POST, false, 1),
        (Method::PATCH, false, 1),
        (Method::POST, true, 3),
        (Method::PATCH, true, 3),
    ] {
        let server = Server::start(|_, _| respond(503, &AT_ONCE, "")).await;
        let mut request = client(Limits::default()).request(method.clone(), server.url("")).json(&"the same");
        if marked {
            request = request.repeatable();
        }
        request.send().await.expect("an answer");
        assert_eq!(server.count(), attempts, "{method}, marked: {marked}");
        assert!(server.arrived().iter().all(|arrived| &arrived.body[..] == b"\"the same\""));
    }
}

#[tokio::test]
async fn a_server_that_asks_for_time_gets_it() {
    let server =
        Server::start(|number, _| respond(if number == 1 { 503 } else { 200 }, &[("retry-after", "1")], "")).await;
    let began = Instant::now();
    let response = client(Limits::default()).get(server.url("")).send().await.expect("an answer");
    assert_eq!((response.status().as_u16(), server.count()), (200, 2));
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_that_asks_for_more_time_than_there_is_is_not_asked_again() {
    let server = Server::start(|_, _| respond(503, &[("retry-after", "3")], "")).await;
    let began = Instant::now();
    let response = client(Limits::default()).get(server.url("")).send().await.expect("an answer");
    assert_eq!((response.status().as_u16(), server.count()), (503, 1));
    assert_eq!(response.retry_after(), Some(Duration::from_secs(3)));
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn without_a_word_from_the_server_the_wait_is_short_and_grows() {
    let server = Server::start(|_, _| respond(503, &[], "")).await;
    let began = Instant::now();
    client(Limits::default()).get(server.url("")).send().await.expect("an answer");
    // 50 and 100 ms, less up to half.
    assert!(began.elapsed() >= Duration::from_millis(75), "{:?}", began.elapsed());
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_backend_in_trouble_gets_a_tenth_more_calls_and_no_more() {
    let server = Server::start(|_, _| respond(503, &AT_ONCE, "")).await;
    let client = client(Limits::default());
    for _ in 0..200 {
        client.clone().get(server.url("")).send().await.expect("an answer");
    }
    // A reserve of ten retries, and one for each ten calls.
    assert_eq!(server.count(), 200 + 10 + 20);
}
