//! Rows of text in columns.

/// Lays out `rows` under `header`, each column as wide as its widest cell.
pub fn render<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let rule = widths.map(|width| "-".repeat(width));
    let header = header.map(str::to_owned);
    let mut table = String::new();
    for row in [&header, &rule].into_iter().chain(rows) {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        table.push_str(line.join("  ").trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["fmt".to_owned(), "passed".to_owned()], ["backend-tests".to_owned(), "failed".to_owned()]];
        let expected = "\
step           result
-------------  ------
fmt            passed
backend-tests  failed
";
        assert_eq!(render(["step", "result"], &rows), expected);
    }
}
