//! What an event is to the meters that count events of its type.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::decimal::{DecimalFault, MAX_UNITS, scaled};
use super::{Measured, Measurement};
use crate::catalog::{Aggregation, Filter, Meter};
use crate::event::EventError;
use crate::event::json::{Object, Text};

/// How long the value of a dimension may be, in bytes: there is a row for each.
const MAX_DIMENSION: usize = 128;
/// How long a value may be of which the different ones are counted, in bytes.
const MAX_UNIQUE: usize = 256;

/// What an event of type `kind` with `data` is to those of `meters` that count it. `data` is read once for all of them.
///
/// Filters and dimensions go by the text of a member: texts as they are, numbers and booleans as they are written. A
/// member that is `null` is as good as none; one that is an object or an array passes no filter.
pub(crate) fn measure<'m>(
    meters: impl Iterator<Item = &'m Meter>,
    kind: &str,
    data: &str,
) -> Result<Vec<Measurement>, EventError> {
    let mut meters = meters.filter(|meter| &*meter.event == kind).peekable();
    if meters.peek().is_none() {
        return Ok(Vec::new());
    }
    let members = match data {
        "" => Object::default(),
        data => Object::parse(data).map_err(|fault| EventError::new("data", fault.to_string()))?,
    };
    meters
        .filter(|meter| meter.filters.iter().all(|filter| passes(filter, &members)))
        .map(|meter| {
            let value = value(meter, &members)?;
            Ok(Measurement { meter: meter.name.clone(), dimensions: dimensions(meter, &members)?, value })
        })
        .collect()
}

fn passes(filter: &Filter, members: &Object<'_>) -> bool {
    let text = members.get(&filter.property).and_then(text_of);
    text.is_some_and(|text| filter.any_of.iter().any(|allowed| **allowed == *text))
}

/// The values of the meter's dimensions as a JSON array of texts; empty for a meter without.
fn dimensions(meter: &Meter, members: &Object<'_>) -> Result<Box<str>, EventError> {
    if meter.group_by.is_empty() {
        return Ok(Box::default());
    }
    let values = meter.group_by.iter().map(|name| match members.get(name) {
        None => Ok(Cow::Borrowed("")),
        Some(raw) => bounded(meter, name, raw, MAX_DIMENSION, "is grouped by it"),
    });
    let values: Vec<Cow<'_, str>> = values.collect::<Result<_, _>>()?;
    Ok(serde_json::to_string(&values).expect("texts have no part that JSON lacks").into())
}

fn value(meter: &Meter, members: &Object<'_>) -> Result<Measured, EventError> {
    if meter.aggregation == Aggregation::Count {
        return Ok(Measured::Amount(1));
    }
    let raw = members.get(&meter.value).ok_or_else(|| fault(meter, "missing", "counts by it; send it"))?;
    match meter.aggregation {
        Aggregation::Unique => {
            let text = bounded(meter, &meter.value, raw, MAX_UNIQUE, "counts its different values")?;
            Ok(Measured::Unique(text.into()))
        }
        Aggregation::TimeWeighted => Ok(Measured::Level(amount(meter, raw)?)),
        Aggregation::Sum => match amount(meter, raw)? {
            amount @ 0.. => Ok(Measured::Amount(amount)),
            _ => Err(fault(meter, "negative", "only adds up; take an event back by voiding or amending it")),
        },
        _ => Ok(Measured::Amount(amount(meter, raw)?)),
    }
}

fn amount(meter: &Meter, raw: &RawValue) -> Result<i64, EventError> {
    let text = match raw.get().as_bytes() {
        [b'{' | b'[' | b't' | b'f', ..] => None,
        _ => text_of(raw),
    };
    let amount = text.ok_or(DecimalFault::NoNumber).and_then(|text| scaled(&text, meter.decimals));
    amount.map_err(|wrong| match (wrong, meter.decimals) {
        (DecimalFault::NoNumber, _) => fault(meter, "not a number", "counts by it; send one such as 1.25 or \"1.25\""),
        (DecimalFault::TooFine, 0) => fault(meter, "not a whole number", "counts whole units; round it"),
        (DecimalFault::TooFine, decimals) => {
            fault(meter, "too fine", &format!("counts {decimals} digits after the point; round it to as many"))
        }
        (DecimalFault::TooLarge, _) => {
            fault(meter, "too large", &format!("takes at most {MAX_UNITS} of its smallest unit in one event"))
        }
    })
}

/// The text of a member, if it is at most `max` bytes long and fit for tables.
fn bounded<'a>(
    meter: &Meter,
    name: &str,
    raw: &'a RawValue,
    max: usize,
    why: &str,
) -> Result<Cow<'a, str>, EventError> {
    let wrong = match text_of(raw) {
        None => "not a text, a number, true or false".to_owned(),
        Some(text) if text.len() > max => format!("longer than {max} bytes"),
        Some(text) if text.contains(char::is_control) => "a text with control characters".to_owned(),
        Some(text) => return Ok(text),
    };
    Err(EventError::of_member(name, format!("{wrong}, and the meter `{}` {why}", meter.name)))
}

/// A text as it is, a number or a boolean as it is written.
fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    match raw.get().as_bytes().first()? {
        b'"' => Text::of(raw),
        b'{' | b'[' => None,
        _ => Some(Cow::Borrowed(raw.get())),
    }
}

fn fault(meter: &Meter, wrong: &str, why: &str) -> EventError {
    EventError::of_member(&meter.value, format!("{wrong}, and the meter `{}` {why}", meter.name))
}

#[cfg(test)]
mod tests {
    use halfbyte_core::ProductId;
    use proptest::prelude::*;

    use super::*;

    fn meter(aggregation: Aggregation, decimals: u8) -> Meter {
        Meter {
            name: "pages".into(),
            product: ProductId::new("printer").unwrap(),
            unit: "page".into(),
            event: "printer.pages".into(),
            aggregation,
            value: "n".into(),
            decimals,
            group_by: Box::default(),
            filters: Box::default(),
        }
    }

    fn filter(property: &str, any_of: &[&str]) -> Filter {
        Filter { property: property.into(), any_of: any_of.iter().map(|text| (*text).into()).collect() }
    }

    fn one(meter: &Meter, data: &str) -> Result<Measured, EventError> {
        let mut measured = measure([meter].into_iter(), "printer.pages", data)?;
        assert_eq!(measured.len(), 1);
        Ok(measured.remove(0).value)
    }

    fn refusal(meter: &Meter, data: &str) -> String {
        one(meter, data).expect_err(data).to_string()
    }

    #[test]
    fn each_aggregation_takes_its_value() {
        let data = r#"{"n":"1.5"}"#;
        for (aggregation, value) in [
            (Aggregation::Count, Measured::Amount(1)),
            (Aggregation::Sum, Measured::Amount(150)),
            (Aggregation::Min, Measured::Amount(150)),
            (Aggregation::Max, Measured::Amount(150)),
            (Aggregation::Latest, Measured::Amount(150)),
            (Aggregation::Unique, Measured::Unique("1.5".into())),
            (Aggregation::TimeWeighted, Measured::Level(150)),
        ] {
            assert_eq!(one(&meter(aggregation, 2), data), Ok(value), "{aggregation:?}");
        }
    }

    #[test]
    fn a_number_is_worth_the_same_as_its_text_and_no_float_comes_between() {
        let sum = meter(Aggregation::Sum, 2);
        for data in [r#"{"n":9007199254740.93}"#, r#"{"n":"9007199254740.93"}"#, r#"{"n":900719925474093e-2}"#] {
            assert_eq!(one(&sum, data), Ok(Measured::Amount(900_719_925_474_093)), "{data}");
        }
    }

    #[test]
    fn a_count_needs_no_value() {
        assert_eq!(one(&meter(Aggregation::Count, 0), ""), Ok(Measured::Amount(1)));
    }

    #[test]
    fn a_value_that_is_missing_is_refused_by_its_name_and_meter() {
        let sum = meter(Aggregation::Sum, 0);
        let refused = "data.n: missing, and the meter `pages` counts by it; send it";
        for data in ["", "{}", r#"{"n":null}"#, r#"{"N":1}"#] {
            assert_eq!(refusal(&sum, data), refused);
        }
    }

    #[test]
    fn a_value_that_is_no_amount_is_refused_without_repeating_it() {
        let sum = meter(Aggregation::Sum, 2);
        for (data, says) in [
            (r#"{"n":1.234}"#, "counts 2 digits after the point"),
            (r#"{"n":1E400}"#, "too large"),
            (r#"{"n":"4711a"}"#, "not a number"),
            (r#"{"n":true}"#, "not a number"),
            (r#"{"n":[4711]}"#, "not a number"),
            (r#"{"n":{"a":4711}}"#, "not a number"),
            (r#"{"n":-4711}"#, "negative"),
            (r#"{"n":-0.01}"#, "negative"),
        ] {
            let refusal = refusal(&sum, data);
            assert!(refusal.contains(says), "{data}: {refusal}");
            assert!(!refusal.contains("4711") && !refusal.contains("1.234") && !refusal.contains("E400"), "{refusal}");
        }
        assert!(refusal(&meter(Aggregation::Sum, 0), r#"{"n":0.5}"#).contains("not a whole number"));
        assert_eq!(one(&sum, r#"{"n":-0}"#), Ok(Measured::Amount(0)));
        for aggregation in [Aggregation::Min, Aggregation::Max, Aggregation::Latest] {
            assert_eq!(one(&meter(aggregation, 0), r#"{"n":-3}"#), Ok(Measured::Amount(-3)));
        }
    }

    #[test]
    fn an_event_counts_only_where_every_filter_has_its_text() {
        let mut meter = meter(Aggregation::Count, 0);
        meter.filters = Box::new([filter("colour", &["true", "some"]), filter("tray", &["2"])]);
        let counts = |data: &str| !measure([&meter].into_iter(), "printer.pages", data).unwrap().is_empty();
        assert!(counts(r#"{"colour":true,"tray":2}"#));
        assert!(counts(r#"{"colour":"some","tray":"2"}"#));
        assert!(counts(r#"{"colour":"s\u006fme","tray":"2"}"#));
        for data in [
            "",
            r#"{"colour":true}"#,
            r#"{"colour":false,"tray":2}"#,
            r#"{"colour":true,"tray":2.0}"#,
            r#"{"colour":["true"],"tray":2}"#,
            r#"{"colour":null,"tray":2}"#,
        ] {
            assert!(!counts(data), "{data}");
        }
    }

    #[test]
    fn what_a_filter_leaves_out_needs_no_value() {
        let mut sum = meter(Aggregation::Sum, 0);
        sum.filters = Box::new([filter("colour", &["true"])]);
        assert_eq!(measure([&sum].into_iter(), "printer.pages", r#"{"colour":false}"#), Ok(Vec::new()));
    }

    #[test]
    fn dimensions_are_texts_in_the_order_of_the_meter() {
        let mut meter = meter(Aggregation::Count, 0);
        meter.group_by = ["tray", "user", "colour"].map(Into::into).into();
        let dimensions =
            |data: &str| measure([&meter].into_iter(), "printer.pages", data).map(|all| all[0].dimensions.to_string());
        assert_eq!(
            dimensions(r#"{"colour":true,"tray":2,"user":"Zoë \"Z\""}"#).unwrap(),
            r#"["2","Zoë \"Z\"","true"]"#
        );
        assert_eq!(dimensions(r#"{"user":null}"#).unwrap(), r#"["","",""]"#);
        let long = |length| format!(r#"{{"user":"{}"}}"#, "x".repeat(length));
        assert!(dimensions(&long(128)).is_ok());
        assert!(dimensions(&long(129)).unwrap_err().to_string().contains("data.user: longer than 128 bytes"));
        assert!(dimensions(r#"{"user":{}}"#).is_err());
        assert!(dimensions(r#"{"user":"a\u001bb"}"#).is_err());
    }

    #[test]
    fn a_unique_value_is_bounded() {
        let unique = meter(Aggregation::Unique, 0);
        let long = |length| format!(r#"{{"n":"{}"}}"#, "é".repeat(length));
        assert!(one(&unique, &long(128)).is_ok());
        assert!(one(&unique, &long(129)).is_err());
        assert_eq!(one(&unique, r#"{"n":7}"#), Ok(Measured::Unique("7".into())));
    }

    #[test]
    fn only_meters_of_the_type_count() {
        let meter = meter(Aggregation::Sum, 0);
        assert_eq!(measure([&meter].into_iter(), "printer.scans", "{}"), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn no_data_makes_it_panic(data in ".{0,60}|\\{\"n\":[-0-9.eE\"tf\\[\\]{}]{0,20}\\}") {
            for aggregation in [Aggregation::Sum, Aggregation::Unique, Aggregation::Latest, Aggregation::TimeWeighted] {
                let mut meter = meter(aggregation, 3);
                meter.group_by = Box::new(["n".into()]);
                _ = measure([&meter].into_iter(), "printer.pages", &data);
            }
        }
    }
}
