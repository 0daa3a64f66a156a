//! How much memory a span takes, as far as it can be told without looking behind reference counts.

use std::mem::size_of;

use opentelemetry::trace::{Event, Link, Status};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SpanData;

pub(super) fn of(span: &SpanData) -> usize {
    let events = span.events.iter().map(|event| event.name.len() + attributes(&event.attributes));
    let links = span.links.iter().map(|link| attributes(&link.attributes));
    let description = match &span.status {
        Status::Error { description } => description.len(),
        _ => 0,
    };
    size_of::<SpanData>()
        + span.name.len()
        + description
        + attributes(&span.attributes)
        + span.attributes.capacity().saturating_sub(span.attributes.len()) * size_of::<KeyValue>()
        + span.events.len() * size_of::<Event>()
        + events.sum::<usize>()
        + span.links.len() * size_of::<Link>()
        + links.sum::<usize>()
}

fn attributes(attributes: &[KeyValue]) -> usize {
    size_of_val(attributes) + attributes.iter().map(|pair| pair.key.as_str().len() + value(&pair.value)).sum::<usize>()
}

fn value(value: &Value) -> usize {
    match value {
        Value::String(text) => text.as_str().len(),
        Value::Array(Array::Bool(values)) => values.len(),
        Value::Array(Array::I64(values)) => size_of_val(values.as_slice()),
        Value::Array(Array::F64(values)) => size_of_val(values.as_slice()),
        Value::Array(Array::String(values)) => {
            values.len() * size_of::<StringValue>() + values.iter().map(|text| text.as_str().len()).sum::<usize>()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_takes_at_least_what_its_texts_take() {
        let mut span = crate::keep::testing::span(1, 1, None);
        let empty = of(&span);
        let text = "x".repeat(1000);
        span.attributes = vec![
            KeyValue::new("one", text.clone()),
            KeyValue::new("more", Value::Array(Array::String(vec![text.clone().into(), text.clone().into()]))),
        ];
        span.name = text.clone().into();
        span.status = Status::error(text.clone());
        span.events.events.push(Event::new(text.clone(), span.start_time, vec![KeyValue::new("k", text.clone())], 0));
        span.links.links.push(Link::new(span.span_context.clone(), vec![KeyValue::new("k", text)], 0));
        assert!((8000..10_000).contains(&(of(&span) - empty)), "{}", of(&span) - empty);
    }
}
