//! One client span and one duration per attempt, by the OpenTelemetry semantic conventions for HTTP clients.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use opentelemetry::propagation::Injector;
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags, Tracer as _};
use opentelemetry::{Context, KeyValue, StringValue, global};
use url::Url;

use super::duration::duration;
use super::redact::redacted_query;
use super::{Error, ErrorKind, Response};

/// The methods that the conventions know.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

/// The telemetry of one attempt; dropping it before its end says that the attempt was cancelled.
pub(super) struct Attempt {
    context: Context,
    /// Whether the span of `context` is that of this attempt, and is told things.
    is_recording: bool,
    /// `None` if it is not to be measured.
    started: Option<Instant>,
    method: &'static str,
    address: Option<Arc<str>>,
    port: Option<u16>,
    status: Option<StatusCode>,
    version: Option<&'static str>,
    has_ended: bool,
}

impl Attempt {
    /// Starts the telemetry of a request that was sent `resent` times before.
    pub(super) fn start(method: &Method, url: &Url, resent: u32) -> Self {
        let parent = Context::current();
        let started = (!parent.is_telemetry_suppressed()).then(Instant::now);
        let known = METHODS.into_iter().find(|known| *known == method.as_str());
        // The start has up to 6, the end up to 5.
        let mut attributes = Vec::with_capacity(11);
        attributes.push(KeyValue::new("http.request.method", known.unwrap_or("_OTHER")));
        if known.is_none() {
            attributes.push(KeyValue::new("http.request.method_original", method.to_string()));
        }
        attributes.push(KeyValue::new("url.full", full(url)));
        let address: Option<Arc<str>> = url.host_str().map(|host| host.trim_matches(['[', ']']).into());
        let port = url.port_or_known_default();
        attributes.extend(address.clone().map(server_address));
        attributes.extend(port.map(server_port));
        if resent > 0 {
            attributes.push(KeyValue::new("http.request.resend_count", i64::from(resent)));
        }
        let tracer = global::tracer("halfbyte-core");
        let builder = tracer.span_builder(known.unwrap_or("HTTP")).with_kind(SpanKind::Client);
        let span = tracer.build_with_context(builder.with_attributes(attributes), &parent);
        let is_recording = span.is_recording();
        Self {
            context: within(span, &parent),
            is_recording,
            started,
            method: known.unwrap_or("_OTHER"),
            address,
            port,
            status: None,
            version: None,
            has_ended: false,
        }
    }

    /// Writes the trace context into `headers`, in the form that the global propagator has.
    pub(super) fn inject(&self, headers: &mut HeaderMap) {
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&self.context, &mut Headers(headers));
        });
    }

    /// Takes note of the head of the response.
    pub(super) fn answered(&mut self, response: &reqwest::Response) {
        self.status = Some(response.status());
        self.version = version(response.version());
        if !self.is_recording {
            return;
        }
        let span = self.context.span();
        span.set_attribute(status_code(response.status()));
        span.set_attributes(self.version.map(protocol_version));
        if let Some(peer) = response.remote_addr() {
            span.set_attribute(KeyValue::new("network.peer.address", peer.ip().to_string()));
            span.set_attribute(KeyValue::new("network.peer.port", i64::from(peer.port())));
        }
    }

    pub(super) fn end(mut self, outcome: Result<&Response, &Error>) {
        self.finish(outcome.err().map(|error| error_type(error.kind())));
    }

    fn finish(&mut self, failure: Option<&'static str>) {
        self.has_ended = true;
        let refused = self.status.filter(|status| status.as_u16() >= 400);
        let refused = refused.map(|status| StringValue::from(status.as_str().to_owned()));
        let error = refused.or(failure.map(Into::into)).map(|error| KeyValue::new("error.type", error));
        self.measure(error.as_ref());
        if !self.is_recording {
            return;
        }
        let span = self.context.span();
        if let Some(error) = error {
            span.set_attribute(error);
            span.set_status(Status::error(""));
        }
        span.end();
    }

    fn measure(&self, error: Option<&KeyValue>) {
        let Some(started) = self.started else { return };
        let all = [
            Some(KeyValue::new("http.request.method", self.method)),
            self.address.clone().map(server_address),
            self.port.map(server_port),
            self.status.map(status_code),
            self.version.map(protocol_version),
            error.cloned(),
        ];
        // Without a list on the heap.
        let mut attributes = std::array::from_fn::<_, 6, _>(|_| KeyValue::new("", false));
        let mut count = 0;
        for (slot, attribute) in attributes.iter_mut().zip(all.into_iter().flatten()) {
            *slot = attribute;
            count += 1;
        }
        duration().record(started.elapsed().as_secs_f64(), &attributes[..count]);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.has_ended {
            self.finish(Some("cancelled"));
        }
    }
}

/// `parent` with `span`. One that is not recorded has lost the flags of its trace, which go on with it all the same.
fn within(span: global::BoxedSpan, parent: &Context) -> Context {
    if span.is_recording() {
        return parent.with_span(span);
    }
    let context = span.span_context();
    // Without an SDK, and after its end, the trace that is there goes on.
    if !context.is_valid() {
        return parent.clone();
    }
    let outer = parent.span();
    let outer = outer.span_context();
    let continues = context.trace_id() == outer.trace_id();
    let kept = if continues { outer.trace_flags() & !TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (flags, state) = (context.trace_flags() | kept, context.trace_state().clone());
    parent.with_remote_span_context(SpanContext::new(context.trace_id(), context.span_id(), flags, false, state))
}

/// `url.full`: without user name, password and fragment, and without what the query says.
fn full(url: &Url) -> String {
    let shown = super::error::shown(url);
    let credentials = match (url.username(), url.password()) {
        ("", None) => "://",
        (_, None) => "://REDACTED@",
        (_, Some(_)) => "://REDACTED:REDACTED@",
    };
    let mut full = shown.replacen("://", credentials, 1);
    if let Some(query) = url.query() {
        full.extend(["?", &redacted_query(query)]);
    }
    full
}

fn server_address(address: Arc<str>) -> KeyValue {
    KeyValue::new("server.address", address)
}

fn server_port(port: u16) -> KeyValue {
    KeyValue::new("server.port", i64::from(port))
}

fn status_code(status: StatusCode) -> KeyValue {
    KeyValue::new("http.response.status_code", i64::from(status.as_u16()))
}

fn protocol_version(version: &'static str) -> KeyValue {
    KeyValue::new("network.protocol.version", version)
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

fn error_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Connect => "connect",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Broken => "broken",
        ErrorKind::TooLarge => "too_large",
        ErrorKind::Request => "request",
        _ => "_OTHER",
    }
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
