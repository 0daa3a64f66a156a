use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;

use super::{UsageQuery, UsageRow};
use crate::catalog::{Aggregation, Meter};

/// How wide a dimension may be in a terminal, in characters.
const MAX_CELL: usize = 40;

/// The answer to a [`UsageQuery`]. As text it is a table for a terminal.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UsageTable {
    /// The meter.
    pub meter: Arc<str>,
    /// What one of a value is called: the meter's unit, or `UNIT seconds` of one that is weighted by time.
    pub unit: Box<str>,
    /// By time, then by dimensions.
    pub rows: Vec<UsageRow>,
    zone: TimeZone,
    group_by: Vec<Box<str>>,
}

impl UsageTable {
    pub(crate) fn new(meter: &Meter, query: &UsageQuery, rows: Vec<UsageRow>) -> Self {
        let unit = match meter.aggregation {
            Aggregation::TimeWeighted => format!("{} seconds", meter.unit).into(),
            _ => meter.unit.clone(),
        };
        let (zone, group_by) = (query.zone.clone(), query.group_by.clone());
        Self { meter: meter.name.clone(), unit, rows, zone, group_by }
    }

    /// The values of all rows added up, which says something of counts, sums and levels; of one row it is its value, and
    /// of none zero. Never more than [`Decimal::MAX`].
    pub fn total(&self) -> Decimal {
        self.rows.iter().fold(Decimal::ZERO, |total, row| total.saturating_add(row.value))
    }

    /// How times are shown: days alone where all begin one.
    pub(super) fn times(&self) -> impl Fn(Timestamp) -> String {
        let midnight = |at: Timestamp| self.zone.to_datetime(at).time() == jiff::civil::Time::midnight();
        let days = self.rows.iter().all(|row| midnight(row.start) && midnight(row.end));
        let format = match (days, self.zone == TimeZone::UTC) {
            (true, _) => "%Y-%m-%d",
            (false, true) => "%Y-%m-%d %H:%MZ",
            // The hour that comes twice when clocks go back has two offsets.
            (false, false) => "%Y-%m-%d %H:%M%:z",
        };
        move |at| at.to_zoned(self.zone.clone()).strftime(format).to_string()
    }

    /// The values of the dimensions of a row, in the order in which they were asked for.
    pub(super) fn cells(&self, row: &UsageRow) -> impl Iterator<Item = String> {
        self.group_by
            .iter()
            .map(|name| row.dimensions.get(&**name).map_or_else(String::new, |value| cell(value, MAX_CELL)))
    }
}

/// A text as it can be shown: of bounded width, and nothing in it moves the cursor.
pub(super) fn cell(text: &str, max: usize) -> String {
    let printable = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    let mut cell: String = text.chars().map(printable).take(max).collect();
    if text.chars().nth(max).is_some() {
        cell.pop();
        cell.push('…');
    }
    cell
}

impl fmt::Display for UsageTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.times();
        let mut lines = vec![vec!["from".to_owned(), "until".to_owned()]];
        lines[0].extend(self.group_by.iter().map(|name| cell(name, MAX_CELL)));
        lines[0].push(cell(&format!("{} [{}]", self.meter, self.unit), 2 * MAX_CELL));
        for row in &self.rows {
            let mut line = vec![time(row.start), time(row.end)];
            line.extend(self.cells(row));
            line.push(row.value.to_string());
            lines.push(line);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
        for line in &lines {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                match column + 1 == line.len() {
                    true => writeln!(f, "{cell:>width$}")?,
                    false => write!(f, "{cell:<width$}  ")?,
                }
            }
        }
        Ok(())
    }
}
