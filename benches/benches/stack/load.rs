//! Load as wrk makes it: connections that are kept, one request at a time on each, no more work than must be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::product::Failure;

pub const CONNECTIONS: usize = 32;

const GOOD: &[u8] = b"HTTP/1.1 200";

/// A client of one server.
pub struct Client {
    connections: Vec<Connection>,
    request: Arc<[u8]>,
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    pub async fn connect(port: u16, method: &Method, token: &str) -> Result<Self, Failure> {
        let request = format!(
            "{method} /labels HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
        );
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            connections.push(Connection { stream, answer: Vec::with_capacity(4096) });
        }
        Ok(Self { connections, request: request.into_bytes().into() })
    }

    /// How many requests were answered in about `time`.
    pub async fn run(&mut self, time: Duration) -> Result<u64, Failure> {
        let until = Instant::now() + time;
        let mut runs = JoinSet::new();
        for mut connection in self.connections.drain(..) {
            let request = self.request.clone();
            runs.spawn(async move {
                let mut answered = 0;
                while Instant::now() < until {
                    connection.exchange(&request).await?;
                    answered += 1;
                }
                Ok::<_, Failure>((connection, answered))
            });
        }
        let mut answered = 0;
        while let Some(run) = runs.join_next().await {
            let (connection, requests) = run??;
            self.connections.push(connection);
            answered += requests;
        }
        Ok(answered)
    }
}

impl Connection {
    async fn exchange(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        // The body is the last thing in it; the head of whatever is not answered well comes at once.
        while !self.answer.ends_with(b"a label") {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the server hung up".into());
            }
            if self.answer.len() > GOOD.len() && !self.answer.starts_with(GOOD) {
                return Err(format!("not answered well: {}", String::from_utf8_lossy(&self.answer)).into());
            }
        }
        Ok(())
    }
}
