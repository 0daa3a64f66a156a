use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::Redaction;
use crate::keep::Limits;

/// Removes secrets from spans and shortens what is too long, and hands them on.
///
/// In this order: a secret that was cut off would no longer be recognized.
#[derive(Debug)]
pub(crate) struct Scrub<N> {
    redaction: Redaction,
    limits: Limits,
    next: N,
}

impl<N> Scrub<N> {
    pub(crate) fn new(redaction: Redaction, limits: Limits, next: N) -> Self {
        Self { redaction, limits, next }
    }
}

impl<N: SpanProcessor> SpanProcessor for Scrub<N> {
    fn on_start(&self, span: &mut Span, parent: &Context) {
        self.next.on_start(span, parent);
    }

    fn on_end(&self, mut span: SpanData) {
        self.redaction.span(&mut span);
        self.limits.span(&mut span);
        self.next.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}
