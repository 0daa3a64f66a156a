//! From what the store has of each slot to rows of usage.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::bucket::boundaries;
use super::{UsageQuery, UsageRow};
use crate::catalog::{Aggregation, Meter};
use crate::metering::{Aggregate, Latest};
use crate::period::{SLOT_MICROS, slot_start};
use crate::{Error, ErrorKind};

const MAX_BUCKETS: usize = 10_000;
const MAX_ROWS: usize = 100_000;

/// What was measured in a slot with one combination of dimensions.
#[derive(Clone, Debug)]
pub(crate) struct SlotRow {
    pub(crate) slot: i64,
    /// As in [`Measurement::dimensions`](crate::metering::Measurement::dimensions).
    pub(crate) dimensions: Box<str>,
    pub(crate) aggregate: Aggregate,
}

/// The answer to a query. `rows` are those of [`UsageQuery::slots`], in the order of slots; `carry` are the levels right
/// before, by all dimensions of the meter, of a meter that is weighted by time.
#[cfg(test)]
pub(crate) fn tabulate(
    meter: &Meter,
    query: &UsageQuery,
    now: Timestamp,
    rows: impl IntoIterator<Item = SlotRow>,
    carry: impl IntoIterator<Item = (Box<str>, i64)>,
) -> Result<Vec<UsageRow>, Error> {
    let mut tabulation = Tabulation::new(meter, query, now)?;
    for (dimensions, level) in carry {
        tabulation.carry(dimensions, level)?;
    }
    for row in rows {
        tabulation.push(row)?;
    }
    tabulation.finish()
}

/// The values of what is grouped by.
type Group = Arc<[Box<str>]>;

/// An answer in the making: of buckets that are over only the row is kept.
#[derive(Debug)]
pub(crate) struct Tabulation<'q> {
    meter: &'q Meter,
    /// The names of what is grouped by, and where they stand among the meter's dimensions.
    grouped: Vec<(&'q str, usize)>,
    filters: Vec<(usize, &'q [Box<str>])>,
    /// Slots: of each bucket its first, and the end of the last.
    boundaries: Vec<i64>,
    bucket: usize,
    /// Microseconds since 1970, as all times here.
    now: i64,
    /// Of each combination of dimensions that was seen its group; `None` if it is filtered out.
    seen: HashMap<Box<str>, Option<Group>>,
    /// What the bucket has so far.
    totals: BTreeMap<Group, Total>,
    /// The levels by all dimensions.
    levels: BTreeMap<Box<str>, Running>,
    rows: Vec<UsageRow>,
}

/// What a bucket comes to.
#[derive(Debug)]
enum Total {
    Number(i128),
    Latest(Latest),
    Unique(BTreeSet<Box<str>>),
}

/// A level that lasts.
#[derive(Debug)]
struct Running {
    group: Group,
    value: i64,
    /// Up to when it is counted.
    until: i64,
}

impl<'q> Tabulation<'q> {
    pub(crate) fn new(meter: &'q Meter, query: &'q UsageQuery, now: Timestamp) -> Result<Self, Error> {
        let position = |name: &str| {
            meter.group_by.iter().position(|dimension| **dimension == *name).ok_or_else(|| {
                let message = format!("the meter `{}` has no dimension `{name}`; add it to its `group_by`", meter.name);
                Error::new(ErrorKind::Catalog, message)
            })
        };
        let grouped = query.group_by.iter().map(|name| Ok((&**name, position(name)?)));
        let filters = query.filters.iter().map(|(name, values)| Ok((position(name)?, &**values)));
        let boundaries = boundaries(query.bucket, &query.zone, query.slots()?, MAX_BUCKETS);
        Ok(Self {
            meter,
            grouped: grouped.collect::<Result<_, Error>>()?,
            filters: filters.collect::<Result<_, Error>>()?,
            boundaries: boundaries.ok_or_else(|| too_much("buckets", MAX_BUCKETS))?,
            bucket: 0,
            now: now.as_microsecond(),
            seen: HashMap::new(),
            totals: BTreeMap::new(),
            levels: BTreeMap::new(),
            rows: Vec::new(),
        })
    }

    /// Adds a level that lasts when the range begins; before the first row. Other meters have none.
    pub(crate) fn carry(&mut self, dimensions: Box<str>, value: i64) -> Result<(), Error> {
        if self.meter.aggregation != Aggregation::TimeWeighted {
            return Ok(());
        }
        if let Some(group) = self.group_of(&dimensions)? {
            let until = slot_micros(self.boundaries[0]);
            self.levels.insert(dimensions, Running { group, value, until });
        }
        Ok(())
    }

    /// Adds a row; never one of an earlier slot than those before.
    pub(crate) fn push(&mut self, row: SlotRow) -> Result<(), Error> {
        let range = self.boundaries[self.bucket]..self.boundaries[self.boundaries.len() - 1];
        if !range.contains(&row.slot) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the store answered with usage of another time; check its index",
            ));
        }
        while self.boundaries[self.bucket + 1] <= row.slot {
            self.close_bucket()?;
        }
        // All that was measured may have been taken back.
        if row.aggregate.count <= 0 {
            return Ok(());
        }
        let Some(group) = self.group_of(&row.dimensions)? else { return Ok(()) };
        let aggregate = row.aggregate;
        let number = |number: Option<i64>| number.map(|number| Total::Number(i128::from(number)));
        let total = match self.meter.aggregation {
            Aggregation::Count => number(Some(aggregate.count)),
            Aggregation::Sum => number(Some(aggregate.sum)),
            Aggregation::Min => number(aggregate.min),
            Aggregation::Max => number(aggregate.max),
            Aggregation::Latest => aggregate.latest.map(Total::Latest),
            Aggregation::Unique => {
                let values = aggregate.unique.into_iter().filter(|(_, times)| *times > 0);
                Some(Total::Unique(values.map(|(value, _)| value).collect()))
            }
            Aggregation::TimeWeighted => self.level(row.dimensions, &group, &aggregate).map(Total::Number),
        };
        if let Some(total) = total {
            add(self.meter.aggregation, &mut self.totals, group, total);
        }
        Ok(())
    }

    /// The rows, by time and then by dimensions.
    pub(crate) fn finish(mut self) -> Result<Vec<UsageRow>, Error> {
        while self.bucket + 1 < self.boundaries.len() {
            self.close_bucket()?;
        }
        Ok(self.rows)
    }

    /// The group of a combination of dimensions; `None` if it is filtered out.
    fn group_of(&mut self, dimensions: &str) -> Result<Option<Group>, Error> {
        if let Some(group) = self.seen.get(dimensions) {
            return Ok(group.clone());
        }
        let values: Vec<Box<str>> = match dimensions {
            "" => Vec::new(),
            text => serde_json::from_str(text).map_err(|error| {
                Error::because(ErrorKind::Corrupt, "the dimensions of usage in the store are not readable", error)
            })?,
        };
        // What was measured before the meter had a dimension has no value in it.
        let value = |index: usize| values.get(index).map_or("", |value| &**value);
        let passes =
            self.filters.iter().all(|(index, any_of)| any_of.iter().any(|allowed| **allowed == *value(*index)));
        let group = passes.then(|| self.grouped.iter().map(|(_, index)| value(*index).into()).collect::<Group>());
        if self.seen.len() == MAX_ROWS {
            return Err(too_much("combinations of dimensions", MAX_ROWS));
        }
        self.seen.insert(dimensions.into(), group.clone());
        Ok(group)
    }

    /// The area that a slot adds: the level that was before it up to its first event, and its own up to its latest.
    fn level(&mut self, dimensions: Box<str>, group: &Group, aggregate: &Aggregate) -> Option<i128> {
        let (level, latest) = (aggregate.level.as_ref()?, aggregate.latest.as_ref()?);
        let before = self.levels.get(&dimensions).map_or(0, |running| running.area(level.first_at.min(self.now)));
        let running = Running { group: group.clone(), value: latest.value, until: latest.at };
        self.levels.insert(dimensions, running);
        Some(before.saturating_add(level.area))
    }

    fn close_bucket(&mut self) -> Result<(), Error> {
        let (start, end) = (self.boundaries[self.bucket], self.boundaries[self.bucket + 1]);
        let until = slot_micros(end).min(self.now);
        // What has not begun yet has no level.
        if slot_micros(start) < self.now {
            for running in self.levels.values_mut() {
                let area = Total::Number(running.area(until));
                running.until = running.until.max(until);
                add(self.meter.aggregation, &mut self.totals, running.group.clone(), area);
            }
        }
        if self.grouped.is_empty() && self.totals.is_empty() {
            let nothing = match self.meter.aggregation {
                Aggregation::Min | Aggregation::Max | Aggregation::Latest => None,
                _ => Some(Total::Number(0)),
            };
            self.totals.extend(nothing.map(|nothing| (Group::default(), nothing)));
        }
        for (group, total) in std::mem::take(&mut self.totals) {
            if self.rows.len() == MAX_ROWS {
                return Err(too_much("rows", MAX_ROWS));
            }
            let names = self.grouped.iter().map(|(name, _)| (*name).to_owned());
            self.rows.push(UsageRow {
                start: slot_start(start),
                end: slot_start(end),
                dimensions: names.zip(group.iter().map(|value| value.to_string())).collect(),
                value: self.value(total)?,
            });
        }
        self.bucket += 1;
        Ok(())
    }

    fn value(&self, total: Total) -> Result<Decimal, Error> {
        let decimals = u32::from(self.meter.decimals);
        let value = match (self.meter.aggregation, total) {
            (_, Total::Unique(values)) => return Ok(Decimal::from(values.len())),
            (_, Total::Latest(latest)) => exact(i128::from(latest.value), decimals),
            (Aggregation::Count | Aggregation::Unique, Total::Number(count)) => exact(count, 0),
            // The area is in microseconds.
            (Aggregation::TimeWeighted, Total::Number(area)) => shortest(area, decimals + 6),
            (_, Total::Number(number)) => exact(number, decimals),
        };
        value.ok_or_else(|| {
            let message = format!(
                "usage of the meter `{}` is too large to be said exactly; ask for a shorter time",
                self.meter.name
            );
            Error::new(ErrorKind::Invalid, message)
        })
    }
}

impl Running {
    /// Level times microseconds from where it is counted up to until `end`.
    fn area(&self, end: i64) -> i128 {
        i128::from(self.value) * i128::from(end.saturating_sub(self.until).max(0))
    }
}

fn add(aggregation: Aggregation, totals: &mut BTreeMap<Group, Total>, group: Group, more: Total) {
    let Some(total) = totals.get_mut(&group) else {
        totals.insert(group, more);
        return;
    };
    match (total, more) {
        (Total::Number(total), Total::Number(more)) => {
            *total = match aggregation {
                Aggregation::Min => more.min(*total),
                Aggregation::Max => more.max(*total),
                // What is as much is refused when it becomes a decimal, which is smaller.
                _ => total.saturating_add(more),
            }
        }
        (Total::Latest(latest), Total::Latest(more)) if *latest < more => *latest = more,
        (Total::Unique(values), Total::Unique(more)) => values.extend(more),
        _ => {}
    }
}

fn exact(number: i128, scale: u32) -> Option<Decimal> {
    Decimal::try_from_i128_with_scale(number, scale).ok()
}

/// Without zeros at the end, which may make it fit.
fn shortest(mut number: i128, mut scale: u32) -> Option<Decimal> {
    while scale > 0 && number % 10 == 0 {
        (number, scale) = (number / 10, scale - 1);
    }
    exact(number, scale)
}

fn slot_micros(slot: i64) -> i64 {
    slot.saturating_mul(SLOT_MICROS)
}

fn too_much(what: &str, max: usize) -> Error {
    let message =
        format!("the answer has more than {max} {what}; ask for a shorter time, longer buckets or fewer dimensions");
    Error::new(ErrorKind::Invalid, message)
}
