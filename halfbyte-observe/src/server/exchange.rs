use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use halfbyte_core::problem::Kind;
use halfbyte_core::{Caller, RequestId};
use http::{Method, Request, Response, StatusCode};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue, SpanId, TraceId, Value};

use super::attributes::{self, Facts};
use super::layer::Instruments;
use super::traceparent;

/// One request and its response: owned by whatever drives them, so that it ends exactly once, when it is dropped.
#[derive(Debug)]
pub(super) struct Exchange {
    instruments: Arc<Instruments>,
    context: Context,
    started: Instant,
    request_id: Option<RequestId>,
    facts: Facts,
    status: Option<StatusCode>,
    refusal: Option<&'static str>,
    caller: Caller,
    ending: Ending,
}

/// How it ends if it were dropped now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All of the response was handed on.
    Complete,
    /// Dropped before that: the client hung up, or something outside gave up.
    Cancelled,
    /// The service answered an error in place of a response.
    Failed,
    /// The response's body answered an error.
    BrokenBody,
    /// A panic unwound.
    Panicked,
}

impl Ending {
    fn error_type(self) -> Option<&'static str> {
        match self {
            Ending::Complete => None,
            Ending::Cancelled => Some("cancelled"),
            Ending::Failed => Some("service_error"),
            Ending::BrokenBody => Some("body_error"),
            Ending::Panicked => Some("panic"),
        }
    }
}

impl Exchange {
    pub(super) fn start<B>(instruments: &Arc<Instruments>, request: &Request<B>) -> Self {
        let started = Instant::now();
        let facts = Facts::of(request);
        let remote = traceparent::extract(request.headers());
        let parent = remote.map_or_else(Context::new, |remote| Context::new().with_remote_span_context(remote));
        let tracer = &instruments.tracer;
        let builder = tracer
            .span_builder(facts.span_name())
            .with_kind(SpanKind::Server)
            .with_attributes(attributes::at_start(&facts, request));
        let span = tracer.build_with_context(builder, &parent);
        // A refusal always names a trace; without an SDK, or after its end, it is the caller's or one that nobody else knows.
        let context = match (span.span_context().is_valid(), parent.has_active_span()) {
            (true, _) => parent.with_span(span),
            (false, true) => parent,
            (false, false) => parent.with_remote_span_context(unknown()),
        };
        let request_id = request.extensions().get().copied();
        let caller = Caller::default();
        Self {
            instruments: instruments.clone(),
            context,
            started,
            request_id,
            facts,
            status: None,
            refusal: None,
            caller,
            ending: Ending::Cancelled,
        }
    }

    /// Runs `work` with the span as the current one.
    pub(super) fn within<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _attached = self.context.clone().attach();
        // Stays so if `work` unwinds.
        let ending = mem::replace(&mut self.ending, Ending::Panicked);
        let output = self.caller.within(work);
        self.ending = ending;
        output
    }

    /// Takes note of the response; answers whether it may have content.
    pub(super) fn answered<B>(&mut self, response: &Response<B>) -> bool {
        let status = response.status();
        self.status = Some(status);
        self.refusal = response.extensions().get::<Kind>().map(|kind| kind.slug());
        let no_content = status.is_informational() || matches!(status.as_u16(), 204 | 205 | 304);
        !(no_content || self.facts.method == Method::HEAD.as_str())
    }

    pub(super) fn will_end(&mut self, ending: Ending) {
        self.ending = ending;
    }

    pub(super) fn end(mut self, ending: Ending) {
        self.ending = ending;
    }

    fn record_span(&self, error_type: Option<&KeyValue>) {
        let span = self.context.span();
        if !span.is_recording() {
            return;
        }
        if let Some(status) = self.status {
            span.set_attribute(attributes::status_code(status));
        }
        if let Some(error_type) = error_type {
            span.set_attribute(error_type.clone());
            // A client that goes away is no fault of the server.
            if self.ending != Ending::Cancelled || self.is_server_error() {
                span.set_status(Status::error(""));
            }
        }
        if let Some(refusal) = self.refusal {
            span.set_attribute(KeyValue::new("halfbyte.refusal", refusal));
        }
        if let Some(principal) = self.caller.principal() {
            span.set_attribute(KeyValue::new("halfbyte.tenant", principal.tenant().as_str().to_owned()));
            span.set_attribute(KeyValue::new("halfbyte.principal.kind", principal.kind().as_str()));
        }
    }

    fn is_server_error(&self) -> bool {
        self.status.is_some_and(|status| status.is_server_error())
    }

    fn error_type(&self) -> Option<KeyValue> {
        let error: Value = match (self.ending.error_type(), self.status) {
            (Some(error), _) => error.into(),
            (None, Some(status)) if status.is_server_error() => status.as_str().to_owned().into(),
            _ => return None,
        };
        Some(KeyValue::new("error.type", error))
    }

    /// `POST /labels 201 1.3ms`
    fn log(&self, took: Duration) {
        let request_id = self.request_id.as_ref().map(RequestId::as_str);
        let tenant = self.caller.principal().map(|principal| principal.tenant().as_str());
        let status = self.status.as_ref().map_or("-", StatusCode::as_str);
        let (space, ending) = self.ending.error_type().map_or(("", ""), |error| (" ", error));
        tracing::info!(
            target: "halfbyte::access",
            request_id,
            tenant,
            refusal = self.refusal,
            "{} {} {status}{space}{ending} {took:.1?}",
            self.facts.method,
            self.facts.path,
        );
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let error_type = self.error_type();
        self.record_span(error_type.as_ref());
        // Current once more: the log line names the span, and the measurement can be linked to it.
        let attached = self.context.clone().attach();
        self.log(took);
        attributes::with_metric(&self.facts, self.status, error_type, |attributes| {
            self.instruments.duration.record(took.as_secs_f64(), attributes);
        });
        drop(attached);
        self.context.span().end();
    }
}

fn unknown() -> SpanContext {
    let (trace, span) = (TraceId::from(fastrand::u128(1..)), SpanId::from(fastrand::u64(1..)));
    SpanContext::new(trace, span, TraceFlags::default(), false, TraceState::NONE)
}
