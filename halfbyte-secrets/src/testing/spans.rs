//! Looks at spans that code makes by the API of OpenTelemetry, while a test runs: whose a secret is, its canary says.

use std::borrow::Cow;
use std::sync::{Arc, Once};
use std::time::SystemTime;

use opentelemetry::global::{self, BoxedSpan, BoxedTracer, GlobalTracerProvider};
use opentelemetry::trace::{Span, SpanBuilder, SpanContext, Status, Tracer, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use secrecy::zeroize::Zeroize as _;

use super::findings;

/// Stands in front of the global provider from now on, for whatever is made by it later.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| global::set_tracer_provider(Watched(global::tracer_provider())));
}

struct Watched(GlobalTracerProvider);

struct WatchedTracer {
    inner: BoxedTracer,
    name: Arc<str>,
}

struct WatchedSpan {
    inner: BoxedSpan,
    place: String,
}

impl TracerProvider for Watched {
    type Tracer = WatchedTracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> WatchedTracer {
        let name = unless_secret(scope.name(), || "the name of a tracer of OpenTelemetry".to_owned());
        WatchedTracer { name: name.into(), inner: self.0.tracer_with_scope(scope) }
    }
}

impl Tracer for WatchedTracer {
    type Span = WatchedSpan;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> WatchedSpan {
        let place = place_of(&builder.name, &self.name);
        look_at_all(builder.attributes.as_deref().unwrap_or_default(), &place, "attribute");
        for event in builder.events.iter().flatten() {
            look_at_event(&event.name, &event.attributes, &place);
        }
        for link in builder.links.iter().flatten() {
            look_at_all(&link.attributes, &place, "attribute of a link");
        }
        WatchedSpan { inner: self.inner.build_with_context(builder, parent), place }
    }
}

impl Span for WatchedSpan {
    fn add_event_with_timestamp<T>(&mut self, name: T, timestamp: SystemTime, attributes: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
        let name = name.into();
        look_at_event(&name, &attributes, &self.place);
        self.inner.add_event_with_timestamp(name, timestamp, attributes);
    }

    fn span_context(&self) -> &SpanContext {
        self.inner.span_context()
    }

    /// So that code tells it all, and not only if somebody exports it.
    fn is_recording(&self) -> bool {
        findings::is_any_running() || self.inner.is_recording()
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        look_at_all(std::slice::from_ref(&attribute), &self.place, "attribute");
        self.inner.set_attribute(attribute);
    }

    fn set_status(&mut self, status: Status) {
        if let Status::Error { description } = &status {
            findings::look_for_all(description.as_bytes(), || format!("the status of {}", self.place));
        }
        self.inner.set_status(status);
    }

    fn update_name<T>(&mut self, name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        let name = name.into();
        findings::look_for_all(name.as_bytes(), || format!("the name of {}", self.place));
        self.inner.update_name(name);
    }

    fn add_link(&mut self, context: SpanContext, attributes: Vec<KeyValue>) {
        look_at_all(&attributes, &self.place, "attribute of a link");
        self.inner.add_link(context, attributes);
    }

    fn end_with_timestamp(&mut self, timestamp: SystemTime) {
        self.inner.end_with_timestamp(timestamp);
    }
}

fn place_of(name: &str, tracer: &str) -> String {
    let of = |name: &str| format!("the OpenTelemetry span{name} (tracer {tracer})");
    let found = findings::look_for_all(name.as_bytes(), || format!("the name of {}", of("")));
    if found { of("") } else { of(&format!(" {name}")) }
}

fn look_at_event(name: &str, attributes: &[KeyValue], place: &str) {
    findings::look_for_all(name.as_bytes(), || format!("the name of an event of {place}"));
    look_at_all(attributes, place, "attribute of an event");
}

fn look_at_all(attributes: &[KeyValue], place: &str, what: &str) {
    for KeyValue { key, value, .. } in attributes {
        let key = unless_secret(key.as_str(), || format!("the name of an {what} of {place}"));
        let text = value.as_str();
        findings::look_for_all(text.as_bytes(), || format!("the {what} `{key}` of {place}"));
        if let Cow::Owned(mut text) = text {
            text.zeroize();
        }
    }
}

/// A name that can be told, unless it has a secret in it, which is at `place` then.
fn unless_secret(name: &str, place: impl Fn() -> String) -> &str {
    if findings::look_for_all(name.as_bytes(), place) { "(secret)" } else { name }
}
