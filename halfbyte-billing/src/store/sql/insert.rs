#[cfg(feature = "postgres")]
use std::fmt::Write as _;

/// A statement that inserts any number of rows.
pub(crate) struct Insert {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static [Column],
    /// From `ON CONFLICT` on.
    pub(crate) conflict: &'static str,
}

/// The name of a column, and what is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    Int(&'static str),
    Text(&'static str),
}

impl Insert {
    fn into(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(Column::Int(name) | Column::Text(name))| *name).collect();
        format!("INSERT INTO {} ({})", self.table, names.join(", "))
    }

    /// For one row.
    #[cfg(feature = "sqlite")]
    pub(super) fn sqlite(&self) -> String {
        let places = vec!["?"; self.columns.len()].join(", ");
        format!("{} VALUES ({places}) {}", self.into(), self.conflict)
    }

    /// For all rows, with an array for each column.
    #[cfg(feature = "postgres")]
    pub(super) fn postgres(&self) -> String {
        let mut sql = self.into() + " SELECT * FROM unnest(";
        for (index, column) in self.columns.iter().enumerate() {
            let kind = if matches!(column, Column::Int(_)) { "bigint" } else { "text" };
            // Writing to a string never fails.
            _ = write!(sql, "{}${}::{kind}[]", if index == 0 { "" } else { ", " }, index + 1);
        }
        // The WHERE tells ON CONFLICT from the ON of a join.
        sql + ") AS rows WHERE true " + self.conflict
    }
}

#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod tests {
    use super::*;

    #[test]
    fn each_database_is_told_in_its_own_way() {
        let insert = Insert {
            table: "t",
            columns: &[Column::Text("a"), Column::Int("b")],
            conflict: "ON CONFLICT (a) DO UPDATE SET b = excluded.b",
        };
        #[cfg(feature = "sqlite")]
        assert_eq!(insert.sqlite(), "INSERT INTO t (a, b) VALUES (?, ?) ON CONFLICT (a) DO UPDATE SET b = excluded.b");
        #[cfg(feature = "postgres")]
        assert_eq!(
            insert.postgres(),
            "INSERT INTO t (a, b) SELECT * FROM unnest($1::text[], $2::bigint[]) AS rows WHERE true \
             ON CONFLICT (a) DO UPDATE SET b = excluded.b"
        );
    }
}
