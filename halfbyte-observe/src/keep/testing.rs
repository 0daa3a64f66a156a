//! Spans, and where they end up in tests.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanEvents, SpanLinks, SpanProcessor};

/// Keeps all spans that reach it, sampled or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected(Arc<(Mutex<Vec<SpanData>>, AtomicBool)>);

impl Collected {
    pub(crate) fn spans(&self) -> Vec<SpanData> {
        self.0.0.lock().unwrap().clone()
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.0.1.load(Ordering::SeqCst)
    }
}

pub(crate) fn names(collected: &Collected) -> Vec<Cow<'static, str>> {
    collected.spans().into_iter().map(|span| span.name).collect()
}

impl SpanProcessor for Collected {
    fn on_start(&self, _span: &mut Span, _parent: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.0.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        self.0.1.store(true, Ordering::SeqCst);
        Ok(())
    }
}

pub(crate) fn span(trace: u128, span: u64, parent: Option<u64>) -> SpanData {
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(trace),
            SpanId::from(span),
            TraceFlags::default(),
            false,
            TraceState::NONE,
        ),
        parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "span".into(),
        start_time: SystemTime::UNIX_EPOCH,
        end_time: SystemTime::UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}
