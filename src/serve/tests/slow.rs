//! Clients that keep what they have and do not go on.

use tokio::time::sleep;

use super::clients::{Http1, Http2};
use super::*;

#[tokio::test]
async fn a_client_of_http1_that_does_not_read_its_response_is_let_go() {
    let mut served = Served::start(short()).await;
    let mut client = Http1::connect(served.address).await;
    client.get("/endless").await;
    served.endless(1).await;
    served.endless(0).await;
}

#[tokio::test]
async fn a_stream_of_http2_that_is_not_read_is_reset_and_the_others_go_on() {
    let mut served = Served::start(short()).await;
    let mut client = Http2::connect(served.address).await;
    let mut unread = client.get("/endless").await.unwrap();
    served.endless(1).await;
    served.endless(0).await;
    let reason = loop {
        match unread.body_mut().data().await.expect("it does not come to an end") {
            Ok(_came_before) => {}
            Err(error) => break error.reason(),
        }
    };
    assert_eq!(reason, Some(h2::Reason::CANCEL));
    assert_eq!(client.get("/").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_reads_slowly_has_all_of_it() {
    let served = Served::start(short()).await;
    let mut client = Http1::connect(served.address).await;
    client.get("/second").await;
    // It has a second's lines, and reads none of them for longer than a stall may take: they fit into what the kernel keeps.
    sleep(2 * short().stall).await;
    assert_eq!(client.read_to("0\r\n\r\n").await.matches("line\n").count(), 20);
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_place_among_the_connections() {
    let served = Served::start(Limits { connections: 1, ..short() }).await;
    let upgraded = Http1::upgrade(served.address, "/deaf").await;
    let mut next = Http1::connect(served.address).await;
    next.get("/").await;
    let waits = tokio::time::timeout(200 * MILLISECOND, next.head()).await;
    assert!(waits.is_err(), "there is a place for it: {waits:?}");
    drop(upgraded);
    assert!(next.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_does_not_say_its_protocol_is_let_go() {
    let served = Served::start(short()).await;
    for said in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let mut client = Http1::connect(served.address).await;
        client.say(said).await;
        let ended = tokio::time::timeout(Duration::from_secs(20), client.rest()).await;
        assert!(ended.is_ok(), "a client that says {said:?} keeps its connection");
    }
}

#[tokio::test]
async fn a_body_that_trickles_in_ends_with_an_error_and_one_of_grpc_may() {
    let served = Served::start(short()).await;
    for (kind, is_refused) in [("text/plain", true), ("application/grpc", false), ("application/grpc+proto", false)] {
        let mut client = Http1::connect(served.address).await;
        client.say(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: 4\r\n\r\n")).await;
        for _ in 0..3 {
            sleep(short().body * 2 / 5).await;
            // It may have been answered by then.
            let _reset = tokio::io::AsyncWriteExt::write_all(&mut client.0, b"x").await;
        }
        if is_refused {
            let answer = tokio::time::timeout(Duration::from_secs(20), client.rest()).await.expect("it is waited for");
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        } else {
            client.say("x").await;
            assert!(client.read_to("xxxx").await.starts_with("HTTP/1.1 200 "));
        }
    }
}

#[tokio::test]
async fn a_large_body_that_comes_in_pieces_is_taken() {
    let served = Served::start(short()).await;
    let mut client = Http1::connect(served.address).await;
    client.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10240\r\n\r\n").await;
    for _ in 0..10 {
        client.say(&"x".repeat(1024)).await;
        sleep(short().body * 3 / 5).await;
    }
    assert!(client.read_to(&"x".repeat(10240)).await.starts_with("HTTP/1.1 200 "));
}
