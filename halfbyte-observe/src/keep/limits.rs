//! How much a span and a log record may hold, as the OpenTelemetry specification says ("Attribute Limits", "Span Limits",
//! "LogRecord Limits").

use halfbyte_core::config::Variables;
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_sdk::trace::{SpanData, SpanLimits};

use crate::Error;

/// How many attributes, events and links there may be, unless a variable says otherwise.
const COUNT: u32 = 128;
/// How deep values are shortened; what is deeper was removed by redaction.
const DEEPEST: usize = 32;

/// How much one span and one log record may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    spans: SpanLimits,
    span_value: Option<usize>,
    log_attributes: usize,
    log_value: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { spans: SpanLimits::default(), span_value: None, log_attributes: COUNT as usize, log_value: None }
    }
}

impl Limits {
    /// What the variables say; `OTEL_ATTRIBUTE_*` holds for what has no variable of its own.
    pub(crate) fn read(variables: &Variables) -> Result<Self, Error> {
        let read = |name| number(variables, name);
        let (count, length) = (read("OTEL_ATTRIBUTE_COUNT_LIMIT")?, read("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")?);
        let attributes = |name| Ok::<u32, Error>(read(name)?.or(count).unwrap_or(COUNT));
        let value = |name| Ok::<Option<usize>, Error>(read(name)?.or(length).map(|length| length as usize));
        Ok(Self {
            spans: SpanLimits {
                max_attributes_per_span: attributes("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT")?,
                max_events_per_span: read("OTEL_SPAN_EVENT_COUNT_LIMIT")?.unwrap_or(COUNT),
                max_links_per_span: read("OTEL_SPAN_LINK_COUNT_LIMIT")?.unwrap_or(COUNT),
                max_attributes_per_event: attributes("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT")?,
                max_attributes_per_link: attributes("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT")?,
            },
            span_value: value("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT")?,
            log_attributes: attributes("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT")? as usize,
            log_value: value("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT")?,
        })
    }

    /// What the SDK counts by itself.
    pub(crate) fn span_limits(&self) -> SpanLimits {
        self.spans
    }

    /// Shortens the values of a span, its events and its links.
    pub(crate) fn span(&self, span: &mut SpanData) {
        let Some(limit) = self.span_value else { return };
        let lists = [&mut span.attributes]
            .into_iter()
            .chain(span.events.events.iter_mut().map(|event| &mut event.attributes))
            .chain(span.links.links.iter_mut().map(|link| &mut link.attributes));
        for KeyValue { value, .. } in lists.flatten() {
            match value {
                Value::String(text) => shorten_value(text, limit),
                Value::Array(Array::String(texts)) => texts.iter_mut().for_each(|text| shorten_value(text, limit)),
                _ => {}
            }
        }
    }

    /// Drops the attributes of a record that are too many, and shortens the values of the others. The body stays: it is no
    /// attribute.
    pub(crate) fn log(&self, record: &mut LogRecord) {
        let dropped = record.attributes.len().saturating_sub(self.log_attributes);
        if dropped > 0 {
            record.attributes.truncate(self.log_attributes);
            let dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
            record.dropped_attributes_count = record.dropped_attributes_count.saturating_add(dropped);
        }
        if let Some(limit) = self.log_value {
            let values = record.attributes.iter_mut().filter_map(|attribute| attribute.value.as_mut());
            values.for_each(|value| shorten_any(value, limit, DEEPEST));
        }
    }
}

/// Counts characters, not bytes.
fn end_of(text: &str, limit: usize) -> Option<usize> {
    // A text has no more characters than bytes.
    if text.len() <= limit { None } else { text.char_indices().nth(limit).map(|(end, _)| end) }
}

fn shorten_value(value: &mut StringValue, limit: usize) {
    if let Some(end) = end_of(value.as_str(), limit) {
        *value = value.as_str()[..end].to_owned().into();
    }
}

fn shorten_any(any: &mut AnyValue, limit: usize, deep: usize) {
    match &mut any.value {
        Some(any_value::Value::StringValue(text)) => {
            if let Some(end) = end_of(text, limit) {
                text.truncate(end);
            }
        }
        Some(any_value::Value::BytesValue(bytes)) => bytes.truncate(limit),
        Some(any_value::Value::ArrayValue(array)) if deep > 0 => {
            array.values.iter_mut().for_each(|value| shorten_any(value, limit, deep - 1));
        }
        Some(any_value::Value::KvlistValue(list)) if deep > 0 => {
            let values = list.values.iter_mut().filter_map(|pair| pair.value.as_mut());
            values.for_each(|value| shorten_any(value, limit, deep - 1));
        }
        _ => {}
    }
}

fn number(variables: &Variables, name: &str) -> Result<Option<u32>, Error> {
    let Some(value) = variables.get(name) else { return Ok(None) };
    value
        .trim()
        .parse()
        .map(Some)
        .map_err(|_| Error::configuration(name, "must be a whole number from 0 to 4294967295"))
}

#[cfg(test)]
mod tests {
    use halfbyte_core::config::Config;
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValue as ProtoKeyValue};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;

    fn limits(variables: &[(&str, &str)]) -> Result<Limits, Error> {
        Limits::read(&Config::parse(variables.iter().copied()).unwrap().other)
    }

    #[test]
    fn every_variable_sets_its_own_limit_and_the_general_one_the_rest() {
        let counts = |variables: &[(&str, &str)]| {
            let limits = limits(variables).unwrap();
            let spans = limits.span_limits();
            [
                spans.max_attributes_per_span,
                spans.max_events_per_span,
                spans.max_links_per_span,
                spans.max_attributes_per_event,
                spans.max_attributes_per_link,
                limits.log_attributes as u32,
            ]
        };
        assert_eq!(counts(&[]), [128; 6]);
        let general = ("OTEL_ATTRIBUTE_COUNT_LIMIT", "9");
        assert_eq!(counts(&[general]), [9, 128, 128, 9, 9, 9]);
        for (variable, expected) in [
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", [0, 128, 128, 9, 9, 9]),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", [9, 0, 128, 9, 9, 9]),
            ("OTEL_SPAN_LINK_COUNT_LIMIT", [9, 128, 0, 9, 9, 9]),
            ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", [9, 128, 128, 0, 9, 9]),
            ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", [9, 128, 128, 9, 0, 9]),
            ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", [9, 128, 128, 9, 9, 0]),
        ] {
            assert_eq!(counts(&[general, (variable, "0")]), expected, "{variable}");
        }
        let lengths = |variables: &[(&str, &str)]| {
            let limits = limits(variables).unwrap();
            (limits.span_value, limits.log_value)
        };
        assert_eq!(lengths(&[]), (None, None));
        let general = ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "7");
        assert_eq!(lengths(&[general]), (Some(7), Some(7)));
        assert_eq!(lengths(&[general, ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5")]), (Some(5), Some(7)));
        assert_eq!(lengths(&[general, ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5")]), (Some(7), Some(5)));
    }

    #[test]
    fn what_is_no_number_is_refused_with_the_name_of_the_variable() {
        for bad in ["-1", "many", "1.5", "4294967296"] {
            let error = limits(&[("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", bad)]).unwrap_err();
            assert!(error.is_configuration(), "{bad}");
            assert_eq!(
                error.to_string(),
                "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT: must be a whole number from 0 to 4294967295"
            );
        }
    }

    #[test]
    fn values_of_a_span_are_shortened_by_characters_wherever_they_are() {
        let texts = |text: &str| {
            vec![
                KeyValue::new("a", text.to_owned()),
                KeyValue::new("b", Value::Array(Array::String(vec![text.to_owned().into(), "é".into()]))),
            ]
        };
        let mut span = crate::keep::testing::span(1, 1, None);
        span.attributes = texts("éèêë");
        span.attributes.push(KeyValue::new("n", 123_456));
        let event = opentelemetry::trace::Event::new("event", span.start_time, texts("äöüß"), 0);
        let mut events = SpanEvents::default();
        events.events.push(event);
        span.events = events;
        let mut links = SpanLinks::default();
        links.links.push(opentelemetry::trace::Link::new(span.span_context.clone(), texts("abcdef"), 0));
        span.links = links;
        limits(&[("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")]).unwrap().span(&mut span);
        assert_eq!(span.attributes[..2], texts("éèê"));
        assert_eq!(span.attributes[2].value, Value::I64(123_456));
        assert_eq!(span.events[0].attributes, texts("äöü"));
        assert_eq!(span.links[0].attributes, texts("abc"));
    }

    #[test]
    fn a_record_has_no_more_attributes_than_allowed_and_none_that_is_longer() {
        let any = |value| Some(AnyValue { value: Some(value) });
        let text = |text: &str| any_value::Value::StringValue(text.to_owned());
        let pair = |value| ProtoKeyValue { key: "k".to_owned(), value: any(value), ..ProtoKeyValue::default() };
        let nested = |value| any_value::Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value) }] });
        let record = |value: &str, bytes: &[u8]| LogRecord {
            body: any(text("a long body")),
            attributes: vec![
                pair(text(value)),
                pair(nested(text(value))),
                pair(any_value::Value::BytesValue(bytes.to_vec())),
            ],
            ..LogRecord::default()
        };
        let mut too_much = record("éèêë", &[1, 2, 3, 4]);
        too_much.attributes.extend([pair(text("")), pair(text(""))]);
        let limits =
            limits(&[("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"), ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "3")])
                .unwrap();
        limits.log(&mut too_much);
        assert_eq!(too_much, LogRecord { dropped_attributes_count: 2, ..record("éèê", &[1, 2, 3]) });
    }
}
