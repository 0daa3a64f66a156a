//! Sends requests exactly as a check wants them, one connection each, and keeps what was said.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use halfbyte_core::{BoxError, problem};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::credentials::{self, Redaction};
use super::report::Exchange;

/// Longer than anything takes that is waited for: an answer, a start, a drain, telemetry on its way.
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
    /// Whether the body of a good answer goes on for so long that it is not waited for.
    pub streams: bool,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Whether it was asked for by gRPC.
    pub is_grpc: bool,
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
            streams: false,
        }
    }

    pub fn http2(self) -> Self {
        Self { version: Version::HTTP_2, ..self }
    }

    /// The same call as gRPC has it, by its own method: over HTTP/2, with the content type of gRPC in place of the sample's.
    pub fn in_grpc(self) -> Self {
        self.with_content_type("application/grpc").http2()
    }

    /// The same call without what makes it one of gRPC: what stands in front of the handler answers it as HTTP.
    pub fn over_http(mut self) -> Self {
        if self.is_grpc() {
            self.headers.remove(CONTENT_TYPE);
            self.headers.remove(TE);
            self.version = Version::HTTP_11;
        }
        self
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

    /// Under this `Idempotency-Key`, in place of any other.
    pub fn key(mut self, key: &str) -> Self {
        const NAME: HeaderName = HeaderName::from_static("idempotency-key");
        self.headers.remove(NAME);
        self.header(NAME, key)
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// Sends it over a connection of its own.
    pub async fn send(&self, to: SocketAddr) -> Result<Answer, String> {
        let said = async { self.answer(self.open(to).await?).await };
        said.await.map_err(|error| format!("{} {}: {error}", self.method, self.path))
    }

    /// Sends it over a connection of its own, and answers as soon as the response begins.
    pub async fn open(&self, to: SocketAddr) -> Result<Response<Incoming>, BoxError> {
        let opened = timeout(PATIENCE, self.connect(to)).await;
        opened.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs()).into()))
    }

    #[expect(clippy::disallowed_methods, reason = "a client's connection ends with what is sent over it")]
    async fn connect(&self, to: SocketAddr) -> Result<Response<Incoming>, BoxError> {
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

    /// The response, with all of its body unless that goes on and on.
    pub async fn answer(&self, response: Response<Incoming>) -> Result<Answer, BoxError> {
        let (head, body) = response.into_parts();
        let is_begun = head.status.as_u16() < 400 && !head.headers.contains_key("grpc-status");
        let (body, trailers) = if self.streams && is_begun {
            Default::default()
        } else {
            let collected = timeout(PATIENCE, body.collect()).await;
            let collected = collected.map_err(|_| "its body does not end: does its sample say that it streams?")??;
            let trailers = collected.trailers().cloned().unwrap_or_default();
            (collected.to_bytes(), trailers)
        };
        Ok(Answer { is_grpc: self.is_grpc(), status: head.status, headers: head.headers, body, trailers })
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

    /// What was sent, for people.
    fn shown(&self, redaction: &Redaction) -> String {
        let mut text = format!("{:?} {} {}", self.version, self.method, credentials::path(&self.path));
        for (name, value) in &self.headers {
            text.push_str(&format!("\n{name}: {}", credentials::header(name, value)));
        }
        with_body(text, &self.headers, &self.body, redaction)
    }

    /// The exchange, for the report.
    pub fn exchanged(&self, answer: &Result<Answer, String>, redaction: &Redaction) -> Exchange {
        let received = match answer {
            Ok(answer) => answer.shown(redaction),
            Err(how) => how.clone(),
        };
        Exchange { sent: redaction.shown(&self.shown(redaction)), received: redaction.shown(&received) }
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
            ask.answer(self.sender.send_request(request).await?).await
        };
        whole.await.map_err(|error| format!("{} {}: {error}", ask.method, ask.path))
    }
}

impl Answer {
    /// Whether it is neither refused nor an error, by the status that counts.
    pub fn is_success(&self) -> bool {
        self.status.as_u16() < 400 && (!self.is_grpc || self.grpc_status() == Some("0"))
    }

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

    fn shown(&self, redaction: &Redaction) -> String {
        let mut text = self.status.to_string();
        for (name, value) in self.headers.iter().chain(&self.trailers) {
            text.push_str(&format!("\n{name}: {}", credentials::header(name, value)));
        }
        with_body(text, &self.headers, &self.body, redaction)
    }
}

fn with_body(mut text: String, headers: &HeaderMap, body: &[u8], redaction: &Redaction) -> String {
    if !body.is_empty() {
        // Before it is shortened: a part of what is secret is not known any more.
        let body = redaction.shown(&credentials::body(headers, body));
        let shown = &body[..body.floor_char_boundary(SHOWN)];
        let more = if shown.len() < body.len() { "..." } else { "" };
        text.push_str(&format!("\n\n{shown}{more}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_secret_no_part_is_shown_where_a_body_is_shortened() {
        let redaction = Redaction::default();
        redaction.secret("canary-0123456789abcdef");
        redaction.word("c2ln-bmF0dXJl-0123456789");
        for secret in ["canary-0123456789abcdef", "c2ln-bmF0dXJl-0123456789"] {
            let mut ask = Ask::new("POST", "/");
            ask.body = format!("{} {secret} {}", "x".repeat(SHOWN - 10), "y".repeat(SHOWN)).into_bytes();
            let body = Bytes::from(ask.body.clone());
            let (headers, trailers) = (HeaderMap::new(), HeaderMap::new());
            let answer = Answer { is_grpc: false, status: StatusCode::OK, headers, body, trailers };
            let Exchange { sent, received } = ask.exchanged(&Ok(answer), &redaction);
            for shown in [sent, received] {
                assert!(shown.contains("xxx ... yyy") && shown.ends_with("y...") && shown.len() < 2 * SHOWN, "{shown}");
                assert!(!shown.contains(&secret[..6]), "{shown}");
            }
        }
    }
}
