//! Clients that do nothing by themselves.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// A connection of HTTP/1.1.
pub struct Http1(pub TcpStream);

impl Http1 {
    pub async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Its kernel takes little of what it does not read.
    pub async fn connect_small(address: SocketAddr) -> Self {
        Self(small_stream(address).await)
    }

    pub async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    pub async fn get(&mut self, path: &str) {
        self.say(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    }

    /// What comes up to and with `end`, or up to the end of the connection.
    pub async fn read_to(&mut self, end: &str) -> String {
        let (mut all, mut byte) = (Vec::new(), [0]);
        while !all.ends_with(end.as_bytes()) {
            match self.0.read(&mut byte).await {
                Ok(1..) => all.push(byte[0]),
                _ => break,
            }
        }
        String::from_utf8(all).unwrap()
    }

    pub async fn head(&mut self) -> String {
        self.read_to("\r\n\r\n").await
    }

    /// The rest up to the end of the connection.
    pub async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        // It may have been reset; what came before that counts.
        let _reset = self.0.read_to_end(&mut all).await;
        String::from_utf8(all).unwrap()
    }

    /// Asks for `path` by an upgrade, and is let in.
    pub async fn upgrade(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(address).await;
        client.say(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 101 "));
        client.say("x").await;
        assert_eq!(client.read_to("x").await, "x");
        client
    }
}

pub async fn small_stream(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    socket.connect(address).await.unwrap()
}

/// A connection of HTTP/2, and what drives it.
pub struct Http2 {
    pub requests: SendRequest<Bytes>,
    pub driver: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(TcpStream::connect(address).await.unwrap(), &h2::client::Builder::new()).await
    }

    pub async fn connect_with(stream: TcpStream, as_of: &h2::client::Builder) -> Self {
        let (requests, connection) = as_of.handshake(stream).await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "a client is no part of the product's life")]
        Self { requests, driver: tokio::spawn(connection) }
    }

    pub async fn get(&mut self, path: &str) -> Result<Response<h2::RecvStream>, h2::Error> {
        let request = Request::get(format!("http://a{path}")).body(()).unwrap();
        let mut ready = self.requests.clone().ready().await?;
        let (response, _body) = ready.send_request(request, true)?;
        response.await
    }
}

/// All of a body, and whether it came to its end.
pub async fn all_of(body: &mut h2::RecvStream) -> (String, bool) {
    let mut all = Vec::new();
    while let Some(part) = body.data().await {
        let Ok(part) = part else { return (String::from_utf8(all).unwrap(), false) };
        body.flow_control().release_capacity(part.len()).unwrap();
        all.extend(part);
    }
    (String::from_utf8(all).unwrap(), true)
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
