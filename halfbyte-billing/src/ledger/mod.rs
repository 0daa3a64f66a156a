//! Lots: amounts that can be used until they are used up or expire, and the order in which they are. Pure.

mod book;
mod lot;
#[cfg(test)]
pub(crate) mod model;
mod tranche;

use jiff::Timestamp;

pub(crate) use self::book::{Book, Parts};
pub(crate) use self::lot::Lot;
pub(crate) use self::tranche::tranche;

/// A lot as it should be: computed from an account and its plan, made in the store by whoever needs it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LotSpec {
    /// Which lot of the tenant's feature, such as `plan/2026-11-01T00:00:00Z` or `grant/welcome`.
    pub(crate) key: Box<str>,
    /// Smaller is burned first.
    pub(crate) priority: i32,
    pub(crate) effective: Timestamp,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) created: Timestamp,
    /// In the meter's smallest unit.
    pub(crate) amount: u64,
    /// What it takes over from the lot before it when it is made.
    pub(crate) rollover: Option<Rollover>,
    /// What is burned out of it is over what is included (grace).
    pub(crate) overage: bool,
}

impl LotSpec {
    /// Whether it can be burned at this instant, in microseconds since 1970.
    pub(crate) fn is_usable(&self, at: i64) -> bool {
        self.effective.as_microsecond() <= at && self.expires.is_none_or(|expires| at < expires.as_microsecond())
    }
}

/// What a new lot takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rollover {
    pub(crate) max: u64,
    /// The lots of the same sequence before it, newest first, as they should have been made: at most 24. One of them that
    /// has no rollover of its own takes over by the rule of the lot that lists it; one that took over nothing says so by
    /// a rollover of at most 0.
    pub(crate) previous: Vec<LotSpec>,
}
