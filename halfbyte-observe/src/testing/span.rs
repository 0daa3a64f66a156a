use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1 as proto;

use super::all::Recorded;
use super::value::{Attributes, Scope, attributes, resource, service};
use super::{hex, id};

/// A span that has ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// 16 hexadecimal digits; `None` at the root of a trace.
    pub parent_span_id: Option<String>,
    /// Whether its parent is in another process; `None` when it does not say.
    pub parent_is_remote: Option<bool>,
    /// What it is called.
    pub name: String,
    /// `service.name` of the process that it is from.
    pub service: String,
    /// `server`, `client`, `internal`, `producer` or `consumer`.
    pub kind: &'static str,
    /// The flags of W3C trace context: 1 is sampled, 2 is random.
    pub flags: u8,
    /// The `tracestate` of W3C trace context.
    pub trace_state: String,
    /// Nanoseconds since 1970.
    pub start_nanos: u64,
    /// Nanoseconds since 1970.
    pub end_nanos: u64,
    /// Its status: `unset`, `ok` or `error`.
    pub status: &'static str,
    /// Whether its status is Error.
    pub is_error: bool,
    /// What the status says besides.
    pub status_message: String,
    /// Its attributes.
    pub attributes: Attributes,
    /// What happened during it, in its order.
    pub events: Vec<SpanEvent>,
    /// Spans of other traces, or of the same, that it has to do with.
    pub links: Vec<SpanLink>,
    /// How many attributes, events and links it has lost to limits.
    pub dropped: [u32; 3],
    /// What made it.
    pub scope: Scope,
    /// What is said of the process that it is from.
    pub resource: Attributes,
}

/// What happened during a span.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpanEvent {
    /// What it is called, such as `exception`.
    pub name: String,
    /// Nanoseconds since 1970.
    pub time_nanos: u64,
    /// Its attributes.
    pub attributes: Attributes,
}

/// Another span that one has to do with.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpanLink {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The `tracestate` of W3C trace context.
    pub trace_state: String,
    /// The flags of W3C trace context.
    pub flags: u8,
    /// Its attributes.
    pub attributes: Attributes,
}

impl Span {
    /// How long it took.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.end_nanos.saturating_sub(self.start_nanos))
    }

    /// Whether this is a direct child of `parent`.
    pub fn is_child_of(&self, parent: &Span) -> bool {
        self.trace_id == parent.trace_id && self.parent_span_id.as_ref() == Some(&parent.span_id)
    }

    /// The first event with this name.
    pub fn event(&self, name: &str) -> Option<&SpanEvent> {
        self.events.iter().find(|event| event.name == name)
    }
}

impl Recorded for Span {
    const WHAT: &'static str = "span";

    fn called(&self) -> &str {
        &self.name
    }
}

pub(super) fn read(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for group in request.resource_spans {
        let resource = resource(group.resource);
        for scoped in group.scope_spans {
            let scope = Scope::read(scoped.scope, scoped.schema_url);
            spans.extend(scoped.spans.into_iter().map(|span| one(span, &scope, &resource)));
        }
    }
    spans
}

fn one(span: proto::Span, scope: &Scope, resource: &Attributes) -> Span {
    use proto::SpanFlags::{ContextHasIsRemoteMask, ContextIsRemoteMask};
    let has = |flag: proto::SpanFlags| span.flags & flag as u32 != 0;
    let status = span.status.as_ref().map_or(proto::status::StatusCode::Unset, proto::Status::code);
    Span {
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_span_id: id(&span.parent_span_id),
        parent_is_remote: has(ContextHasIsRemoteMask).then(|| has(ContextIsRemoteMask)),
        kind: kind(span.kind()),
        flags: trace_flags(span.flags),
        trace_state: span.trace_state,
        start_nanos: span.start_time_unix_nano,
        end_nanos: span.end_time_unix_nano,
        status: match status {
            proto::status::StatusCode::Unset => "unset",
            proto::status::StatusCode::Ok => "ok",
            proto::status::StatusCode::Error => "error",
        },
        is_error: status == proto::status::StatusCode::Error,
        status_message: span.status.map(|status| status.message).unwrap_or_default(),
        name: span.name,
        service: service(resource),
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(event).collect(),
        links: span.links.into_iter().map(link).collect(),
        dropped: [span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count],
        scope: scope.clone(),
        resource: resource.clone(),
    }
}

fn event(event: proto::span::Event) -> SpanEvent {
    SpanEvent { name: event.name, time_nanos: event.time_unix_nano, attributes: attributes(event.attributes) }
}

fn link(link: proto::span::Link) -> SpanLink {
    SpanLink {
        trace_id: hex(&link.trace_id),
        span_id: hex(&link.span_id),
        trace_state: link.trace_state,
        flags: trace_flags(link.flags),
        attributes: attributes(link.attributes),
    }
}

fn kind(kind: proto::span::SpanKind) -> &'static str {
    use proto::span::SpanKind;
    match kind {
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
        SpanKind::Internal | SpanKind::Unspecified => "internal",
    }
}

/// The lowest eight bits are those of W3C trace context.
pub(super) fn trace_flags(flags: u32) -> u8 {
    flags.to_le_bytes()[0]
}
