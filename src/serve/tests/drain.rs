//! What becomes of connections in a drain.

use halfbyte_core::lifecycle::Phase;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::clients::{Http1, Http2, all_of};
use super::*;

const LINES: usize = 20;

#[tokio::test]
async fn whoever_is_at_the_door_when_it_closes_is_answered_however_many_they_are() {
    let served = Served::start(short()).await;
    sleep(50 * MILLISECOND).await;
    // Nothing else runs meanwhile: none of them is accepted before the drain begins.
    let connect = |_| {
        let stream = std::net::TcpStream::connect(served.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        Http1(TcpStream::from_std(stream).unwrap())
    };
    let mut waiting: Vec<_> = (0..150).map(connect).collect();
    served.drain();
    for client in &mut waiting {
        client.get("/").await;
    }
    for client in &mut waiting {
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
    }
    drop(waiting);
    assert_eq!(served.cut().await, 0);
}

#[tokio::test]
async fn streams_go_on_to_their_end() {
    let served = Served::start(short()).await;
    let (mut http1, mut http2) = (Http1::connect(served.address).await, Http2::connect(served.address).await);
    http1.get("/second").await;
    http1.head().await;
    let mut streamed = http2.get("/second").await.unwrap();
    served.drain();
    let (first, (second, is_whole)) = tokio::join!(http1.rest(), all_of(streamed.body_mut()));
    assert_eq!(first.matches("line\n").count(), LINES);
    assert!(first.ends_with("0\r\n\r\n"), "cut off: {first}");
    assert_eq!((second.matches("line\n").count(), is_whole), (LINES, true));
    drop(streamed);
    drop(http2.requests);
    assert_eq!(served.cut().await, 0);
}

#[tokio::test]
async fn streams_that_outlast_the_budget_are_cut_off_and_counted() {
    let served = Served::start(short()).await;
    let (mut http1, mut http2) = (Http1::connect(served.address).await, Http2::connect(served.address).await);
    http1.get("/forever").await;
    http1.head().await;
    let mut streamed = http2.get("/forever").await.unwrap();
    served.drain();
    let budget = short().drain_in_flight;
    let begun = tokio::time::Instant::now();
    let (first, (second, is_whole)) = tokio::join!(http1.rest(), all_of(streamed.body_mut()));
    assert!(begun.elapsed() >= budget, "cut off after {:?}", begun.elapsed());
    assert!(first.contains("line\n") && !first.ends_with("0\r\n\r\n"), "{first}");
    assert!(second.contains("line\n") && !is_whole);
    assert_eq!(served.cut().await, 2);
}

#[tokio::test]
async fn upgraded_connections_are_told_and_waited_for() {
    let served = Served::start(short()).await;
    let mut polite = Http1::upgrade(served.address, "/polite").await;
    served.drain();
    assert_eq!(polite.rest().await, "bye");
    assert_eq!(served.cut().await, 0);
}

#[tokio::test]
async fn upgraded_connections_that_outlast_the_budget_are_cut_off() {
    let served = Served::start(short()).await;
    let mut deaf = Http1::upgrade(served.address, "/deaf").await;
    served.drain();
    sleep(short().drain_in_flight / 2).await;
    deaf.say("y").await;
    assert_eq!(deaf.read_to("y").await, "y", "it goes on until then");
    assert_eq!(served.cut().await, 1);
    assert_eq!(timeout(Duration::from_secs(10), deaf.rest()).await.expect("it goes on"), "");
}

#[tokio::test]
async fn http2_is_told_by_goaway_and_finishes_what_it_has() {
    let served = Served::start(short()).await;
    let mut client = Http2::connect(served.address).await;
    let mut streamed = client.get("/second").await.unwrap();
    served.drain();
    // Until it is told, it is answered: it cannot know.
    assert_eq!(client.get("/").await.unwrap().status(), StatusCode::OK);
    let (text, is_whole) = all_of(streamed.body_mut()).await;
    assert_eq!((text.matches("line\n").count(), is_whole), (LINES, true));
    assert!(client.get("/").await.is_err(), "a stream is opened after GOAWAY");
    assert!(client.driver.await.unwrap().is_ok(), "the connection ends with an error");
    assert_eq!(served.cut().await, 0);
}

#[tokio::test]
async fn who_has_just_connected_is_answered_and_who_comes_back_on_an_old_connection_is_refused() {
    let served = Served::start(short()).await;
    let (mut new, mut old) = (Http1::connect(served.address).await, Http1::connect(served.address).await);
    old.get("/").await;
    assert!(old.read_to("hello").await.starts_with("HTTP/1.1 200 "));
    served.drain();
    old.get("/").await;
    let answer = old.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains(":draining\""), "{answer}");
    // Longer than an old connection is kept, and not as long as a new one is.
    sleep(300 * MILLISECOND).await;
    new.get("/").await;
    let answer = new.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    assert_eq!(served.cut().await, 0);
}

#[tokio::test]
async fn a_lame_duck_asks_for_new_connections() {
    let served = Served::start(short()).await;
    let mut client = Http1::connect(served.address).await;
    client.get("/").await;
    assert!(!client.read_to("hello").await.contains("connection: close"));
    served.life.enter(Phase::LameDuck);
    client.get("/").await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    Http1::connect(served.address).await.get("/").await;
    served.drain();
    assert_eq!(served.cut().await, 0);
}

#[tokio::test]
async fn a_request_that_is_begun_and_not_gone_on_with_does_not_hold_up_a_drain() {
    let limits = Limits { drain_in_flight: Duration::from_secs(20), ..short() };
    let served = Served::start(limits).await;
    let mut half = Http1::connect(served.address).await;
    half.say("GET / HTTP/1.1\r\nhost:").await;
    sleep(50 * MILLISECOND).await;
    served.drain();
    let begun = tokio::time::Instant::now();
    assert_eq!(served.cut().await, 0);
    assert!(begun.elapsed() < limits.drain_in_flight / 2, "it took {:?}", begun.elapsed());
}
