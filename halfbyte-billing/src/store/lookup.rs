//! Events as they were received.

use jiff::Timestamp;

use super::failure::Attempt as _;
#[cfg(any(test, feature = "testing"))]
use super::usage::Slots;
use super::{Row, Session, SqlError, Store, Value};
use crate::Error;
use crate::event::Event;

/// An event that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) event: Event,
    /// Who pays for it.
    pub(crate) tenant: Box<str>,
    pub(crate) standing: Standing,
    /// The slot that it counts in: of its own time, or of what it corrects.
    pub(crate) slot: i64,
    pub(crate) received: Timestamp,
    /// Rises from event to event in the order in which they were written.
    pub(crate) seq: i64,
}

/// Whether an event counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Counts,
    /// Its period was closed when it came.
    Late,
    /// It was voided or amended.
    Corrected,
}

impl Store {
    /// One event.
    pub(crate) async fn event(&self, source: &str, id: &str) -> Result<Option<Received>, Error> {
        let sql = "SELECT source, id, kind, subject, time, data, tenant, state, slot, received, seq
                   FROM events WHERE source = $1 AND id = $2";
        Ok(self.events(sql, &[source.into(), id.into()]).await?.pop())
    }

    /// Events of a tenant that count in `slots`, by slot and order of arrival, after `after` (slot and `seq`).
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn events_of(
        &self,
        tenant: &str,
        slots: Slots,
        after: Option<(i64, i64)>,
        limit: i64,
    ) -> Result<Vec<Received>, Error> {
        let (slot, seq) = after.unwrap_or((i64::MIN, i64::MIN));
        let from = slots.start.max(slot);
        let sql = "SELECT source, id, kind, subject, time, data, tenant, state, slot, received, seq
                   FROM events WHERE tenant = $1 AND slot >= $2 AND slot < $3 AND (slot > $4 OR seq > $5)
                   ORDER BY slot, seq LIMIT $6";
        let values = [tenant.into(), from.into(), slots.end.into(), slot.into(), seq.into(), limit.into()];
        self.events(sql, &values).await
    }

    /// What came for a tenant after its period was closed, in the order of arrival, after the one with `seq` `after`.
    pub(crate) async fn late_events(&self, tenant: &str, after: i64, limit: i64) -> Result<Vec<Received>, Error> {
        let sql = "SELECT source, id, kind, subject, time, data, tenant, state, slot, received, seq
                   FROM events WHERE state = 1 AND tenant = $1 AND seq > $2
                   ORDER BY seq LIMIT $3";
        self.events(sql, &[tenant.into(), after.into(), limit.into()]).await
    }

    async fn events(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Received>, Error> {
        let mut reader = self.reader().await?;
        read(&mut *reader, sql, values).await.attempt("reading events in", self.name())
    }
}

async fn read(session: &mut dyn Session, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Received>, SqlError> {
    session.query(sql, values).await?.iter().map(received).collect()
}

/// Reads the columns of an event: from `source` to `seq`, as the queries here have them.
pub(super) fn received(row: &Row) -> Result<Received, SqlError> {
    Ok(Received {
        event: Event {
            source: row.text(0)?.into(),
            id: row.text(1)?.into(),
            kind: row.text(2)?.into(),
            subject: row.text(3)?.into(),
            time: instant(row.int(4)?)?,
            data: row.text(5)?.into(),
        },
        tenant: row.text(6)?.into(),
        standing: match row.int(7)? {
            super::events::COUNTS => Standing::Counts,
            super::events::LATE => Standing::Late,
            _ => Standing::Corrected,
        },
        slot: row.int(8)?,
        received: instant(row.int(9)?)?,
        seq: row.int(10)?,
    })
}

fn instant(micros: i64) -> Result<Timestamp, SqlError> {
    Timestamp::from_microsecond(micros).map_err(SqlError::content)
}
