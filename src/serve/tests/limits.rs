//! How much a client may send at once.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::clients::{Http1, Http2, frame};
use super::*;

async fn status_with(headers: &str) -> String {
    let served = Served::start(short()).await;
    let mut client = Http1::connect(served.address).await;
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    // It may be answered before all of it is sent.
    let _reset = client.0.write_all(request.as_bytes()).await;
    client.read_to("\r\n").await
}

#[tokio::test]
async fn a_request_has_at_most_a_hundred_headers() {
    assert_eq!(status_with(&"x: y\r\n".repeat(99)).await, "HTTP/1.1 200 OK\r\n");
    assert_eq!(status_with(&"x: y\r\n".repeat(100)).await, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
}

#[tokio::test]
async fn a_head_is_at_most_64_kib() {
    let of = |bytes| format!("x: {}\r\n", "y".repeat(bytes));
    assert_eq!(status_with(&of(60 * 1024)).await, "HTTP/1.1 200 OK\r\n");
    assert_eq!(status_with(&of(65 * 1024)).await, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
}

#[tokio::test]
async fn a_head_of_http2_is_too() {
    let served = Served::start(short()).await;
    let mut client = Http2::connect(served.address).await;
    for (bytes, is_taken) in [(60 * 1024, true), (65 * 1024, false)] {
        let request = Request::get("http://a/").header("x", "y".repeat(bytes)).body(()).unwrap();
        let mut ready = client.requests.clone().ready().await.unwrap();
        let answer = ready.send_request(request, true).unwrap().0.await;
        assert_eq!(answer.is_ok_and(|answer| answer.status() == StatusCode::OK), is_taken, "{bytes}");
    }
    assert_eq!(client.get("/").await.unwrap().status(), StatusCode::OK, "the others are answered");
}

#[tokio::test]
async fn the_longest_token_fits_beside_ordinary_headers() {
    let token = format!("Bearer {}", "x".repeat(16 * 1024));
    let others = [("user-agent", "y".repeat(200)), ("cookie", "z".repeat(4096)), ("traceparent", "0".repeat(55))];
    let text: String = others.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    assert_eq!(status_with(&format!("authorization: {token}\r\n{text}")).await, "HTTP/1.1 200 OK\r\n");
    let served = Served::start(short()).await;
    let client = Http2::connect(served.address).await;
    let mut request = Request::get("http://a/").header("authorization", token);
    for (name, value) in others {
        request = request.header(name, value);
    }
    let mut ready = client.requests.clone().ready().await.unwrap();
    let answer = ready.send_request(request.body(()).unwrap(), true).unwrap().0.await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_connection_of_http2_has_at_most_200_streams_at_once() {
    let served = Served::start(short()).await;
    let stream = TcpStream::connect(served.address).await.unwrap();
    let (requests, mut connection) = h2::client::Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
    let mut client = requests.clone();
    let (answer, _body) = client.send_request(Request::get("http://a/").body(()).unwrap(), true).unwrap();
    tokio::select! {
        answer = answer => assert_eq!(answer.unwrap().status(), StatusCode::OK),
        ended = &mut connection => panic!("{ended:?}"),
    }
    assert_eq!(connection.max_concurrent_send_streams(), 200);
}

#[tokio::test]
async fn who_opens_streams_and_resets_them_at_once_is_sent_away() {
    const GOAWAY: u8 = 7;
    const ENHANCE_YOUR_CALM: u32 = 11;
    let served = Served::start(short()).await;
    // GET http://a/, by the static table of HPACK; and then never mind.
    let head = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(4, 0, 0, &[]));
    for stream in (1..2000).step_by(2) {
        sent.extend(frame(1, 5, stream, &head));
        sent.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let mut client = TcpStream::connect(served.address).await.unwrap();
    client.write_all(&sent).await.unwrap();
    let mut answered = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), client.read_to_end(&mut answered)).await;
    ended.expect("it keeps its connection").ok();
    let (mut rest, mut reason) = (&answered[..], None);
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some((payload, after)) = after.split_at_checked(length) else { break };
        if head[3] == GOAWAY {
            reason = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = after;
    }
    assert_eq!(reason, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn an_answer_to_head_has_no_bytes_whoever_gives_it() {
    let served = Served::start(short()).await;
    let mut http1 = Http1::connect(served.address).await;
    http1.say("HEAD /refused HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let answer = http1.rest().await;
    assert!(answer.contains("content-length: 2\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let http2 = Http2::connect(served.address).await;
    let request = Request::head("http://a/refused").body(()).unwrap();
    let answer = http2.requests.clone().ready().await.unwrap().send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(answer.headers()["content-length"], "2");
    assert!(answer.into_body().data().await.is_none());
}
