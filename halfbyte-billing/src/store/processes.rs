//! Processes that share the store: how a process knows its own commits again, and who holds something.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Session, SqlError};

/// Writes the number of the batch that is being committed. Answers whether the process still has its lease.
pub(crate) async fn number(session: &mut dyn Session, owner: Uuid, number: i64) -> Result<bool, SqlError> {
    let owner = owner.to_string();
    let values = [number.into(), owner.as_str().into()];
    Ok(session.execute("UPDATE owners SET batch = $1 WHERE owner = $2", &values).await? > 0)
}

/// The number of the last batch that was committed with one; `None` if the lease of the process has gone. Waits for a
/// commit that is still under way. Within a transaction.
pub(crate) async fn last_number(session: &mut dyn Session, owner: Uuid) -> Result<Option<i64>, SqlError> {
    let owner = owner.to_string();
    let rows = session.query("SELECT batch FROM owners WHERE owner = $1 /*lock*/", &[owner.as_str().into()]).await?;
    rows.first().map(|row| row.int(0)).transpose()
}

/// All processes that hold something.
pub(crate) async fn holders(session: &mut dyn Session) -> Result<BTreeSet<Uuid>, SqlError> {
    let rows = session.query("SELECT DISTINCT owner FROM holds WHERE cell > 0", &[]).await?;
    let mut holders = BTreeSet::new();
    for row in rows {
        holders.extend(row.text(0)?.parse::<Uuid>().ok());
    }
    Ok(holders)
}
