use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::{StreamExt as _, stream};
use halfbyte_core::client::{ErrorKind, Limits};
use tokio::time::Instant;

use super::{Server, client, respond};

/// A body in pieces, whose size nobody announces.
fn chunked(pieces: usize) -> Body {
    Body::from_stream(stream::iter((0..pieces).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 100])))))
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_and_not_past_it() {
    let server = Server::start(|_, arrived| match arrived.path.as_str() {
        "/announced/fits" => respond(200, &[], vec![b'x'; 1000]),
        "/announced/over" => respond(200, &[], vec![b'x'; 1001]),
        "/chunked/fits" => respond(200, &[], chunked(10)),
        _ => respond(200, &[], chunked(11)),
    })
    .await;
    let client = client(Limits { max_body: 1000, ..Limits::default() });
    for kind in ["announced", "chunked"] {
        let response = client.get(server.url(&format!("{kind}/fits"))).send().await.expect("it fits");
        assert_eq!(response.body().len(), 1000);
        let error = client.get(server.url(&format!("{kind}/over"))).send().await.expect_err("over");
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{kind}");
        assert!(halfbyte_core::error_chain(&error).ends_with(": the body is over 1000 bytes"), "{error:?}");
    }
}

#[tokio::test]
async fn an_endless_body_is_given_up_at_the_limit() {
    let server = Server::start(|_, _| {
        let endless = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1000])));
        respond(200, &[], Body::from_stream(endless))
    })
    .await;
    let error = client(Limits::default()).get(server.url("")).send().await.expect_err("endless");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_body_whose_rest_never_comes_times_out_and_is_not_asked_for_again() {
    let server = Server::start(|_, _| {
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"x"))]);
        respond(200, &[], Body::from_stream(first.chain(stream::pending())))
    })
    .await;
    let client = client(Limits { timeout: Duration::from_millis(200), ..Limits::default() });
    let began = Instant::now();
    let error = client.get(server.url("")).send().await.expect_err("late");
    assert!(error.is_timeout() && error.kind() == ErrorKind::Timeout, "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(server.count(), 1, "the server may be at work");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_times_out() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("bound")).parse().expect("a URL");
    let client = client(Limits { timeout: Duration::from_millis(100), ..Limits::default() });
    let error = client.get(url).send().await.expect_err("silence");
    assert!(error.is_timeout() && !error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn redirects_are_answered_and_not_followed() {
    let server = Server::start(|_, _| respond(302, &[("location", "/elsewhere")], "")).await;
    let request = client(Limits::default()).get(server.url("here")).bearer(&"hunter2".into());
    let response = request.send().await.expect("an answer");
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (302, &"/elsewhere".parse().expect("text"))
    );
    assert_eq!(response.success().expect_err("not a success").status().expect("a status").as_u16(), 302);
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_request_arrives_as_it_was_built() {
    let server = Server::start(|_, _| respond(200, &[], "")).await;
    let client = client(Limits::default());
    let bearer = client.post(server.url("form?q=1")).bearer(&"hunter2".into());
    bearer.form([("a", "1 2"), ("b", "&")]).send().await.expect("sent");
    let json = client.post(server.url("json")).header(http::header::ACCEPT, "application/json");
    json.json(&serde_json::json!({"n": 1})).send().await.expect("sent");
    let arrived = server.arrived();
    assert_eq!((arrived[0].path.as_str(), &arrived[0].body[..]), ("/form?q=1", &b"a=1+2&b=%26"[..]));
    assert_eq!(arrived[0].headers["authorization"], "Bearer hunter2");
    assert_eq!(arrived[0].headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(
        (&arrived[1].headers["accept"], &arrived[1].body[..]),
        (&"application/json".parse().expect("text"), &b"{\"n\":1}"[..])
    );
    assert_eq!(arrived[1].headers["content-type"], "application/json");
    assert!(arrived[1].headers["user-agent"].to_str().expect("text").starts_with("halfbyte/"));
}
