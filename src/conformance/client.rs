//! Sends requests exactly as a check wants them, one connection each, and keeps what was said.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use halfbyte_core::{BoxError, problem};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::report::Exchange;

/// Longer than any request may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The longest part of a body that is shown, in bytes.
const SHOWN: usize = 400;

/// A request that is being made up.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub version: Version,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Ask {
    /// Over HTTP/1.1.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: Method::from_bytes(method.as_bytes()).unwrap_or_default(),
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            version: Version::HTTP_11,
        }
    }

    pub fn http2(self) -> Self {
        Self { version: Version::HTTP_2, ..self }
    }

    /// The same call as gRPC has it, by its own method: over HTTP/2, with the content type of gRPC in place of the sample's.
    pub fn in_grpc(self) -> Self {
        self.with_content_type("application/grpc").http2()
    }

    pub fn with_content_type(mut self, content_type: &'static str) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self
    }

    pub fn is_grpc(&self) -> bool {
        problem::is_grpc(&self.headers)
    }

    /// With a form as its body.
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        self.body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes();
        self.header(CONTENT_TYPE, "application/x-www-form-urlencoded")
    }

    /// One more header, also of the same name. What no header can hold is left out.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    /// As a request that is told by `id` wherever it is named.
    pub fn named(self, id: &str) -> Self {
        self.header(HeaderName::from_static("x-request-id"), id)
    }

    /// Under an `Idempotency-Key`.
    pub fn key(self, key: &str) -> Self {
        self.header(HeaderName::from_static("idempotency-key"), key)
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// Sends it over a connection of its own.
    pub async fn send(&self, to: SocketAddr) -> Result<Answer, String> {
        let said = async { whole(self.open(to).await?).await };
        let said = async { said.await.map_err(|error| format!("{} {}: {error}", self.method, self.path)) };
        timeout(PATIENCE, said).await.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
    }

    /// Sends it over a connection of its own, and answers as soon as the response begins.
    #[expect(clippy::disallowed_methods, reason = "a client's connection ends with what is sent over it")]
    pub async fn open(&self, to: SocketAddr) -> Result<Response<Incoming>, BoxError> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        let body = Full::new(Bytes::from(self.body.clone()));
        let response = if self.version == Version::HTTP_2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            sender.send_request(self.request(format!("http://{to}{}", self.path), None)?.body(body)?).await?
        } else {
            let (mut sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            sender.send_request(self.request(self.path.clone(), Some(to))?.body(body)?).await?
        };
        Ok(response)
    }

    /// It as `uri` has it.
    pub fn request(&self, uri: String, host: Option<SocketAddr>) -> Result<http::request::Builder, http::Error> {
        let mut request = Request::builder().method(&self.method).uri(uri).version(self.version);
        if let (Some(headers), Some(host)) = (request.headers_mut(), host) {
            headers.insert(HOST, HeaderValue::from_str(&host.to_string())?);
        }
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
        }
        Ok(request)
    }

    /// What was sent, for people: a credential is shown by its scheme alone.
    fn shown(&self) -> String {
        let mut text = format!("{:?} {} {}", self.version, self.method, self.path);
        for (name, value) in &self.headers {
            let value = if *name == AUTHORIZATION {
                let scheme =
                    value.to_str().ok().and_then(|value| value.split_once(' ')).map_or("", |(scheme, _)| scheme);
                format!("{scheme} ...")
            } else if *name == "dpop" {
                "...".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            text.push_str(&format!("\n{name}: {value}"));
        }
        with_body(text, &self.body)
    }

    /// The exchange, for the report.
    pub fn exchanged(&self, answer: &Result<Answer, String>) -> Exchange {
        let received = match answer {
            Ok(answer) => answer.shown(),
            Err(how) => how.clone(),
        };
        Exchange { sent: self.shown(), received }
    }
}

/// One connection over HTTP/2, for many requests at once.
#[derive(Clone)]
pub(super) struct Pipe {
    sender: http2::SendRequest<Full<Bytes>>,
    to: SocketAddr,
}

impl Pipe {
    #[expect(clippy::disallowed_methods, reason = "a client's connection ends with what is sent over it")]
    pub async fn open(to: SocketAddr) -> Result<Self, String> {
        let open = async {
            let stream = TcpStream::connect(to).await?;
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Ok::<_, BoxError>(sender)
        };
        open.await.map(|sender| Self { sender, to }).map_err(|error| format!("no connection: {error}"))
    }

    pub async fn send(mut self, ask: &Ask) -> Result<Answer, String> {
        let whole = async {
            let body = Full::new(Bytes::from(ask.body.clone()));
            let uri = format!("http://{}{}", self.to, ask.path);
            let request = ask.clone().http2().request(uri, None)?.body(body)?;
            whole(self.sender.send_request(request).await?).await
        };
        whole.await.map_err(|error| format!("{} {}: {error}", ask.method, ask.path))
    }
}

/// The response with all of its body.
pub(super) async fn whole(response: Response<Incoming>) -> Result<Answer, BoxError> {
    let (head, body) = response.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok(Answer { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers })
}

impl Answer {
    /// The header as text, if there is exactly one that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())?.to_str().ok()
    }

    /// All of the header's values as text, in their order.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect()
    }

    /// Whether `text` stands anywhere in it.
    pub fn holds(&self, text: &str) -> bool {
        let values = self.headers.values().chain(self.trailers.values()).map(|value| value.as_bytes());
        values.chain([&*self.body]).any(|part| part.windows(text.len()).any(|window| window == text.as_bytes()))
    }

    /// The last part of the problem's type; empty of what is no refusal.
    pub fn problem(&self) -> String {
        let urn = match self.header("problem-type") {
            Some(urn) => urn.to_owned(),
            None => self.json().ok().and_then(|body| Some(body.get("type")?.as_str()?.to_owned())).unwrap_or_default(),
        };
        urn.strip_prefix("urn:halfbyte:problem:").unwrap_or_default().to_owned()
    }

    /// What the problem tells the caller's developer.
    pub fn detail(&self) -> String {
        let message = self.header("grpc-message").map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
        let detail = || Some(self.json().ok()?.get("detail")?.as_str()?.to_owned());
        message.or_else(detail).unwrap_or_default()
    }

    pub fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("the body is no JSON: {error}"))
    }

    /// Of a gRPC call: in the trailers, or in the headers if there is nothing else.
    pub fn grpc_status(&self) -> Option<&str> {
        self.trailers.get("grpc-status").or_else(|| self.headers.get("grpc-status"))?.to_str().ok()
    }

    fn shown(&self) -> String {
        let mut text = self.status.to_string();
        for (name, value) in self.headers.iter().chain(&self.trailers) {
            text.push_str(&format!("\n{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        }
        with_body(text, &self.body)
    }
}

fn with_body(mut text: String, body: &[u8]) -> String {
    if !body.is_empty() {
        let shown = &body[..body.len().min(SHOWN)];
        let more = if shown.len() < body.len() { "..." } else { "" };
        text.push_str(&format!("\n\n{}{more}", String::from_utf8_lossy(shown)));
    }
    text
}
