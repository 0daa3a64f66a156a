//! Load as wrk makes it: connections that are kept, one request at a time on each, no more work than must be.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::product::Failure;

pub const CONNECTIONS: usize = 32;

/// A client of one server.
pub struct Client {
    streams: Vec<Connection>,
    request: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    pub async fn connect(port: u16, token: &str) -> Result<Self, Failure> {
        let request = format!(
            "POST /labels HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
        );
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            streams.push(Connection { stream, answer: Vec::with_capacity(4096) });
        }
        Ok(Self { streams, request: request.into_bytes() })
    }

    /// How many requests were answered in about `time`.
    pub async fn run(&mut self, time: Duration) -> Result<u64, Failure> {
        let until = Instant::now() + time;
        let request = &self.request;
        let runs = self.streams.iter_mut().map(async |connection| {
            let mut answered = 0;
            while Instant::now() < until {
                connection.exchange(request).await?;
                answered += 1;
            }
            Ok::<u64, Failure>(answered)
        });
        Ok(futures_util::future::try_join_all(runs).await?.into_iter().sum())
    }
}

impl Connection {
    async fn exchange(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        // Every server answers in one piece; the body is the last thing in it.
        while !self.answer.ends_with(b"a label") {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the server hung up".into());
            }
        }
        if self.answer.starts_with(b"HTTP/1.1 200") {
            Ok(())
        } else {
            Err(format!("not answered well: {}", String::from_utf8_lossy(&self.answer)).into())
        }
    }
}
