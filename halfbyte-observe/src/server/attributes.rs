//! What is said of a request, by the semantic conventions. A query, and any header but `Host` and `User-Agent`, never is.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{HOST, USER_AGENT};
use http::uri::Authority;
use http::{Method, Request, StatusCode, Version};
use opentelemetry::{KeyValue, StringValue};

/// The longest text that is taken from a client as it is.
const LONGEST: usize = 256;

/// What the span and the measurement both say.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) method: &'static str,
    pub(super) path: Arc<str>,
    scheme: &'static str,
    version: Option<&'static str>,
    route: Option<Arc<str>>,
}

impl Facts {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: known(request.method()).unwrap_or("_OTHER"),
            path: clipped(request.uri().path()).into(),
            scheme: if request.uri().scheme_str() == Some("https") { "https" } else { "http" },
            version: version(request.version()),
            route: route(request),
        }
    }

    /// Of low cardinality: never the path.
    pub(super) fn span_name(&self) -> Cow<'static, str> {
        let method = if self.method == "_OTHER" { "HTTP" } else { self.method };
        match &self.route {
            Some(route) => format!("{method} {route}").into(),
            None => method.into(),
        }
    }
}

pub(super) fn at_start<B>(facts: &Facts, request: &Request<B>) -> Vec<KeyValue> {
    // The start has up to 9, the end up to 5.
    let mut attributes = Vec::with_capacity(14);
    attributes.push(KeyValue::new("http.request.method", facts.method));
    if facts.method == "_OTHER" {
        attributes.push(KeyValue::new("http.request.method_original", clipped(request.method().as_str()).to_owned()));
    }
    attributes.push(KeyValue::new("url.path", facts.path.clone()));
    attributes.push(KeyValue::new("url.scheme", facts.scheme));
    if let Some(version) = facts.version {
        attributes.push(KeyValue::new("network.protocol.version", version));
    }
    if let Some(route) = &facts.route {
        attributes.push(KeyValue::new("http.route", route.clone()));
    }
    if let Some((host, port)) = server(request) {
        attributes.push(KeyValue::new("server.address", host));
        attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
    }
    if let Some(agent) = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok()) {
        attributes.push(KeyValue::new("user_agent.original", clipped(agent).to_owned()));
    }
    attributes
}

pub(super) fn status_code(status: StatusCode) -> KeyValue {
    KeyValue::new("http.response.status_code", i64::from(status.as_u16()))
}

/// Gives `record` the attributes of the duration, without allocating a list of them.
pub(super) fn with_metric(
    facts: &Facts,
    status: Option<StatusCode>,
    error_type: Option<KeyValue>,
    record: impl FnOnce(&[KeyValue]),
) {
    let mut list: [KeyValue; 6] = std::array::from_fn(|_| KeyValue::new("", false));
    let optional = [
        facts.version.map(|version| KeyValue::new("network.protocol.version", version)),
        facts.route.clone().map(|route| KeyValue::new("http.route", route)),
        status.map(status_code),
        error_type,
    ];
    let required =
        [KeyValue::new("http.request.method", facts.method), KeyValue::new("url.scheme", facts.scheme)].map(Some);
    let mut filled = 0;
    for (slot, attribute) in list.iter_mut().zip(required.into_iter().chain(optional).flatten()) {
        *slot = attribute;
        filled += 1;
    }
    record(&list[..filled]);
}

/// The methods that the conventions know; any other is the client's invention and could be one of many.
fn known(method: &Method) -> Option<&'static str> {
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"]
        .into_iter()
        .find(|known| *known == method.as_str())
}

fn version(version: Version) -> Option<&'static str> {
    Some(match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => return None,
    })
}

/// The host that the client asked for, without a user name or password.
fn server<B>(request: &Request<B>) -> Option<(StringValue, Option<u16>)> {
    let of_header = || Authority::try_from(request.headers().get(HOST)?.as_bytes()).ok();
    let authority = request.uri().authority().cloned().or_else(of_header)?;
    let host = clipped(authority.host());
    (!host.is_empty()).then(|| (host.to_owned().into(), authority.port_u16()))
}

#[cfg(feature = "axum")]
fn route<B>(request: &Request<B>) -> Option<Arc<str>> {
    request.extensions().get::<axum::extract::MatchedPath>().map(|path| path.as_str().into())
}

#[cfg(not(feature = "axum"))]
fn route<B>(_request: &Request<B>) -> Option<Arc<str>> {
    None
}

fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}
