use std::time::Duration;

use halfbyte_core::client::{Client, ErrorKind, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use super::{Server, client, nobody, respond};

fn nobodys_url(rest: &str) -> Url {
    format!("http://user:hunter2@{}/path{rest}", nobody()).parse().expect("a URL")
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_connection() {
    let error = client(Limits::default()).get(nobodys_url("")).send().await.expect_err("nobody");
    assert!(error.is_connect() && !error.is_timeout(), "{error:?}");
    assert_eq!((error.kind(), error.status()), (ErrorKind::Connect, None));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_no_connection() {
    let url = "http://does-not-exist.invalid/".parse().expect("a URL");
    let error = client(Limits { attempts: 1, ..Limits::default() }).get(url).send().await.expect_err("no such name");
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn no_error_holds_a_query_a_user_a_password_or_a_header() {
    let server = Server::start(|_, _| respond(500, &[], "{\"token\": \"hunter2\"}")).await;
    let client = client(Limits { max_body: 100, timeout: Duration::from_secs(5), ..Limits::default() });
    let (bearer, secret) = (&"hunter2".into(), "?token=hunter2#hunter2");
    let refused = client.get(nobodys_url(secret)).bearer(bearer).send().await.expect_err("nobody");
    let mut url = server.url(&format!("path{secret}"));
    url.set_username("user").expect("set");
    url.set_password(Some("hunter2")).expect("set");
    let answered = client.get(url.clone()).send().await.expect("an answer");
    let malformed = answered.json::<u64>().expect_err("an object");
    let status = answered.success().expect_err("500");
    let unbuilt = client.get(url.clone()).bearer(&"hunter2\n".into()).send().await.expect_err("a line end");
    let request = client.get(url).sensitive(http::header::COOKIE, "hunter2");
    let shown = format!("{request:?} {client:?}");
    assert!(shown.starts_with("Request(GET http://127.0.0.1:") && !shown.contains("hunter2"), "{shown}");

    assert_eq!((malformed.kind(), unbuilt.kind()), (ErrorKind::Body, ErrorKind::Request));
    assert_eq!(status.status().expect("a status").as_u16(), 500);
    for error in [refused, malformed, status, unbuilt] {
        let said = format!("{error} {error:?} {error:#?} {}", halfbyte_core::error_chain(&error));
        assert!(!said.contains("hunter2") && !said.contains("user"), "{said}");
        assert!(said.contains("/path failed"), "and still says where: {said}");
    }
}

#[tokio::test]
async fn a_response_shows_its_status_and_size_and_not_its_body() {
    let server = Server::start(|_, _| respond(200, &[], "hunter2")).await;
    let response = client(Limits::default()).get(server.url("")).send().await.expect("an answer");
    assert_eq!(format!("{response:?}"), "Response(200 OK, 7 bytes)");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_broken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url: Url = format!("http://{}/", listener.local_addr().expect("bound")).parse().expect("a URL");
    let mut running = JoinSet::new();
    running.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut request = [0; 1024];
            let _size = stream.read(&mut request).await.expect("a request");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.expect("sent");
        }
    });
    let error = client(Limits::default()).get(url).send().await.expect_err("cut off");
    assert_eq!(error.kind(), ErrorKind::Broken, "{error:?}");
}

#[tokio::test]
async fn the_first_part_that_cannot_be_built_is_reported_and_nothing_is_sent() {
    let server = Server::start(|_, _| respond(200, &[], "")).await;
    let request = Client::new().expect("a client").get(server.url(""));
    let error = request.header(http::header::ACCEPT, "a\nb").json(&1).send().await.expect_err("a line end");
    assert_eq!((error.kind(), server.count()), (ErrorKind::Request, 0));
}

#[test]
fn certificates_that_are_none_are_refused() {
    for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error = Client::trusting(pem.as_bytes(), Limits::default()).expect_err("nobody to trust");
        assert_eq!(error.kind(), ErrorKind::Setup, "{pem}");
    }
}
