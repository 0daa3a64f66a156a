//! Corrections: events that void or amend what came before.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::measured::{Kept, to_json};
use super::{Entry, Session, SqlError};

/// Source and id.
pub(super) type Identity<'a> = (&'a str, &'a str);

/// An event that is there and that a batch corrects.
pub(super) struct Target {
    pub(super) tenant: Box<str>,
    /// When it counts.
    pub(super) at: i64,
    pub(super) state: i64,
    pub(super) kept: Kept,
}

/// What the corrections in a batch name, as far as it is there; locked until the end of the transaction.
pub(super) async fn targets<'a>(
    session: &mut dyn Session,
    entries: &'a [Arc<Entry>],
) -> Result<HashMap<Identity<'a>, Target>, SqlError> {
    let named: BTreeSet<Identity<'a>> = entries
        .iter()
        .filter_map(|entry| entry.correction.as_ref())
        .map(|correction| (&*correction.source, &*correction.id))
        .collect();
    if named.is_empty() {
        return Ok(HashMap::new());
    }
    let named: Vec<_> = named.into_iter().collect();
    let rows: Vec<_> = named.iter().enumerate().map(|(index, (source, id))| (index, source, id)).collect();
    // Locked in one order by everybody, and before anything is inserted.
    let found = session
        .query(
            "SELECT CAST(value ->> 0 AS INTEGER), tenant, time, state, measured
             FROM json_each($1) CROSS JOIN events WHERE source = value ->> 1 AND events.id = value ->> 2
             ORDER BY source, events.id /*lock*/",
            &[to_json(&rows)?.as_str().into()],
        )
        .await?;
    let target = |row: &super::Row| {
        let kept = Kept::parse(row.text(4)?)?;
        let target = Target { tenant: row.text(1)?.into(), at: kept.at(row.int(2)?), state: row.int(3)?, kept };
        let index = usize::try_from(row.int(0)?).unwrap_or(usize::MAX);
        Ok((*named.get(index).ok_or(SqlError::Missing)?, target))
    };
    found.iter().map(target).collect()
}

/// Notes that these do not count any more.
pub(super) async fn mark(session: &mut dyn Session, voided: &BTreeSet<Identity<'_>>) -> Result<(), SqlError> {
    if voided.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = voided.iter().collect();
    session
        .execute(
            "UPDATE events SET state = 2
             WHERE (source, id) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))",
            &[to_json(&names)?.as_str().into()],
        )
        .await?;
    Ok(())
}
