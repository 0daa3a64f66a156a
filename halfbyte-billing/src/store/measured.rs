//! What an event was to each meter, as it is kept beside the event.

use serde::{Deserialize, Serialize};

use super::SqlError;
use crate::metering::{Measured, Measurement};

/// The column `measured`: measurements, and for a correction the instant at which they count, which is not its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Kept {
    Plain(Vec<Part>),
    At(i64, Vec<Part>),
}

/// Meter, dimensions, value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part(pub(super) Box<str>, pub(super) Box<str>, Number);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Amount(i64),
    Level([i64; 1]),
    Unique(Box<str>),
}

impl Part {
    pub(super) fn value(&self) -> Measured {
        match &self.2 {
            Number::Amount(amount) => Measured::Amount(*amount),
            Number::Level([level]) => Measured::Level(*level),
            Number::Unique(text) => Measured::Unique(text.clone()),
        }
    }
}

impl Kept {
    pub(super) fn parse(text: &str) -> Result<Self, SqlError> {
        serde_json::from_str(text).map_err(SqlError::content)
    }

    /// When it counts, of an event that has `time`.
    pub(super) fn at(&self, time: i64) -> i64 {
        match self {
            Kept::Plain(_) => time,
            Kept::At(at, _) => *at,
        }
    }

    pub(super) fn parts(&self) -> &[Part] {
        match self {
            Kept::Plain(parts) | Kept::At(_, parts) => parts,
        }
    }
}

/// As text; `at` is said of a correction only.
pub(super) fn keep(measurements: &[Measurement], at: Option<i64>) -> Result<String, SqlError> {
    /// As [`Part`], of what is borrowed.
    #[derive(Serialize)]
    struct Borrowed<'a>(&'a str, &'a str, Value<'a>);

    #[derive(Serialize)]
    #[serde(untagged)]
    enum Value<'a> {
        Amount(i64),
        Level([i64; 1]),
        Unique(&'a str),
    }

    let parts: Vec<_> = measurements
        .iter()
        .map(|one| {
            let value = match &one.value {
                Measured::Amount(amount) => Value::Amount(*amount),
                Measured::Level(level) => Value::Level([*level]),
                Measured::Unique(text) => Value::Unique(text),
            };
            Borrowed(&one.meter, &one.dimensions, value)
        })
        .collect();
    match at {
        None => to_json(&parts),
        Some(at) => to_json(&(at, parts)),
    }
}

/// The parameter of a statement about many rows.
pub(super) fn to_json(rows: &impl Serialize) -> Result<String, SqlError> {
    serde_json::to_string(rows).map_err(SqlError::content)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn measurement() -> impl Strategy<Value = Measurement> {
        let value = prop_oneof![
            any::<i64>().prop_map(Measured::Amount),
            any::<i64>().prop_map(Measured::Level),
            any::<String>().prop_map(|text| Measured::Unique(text.into())),
        ];
        (any::<String>(), any::<String>(), value).prop_map(|(meter, dimensions, value)| Measurement {
            meter: meter.into(),
            dimensions: dimensions.into(),
            value,
        })
    }

    proptest! {
        #[test]
        fn what_is_kept_reads_as_it_was(
            measurements in proptest::collection::vec(measurement(), 0..4),
            at in proptest::option::of(any::<i64>()),
        ) {
            let kept = Kept::parse(&keep(&measurements, at).expect("text")).expect("what was kept");
            prop_assert_eq!(kept.at(7), at.unwrap_or(7));
            let read: Vec<_> = kept.parts().iter().map(|part| Measurement {
                meter: (*part.0).into(),
                dimensions: part.1.clone(),
                value: part.value(),
            }).collect();
            prop_assert_eq!(read, measurements);
        }
    }
}
