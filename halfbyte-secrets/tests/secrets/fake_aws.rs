//! A server that answers as AWS does, or as it does on a bad day. It remembers what it was asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use halfbyte_secrets::Aws;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the requests are signed with.
pub const KEY: &str = "kN5vU1pXq0tZ7wYb3eRg";

#[derive(Clone)]
pub enum Answer {
    Json(u16, String),
    /// An error by the header, which comes before what the body says.
    ErrorType(u16, &'static str, String),
    /// These bytes, and the end of the connection.
    Raw(String),
    /// None.
    Silence,
}

impl Answer {
    /// A secret in the state that AWS answers it.
    pub fn text(version: &str, value: &str) -> Self {
        let value = serde_json::to_string(value).unwrap();
        Self::Json(200, format!(r#"{{"Name":"x","VersionId":"{version}","SecretString":{value}}}"#))
    }
}

pub struct FakeAws {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

struct State {
    answer: Answer,
    asked: Vec<String>,
}

impl FakeAws {
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { answer, asked: Vec::new() }));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, state.clone()));
        Self { endpoint, state, _serving: serving }
    }

    pub fn answer(&self, answer: Answer) {
        self.state().answer = answer;
    }

    /// The requests since the last time, with their headers.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }

    pub fn provider(&self) -> Aws {
        let aws = Aws::new("eu-central-1", "prod/parcel").unwrap();
        aws.endpoint(&self.endpoint).access_key("AKIDTEST", &KEY.into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, state.clone()));
    }
}

async fn converse(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let asked = request(&mut stream).await;
    let answer = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.push(asked);
        state.answer.clone()
    };
    let (status, header, body) = match answer {
        Answer::Json(status, body) => (status, String::new(), body),
        Answer::ErrorType(status, code, body) => (status, format!("x-amzn-errortype: {code}\r\n"), body),
        Answer::Raw(bytes) => return drop(stream.write_all(bytes.as_bytes()).await),
        Answer::Silence => return std::future::pending().await,
    };
    let length = body.len();
    let head = "content-type: application/x-amz-json-1.1\r\nconnection: close\r\n";
    let text = format!("HTTP/1.1 {status} x\r\n{head}{header}content-length: {length}\r\n\r\n{body}");
    drop(stream.write_all(text.as_bytes()).await);
}

/// Head and body as they came.
async fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                return text;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return text,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
