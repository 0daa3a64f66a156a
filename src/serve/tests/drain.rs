//! What becomes of connections in a drain.

use halfbyte_core::lifecycle::Phase;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::clients::{Http1, Http2, all_of, frame, small_stream};
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

/// There is long for requests and for who reads slowly, and not for who does not do what it should.
fn patient() -> Limits {
    Limits { drain_in_flight: Duration::from_secs(20), stall: Duration::from_secs(10), ..short() }
}

#[tokio::test]
async fn a_response_that_is_in_memory_is_sent_to_its_end_however_slowly_it_is_read() {
    let served = Served::start(patient()).await;
    let mut client = Http1::connect_small(served.address).await;
    client.get(&format!("/large/{LARGE}")).await;
    client.head().await;
    served.drain();
    let (begun, mut came, mut piece) = (tokio::time::Instant::now(), 0, vec![0; 16 * 1024]);
    while let Ok(bytes @ 1..) = client.0.read(&mut piece).await {
        came += bytes;
        sleep(10 * MILLISECOND).await;
    }
    assert!(came == LARGE && begun.elapsed() > 2 * patient().first_byte, "{came} in {:?}", begun.elapsed());
    assert_eq!(served.cut().await, 0);
}

#[tokio::test]
async fn a_connection_that_is_cut_off_with_something_to_send_is_counted() {
    let limits = Limits { drain_in_flight: Duration::from_secs(4), ..patient() };
    let served = Served::start(limits).await;
    let mut http1 = Http1::connect_small(served.address).await;
    http1.get(&format!("/large/{LARGE}")).await;
    http1.head().await;
    let mut window = h2::client::Builder::new();
    window.initial_window_size(1);
    let mut http2 = Http2::connect_with(TcpStream::connect(served.address).await.unwrap(), &window).await;
    // HTTP/2 has taken all of it, and has a byte of it sent.
    let _response = http2.get("/large/1000").await.unwrap();
    served.drain();
    let reads = async {
        // Not so little that it would be let go for that.
        while let Ok(1..) = http1.0.read(&mut [0; 16 * 1024]).await {
            sleep(30 * MILLISECOND).await;
        }
    };
    assert_eq!(tokio::join!(served.cut(), reads).0, 2);
}

#[tokio::test]
async fn a_client_that_does_not_say_that_it_knows_of_the_drain_is_refused_then_and_holds_up_nothing() {
    let served = Served::start(patient()).await;
    let mut client = TcpStream::connect(served.address).await.unwrap();
    // GET http://a/, by the static table of HPACK; and no answer to any PING.
    let head = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    let hello = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[]), &frame(1, 5, 1, &head)].concat();
    client.write_all(&hello).await.unwrap();
    let (mut reads, mut writes) = client.into_split();
    let mut said = Vec::new();
    served.drain();
    let asks = async {
        for stream in (3..).step_by(2) {
            sleep(20 * MILLISECOND).await;
            if writes.write_all(&frame(1, 5, stream, &head)).await.is_err() {
                break;
            }
        }
    };
    let (begun, until) = (tokio::time::Instant::now(), patient().drain_in_flight / 2);
    let (cut, _ended, ()) = tokio::join!(served.cut(), reads.read_to_end(&mut said), asks);
    assert!(cut == 0 && begun.elapsed() < until, "{cut} after {:?}", begun.elapsed());
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("hello") && said.contains("urn:halfbyte:problem:draining"), "{said}");
}

#[tokio::test]
async fn the_end_of_a_response_of_http2_arrives_though_its_client_goes_on_to_send() {
    const BYTES: usize = 2 << 20;
    let served = Served::start(patient()).await;
    let mut client = small_stream(served.address).await;
    let path = format!("/large/{BYTES}");
    let head = [&[0x82, 0x86, 0x41, 1, b'a', 4, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
    let window = u32::try_from(2 * BYTES).unwrap().to_be_bytes();
    // SETTINGS_INITIAL_WINDOW_SIZE.
    let settings = frame(4, 0, 0, &[&[0, 4][..], &window].concat());
    let hello =
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), settings, frame(8, 0, 0, &window), frame(1, 5, 1, &head)];
    client.write_all(&hello.concat()).await.unwrap();
    served.drain();
    let reads = async {
        let (mut said, mut piece, mut came, mut is_whole) = (Vec::new(), vec![0; 16 * 1024], 0, false);
        while let Ok(bytes @ 1..) = client.read(&mut piece).await {
            said.extend_from_slice(&piece[..bytes]);
            while let Some((head, after)) = said.split_first_chunk::<9>() {
                let length = usize::from(head[1]) << 8 | usize::from(head[2]);
                let Some(payload) = after.get(..length) else { break };
                match (head[3], head[4]) {
                    (0, flags) => (came, is_whole) = (came + length, flags & 1 == 1),
                    // PING: so it knows of the drain.
                    (6, 0) => _ = client.write_all(&frame(6, 1, 0, payload)).await,
                    _ => {}
                }
                said.drain(..9 + length);
            }
            // It takes its time, and says what it has taken.
            _ = client.write_all(&frame(8, 0, 0, &1_u32.to_be_bytes())).await;
            sleep(15 * MILLISECOND).await;
        }
        drop(client);
        (came, is_whole)
    };
    let (cut, read) = tokio::join!(served.cut(), reads);
    assert_eq!((cut, read), (0, (BYTES, true)));
}
