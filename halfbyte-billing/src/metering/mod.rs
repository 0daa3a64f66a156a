//! From events to numbers: which meters count an event, and how values become usage. Pure.

#[cfg(test)]
mod aggregate;
mod decimal;
mod measure;

use std::sync::Arc;

pub(crate) use self::decimal::{MAX_UNITS, decimal};
pub(crate) use self::measure::measure;

/// What one event is to one meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measurement {
    pub(crate) meter: Arc<str>,
    /// The values of the meter's `group_by`, as a JSON array of texts; empty for a meter without.
    pub(crate) dimensions: Box<str>,
    pub(crate) value: Measured,
}

/// A measured value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// In the meter's smallest unit; 1 for a count.
    Amount(i64),
    /// A value of which only the different ones count.
    Unique(Box<str>),
    /// A level from the event's time on, in the meter's smallest unit.
    Level(i64),
}

/// What a meter measured in a stretch of time: everything that any aggregation needs. Stretches are merged in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Aggregate {
    pub(crate) count: i64,
    pub(crate) sum: i64,
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    pub(crate) latest: Option<Latest>,
    pub(crate) level: Option<Level>,
    /// Each different value with how often it came.
    pub(crate) unique: std::collections::BTreeMap<Box<str>, i64>,
}

/// The value of the event with the latest time; of several at one time, the one whose id sorts last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Latest {
    /// Microseconds since 1970.
    pub(crate) at: i64,
    /// `SOURCE\u{1f}ID`.
    pub(crate) tie: Box<str>,
    pub(crate) value: i64,
}

/// A level over time; where it ends, [`Aggregate::latest`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// When its first event was; microseconds since 1970.
    pub(crate) first_at: i64,
    /// Value times microseconds, from the first event to the latest.
    pub(crate) area: i128,
}
