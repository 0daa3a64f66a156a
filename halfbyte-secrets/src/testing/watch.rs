//! Looks at all events and spans, of all levels, as the code makes them.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use secrecy::zeroize::Zeroizing;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Who is shown what is found in the log.
pub(super) trait Look: Send + Sync + 'static {
    fn look(&self, bytes: &[u8], place: &dyn Fn() -> String);
}

pub(super) struct Watch<L> {
    look: L,
    last: AtomicU64,
    spans: Mutex<HashMap<u64, &'static Metadata<'static>>>,
}

impl<L: Look> Watch<L> {
    /// Shows all of it to `look`.
    pub(super) fn new(look: L) -> Self {
        Self { look, last: AtomicU64::new(0), spans: Mutex::default() }
    }

    fn looking(&self, metadata: &'static Metadata<'static>) -> Looking<'_> {
        Looking { look: &self.look, metadata }
    }
}

impl<L: Look> Subscriber for Watch<L> {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let metadata = attributes.metadata();
        attributes.record(&mut self.looking(metadata));
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).insert(id, metadata);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let metadata = self.spans.lock().unwrap_or_else(PoisonError::into_inner).get(&span.into_u64()).copied();
        if let Some(metadata) = metadata {
            values.record(&mut self.looking(metadata));
        }
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.looking(event.metadata()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Looking<'a> {
    look: &'a dyn Look,
    metadata: &'static Metadata<'static>,
}

impl Looking<'_> {
    fn bytes(&mut self, field: &Field, bytes: &[u8]) {
        self.look.look(bytes, &|| {
            let (what, field) = (if self.metadata.is_span() { "span" } else { "event" }, field.name());
            let (target, level) = (self.metadata.target(), self.metadata.level());
            let at = fmt::from_fn(|f| match (self.metadata.file(), self.metadata.line()) {
                (Some(file), Some(line)) => write!(f, " at {file}:{line}"),
                _ => Ok(()),
            });
            let name = if self.metadata.is_span() { format!(" {}", self.metadata.name()) } else { String::new() };
            format!("the log: field `{field}` of the {level} {what}{name}{at} (target {target})")
        });
    }

    fn shown(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Zeroizing::new(String::new());
        let _cut = text.write_fmt(value);
        self.bytes(field, text.as_bytes());
    }
}

impl Visit for Looking<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.shown(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.bytes(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut next = Some(value);
        while let Some(error) = next {
            self.shown(field, format_args!("{error} {error:?}"));
            next = error.source();
        }
    }
}
