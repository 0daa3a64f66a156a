//! HB-REQ-008: how much a client may send at once.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};
use super::client::Ask;

pub(super) const CHECKS: &[Check] = &[
    Check {
        clause: "HB-REQ-008",
        what: "a hundred headers are read and one more is answered with 431, and so is a head of HTTP/2 that is too large",
        run: |bench| Box::pin(headers(bench)),
    },
    Check {
        clause: "HB-REQ-008",
        what: "a connection of HTTP/2 has at most 200 streams at once",
        run: |bench| Box::pin(streams(bench)),
    },
    Check {
        clause: "HB-REQ-008",
        what: "who opens streams and resets them is sent away with ENHANCE_YOUR_CALM",
        run: |bench| Box::pin(resets(bench)),
    },
];

/// Longer than an answer takes that is there at once.
const SOON: Duration = Duration::from_secs(10);

const METADATA: &str = "/.well-known/oauth-protected-resource";

/// The first line of what is answered to a request with so many headers.
async fn status_with(to: SocketAddr, headers: usize) -> Result<String, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        let others = "x: y\r\n".repeat(headers - 2);
        let head = format!("GET {METADATA} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{others}\r\n");
        // It may be answered before all of it is sent.
        _ = stream.write_all(head.as_bytes()).await;
        let mut got = Vec::new();
        _ = stream.read_to_end(&mut got).await;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&got).lines().next().unwrap_or_default().to_owned())
    };
    let exchanged = timeout(SOON, exchange).await.map_err(|late| late.to_string())?;
    exchanged.map_err(|error| format!("{headers} headers: {error}"))
}

async fn headers(bench: &mut Bench<'_>) -> Found {
    let to = bench.product.address;
    for (headers, status) in [(100, "HTTP/1.1 200"), (101, "HTTP/1.1 431"), (500, "HTTP/1.1 431")] {
        let got = status_with(to, headers).await?;
        ensure(got.starts_with(status), || format!("{headers} headers are answered with {got:?}"))?;
    }
    let ask = Ask::new("GET", METADATA).http2().header(HeaderName::from_static("x-long"), &"x".repeat(66 * 1024));
    let status = bench.send(ask).await?.status;
    let is_it = status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    ensure(is_it, || format!("a head of 66 KiB over HTTP/2 is answered with {status}"))?;
    Ok(Holds::Yes)
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
struct Frame {
    kind: u8,
    payload: Vec<u8>,
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The next frame; `None` when there is no other.
async fn read(stream: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind: head[3], payload })
}

/// Begins a connection by saying `more`; answers the first frame of `kind`.
async fn first(to: SocketAddr, more: &[u8], kind: u8) -> Result<Frame, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await.map_err(|error| error.to_string())?;
        let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..], more].concat();
        // Who is sent away may not be listened to until the end.
        _ = stream.write_all(&begin).await;
        while let Some(frame) = read(&mut stream).await {
            if frame.kind == kind {
                return Ok(frame);
            }
        }
        Err(format!("the connection ends without a frame of the type {kind}"))
    };
    timeout(SOON, exchange).await.unwrap_or_else(|_| Err(format!("there is no frame of the type {kind}")))
}

/// Opens a connection that asks nothing, and has it heard that it is known: what resolves once it is told that it ends, before it does.
pub(super) async fn told_by_goaway(to: SocketAddr) -> Result<impl Future<Output = Result<(), String>>, String> {
    let begin = async {
        let mut stream = TcpStream::connect(to).await.map_err(|error| error.to_string())?;
        let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..]].concat();
        stream.write_all(&begin).await.map_err(|error| error.to_string())?;
        match read(&mut stream).await {
            Some(_settings) => Ok(stream),
            None => Err("a connection of HTTP/2 ends before it begins".to_owned()),
        }
    };
    let mut stream = timeout(SOON, begin).await.map_err(|late| late.to_string())??;
    let told = async move {
        while let Some(frame) = read(&mut stream).await {
            if frame.kind == GOAWAY {
                return Ok(());
            }
        }
        Err("a connection of HTTP/2 ends in a drain without GOAWAY".to_owned())
    };
    Ok(async {
        timeout(SOON, told).await.unwrap_or_else(|_| Err("HTTP/2 is not told of a drain by GOAWAY".to_owned()))
    })
}

async fn streams(bench: &mut Bench<'_>) -> Found {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let settings = first(bench.product.address, &[], SETTINGS).await?;
    let most = settings.payload.chunks_exact(6).find_map(|setting| {
        let (name, value) = (u16::from_be_bytes([setting[0], setting[1]]), setting[2..].try_into().ok()?);
        (name == MAX_CONCURRENT_STREAMS).then(|| u32::from_be_bytes(value))
    });
    ensure(most == Some(200), || format!("a connection has at most {most:?} streams"))?;
    Ok(Holds::Yes)
}

async fn resets(bench: &mut Bench<'_>) -> Found {
    const CANCEL: u32 = 8;
    const ENHANCE_YOUR_CALM: u32 = 11;
    // GET http://a/, by the static table of HPACK; and then never mind.
    let head = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    let mut sent = Vec::new();
    for stream in (1..2000).step_by(2) {
        sent.extend(frame(HEADERS, 5, stream, &head));
        sent.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }
    let ended = first(bench.product.address, &sent, GOAWAY).await?;
    let reason = ended.payload.get(4..8).and_then(|reason| reason.try_into().ok()).map(u32::from_be_bytes);
    ensure(reason == Some(ENHANCE_YOUR_CALM), || format!("who resets a thousand streams is told {reason:?}"))?;
    Ok(Holds::Yes)
}
