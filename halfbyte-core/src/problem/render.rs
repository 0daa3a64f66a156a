use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use super::{Kind, Problem};
use crate::body::Refusable;
use crate::{RequestId, TraceId};

/// What of a request a refusal of it needs. Cheap to take before the request is handed on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    /// Named in the body.
    pub request_id: Option<RequestId>,
    /// Named in the body.
    pub trace_id: Option<TraceId>,
    /// Answer as a gRPC status.
    pub grpc: bool,
}

impl Context {
    /// Takes the id that a layer has put into the extensions of `request`, whether it is gRPC, and the
    /// [current trace](TraceId::current).
    pub fn of<B>(request: &Request<B>) -> Self {
        Self::from_parts(request.headers(), request.extensions())
    }

    /// As [`of`](Self::of), from the parts.
    pub fn from_parts(headers: &HeaderMap, extensions: &Extensions) -> Self {
        Self { request_id: extensions.get().copied(), trace_id: TraceId::current(), grpc: is_grpc(headers) }
    }
}

/// Whether `headers` are those of gRPC: `application/grpc`, bare or followed by a suffix or parameters. gRPC-Web is HTTP and
/// is not meant: its status stands inside of its body.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    content_type
        .and_then(|content_type| content_type.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.first().is_none_or(|byte| matches!(byte, b'+' | b';' | b' ')))
}

#[derive(Serialize)]
struct ProblemDetails<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

impl Problem {
    /// The response to send; its extensions carry the [`Kind`] for the layers outside.
    pub fn to_response<B>(&self, context: &Context) -> Response<Refusable<B>> {
        let (mut response, body) = if context.grpc { self.as_grpc() } else { self.as_http(context) };
        let headers = response.headers_mut();
        self.challenge(headers);
        self.pace(headers);
        if self.0.kind == Kind::Draining && !context.grpc {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.extensions_mut().insert(self.0.kind);
        response.map(|()| Refusable::refused(body))
    }

    fn as_http(&self, context: &Context) -> (Response<()>, Bytes) {
        let details = ProblemDetails {
            r#type: self.0.kind.urn(),
            title: self.0.kind.title(),
            status: self.0.kind.status().as_u16(),
            detail: &self.0.detail,
            request_id: context.request_id.as_ref().map(RequestId::as_str),
            trace_id: context.trace_id.map(|id| id.to_string()),
        };
        let body = Bytes::from(serde_json::to_vec(&details).unwrap_or_default());
        let mut response = Response::new(());
        *response.status_mut() = self.0.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CONTENT_LENGTH, body.len().into());
        (response, body)
    }

    /// A trailers-only response: the status stands in the headers and there is no body.
    fn as_grpc(&self) -> (Response<()>, Bytes) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", u16::from(self.0.kind.grpc_code()).into());
        insert(headers, HeaderName::from_static("grpc-message"), &grpc_message(&self.0.detail));
        headers.insert("problem-type", HeaderValue::from_static(self.0.kind.urn()));
        (response, Bytes::new())
    }

    /// `WWW-Authenticate` by RFC 6750, 9449, 9470 and 9728.
    fn challenge(&self, headers: &mut HeaderMap) {
        let error = match self.0.kind {
            Kind::Unauthenticated => None,
            Kind::InvalidToken => Some("invalid_token"),
            Kind::StepUpRequired => Some("insufficient_user_authentication"),
            Kind::InsufficientScope => Some("insufficient_scope"),
            _ => return,
        };
        let dpop = self.0.dpop.as_ref();
        let error = dpop.and_then(|dpop| dpop.error).or(error);
        let mut value = String::from(if dpop.is_some() { "DPoP" } else { "Bearer" });
        let mut separator = ' ';
        let mut parameter = |name: &str, text: &str| {
            let _infallible = write!(value, "{separator}{name}=\"");
            value.push_str(&quotable(text));
            value.push('"');
            separator = ',';
        };
        if let Some(error) = error {
            parameter("error", error);
            parameter("error_description", &self.0.detail);
        }
        if let Some(scope) = &self.0.scope {
            parameter("scope", scope);
        }
        if let Some((acr_values, max_age)) = &self.0.step_up {
            if !acr_values.is_empty() {
                parameter("acr_values", acr_values);
            }
            if let Some(max_age) = max_age {
                parameter("max_age", &max_age.as_secs().to_string());
            }
        }
        if let Some(url) = &self.0.resource_metadata {
            parameter("resource_metadata", url);
        }
        if let Some(dpop) = dpop.filter(|dpop| !dpop.algorithms.is_empty()) {
            parameter("algs", dpop.algorithms);
        }
        insert(headers, WWW_AUTHENTICATE, &value);
        if let Some(nonce) = dpop.and_then(|dpop| dpop.nonce.as_ref()) {
            insert(headers, HeaderName::from_static("dpop-nonce"), nonce);
        }
    }

    fn pace(&self, headers: &mut HeaderMap) {
        if let Some(after) = self.0.retry_after {
            headers.insert(RETRY_AFTER, seconds_up(after).into());
        }
        if let Some(quota) = &self.0.quota {
            let name = quotable(&quota.name);
            let (limit, left) = (quota.limit.min(MOST), quota.remaining.min(MOST));
            let policy = format!("\"{name}\";q={limit};w={}", quota.window.as_secs());
            insert(headers, HeaderName::from_static("ratelimit-policy"), &policy);
            let now = format!("\"{name}\";r={left};t={}", seconds_up(quota.resets_in));
            insert(headers, HeaderName::from_static("ratelimit"), &now);
        }
    }
}

/// Whole seconds, upwards: a client that waits as long as it is told must not come too early.
fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// The largest integer of a structured header field (RFC 9651).
const MOST: u64 = 999_999_999_999_999;

/// What of `text` may stand between quotes in a header (RFC 6750, RFC 9651): a name from a catalogue may hold anything,
/// and a 401 must not lose its challenge to it.
fn quotable(text: &str) -> String {
    text.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect()
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Percent-encoding of the gRPC protocol: everything but printable ASCII, and the percent sign.
fn grpc_message(detail: &str) -> String {
    const SET: &AsciiSet = &CONTROLS.add(b'%');
    utf8_percent_encode(detail, SET).to_string()
}
