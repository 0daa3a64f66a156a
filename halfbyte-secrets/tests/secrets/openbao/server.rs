//! An HTTP server that answers what a test says: faults that a real one will not make when asked to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub struct Server {
    pub port: u16,
    asked: Arc<Mutex<Vec<Request>>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Debug)]
pub struct Request {
    /// As in `GET /v1/secret/data/x?version=1`.
    pub line: String,
    head: String,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn token(&self) -> &str {
        self.header("x-vault-token").unwrap_or_default()
    }
}

/// Status, further headers, body; for status 0 the connection is cut off, for 1 there is never an answer.
pub struct Answer(pub u16, pub &'static str, pub String);

impl Answer {
    pub fn ok(body: impl Into<String>) -> Self {
        Self(200, "", body.into())
    }

    pub fn no(status: u16, errors: &str) -> Self {
        Self(status, "", format!(r#"{{"errors":["{errors}"]}}"#))
    }
}

impl Server {
    pub async fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::slow(Duration::ZERO, answer).await
    }

    /// One that takes its time over each answer.
    pub async fn slow(after: Duration, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (asked.clone(), Arc::new(answer));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer) = (seen.clone(), answer.clone());
                connections.spawn(async move {
                    let _gone = serve(stream, after, &seen, &*answer).await;
                });
            }
        });
        Self { port, asked, _tasks: tasks }
    }

    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests began like that.
    pub fn count(&self, line: &str) -> usize {
        self.asked().iter().filter(|request| request.line.starts_with(line)).count()
    }
}

async fn serve(
    mut stream: TcpStream,
    after: Duration,
    seen: &Mutex<Vec<Request>>,
    answer: &(impl Fn(&Request) -> Answer + Send + Sync),
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let request = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        if let Some(request) = parse(&String::from_utf8_lossy(&bytes)) {
            break request;
        }
    };
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    tokio::time::sleep(after).await;
    let Answer(status, headers, body) = answer(&request);
    if status == 0 {
        return Ok(());
    }
    if status == 1 {
        std::future::pending::<()>().await;
    }
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await
}

fn parse(text: &str) -> Option<Request> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (line, rest) = head.split_once("\r\n")?;
    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
    let request = Request { line, head: rest.to_owned(), body: body.to_owned() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap_or(0));
    (body.len() >= length).then_some(request)
}
