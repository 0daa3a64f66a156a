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

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Config;
    use halfbyte_core::{Caller, Principal, TenantId};
    use jiff::Timestamp;
    use opentelemetry::KeyValue;
    use opentelemetry::trace::{Span as _, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;
    use crate::keep::testing::Collected;
    use crate::keep::{Keep, Keeper, Recording, Sampler};
    use crate::stamp::Stamp;

    #[test]
    fn the_whole_chain_stamps_keeps_removes_and_then_shortens() {
        let variables = [("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "16"), ("OTEL_TRACES_SAMPLER", "always_off")];
        let variables = Config::parse(variables).unwrap().other;
        let (limits, collected) = (Limits::read(&variables).unwrap(), Collected::default());
        let scrub = Scrub::new(Redaction::default(), limits, collected.clone());
        let provider = SdkTracerProvider::builder()
            .with_sampler(Recording::new(Sampler::read(&variables).unwrap(), true))
            .with_span_limits(limits.span_limits())
            .with_span_processor(Stamp::default().before(Keeper::new(&Keep::default(), scrub)))
            .build();
        let tracer = provider.tracer("test");
        Caller::default().within(|| {
            let tenant = TenantId::new("acme").unwrap();
            Caller::tell(&Principal::builder("ada", tenant, Timestamp::MAX).build());
            let root = Context::new().with_span(tracer.start("root"));
            let mut child = tracer.start_with_context("Bearer s3cr3t", &root);
            // Cut off at 16, it would not be recognized.
            child.set_attribute(KeyValue::new("note", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2ln"));
            child.set_attribute(KeyValue::new("long", "x".repeat(20)));
            child.end();
            root.span().set_status(Status::error("password=hunter2"));
        });
        let spans = collected.spans();
        let shown: Vec<_> = spans[0].attributes.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
        let long = format!("long={}", "x".repeat(16));
        assert_eq!(shown, ["halfbyte.tenant=acme", "halfbyte.principal.kind=user", "note=REDACTED", &long]);
        assert_eq!(spans[0].name, "Bearer REDACTED");
        assert_eq!(spans[1].status, Status::error("password=REDACTED"));
        provider.force_flush().unwrap();
        provider.shutdown().unwrap();
        assert!(collected.is_shut_down());
    }
}
