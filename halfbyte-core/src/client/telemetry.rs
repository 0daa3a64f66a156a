//! One client span a call, by the OpenTelemetry semantic conventions for HTTP clients.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use opentelemetry::propagation::Injector;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, global};
use url::Url;

use super::{Error, ErrorKind, Response};

pub(super) struct CallSpan(Context);

impl CallSpan {
    pub(super) fn start(method: &Method, url: &Url) -> Self {
        let attributes = [
            KeyValue::new("http.request.method", method.to_string()),
            KeyValue::new("url.full", super::error::shown(url)),
            KeyValue::new("server.address", url.host_str().unwrap_or_default().to_owned()),
            KeyValue::new("server.port", i64::from(url.port_or_known_default().unwrap_or(0))),
        ];
        let tracer = global::tracer("halfbyte-core");
        let parent = Context::current();
        let builder = tracer.span_builder(method.to_string()).with_kind(SpanKind::Client).with_attributes(attributes);
        let span = tracer.build_with_context(builder, &parent);
        Self(parent.with_span(span))
    }

    /// Writes the trace context into `headers`, in the form that the global propagator has.
    pub(super) fn inject(&self, headers: &mut HeaderMap) {
        global::get_text_map_propagator(|propagator| propagator.inject_context(&self.0, &mut Headers(headers)));
    }

    pub(super) fn end(&self, attempts: u32, outcome: Result<&Response, &Error>) {
        let span = self.0.span();
        if attempts > 1 {
            span.set_attribute(KeyValue::new("http.request.resend_count", i64::from(attempts - 1)));
        }
        let error = match outcome {
            Ok(response) => {
                let status = response.status();
                span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
                (status.as_u16() >= 400).then(|| status.as_str().to_owned())
            }
            Err(error) => Some(error_type(error.kind()).to_owned()),
        };
        if let Some(error) = error {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

fn error_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Connect => "connect",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Broken => "broken",
        ErrorKind::TooLarge => "too_large",
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
