//! Clients that keep what they have and do not go on.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::clients::{Http1, Http2, all_of, frame, small_stream};
use super::*;
use crate::serve::sent::PIECE;

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

/// One that takes so many bytes of a stream at a time.
fn with_window(bytes: u32) -> h2::client::Builder {
    let mut client = h2::client::Builder::new();
    client.initial_window_size(bytes).initial_connection_window_size(1 << 24);
    client
}

#[tokio::test]
async fn responses_in_memory_that_are_not_taken_are_given_up_and_have_their_places_until_then() {
    // A piece is taken of a body before there is a window for it: none at all, or none behind a whole piece.
    for window in [0, 1, PIECE] {
        let mut served = Served::start(short()).await;
        let stream = TcpStream::connect(served.address).await.unwrap();
        let mut client = Http2::connect_with(stream, &with_window(u32::try_from(window).unwrap())).await;
        let mut responses = Vec::new();
        for _ in 0..20 {
            responses.push(client.get(&format!("/large/{}", 1 << 20)).await.unwrap());
        }
        served.endless(20).await;
        assert_eq!(served.load.streaming(), 20);
        served.endless(0).await;
        assert_eq!(served.load.streaming(), 0);
        for response in &mut responses {
            let mut came = 0;
            let reason = loop {
                match response.body_mut().data().await.expect("it does not come to an end") {
                    Ok(bytes) => came += bytes.len(),
                    Err(error) => break error.reason(),
                }
            };
            assert_eq!((reason, came), (Some(h2::Reason::CANCEL), window));
        }
        assert_eq!(client.get("/large/0").await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_large_response_has_its_place_until_it_is_read_over_http1_too() {
    let mut served = Served::start(Limits { stall: Duration::from_secs(30), ..short() }).await;
    let mut client = Http1::connect_small(served.address).await;
    client.get(&format!("/large/{LARGE}")).await;
    client.head().await;
    sleep(100 * MILLISECOND).await;
    assert_eq!(served.load.streaming(), 1);
    client.0.read_exact(&mut vec![0; LARGE]).await.unwrap();
    served.endless(0).await;
    assert_eq!(served.load.streaming(), 0);
}

#[tokio::test]
async fn the_end_of_a_streamed_response_of_http2_has_its_place_until_it_is_read() {
    let served = Served::start(Limits { stall: Duration::from_secs(30), ..short() }).await;
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut client = Http2::connect_with(stream, &with_window(99)).await;
    // A hundred bytes, the last of which is with HTTP/2 when the body is gone.
    let mut response = client.get("/second").await.unwrap();
    sleep(1500 * MILLISECOND).await;
    assert_eq!(served.load.streaming(), 1);
    let (text, is_whole) = all_of(response.body_mut()).await;
    assert_eq!((text.len(), is_whole), (100, true));
    while served.load.streaming() > 0 {
        sleep(MILLISECOND).await;
    }
}

#[tokio::test]
async fn one_of_which_a_byte_is_taken_now_and_then_is_given_up_too() {
    let mut served = Served::start(short()).await;
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut client = Http2::connect_with(stream, &with_window(1)).await;
    let mut response = client.get(&format!("/large/{}", 1 << 20)).await.unwrap();
    let takes = async {
        let body = response.body_mut();
        while let Some(Ok(bytes)) = body.data().await {
            sleep(short().stall / 5).await;
            body.flow_control().release_capacity(bytes.len()).unwrap();
        }
    };
    let given_up = async {
        served.endless(1).await;
        served.endless(0).await;
    };
    tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(takes, given_up) }).await.expect("it goes on");
}

#[tokio::test]
async fn the_last_bytes_of_a_response_are_not_kept_for_ever_either() {
    let mut served = Served::start(short()).await;
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut client = Http2::connect_with(stream, &with_window(1)).await;
    // So few that its stream comes to its end before them.
    let _response = client.get("/large/1000").await.unwrap();
    served.endless(1).await;
    served.endless(0).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), client.driver).await;
    assert!(ended.is_ok(), "the connection goes on");
}

#[tokio::test]
async fn a_client_that_reads_slowly_has_all_of_it_and_one_that_stops_is_let_go() {
    let limits = Limits { stall: 1500 * MILLISECOND, ..short() };
    for stops in [false, true] {
        let mut served = Served::start(limits).await;
        let mut client = Http1::connect_small(served.address).await;
        client.get(&format!("/large/{LARGE}")).await;
        client.head().await;
        let (begun, mut came, mut piece) = (tokio::time::Instant::now(), 0, vec![0; 16 * 1024]);
        while came < LARGE && !(stops && came > LARGE / 4) {
            match client.0.read(&mut piece).await.unwrap() {
                0 => break,
                bytes => came += bytes,
            }
            sleep(15 * MILLISECOND).await;
        }
        if stops {
            assert!(came < LARGE / 2, "it has stopped too late");
        } else {
            assert_eq!(came, LARGE);
            assert!(begun.elapsed() > 2 * limits.stall, "it is not slow: {:?}", begun.elapsed());
        }
        served.endless(0).await;
    }
}

#[tokio::test]
async fn a_client_of_http2_that_reads_slowly_has_all_of_it_and_one_that_stops_has_its_stream_reset() {
    let limits = Limits { stall: 1000 * MILLISECOND, ..short() };
    for (window, stops) in [(16 * 1024, false), (1 << 20, false), (16 * 1024, true), (1 << 20, true)] {
        let mut served = Served::start(limits).await;
        let mut client = Http2::connect_with(small_stream(served.address).await, &with_window(window)).await;
        let mut response = client.get(&format!("/large/{LARGE}")).await.unwrap();
        let (begun, mut came) = (tokio::time::Instant::now(), 0);
        let body = response.body_mut();
        while let Some(bytes) = body.data().await {
            let Ok(bytes) = bytes else { break };
            came += bytes.len();
            if stops && came > LARGE / 4 {
                served.endless(0).await;
                continue;
            }
            sleep(10 * MILLISECOND).await;
            body.flow_control().release_capacity(bytes.len()).unwrap();
        }
        if stops {
            assert!(came < LARGE, "{window}: it has all of it");
        } else {
            assert_eq!(came, LARGE, "{window}");
            assert!(begun.elapsed() > 2 * limits.stall, "{window}: it is not slow: {:?}", begun.elapsed());
        }
        served.endless(0).await;
        assert_eq!(client.get("/large/0").await.unwrap().status(), StatusCode::OK, "{window}");
    }
}

#[tokio::test]
async fn a_stream_that_waits_for_its_product_and_of_which_nothing_is_taken_is_reset_alone() {
    let served = Served::start(short()).await;
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut client = Http2::connect_with(stream, &with_window(100)).await;
    let mut paused = client.get("/paused/1000").await.unwrap();
    let mut beside = client.get("/forever").await.unwrap();
    let is_reset = async {
        while let Some(part) = paused.body_mut().data().await {
            if let Err(error) = part {
                return error.reason();
            }
        }
        None
    };
    let goes_on = async {
        let begun = tokio::time::Instant::now();
        // Longer than what is not taken may stay on a connection.
        while begun.elapsed() < 5 * short().stall {
            let line = beside.body_mut().data().await.expect("it ends").expect("it is reset");
            beside.body_mut().flow_control().release_capacity(line.len()).unwrap();
        }
    };
    assert_eq!(tokio::join!(is_reset, goes_on).0, Some(h2::Reason::CANCEL));
}

#[tokio::test]
async fn a_connection_of_http2_that_is_not_used_is_closed_and_one_with_a_stream_is_not() {
    let limits = Limits { next_head: 300 * MILLISECOND, ..short() };
    let served = Served::start(limits).await;
    let (mut client, mut streams) = (Http2::connect(served.address).await, Http2::connect(served.address).await);
    let mut streamed = streams.get("/second").await.unwrap();
    assert_eq!(client.get("/").await.unwrap().status(), StatusCode::OK);
    let ended = tokio::time::timeout(Duration::from_secs(20), client.driver).await.expect("it is kept").unwrap();
    assert!(ended.is_ok(), "it is not told: {ended:?}");
    let (text, is_whole) = all_of(streamed.body_mut()).await;
    assert_eq!((text.matches("line\n").count(), is_whole), (20, true));
}

#[tokio::test]
async fn a_client_of_http2_that_answers_no_ping_is_closed_and_one_that_does_is_not() {
    let limits = Limits { ping: 200 * MILLISECOND, pong: 200 * MILLISECOND, ..short() };
    let served = Served::start(limits).await;
    let mut answers = Http2::connect(served.address).await;
    let mut deaf = Http1::connect(served.address).await;
    let hello = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    deaf.0.write_all(&hello).await.unwrap();
    let mut said = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), deaf.0.read_to_end(&mut said)).await;
    assert!(ended.is_ok(), "it is kept");
    sleep(2 * (limits.ping + limits.pong)).await;
    assert_eq!(answers.get("/").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_time_in_which_a_request_waits_for_its_body_is_known() {
    let served = Served::start(short()).await;
    let mut client = Http1::connect(served.address).await;
    client.say("POST /waited HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n").await;
    for _ in 0..2 {
        sleep(100 * MILLISECOND).await;
        client.say("x").await;
    }
    client.head().await;
    let waited: u64 = client.read_to("ms").await.trim_end_matches("ms").parse().unwrap();
    assert!((150..10_000).contains(&waited), "{waited}");
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
