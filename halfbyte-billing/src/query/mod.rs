//! Questions about usage, and their answers as rows. Pure: the store reads what the answer is made of.

mod bucket;
mod chart;
mod table;
mod tabulate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use halfbyte_core::TenantId;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;

pub use self::bucket::Bucket;
pub use self::table::UsageTable;
#[cfg(test)]
pub(crate) use self::tabulate::tabulate;
pub(crate) use self::tabulate::{SlotRow, Tabulation};
use crate::period::slot_of;
use crate::{Error, ErrorKind, Period};

/// What a tenant used of a meter: in which time, by which dimensions, in buckets of which length.
///
/// ```
/// use halfbyte_billing::{Bucket, UsageQuery};
/// use halfbyte_core::TenantId;
/// use jiff::tz::TimeZone;
///
/// let acme = TenantId::new("acme")?;
/// let query = UsageQuery::new("pages", &acme)
///     .between("2026-11-01T00:00:00Z".parse()?, "2026-12-01T00:00:00Z".parse()?)
///     .group_by(&["colour"])
///     .filter("tray", "2")
///     .bucket(Bucket::Day)
///     .zone(TimeZone::get("Europe/Vienna")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Usage is kept by quarters of an hour, and the range is rounded down to whole ones. A level, of a meter whose
/// aggregation is [`TimeWeighted`](crate::Aggregation::TimeWeighted), is carried into the range from before it, and
/// counts until now: its value is units times seconds.
///
/// Without `group_by`, counts, sums, levels and numbers of different values have a row for every bucket, be it zero.
/// With it, and for what is no number while nothing was measured (a smallest, largest or latest value), there are rows
/// only where something was. An answer has at most 100,000 rows, and 10,000 buckets.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    meter: Box<str>,
    tenant: TenantId,
    range: Option<(Timestamp, Timestamp)>,
    group_by: Vec<Box<str>>,
    filters: BTreeMap<Box<str>, Vec<Box<str>>>,
    bucket: Bucket,
    zone: TimeZone,
}

impl UsageQuery {
    /// What `tenant` used of `meter`; in which time is to be said by [`period`](Self::period) or
    /// [`between`](Self::between). Everything is one row unless more is said.
    pub fn new(meter: &str, tenant: &TenantId) -> Self {
        Self {
            meter: meter.into(),
            tenant: tenant.clone(),
            range: None,
            group_by: Vec::new(),
            filters: BTreeMap::new(),
            bucket: Bucket::Whole,
            zone: TimeZone::UTC,
        }
    }

    /// In one period.
    #[must_use]
    pub fn period(self, period: Period) -> Self {
        self.between(period.start(), period.end())
    }

    /// From an instant on until another, both rounded down to quarters of an hour.
    #[must_use]
    pub fn between(mut self, from: Timestamp, until: Timestamp) -> Self {
        self.range = Some((from, until));
        self
    }

    /// A row for each combination of the values of these dimensions of the meter, instead of one for all.
    #[must_use]
    pub fn group_by(mut self, dimensions: &[&str]) -> Self {
        self.group_by = dimensions.iter().map(|name| (*name).into()).collect();
        self
    }

    /// Only what has `value` in a dimension. Said more than once, of one dimension any of the values will do, and every
    /// dimension must have one. What was measured without the dimension has the value `""`.
    #[must_use]
    pub fn filter(mut self, dimension: &str, value: &str) -> Self {
        self.filters.entry(dimension.into()).or_default().push(value.into());
        self
    }

    /// Cut into buckets of this length.
    #[must_use]
    pub fn bucket(mut self, bucket: Bucket) -> Self {
        self.bucket = bucket;
        self
    }

    /// The zone whose hours, days and months the buckets are, and in which a table shows times. UTC unless said.
    #[must_use]
    pub fn zone(mut self, zone: TimeZone) -> Self {
        self.zone = zone;
        self
    }

    pub(crate) fn meter(&self) -> &str {
        &self.meter
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Whether everything is one bucket.
    pub(crate) fn is_whole(&self) -> bool {
        self.bucket == Bucket::Whole
    }

    /// The slots that it is about, at least one.
    pub(crate) fn slots(&self) -> Result<Range<i64>, Error> {
        let Some((from, until)) = self.range else {
            return Err(Error::new(ErrorKind::Invalid, "the query has no time; say `period` or `between`"));
        };
        let slots = slot_of(from)..slot_of(until);
        if slots.is_empty() {
            let message =
                format!("from {from} until {until} there is no whole quarter of an hour; ask for a longer time");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(slots)
    }
}

/// What was used in one bucket by one combination of dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageRow {
    /// The beginning of the bucket, or of the range where that is later.
    pub start: Timestamp,
    /// The first instant after the bucket, or after the range where that is earlier.
    pub end: Timestamp,
    /// The values of what was grouped by.
    pub dimensions: BTreeMap<String, String>,
    /// In units of the meter, exact; a level in units times seconds, and how many different values as a whole number.
    pub value: Decimal,
}
