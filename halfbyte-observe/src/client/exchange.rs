use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, StatusCode, Version};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};

use super::Outbound;
use super::call::Call;
use super::failure::Failure;
use super::layer::Instruments;
use crate::trace::Beginning;

/// One call and its answer: owned by whatever drives them, so that it ends exactly once, when it is dropped.
#[derive(Debug)]
pub struct Exchange {
    instruments: Arc<Instruments>,
    context: Context,
    /// Whether the span of `context` is that of this call, and is told things.
    is_recording: bool,
    started: Instant,
    call: Call,
    ending: Ending,
}

/// How it ends if it were dropped now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All of the response was received.
    Complete,
    /// Dropped before anything of the body was asked for.
    Unread,
    /// Dropped before that.
    Cancelled,
    /// The client, or the body of its response, answered an error.
    Failed(Failure),
    /// A panic unwound.
    Panicked,
}

impl Exchange {
    /// Starts the span, and writes its trace context into the request.
    pub(super) fn start(instruments: &Arc<Instruments>, request: &mut impl Outbound) -> Self {
        let started = Instant::now();
        let (call, attributes) = Call::of(request, instruments);
        let parent = Context::current();
        let beginning = Beginning { attributes, ..Beginning::of(call.span_name(), SpanKind::Client) };
        let span = instruments.tracer.start(beginning, &parent);
        let is_recording = span.is_recording();
        // Without an SDK, and after its end, the trace that is there goes on.
        let context = if span.span_context().is_valid() { span.within(&parent) } else { parent };
        instruments.propagators.inject(&context, request.headers_mut());
        let ending = Ending::Cancelled;
        Self { instruments: instruments.clone(), context, is_recording, started, call, ending }
    }

    /// Runs `work` with the span as the current one.
    pub(super) fn within<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _attached = self.context.clone().attach();
        // Stays so if `work` unwinds.
        let ending = mem::replace(&mut self.ending, Ending::Panicked);
        let output = work();
        self.ending = ending;
        output
    }

    pub(super) fn answered(&mut self, status: StatusCode, version: Version, headers: &HeaderMap) {
        self.call.answered(status, version, headers);
        self.ending = Ending::Unread;
    }

    pub(super) fn connected_to(&mut self, peer: SocketAddr) {
        if self.is_recording {
            let span = self.context.span();
            span.set_attribute(KeyValue::new("network.peer.address", peer.ip().to_canonical().to_string()));
            span.set_attribute(KeyValue::new("network.peer.port", i64::from(peer.port())));
        }
    }

    pub(super) fn awaits_trailers(&self) -> bool {
        self.call.awaits_trailers()
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        self.call.trailers(trailers);
    }

    pub(super) fn will_end(&mut self, ending: Ending) {
        self.ending = ending;
    }

    pub(super) fn end(mut self, ending: Ending) {
        self.ending = ending;
    }

    pub(super) fn fail(self, failure: Failure) {
        self.end(Ending::Failed(failure));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let outcome = self.call.outcome(self.ending);
        let durations = if self.call.is_grpc() { &self.instruments.rpc } else { &self.instruments.http };
        let (at, span) = ((took, self.started + took), self.context.span());
        self.call.with_metric(&outcome, |attributes| durations.record_listed(attributes, at, span.span_context()));
        if self.is_recording {
            let failed = outcome.error_type.is_some();
            self.call.at_end(outcome, |attribute| span.set_attribute(attribute));
            if failed {
                span.set_status(Status::error(""));
            }
            span.end();
        }
    }
}
