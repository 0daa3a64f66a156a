//! A client of HTTP/1.1, of as much of it as the load needs: one that is made for everything takes as much of the machine as
//! the products that it asks.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest answer that is read.
const LONGEST: usize = 1 << 20;

/// An answer as it came.
#[derive(Debug, PartialEq)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Asks one server, on connections that it keeps.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    idle: Mutex<Vec<TcpStream>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::default() }
    }

    /// Posts JSON to `path`; `headers` are lines that each end with CR and LF.
    pub async fn post(&self, path: &str, headers: &str, body: &str, within: Duration) -> io::Result<Response> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        );
        let answer = timeout(within, self.ask(request.as_bytes()));
        answer.await.unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, "it takes too long")))
    }

    async fn ask(&self, request: &[u8]) -> io::Result<Response> {
        if let Some(mut kept) = self.kept() {
            let mut heard = Vec::new();
            match exchange(&mut kept, request, &mut heard).await {
                // It was closed while nobody looked: nobody has read what was said on it.
                Err(error) if heard.is_empty() && is_closed(&error) => {}
                outcome => return self.keep(kept, outcome),
            }
        }
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let outcome = exchange(&mut stream, request, &mut Vec::new()).await;
        self.keep(stream, outcome)
    }

    /// One that is open, as far as is known.
    fn kept(&self) -> Option<TcpStream> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |stream: &TcpStream| matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        std::iter::from_fn(|| idle.pop()).find(is_open)
    }

    fn keep(&self, stream: TcpStream, outcome: io::Result<Response>) -> io::Result<Response> {
        let ends = |response: &Response| response.headers.get("connection").is_some_and(|value| value == "close");
        if outcome.as_ref().is_ok_and(|response| !ends(response)) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        }
        outcome
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Says it, and reads the answer into `heard`.
async fn exchange(stream: &mut TcpStream, request: &[u8], heard: &mut Vec<u8>) -> io::Result<Response> {
    stream.write_all(request).await?;
    loop {
        if let Some(response) = parse(heard)? {
            return Ok(response);
        }
        if heard.len() > LONGEST {
            return Err(io::Error::new(ErrorKind::InvalidData, "it is too long"));
        }
        if stream.read_buf(heard).await? == 0 {
            let why = if heard.is_empty() { "the connection was closed" } else { "it breaks off" };
            return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
        }
    }
}

/// The answer, if it is there as a whole. Products say how long each is.
fn parse(heard: &[u8]) -> io::Result<Option<Response>> {
    let wrong = |why| Err(io::Error::new(ErrorKind::InvalidData, why));
    let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let Ok(head) = std::str::from_utf8(&heard[..end]) else { return wrong("its head is no text") };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let Some(status) = status else { return wrong("it is not HTTP/1.1") };
    let mut headers = HeaderMap::new();
    for line in lines {
        let header = line.split_once(':').and_then(|(name, value)| {
            Some((name.parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
        });
        let Some((name, value)) = header else { return wrong("a header of it is none") };
        headers.append(name, value);
    }
    let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let Some(length) = length else { return wrong("it does not say how long it is") };
    let Some(body) = heard[end + 4..].get(..length) else { return Ok(None) };
    if heard.len() > end + 4 + length {
        return wrong("it is longer than it says");
    }
    Ok(Some(Response { status, headers, body: body.to_vec() }))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nx: y\r\n\r\n{}";
    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn an_answer_is_there_with_its_last_byte() {
        for cut in 0..ANSWER.len() {
            assert_eq!(parse(&ANSWER[..cut]).unwrap(), None, "{cut}");
        }
        let response = parse(ANSWER).unwrap().unwrap();
        assert_eq!((response.status, &*response.body), (201, &b"{}"[..]));
        assert_eq!(response.headers["x"], "y");
    }

    #[test]
    fn what_is_no_such_answer_is_told() {
        for (heard, why) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], "it does not say how long it is"),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "it does not say how long it is"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab", "it is longer than it says"),
            (b"SMTP ready\r\n\r\n", "it is not HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", "a header of it is none"),
            (b"\xff\r\n\r\n", "its head is no text"),
        ] {
            assert_eq!(parse(heard).unwrap_err().to_string(), why);
        }
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_one_that_was_closed_is_replaced() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(listener.local_addr().unwrap());
        let post = || client.post("/", "x: y\r\n", "{}", SOON);
        let serve = async {
            let (mut first, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                let mut request = vec![0; 1000];
                let read = first.read(&mut request).await.unwrap();
                assert!(String::from_utf8_lossy(&request[..read]).ends_with("content-length: 2\r\nx: y\r\n\r\n{}"));
                first.write_all(ANSWER).await.unwrap();
            }
            drop(first);
            let (mut second, _) = listener.accept().await.unwrap();
            let _request = second.read(&mut [0; 1000]).await.unwrap();
            second.write_all(&ANSWER[..20]).await.unwrap();
        };
        let ask = async {
            post().await.unwrap();
            post().await.unwrap();
            post().await.unwrap_err().to_string()
        };
        let (broken, ()) = tokio::join!(ask, serve);
        assert_eq!(broken, "it breaks off");
    }

    #[tokio::test]
    async fn who_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(listener.local_addr().unwrap());
        let error = client.post("/", "", "", Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.to_string(), "it takes too long");
    }
}
