//! A chart of usage for a terminal.

use std::fmt::Write as _;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use super::UsageTable;
use super::table::cell;

/// The narrowest chart that has room for the longest value.
const MIN_WIDTH: usize = 60;
const MAX_WIDTH: usize = 200;
/// Bars of one eighth of a character to seven.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

impl UsageTable {
    /// A bar for each row, as long as its value is large, in lines of at most `width` characters (60 to 200). Values
    /// below zero have no bar.
    ///
    /// ```text
    /// pages [page]
    /// 2026-11-01 ██████████████████████████████████████████  120
    /// 2026-11-02 ████████████████▊                            48
    /// ```
    pub fn chart(&self, width: usize) -> String {
        let width = width.clamp(MIN_WIDTH, MAX_WIDTH);
        let time = self.times();
        let values: Vec<String> = self.rows.iter().map(|row| row.value.to_string()).collect();
        let value_width = widest(&values);
        let longest_label = width - value_width - 8;
        let labels = self.rows.iter().map(|row| {
            let parts: Vec<String> = std::iter::once(time(row.start)).chain(self.cells(row)).collect();
            cell(&parts.join(" "), longest_label)
        });
        let labels: Vec<String> = labels.collect();
        let label_width = widest(&labels);
        let bar_width = width - label_width - value_width - 3;
        let largest = self.rows.iter().map(|row| row.value).max().unwrap_or_default();

        let mut chart = cell(&format!("{} [{}]", self.meter, self.unit), width);
        chart.push('\n');
        for ((row, label), value) in self.rows.iter().zip(labels).zip(values) {
            let bar = bar(row.value, largest, bar_width);
            // Writing to a string never fails.
            _ = writeln!(chart, "{label:<label_width$} {bar:<bar_width$}  {value:>value_width$}");
        }
        chart
    }
}

fn widest(texts: &[String]) -> usize {
    texts.iter().map(|text| text.chars().count()).max().unwrap_or(0)
}

/// A bar for `value` where one for `largest` is `width` characters long. What is more than nothing can be seen.
fn bar(value: Decimal, largest: Decimal, width: usize) -> String {
    if value <= Decimal::ZERO {
        return String::new();
    }
    // Both are more than nothing, and the larger one divides.
    let share = value.checked_div(largest).unwrap_or_default();
    let eighths = (share * Decimal::from(8 * width)).round().to_usize().unwrap_or(0).clamp(1, 8 * width);
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((!eighths.is_multiple_of(8)).then(|| EIGHTHS[eighths % 8 - 1]));
    bar
}
