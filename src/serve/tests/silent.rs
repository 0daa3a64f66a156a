//! Connections whose other end is not there any more.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::clients::Http2;
use super::*;

#[tokio::test]
async fn a_connection_of_http2_whose_other_end_says_nothing_is_closed() {
    const PING: u8 = 6;
    let limits = Limits { ping: 300 * MILLISECOND, pong: 300 * MILLISECOND, ..short() };
    let served = Served::start(limits).await;
    let mut polite = Http2::connect(served.address).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    // It begins the connection, and acknowledges nothing after that.
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut said = Vec::new();
    let ended = timeout(Duration::from_secs(20), silent.read_to_end(&mut said)).await;
    ended.expect("it keeps its connection").ok();
    let (mut rest, mut was_asked) = (&said[..], false);
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        was_asked |= head[3] == PING;
        rest = after.get(usize::from(head[1]) << 8 | usize::from(head[2])..).unwrap_or_default();
    }
    assert!(was_asked, "it was not asked: {said:?}");
    // Who answers what he is asked keeps his, for several times as long.
    tokio::time::sleep(1500 * MILLISECOND).await;
    assert_eq!(polite.get("/").await.unwrap().status(), StatusCode::OK);
}
