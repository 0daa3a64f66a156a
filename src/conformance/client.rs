//! Sends requests exactly as a check wants them, one connection each, and keeps what was said.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use serde_json::Value;
use tokio::time::timeout;

use super::connection::Connection;
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

    /// As a gRPC client would call: by `POST` over HTTP/2 with an empty message.
    pub fn grpc(self) -> Self {
        let body = vec![0; 5];
        let ask = Self { method: Method::POST, body, ..self.http2() };
        ask.header(CONTENT_TYPE, "application/grpc").header(HeaderName::from_static("te"), "trailers")
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
        let said = async {
            let answer = match Connection::open(to, self.version).await {
                Ok(mut connection) => connection.send(self).await,
                Err(error) => Err(error),
            };
            answer.map_err(|error| format!("{} {}: {error}", self.method, self.path))
        };
        timeout(PATIENCE, said).await.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
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

impl Answer {
    /// The header as text, if there is exactly one that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())?.to_str().ok()
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
