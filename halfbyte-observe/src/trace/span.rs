use std::borrow::Cow;
use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{KeyValue, trace};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLimits, SpanLinks};

use super::Source;

/// What a span has from its beginning.
pub(crate) struct Beginning {
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: SpanKind,
    /// Now, if it is not said.
    pub(crate) at: Option<SystemTime>,
    pub(crate) attributes: Vec<KeyValue>,
    /// What it is linked to.
    pub(crate) link: Option<SpanContext>,
}

impl Beginning {
    /// Of a span that starts now and has no more than that.
    pub(crate) fn of(name: Cow<'static, str>, kind: SpanKind) -> Self {
        Self { name, kind, at: None, attributes: Vec::new(), link: None }
    }
}

/// A span that is recorded, within the limits of its pipeline. It ends once: when it is told to, or when it is dropped.
/// One that ends after its pipeline did goes nowhere.
#[derive(Debug)]
pub(crate) struct Span {
    source: Arc<Source>,
    context: SpanContext,
    // What follows is empty once it has ended.
    has_ended: bool,
    parent_is_remote: bool,
    parent: SpanId,
    kind: SpanKind,
    dropped_attributes: u32,
    name: Cow<'static, str>,
    start: SystemTime,
    attributes: Vec<KeyValue>,
    rest: Option<Box<Rest>>,
}

/// What few spans have: a span is moved about, so it is kept small.
#[derive(Debug, Default)]
struct Rest {
    events: SpanEvents,
    links: SpanLinks,
    status: Status,
}

impl Span {
    #[inline]
    pub(super) fn new(
        source: &Arc<Source>,
        context: SpanContext,
        parent: Option<&SpanContext>,
        beginning: Beginning,
    ) -> Self {
        let Beginning { name, kind, at, mut attributes, link } = beginning;
        let limits = &source.pipeline.limits;
        let dropped_attributes = cut(&mut attributes, limits.max_attributes_per_span);
        let rest = link.map(|link| {
            let mut links = SpanLinks::default();
            add(&mut links, limits, link, Vec::new());
            Box::new(Rest { links, ..Rest::default() })
        });
        Self {
            source: source.clone(),
            context,
            has_ended: false,
            parent_is_remote: parent.is_some_and(SpanContext::is_remote),
            parent: parent.map_or(SpanId::INVALID, SpanContext::span_id),
            kind,
            dropped_attributes,
            name,
            start: at.unwrap_or_else(opentelemetry::time::now),
            attributes,
            rest,
        }
    }

    fn finish(&mut self, at: Option<SystemTime>) {
        if mem::replace(&mut self.has_ended, true) {
            return;
        }
        let source = &self.source;
        // The value is made in place, where it is needed, since it is large.
        if let Some(chain) = source.pipeline.chain.as_ref().filter(|_| !source.pipeline.is_shut_down()) {
            let Rest { events, links, status } = self.rest.take().map_or_else(Rest::default, |rest| *rest);
            chain.on_end(SpanData {
                span_context: self.context.clone(),
                parent_span_id: self.parent,
                parent_span_is_remote: self.parent_is_remote,
                span_kind: mem::replace(&mut self.kind, SpanKind::Internal),
                name: mem::take(&mut self.name),
                start_time: self.start,
                end_time: at.unwrap_or_else(opentelemetry::time::now),
                attributes: mem::take(&mut self.attributes),
                dropped_attributes_count: self.dropped_attributes,
                events,
                links,
                status,
                instrumentation_scope: source.scope.clone(),
            });
        }
    }
}

/// As long as it may be; answers how many that costs.
fn cut(attributes: &mut Vec<KeyValue>, most: u32) -> u32 {
    let dropped = attributes.len().saturating_sub(most as usize);
    if dropped > 0 {
        attributes.truncate(most as usize);
    }
    u32::try_from(dropped).unwrap_or(u32::MAX)
}

fn add(links: &mut SpanLinks, limits: &SpanLimits, context: SpanContext, mut attributes: Vec<KeyValue>) {
    if links.links.len() < limits.max_links_per_span as usize {
        let dropped = cut(&mut attributes, limits.max_attributes_per_link);
        links.links.push(Link::new(context, attributes, dropped));
    } else {
        links.dropped_count += 1;
    }
}

impl trace::Span for Span {
    fn span_context(&self) -> &SpanContext {
        &self.context
    }

    fn is_recording(&self) -> bool {
        !self.has_ended
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        if self.has_ended {
            return;
        }
        if self.attributes.len() < self.source.pipeline.limits.max_attributes_per_span as usize {
            self.attributes.push(attribute);
        } else {
            self.dropped_attributes += 1;
        }
    }

    fn set_status(&mut self, status: Status) {
        // Ok goes before Error, and Error before Unset.
        if self.has_ended {
            return;
        }
        let rest = self.rest.get_or_insert_default();
        if status > rest.status {
            rest.status = status;
        }
    }

    fn update_name<T: Into<Cow<'static, str>>>(&mut self, name: T) {
        if !self.has_ended {
            self.name = name.into();
        }
    }

    fn add_event_with_timestamp<T: Into<Cow<'static, str>>>(
        &mut self,
        name: T,
        at: SystemTime,
        mut attributes: Vec<KeyValue>,
    ) {
        if self.has_ended {
            return;
        }
        let (limits, events) = (&self.source.pipeline.limits, &mut self.rest.get_or_insert_default().events);
        if events.len() < limits.max_events_per_span as usize {
            let dropped = cut(&mut attributes, limits.max_attributes_per_event);
            events.events.push(Event::new(name, at, attributes, dropped));
        } else {
            events.dropped_count += 1;
        }
    }

    fn add_link(&mut self, context: SpanContext, attributes: Vec<KeyValue>) {
        if !self.has_ended {
            add(&mut self.rest.get_or_insert_default().links, &self.source.pipeline.limits, context, attributes);
        }
    }

    fn end_with_timestamp(&mut self, at: SystemTime) {
        self.finish(Some(at));
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.finish(None);
    }
}
