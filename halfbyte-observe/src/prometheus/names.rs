//! Names and labels as Prometheus has them, by the specification's "Prometheus and OpenMetrics Compatibility".

use std::collections::BTreeMap;
use std::fmt::Write as _;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

use super::family::Kind;

/// The name of the family, without the `_total` of a counter.
pub(super) fn family(name: &str, unit: &str, kind: Kind) -> String {
    let mut family = legal(name, true);
    if kind == Kind::Counter
        && let Some(stem) = family.strip_suffix("_total")
    {
        family.truncate(stem.len());
    }
    if !unit.is_empty() && family != unit && !family.ends_with(&format!("_{unit}")) {
        // A name may not end in two.
        family.truncate(family.trim_end_matches('_').len());
        let _never_fails = write!(family, "_{unit}");
    }
    family
}

/// The word for a unit of UCUM; empty for one that is none, such as `{request}`.
pub(super) fn unit(ucum: &str, kind: Kind) -> String {
    if ucum == "1" {
        return if kind == Kind::Gauge { "ratio".to_owned() } else { String::new() };
    }
    let bare = without_annotations(ucum);
    let (what, per) = match bare.split_once('/') {
        Some((what, per)) => (what, Some(per)),
        None => (&*bare, None),
    };
    let what = plural(what);
    match per.map(singular) {
        Some(per) if !per.is_empty() && what.is_empty() => format!("per_{per}"),
        Some(per) if !per.is_empty() => format!("{what}_per_{per}"),
        _ => what,
    }
}

fn without_annotations(unit: &str) -> String {
    let mut inside = false;
    let kept = unit.chars().filter(|letter| {
        inside |= *letter == '{';
        let keep = !inside;
        inside &= *letter != '}';
        keep
    });
    kept.collect()
}

fn plural(unit: &str) -> String {
    let word = match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" | "kBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        other => return legal(other, false).trim_matches('_').to_owned(),
    };
    word.to_owned()
}

fn singular(unit: &str) -> String {
    let word = match unit {
        "s" => "second",
        "min" => "minute",
        "h" => "hour",
        "d" => "day",
        "wk" => "week",
        "mo" => "month",
        "a" => "year",
        "m" => "meter",
        other => return legal(other, false).trim_matches('_').to_owned(),
    };
    word.to_owned()
}

/// With one underscore in place of each run of what may not stand in a name; only metrics have colons.
fn legal(name: &str, colons: bool) -> String {
    let mut legal = String::with_capacity(name.len() + 1);
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        legal.push('_');
    }
    for letter in name.chars() {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' => legal.push(letter),
            ':' if colons => legal.push(':'),
            _ if legal.ends_with('_') => {}
            _ => legal.push('_'),
        }
    }
    if legal.is_empty() {
        legal.push('_');
    }
    legal
}

/// `name="value"` pairs between commas, in the order of their names, escaped. Attributes that come out as the same name
/// share it, with semicolons between their values; one of those that are `taken` is `exported_` something.
pub(super) fn labels<'a>(attributes: impl Iterator<Item = (&'a str, &'a AnyValue)>, taken: &[&str]) -> String {
    let mut attributes: Vec<_> = attributes.collect();
    attributes.sort_unstable_by_key(|(key, _)| *key);
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in attributes {
        let mut name = legal(key, false);
        if taken.contains(&&*name) {
            name = format!("exported_{name}");
        }
        match by_name.get_mut(&name) {
            Some(values) => {
                values.push(';');
                values.push_str(&text(value));
            }
            None => _ = by_name.insert(name, text(value)),
        }
    }
    let mut labels = String::new();
    for (name, value) in by_name {
        let separator = if labels.is_empty() { "" } else { "," };
        let _never_fails = write!(labels, "{separator}{name}=\"");
        escape(&mut labels, &value, true);
        labels.push('"');
    }
    labels
}

/// Escapes what a line or a quoted text may not hold.
pub(super) fn escape(into: &mut String, text: &str, quotes: bool) {
    for letter in text.chars() {
        match letter {
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '"' if quotes => into.push_str("\\\""),
            other => into.push(other),
        }
    }
}

/// The attributes of something, as [`labels`] takes them.
pub(super) fn pairs(attributes: &[KeyValue]) -> impl Iterator<Item = (&str, &AnyValue)> {
    attributes.iter().filter_map(|pair| Some((pair.key.as_str(), pair.value.as_ref()?)))
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(_) => json(value).to_string(),
        None => String::new(),
    }
}

fn json(value: &AnyValue) -> serde_json::Value {
    match &value.value {
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::BoolValue(yes)) => (*yes).into(),
        Some(Value::IntValue(number)) => (*number).into(),
        Some(Value::DoubleValue(number)) => (*number).into(),
        Some(Value::ArrayValue(array)) => array.values.iter().map(json).collect(),
        Some(Value::KvlistValue(list)) => {
            pairs(&list.values).map(|(key, value)| (key.to_owned(), json(value))).collect()
        }
        // What no attribute of a metric can be.
        Some(Value::BytesValue(_) | Value::StringValueStrindex(_)) | None => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, ucum: &str, kind: Kind) -> String {
        family(name, &unit(ucum, kind), kind)
    }

    #[test]
    fn a_family_is_named_by_the_specification() {
        use Kind::{Counter, Gauge, Histogram};
        for (name, ucum, kind, expected) in [
            ("http.server.request.duration", "s", Histogram, "http_server_request_duration_seconds"),
            ("http.server.active_requests", "{request}", Gauge, "http_server_active_requests"),
            ("memory.used", "By", Gauge, "memory_used_bytes"),
            ("already_bytes", "By", Gauge, "already_bytes"),
            ("seconds_since", "s", Gauge, "seconds_since_seconds"),
            ("requests_total", "1", Counter, "requests"),
            ("time.total", "s", Counter, "time_seconds"),
            ("cpu.utilization", "1", Gauge, "cpu_utilization_ratio"),
            ("fill", "%", Gauge, "fill_percent"),
            ("speed", "m/s", Gauge, "speed_meters_per_second"),
            ("rate", "{request}/s", Gauge, "rate_per_second"),
            ("batch", "By/{batch}", Gauge, "batch_bytes"),
            ("odd", "widgets", Gauge, "odd_widgets"),
            ("(lambda).function.executions(#)", "", Counter, "_lambda_function_executions_"),
            ("(x)", "s", Gauge, "_x_seconds"),
            ("3rd", "", Gauge, "_3rd"),
            ("a::b", "", Gauge, "a::b"),
            ("größe", "", Gauge, "gr_e"),
            ("", "", Gauge, "_"),
        ] {
            assert_eq!(named(name, ucum, kind), expected, "{name} {ucum}");
        }
    }

    fn label(key: &str, value: Value) -> (String, AnyValue) {
        (key.to_owned(), AnyValue { value: Some(value) })
    }

    fn labelled(attributes: &[(String, AnyValue)], taken: &[&str]) -> String {
        labels(attributes.iter().map(|(key, value)| (key.as_str(), value)), taken)
    }

    #[test]
    fn labels_are_sorted_escaped_and_those_that_clash_are_joined() {
        let string = |text: &str| Value::StringValue(text.to_owned());
        let attributes = [
            label("z", Value::IntValue(-7)),
            label("a_b", string("second")),
            label("a.b", string("first")),
            label("path", string("C:\\x \"y\"\nz")),
            label("__name__", string("evil")),
            label("le", Value::DoubleValue(0.5)),
            label("ok", Value::BoolValue(true)),
        ];
        let expected = r#"_name_="evil",a_b="first;second",exported_le="0.5",ok="true",path="C:\\x \"y\"\nz",z="-7""#;
        assert_eq!(labelled(&attributes, &["le"]), expected);
    }
}
