use std::fmt;

use halfbyte_core::fingerprint;
use tracing::field::ValueSet;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::values::{Masked, is_secret};

/// Hands events and spans on to another layer, with live secrets masked in their messages and fields.
///
/// One in which nothing is found is handed on as it is. Otherwise another one takes its place, with the same metadata, parent
/// and fields: a text is a text without secrets, a number with a secret and what is `Debug` or `Display` is
/// `[REDACTED]` where the secret was, and an error is its message with those of all its sources.
///
/// Values are formatted to look at them, so a value that is slow to format is so once more. Filters belong around it, not
/// into it: `MaskLayer::new(layer).with_filter(filter)` looks at what passes the filter alone. The layer's
/// [`event_enabled`](Layer::event_enabled) sees events as they were. Names and targets are the program's own, and
/// stay.
///
/// # What a layer offers by downcasting
///
/// It is not offered on: that takes unsafe code, of which there is none here, so only the `MaskLayer` itself is found. To a layer
/// that writes, such as [`fmt`](tracing_subscriber::fmt::Layer), this is nothing. The one of `tracing-opentelemetry` exports
/// spans and events, masked, but its `OpenTelemetrySpanExt` does not find it: `set_parent` answers `LayerNotFound`, so that a
/// trace from elsewhere is not continued; `context` is empty; `set_attribute`, `set_status` and `add_link` do nothing. The
/// `SpanTrace` of `tracing-error` is empty for the same reason. Leave those layers as they are, and [`mask`](super::mask) in
/// the exporter; `halfbyte-observe` does so.
pub struct MaskLayer<L>(L);

impl<L> MaskLayer<L> {
    /// Masks for `layer`.
    pub fn new(layer: L) -> Self {
        Self(layer)
    }
}

impl<S, L> Layer<S> for MaskLayer<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !fingerprint::is_any() || !is_secret(|look| attributes.record(look)) {
            return self.0.on_new_span(attributes, id, context);
        }
        let metadata = attributes.metadata();
        Masked::of(metadata.fields(), |masked| attributes.record(masked)).with(metadata.fields(), |values| {
            self.0.on_new_span(&attributes_like(attributes, values), id, context);
        });
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if !fingerprint::is_any() || !is_secret(|look| record.record(look)) {
            return self.0.on_record(id, record, context);
        }
        // Of a span that nobody knows nothing is told.
        let Some(metadata) = context.metadata(id) else { return };
        Masked::of(metadata.fields(), |masked| record.record(masked)).with(metadata.fields(), |values| {
            self.0.on_record(id, &Record::new(values), context);
        });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !fingerprint::is_any() || !is_secret(|look| event.record(look)) {
            return self.0.on_event(event, context);
        }
        let metadata = event.metadata();
        Masked::of(metadata.fields(), |masked| event.record(masked)).with(metadata.fields(), |values| {
            self.0.on_event(&event_like(event, values), context);
        });
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        self.0.event_enabled(event, context)
    }

    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        self.0.on_register_dispatch(subscriber);
    }

    fn on_layer(&mut self, subscriber: &mut S) {
        self.0.on_layer(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.0.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.0.enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.0.max_level_hint()
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        self.0.on_follows_from(id, follows, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.0.on_close(id, context);
    }

    fn on_id_change(&self, old: &Id, new: &Id, context: Context<'_, S>) {
        self.0.on_id_change(old, new, context);
    }
}

fn event_like<'a>(event: &Event<'_>, values: &'a ValueSet<'a>) -> Event<'a> {
    if event.is_contextual() {
        Event::new(event.metadata(), values)
    } else {
        Event::new_child_of(event.parent().cloned(), event.metadata(), values)
    }
}

fn attributes_like<'a>(attributes: &Attributes<'_>, values: &'a ValueSet<'a>) -> Attributes<'a> {
    let metadata = attributes.metadata();
    match attributes.parent() {
        Some(parent) => Attributes::child_of(parent.clone(), metadata, values),
        None if attributes.is_root() => Attributes::new_root(metadata, values),
        None => Attributes::new(metadata, values),
    }
}

impl<L: fmt::Debug> fmt::Debug for MaskLayer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MaskLayer").field(&self.0).finish()
    }
}
