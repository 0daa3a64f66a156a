//! The matrix as a table, for a terminal or for the README.

use std::time::Duration;

use crate::fault::{Fault, System};
use crate::judge::Seen;

/// One row.
pub struct Row {
    pub system: System,
    pub fault: Fault,
    pub seen: Seen,
}

const HEADER: [&str; 12] = [
    "system",
    "fault",
    "requests",
    "offered",
    "answered",
    "ok",
    "refused",
    "worst",
    "recovered",
    "usage",
    "spans",
    "verdict",
];
/// Numbers are set to the right.
const RIGHT: [bool; 12] = [false, false, true, true, true, true, false, true, true, true, true, false];

impl Row {
    fn cells(&self) -> [String; 12] {
        let seen = &self.seen;
        let refused: Vec<_> = seen.refused.iter().map(|(kind, times)| format!("{times} {kind}")).collect();
        let (expected, counted) = seen.usage.values().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        let asked = seen.told.once + seen.told.never + seen.told.twice;
        let arrived = seen.told.once + 2 * seen.told.twice;
        [
            self.system.to_string(),
            self.fault.name().to_owned(),
            seen.requests().to_string(),
            format!("{:.0}/s", seen.offered.a_second(seen.offered.on_time)),
            format!("{:.0}/s", seen.offered.a_second(seen.offered.answered)),
            seen.good().to_string(),
            if refused.is_empty() { "–".to_owned() } else { refused.join(", ") },
            short(seen.worst),
            seen.recovered.map_or_else(|| "never".to_owned(), short),
            against(expected, counted),
            against(asked, arrived),
            verdict(seen).to_owned(),
        ]
    }
}

fn verdict(seen: &Seen) -> &'static str {
    match () {
        () if !seen.offered.is_enough() => "NOT JUDGED",
        () if !seen.verdict().is_empty() => "BROKEN",
        () => "kept",
    }
}

fn against(expected: u64, found: u64) -> String {
    format!("{expected} {} {found}", if expected == found { '=' } else { '≠' })
}

fn short(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// What the columns do not say.
pub const NOTES: &str = "\
offered: requests that were sent within 250 ms of when they were due, a second and product, whatever became of those before;
answered: answers, as long as more were asked. ok and refused are answers; worst is the slowest, from when it was due.
recovered: after the fault, until what is asked from then on is answered well, both products are ready without a complaint, and
usage and telemetry have arrived. usage: labels that were made = that are counted. spans: requests = requests that are told of
by one span; the metrics agree with the spans.
clock: the issuer's own, by its tokens; of the others, the products' clocks, by their spans, against theirs.
";

/// In columns.
pub fn text(rows: &[Row]) -> String {
    let rows: Vec<_> = rows.iter().map(Row::cells).collect();
    let header = HEADER.map(str::to_owned);
    let mut widths = [0; 12];
    for row in std::iter::once(&header).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let rule = widths.map(|width| "─".repeat(width));
    let line = |row: &[String; 12]| {
        let cells = row
            .iter()
            .zip(widths)
            .zip(RIGHT)
            .map(|((cell, width), right)| if right { format!("{cell:>width$}") } else { format!("{cell:width$}") });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    [&header, &rule].into_iter().chain(&rows).map(line).collect()
}

/// As a table of Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let line = |row: &[String; 12]| format!("| {} |\n", row.join(" | "));
    let rule = RIGHT.map(|right| if right { "---:" } else { "---" }.to_owned());
    let header = HEADER.map(str::to_owned);
    let rows: Vec<_> = rows.iter().map(Row::cells).collect();
    [&header, &rule].into_iter().chain(&rows).map(line).collect()
}
