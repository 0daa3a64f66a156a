//! Closing periods: nothing before a watermark is counted any more.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use halfbyte_core::TenantId;
use jiff::Timestamp;

use super::failure::Attempt as _;
use super::measured::to_json;
use super::{Dialect, Entry, Session, SqlError, Store};
use crate::Error;
use crate::period::{slot_of, slot_start};

/// Until when the periods of tenants are closed; microseconds since 1970.
pub(super) struct Closed {
    all: i64,
    of: HashMap<Box<str>, i64>,
}

impl Closed {
    /// What is before this instant comes late.
    pub(super) fn until(&self, tenant: &TenantId) -> i64 {
        self.of.get(tenant.as_str()).map_or(self.all, |until| self.all.max(*until))
    }
}

/// What is closed for the tenants of `entries`. Whoever closes waits until this transaction ends.
pub(super) async fn closed(session: &mut dyn Session, entries: &[Arc<Entry>]) -> Result<Closed, SqlError> {
    if session.dialect() == Dialect::Postgres {
        // Not the lock of a row: a tenant that nothing was closed for has none. And those who wait for it are served
        // in their order, so that one who closes is not kept waiting forever.
        session.script("SELECT pg_advisory_xact_lock_shared(1212310122)").await?;
    }
    let tenants: BTreeSet<_> = entries.iter().map(|entry| [entry.tenant.as_str()]).collect();
    let found = session
        .query(
            "SELECT '', watermark FROM state
             UNION ALL
             SELECT tenant, until FROM json_each($1) CROSS JOIN watermarks WHERE tenant = value ->> 0",
            &[to_json(&tenants)?.as_str().into()],
        )
        .await?;
    let mut closed = Closed { all: i64::MIN, of: HashMap::new() };
    for row in &found {
        match row.text(0)? {
            "" => closed.all = row.int(1)?,
            tenant => _ = closed.of.insert(tenant.into(), row.int(1)?),
        }
    }
    Ok(closed)
}

impl Store {
    /// Closes everything before `until`, rounded down to a quarter of an hour, for one tenant or for all: what comes
    /// afterwards with an earlier time is late. Answers until when it is closed now, which never moves back.
    ///
    /// Every event that was acknowledged before this answers is counted.
    pub(crate) async fn close_until(&self, tenant: Option<&TenantId>, until: Timestamp) -> Result<Timestamp, Error> {
        let until = slot_start(slot_of(until)).as_microsecond();
        let mut session = self.writer().await?;
        let closed = close(&mut *session, tenant, until).await.attempt("closing a period in", self.name())?;
        session.close().await.attempt("closing a period in", self.name())?;
        Timestamp::from_microsecond(closed).map_err(SqlError::content).attempt("closing a period in", self.name())
    }
}

async fn close(session: &mut dyn Session, tenant: Option<&TenantId>, until: i64) -> Result<i64, SqlError> {
    session.begin().await?;
    if session.dialect() == Dialect::Postgres {
        session.script("SELECT pg_advisory_xact_lock(1212310122)").await?;
    }
    let moved = match tenant {
        None => {
            let sql = "UPDATE state SET watermark = $1 WHERE watermark < $1";
            session.execute(sql, &[until.into()]).await?
        }
        Some(tenant) => {
            let sql = "INSERT INTO watermarks VALUES ($1, $2)
                       ON CONFLICT (tenant) DO UPDATE SET until = excluded.until WHERE watermarks.until < excluded.until";
            session.execute(sql, &[tenant.as_str().into(), until.into()]).await?
        }
    };
    if moved > 0 {
        session.execute("UPDATE state SET revision = revision + 1", &[]).await?;
    }
    let found = match tenant {
        None => session.query("SELECT watermark FROM state", &[]).await?,
        Some(tenant) => {
            session.query("SELECT until FROM watermarks WHERE tenant = $1", &[tenant.as_str().into()]).await?
        }
    };
    let closed = found.first().ok_or(SqlError::Missing)?.int(0)?;
    session.commit().await?;
    Ok(closed)
}
