//! Spans: from the SDK to the queue, and from the queue to requests.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::Status;
use opentelemetry::{Array, Context, KeyValue, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as SpanMessage};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use prost::Message as _;

use super::pack::{Packer, Speaker};
use super::queue::Queue;
use crate::spool::Batch;
use crate::trace::Stage;

/// The end of the chain of span processors: queues every span that it is given, sampled or not. Whoever is in front of it
/// decides; without anybody who does, put [`Sampled`] there.
///
/// Ending a span costs a short lock and no allocation. `force_flush` and `shutdown` do nothing and return at once:
/// [`Telemetry`](crate::Telemetry) flushes, within a budget.
#[derive(Clone, Debug)]
pub(crate) struct SpanQueue(pub(super) Arc<Queue<SpanData>>);

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        let bytes = size(&span);
        self.0.push(span, 1, bytes);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Passes on what is sampled.
#[derive(Clone, Debug)]
pub(crate) struct Sampled<P>(pub(crate) P);

impl<P: SpanProcessor> SpanProcessor for Sampled<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

/// Nobody behind it wants to know what starts.
impl<P: SpanProcessor> Stage for Sampled<P> {}

/// About the memory that a span takes.
fn size(span: &SpanData) -> usize {
    let events = span.events.iter().map(|event| 64 + event.name.len() + attributes(&event.attributes));
    let links = span.links.iter().map(|link| 64 + attributes(&link.attributes));
    let description = match &span.status {
        Status::Error { description } => description.len(),
        _ => 0,
    };
    size_of::<SpanData>()
        + span.name.len()
        + description
        + attributes(&span.attributes)
        + events.sum::<usize>()
        + links.sum::<usize>()
}

fn attributes(attributes: &[KeyValue]) -> usize {
    attributes
        .iter()
        .map(|attribute| size_of::<KeyValue>() + attribute.key.as_str().len() + value(&attribute.value))
        .sum()
}

fn value(value: &Value) -> usize {
    match value {
        Value::String(text) => text.as_str().len(),
        Value::Array(Array::Bool(list)) => list.len(),
        Value::Array(Array::I64(list)) => 8 * list.len(),
        Value::Array(Array::F64(list)) => 8 * list.len(),
        Value::Array(Array::String(list)) => list.iter().map(|text| 16 + text.as_str().len()).sum(),
        _ => 0,
    }
}

pub(super) fn encode(spans: Vec<SpanData>, speaker: &Speaker) -> Vec<Batch> {
    let mut packer = Packer::new(|groups: Vec<(_, Vec<SpanMessage>)>| {
        let scope_spans =
            groups.into_iter().map(|(scope, spans): (opentelemetry::InstrumentationScope, _)| ScopeSpans {
                schema_url: scope.schema_url().unwrap_or_default().to_owned(),
                scope: Some((scope, None).into()),
                spans,
            });
        let resource_spans = vec![ResourceSpans {
            resource: Some(speaker.resource.clone()),
            scope_spans: scope_spans.collect(),
            schema_url: speaker.schema_url.clone(),
        }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    });
    for span in spans {
        packer.push(span.instrumentation_scope.clone(), span.into(), 1);
    }
    packer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_span_has_all_its_texts_in_it() {
        let span = crate::keep::testing::span(1, 1, None);
        let with = |change: fn(&mut SpanData, String)| {
            let mut span = span.clone();
            change(&mut span, "x".repeat(10_000));
            size(&span) - size(&crate::keep::testing::span(1, 1, None))
        };
        assert!(with(|span, text| span.status = Status::error(text)) >= 10_000);
        assert!(with(|span, text| span.attributes.push(KeyValue::new("key", text))) >= 10_000);
    }
}
