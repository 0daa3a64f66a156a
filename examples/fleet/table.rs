//! A report for people.

use std::fmt::Write as _;

use super::compare::{Deviation, Report};

/// The widest cell, in characters.
const WIDEST: usize = 48;
/// As many digits of a fingerprint as a person compares.
const DIGITS: usize = 12;

pub fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut line = |args: std::fmt::Arguments<'_>| _ = writeln!(text, "{args}");
    if !report.products.is_empty() {
        let heads = ["product", "version", "contract", "fingerprint", "admin address"].map(str::to_owned);
        let rows = report.products.iter().map(|product| {
            let fingerprint: String = product.fingerprint.chars().take(DIGITS).collect();
            vec![
                product.product.clone(),
                product.version.clone(),
                product.contract.clone(),
                fingerprint,
                product.url.clone(),
            ]
        });
        line(format_args!("{}", columns(std::iter::once(heads.to_vec()).chain(rows))));
    }
    for product in &report.products {
        for deviation in &product.deviations {
            line(format_args!("{} departs from the contract: {}", cell(&product.label), told(deviation)));
        }
    }
    if !report.differences.is_empty() {
        let heads = std::iter::once(String::new()).chain(report.products.iter().map(|product| product.label.clone()));
        let rows = report.differences.iter().map(|difference| {
            let values = difference.values.iter().map(|value| value.clone().unwrap_or_else(|| "-".to_owned()));
            std::iter::once(difference.what.clone()).chain(values).collect()
        });
        line(format_args!("\nDifferences\n\n{}", columns(std::iter::once(heads.collect()).chain(rows))));
    }
    for unreachable in &report.unreachable {
        line(format_args!("{} cannot be asked: {}", cell(&unreachable.url), printable(&unreachable.error)));
    }
    for contract in &report.torn {
        line(format_args!("NOT ALIKE: products on the contract {} have different fingerprints.", cell(contract)));
    }
    if report.exit_code() == 0 {
        line(format_args!("Alike: products on the same contract have the same fingerprint."));
    }
    text
}

fn told(deviation: &Deviation) -> String {
    let Deviation { clause, limit, contract, value, reason, until, days_left } = deviation;
    let left = match days_left {
        Some(days) if *days < 0 => format!("ENDED {} days ago, on {until}", -days),
        Some(days) => format!("{days} days left, until {until}"),
        None => format!("until {until}"),
    };
    printable(&format!("{limit} is {value} and not {contract} ({clause}; {left}): {reason}"))
}

/// Rows in columns, each as wide as its widest cell.
fn columns(rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn cell(text: &str) -> String {
    let text = printable(text);
    if text.chars().count() <= WIDEST {
        return text;
    }
    let begin: String = text.chars().take(WIDEST - 3).collect();
    format!("{begin}...")
}

/// What another process says must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
