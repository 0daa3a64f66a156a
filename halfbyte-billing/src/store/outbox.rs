//! Events on their way to elsewhere: read in one order, none left out, by one exporter at a time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::failure::Attempt as _;
use super::lookup::{Received, received};
use super::{Dialect, Session, SqlError, Store};
use crate::Error;

/// How far an export has come. As text, `TRANSACTION:SEQ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    /// 0 in SQLite, where events are written by one transaction at a time.
    transaction: i64,
    seq: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transaction, self.seq)
    }
}

impl FromStr for Position {
    type Err = SqlError;

    fn from_str(text: &str) -> Result<Self, SqlError> {
        let read = || {
            let (transaction, seq) = text.split_once(':')?;
            Some(Self { transaction: transaction.parse().ok()?, seq: seq.parse().ok()? })
        };
        read().ok_or_else(|| SqlError::content(format!("\"{text}\" is not a position of an export")))
    }
}

impl Store {
    /// At most `limit` events after `after`, in the order of their positions. What counts not is among them, as what it
    /// was sent as: an event, a correction, a late event.
    ///
    /// An event that is committed later has a later position, so that none is left out. For that, in PostgreSQL, events
    /// wait for every older transaction of the whole server that has written something and still runs.
    pub(crate) async fn outbox(&self, after: Position, limit: i64) -> Result<Vec<(Position, Received)>, Error> {
        let mut reader = self.reader().await?;
        outbox(&mut *reader, after, limit).await.attempt("reading the outbox of", self.name())
    }

    /// Claims the export `name` for `ttl`, or prolongs the claim: answers where it stands, or `None` if another holder
    /// has it.
    pub(crate) async fn claim_export(
        &self,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Option<Position>, Error> {
        let mut session = self.reader().await?;
        claim(&mut *session, name, holder, ttl).await.attempt("claiming an export in", self.name())
    }

    /// Notes that everything up to `position` has arrived. False, and nothing noted, if `holder` has lost its claim to
    /// another.
    pub(crate) async fn advance_export(&self, name: &str, holder: &str, position: Position) -> Result<bool, Error> {
        let mut session = self.reader().await?;
        let position = position.to_string();
        let advanced = session
            .execute(
                "UPDATE exports SET position = $3 WHERE name = $1 AND holder = $2",
                &[name.into(), holder.into(), position.as_str().into()],
            )
            .await;
        Ok(advanced.attempt("advancing an export in", self.name())? > 0)
    }

    /// Gives the claim back, so that another need not wait for its end.
    pub(crate) async fn release_export(&self, name: &str, holder: &str) -> Result<(), Error> {
        let mut session = self.reader().await?;
        let sql = "UPDATE exports SET holder = NULL, until = 0 WHERE name = $1 AND holder = $2";
        let released = session.execute(sql, &[name.into(), holder.into()]).await;
        released.map(|_| ()).attempt("releasing an export in", self.name())
    }
}

async fn outbox(session: &mut dyn Session, after: Position, limit: i64) -> Result<Vec<(Position, Received)>, SqlError> {
    let found = match session.dialect() {
        Dialect::Sqlite => {
            let sql = "SELECT source, id, kind, subject, time, data, tenant, state, slot, received, seq, 0
                       FROM events WHERE seq > $1 ORDER BY seq LIMIT $2";
            session.query(sql, &[after.seq.into(), limit.into()]).await?
        }
        Dialect::Postgres => {
            let sql = "SELECT source, id, kind, subject, time, data, tenant, state, slot, received, seq, tx
                       FROM events WHERE (tx, seq) > ($1, $2)
                       AND tx < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS INTEGER)
                       ORDER BY tx, seq LIMIT $3";
            session.query(sql, &[after.transaction.into(), after.seq.into(), limit.into()]).await?
        }
    };
    found
        .iter()
        .map(|row| {
            let event = received(row)?;
            Ok((Position { transaction: row.int(11)?, seq: event.seq }, event))
        })
        .collect()
}

async fn claim(
    session: &mut dyn Session,
    name: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Option<Position>, SqlError> {
    let now = session.now().await?;
    let until = now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
    let start = Position::default().to_string();
    let claimed = session
        .execute(
            "INSERT INTO exports (name, position, holder, until) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
             WHERE exports.holder IS NULL OR exports.holder = excluded.holder OR exports.until <= $5",
            &[name.into(), start.as_str().into(), holder.into(), until.into(), now.into()],
        )
        .await?;
    if claimed == 0 {
        return Ok(None);
    }
    let found = session
        .query("SELECT position FROM exports WHERE name = $1 AND holder = $2", &[name.into(), holder.into()])
        .await?;
    found.first().map(|row| row.text(0)?.parse()).transpose()
}
