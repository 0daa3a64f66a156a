//! Accounts and the operations that change them.

use halfbyte_core::TenantId;
use jiff::Timestamp;

use super::sql::Code;
use super::{Row, Session, SqlError, Store, Value};
use crate::account::{Account, Answer, Offers, Operation};
use crate::{Error, ErrorKind};

/// How often a transaction is tried that another one got in the way of.
const TRIES: u32 = 5;
/// How many rows are read at once at most.
const PAGE: usize = 1000;

/// An operation that was done, for who wants to know later.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationRecord {
    /// The id under which it was asked for.
    pub id: String,
    /// What was asked for.
    pub operation: Operation,
    /// What was answered.
    pub answer: Answer,
    /// When.
    pub at: Timestamp,
}

/// Why a transaction was not committed.
enum Stop {
    /// The database failed.
    Database(SqlError),
    /// It was not to be.
    Refused(Error),
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Self {
        Stop::Database(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Refused(error)
    }
}

/// What is to be done.
struct Order<'a> {
    id: &'a str,
    tenant: &'a TenantId,
    operation: &'a Operation,
    now: Timestamp,
    offers: &'a dyn Offers,
}

impl Store {
    /// Does an operation in one transaction; answers what it did, and the revision from which on it shows. An id that was
    /// there with the same operation gets the answer that it got then, and nothing is written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`]: the id was there with another operation, or a subject is another customer's.
    /// [`ErrorKind::Invalid`]: the id is empty, longer than 128 bytes or not visible ASCII. The errors of
    /// [`Account::operate`], and those of the store; after any of them nothing was done, except that a store that fails
    /// while it commits may have done it: ask again under the same id.
    pub(crate) async fn operate(
        &self,
        id: &str,
        tenant: &TenantId,
        operation: &Operation,
        now: Timestamp,
        offers: &dyn Offers,
    ) -> Result<(Answer, i64), Error> {
        if !(1..=128).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new(ErrorKind::Invalid, "an operation's id must be 1 to 128 visible ASCII characters"));
        }
        let order = Order { id, tenant, operation, now, offers };
        let mut tries = 1;
        loop {
            let mut session = self.writer().await?;
            match self.carry_out(&mut *session, &order).await {
                Ok(done) => return Ok(done),
                Err(Stop::Refused(error)) => {
                    // The answer stands whatever becomes of a transaction that wrote nothing.
                    let _ = session.rollback().await;
                    return Err(error);
                }
                Err(Stop::Database(error)) if tries < TRIES && is_crossed(&error) => tries += 1,
                Err(Stop::Database(error)) => return Err(self.explain("changing an account in", error)),
            }
        }
    }

    async fn carry_out(&self, session: &mut dyn Session, order: &Order<'_>) -> Result<(Answer, i64), Stop> {
        session.begin().await?;
        // Locked first, so that operations follow each other and nobody sees a revision before what it stands for.
        let rows = session.query("SELECT revision FROM state /*lock*/", &[]).await?;
        let revision = self.first(&rows)?.int(0)?;
        if let Some(answer) = self.answered(session, order).await? {
            session.rollback().await?;
            return Ok((answer, revision));
        }
        let tenant = order.tenant.as_str();
        let rows = session.query("SELECT document FROM accounts WHERE tenant = $1 /*lock*/", &[tenant.into()]).await?;
        let before = rows.first().map(|row| self.account_in(row, 0)).transpose()?;
        let is_new = before.is_none();
        let (account, answer) = Account::operate(before, order.tenant, order.operation, order.now, order.offers)?;
        let revision = revision + i64::from(answer.changed);
        if answer.changed {
            keep_names_apart(session, order, is_new).await?;
            let document = account.write().map_err(written)?;
            session
                .execute(
                    "INSERT INTO accounts (tenant, revision, document) VALUES ($1, $2, $3)
                     ON CONFLICT (tenant) DO UPDATE SET revision = excluded.revision, document = excluded.document",
                    &[tenant.into(), revision.into(), document.as_str().into()],
                )
                .await?;
            session.execute("UPDATE state SET revision = $1", &[revision.into()]).await?;
        }
        let operation = serde_json::to_string(order.operation).map_err(written)?;
        let answered = serde_json::to_string(&answer).map_err(written)?;
        let at = order.now.as_microsecond();
        session
            .execute(
                "INSERT INTO operations (id, tenant, operation, answer, at) VALUES ($1, $2, $3, $4, $5)",
                &[order.id.into(), tenant.into(), operation.as_str().into(), answered.as_str().into(), at.into()],
            )
            .await?;
        session.commit().await?;
        Ok((answer, revision))
    }

    /// What was answered under this id before.
    async fn answered(&self, session: &mut dyn Session, order: &Order<'_>) -> Result<Option<Answer>, Stop> {
        let rows =
            session.query("SELECT tenant, operation, answer FROM operations WHERE id = $1", &[order.id.into()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        // Compared as values: a later version may write the same operation with other words.
        let same = serde_json::from_str::<Operation>(row.text(1)?).is_ok_and(|there| there == *order.operation);
        if row.text(0)? != order.tenant.as_str() || !same {
            let message = format!(
                "the operation id \"{}\" was used for another operation; give this one an id of its own",
                order.id
            );
            return Err(Error::new(ErrorKind::Conflict, message).into());
        }
        let answer = serde_json::from_str(row.text(2)?);
        Ok(Some(answer.map_err(|error| self.unreadable("the answer to an operation", false, error))?))
    }

    /// All accounts that changed after `revision`, and the revision that they and all others are of.
    ///
    /// # Errors
    ///
    /// The store cannot be read; [`ErrorKind::Foreign`] if a later version of the program wrote one of them.
    pub(crate) async fn accounts_since(&self, revision: i64) -> Result<(i64, Vec<Account>), Error> {
        // One statement sees one state of everything, and leaves nothing open when whoever waits gives up.
        let sql = "SELECT state.revision, accounts.document FROM state
                   LEFT JOIN accounts ON accounts.revision > $1 ORDER BY accounts.revision";
        let rows = self.rows(sql, &[revision.into()]).await?;
        let read = || -> Result<_, Stop> {
            let changed = rows.iter().filter(|row| !matches!(row.text_or_none(1), Ok(None)));
            let accounts = changed.map(|row| self.account_in(row, 1)).collect::<Result<_, Stop>>()?;
            Ok((self.first(&rows)?.int(0)?, accounts))
        };
        read().map_err(|stop| self.reading(stop))
    }

    /// The account of a customer.
    ///
    /// # Errors
    ///
    /// As for [`accounts_since`](Self::accounts_since).
    pub(crate) async fn account(&self, tenant: &TenantId) -> Result<Option<Account>, Error> {
        let sql = "SELECT document FROM accounts WHERE tenant = $1";
        let rows = self.rows(sql, &[tenant.as_str().into()]).await?;
        rows.first().map(|row| self.account_in(row, 0)).transpose().map_err(|stop| self.reading(stop))
    }

    /// Accounts in the database's order of names, from the one after `after` on; at most `limit`, and at most 1000.
    ///
    /// # Errors
    ///
    /// As for [`accounts_since`](Self::accounts_since).
    pub(crate) async fn customers(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<Account>, Error> {
        let sql = "SELECT document FROM accounts WHERE tenant > $1 ORDER BY tenant LIMIT $2";
        let rows = self.rows(sql, &[after.map_or("", TenantId::as_str).into(), page(limit)]).await?;
        let accounts = rows.iter().map(|row| self.account_in(row, 0));
        accounts.collect::<Result<_, Stop>>().map_err(|stop| self.reading(stop))
    }

    /// The operations of a customer, the newest first; at most `limit`, and at most 1000.
    ///
    /// # Errors
    ///
    /// As for [`accounts_since`](Self::accounts_since).
    pub(crate) async fn operations_of(&self, tenant: &TenantId, limit: usize) -> Result<Vec<OperationRecord>, Error> {
        let sql =
            "SELECT id, operation, answer, at FROM operations WHERE tenant = $1 ORDER BY at DESC, id DESC LIMIT $2";
        let rows = self.rows(sql, &[tenant.as_str().into(), page(limit)]).await?;
        let record = |row: &Row| -> Result<OperationRecord, Stop> {
            let unreadable = |error| self.unreadable("an operation", true, error);
            Ok(OperationRecord {
                id: row.text(0)?.to_owned(),
                operation: serde_json::from_str(row.text(1)?).map_err(unreadable)?,
                answer: serde_json::from_str(row.text(2)?).map_err(unreadable)?,
                at: Timestamp::from_microsecond(row.int(3)?).unwrap_or(Timestamp::UNIX_EPOCH),
            })
        };
        rows.iter().map(record).collect::<Result<_, Stop>>().map_err(|stop| self.reading(stop))
    }

    async fn rows(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let rows = self.reader().await?.query(sql, values).await;
        rows.map_err(|error| self.explain("reading", error))
    }

    fn account_in(&self, row: &Row, column: usize) -> Result<Account, Stop> {
        let document = row.text(column)?;
        let account = Account::read(document);
        Ok(account.map_err(|error| self.unreadable("an account", Account::is_later(document), error))?)
    }

    fn first<'a>(&self, rows: &'a [Row]) -> Result<&'a Row, Error> {
        rows.first().ok_or_else(|| {
            let message = format!("{} has no revision: its state is gone; restore a copy of it", self.name());
            Error::new(ErrorKind::Corrupt, message)
        })
    }

    fn reading(&self, stop: Stop) -> Error {
        match stop {
            Stop::Database(error) => self.explain("reading", error),
            Stop::Refused(error) => error,
        }
    }

    fn unreadable(&self, what: &str, later: bool, error: serde_json::Error) -> Error {
        let (kind, hint) = if later {
            (ErrorKind::Foreign, "a later version of this program wrote it; update this one")
        } else {
            (ErrorKind::Corrupt, "restore a copy of it")
        };
        Error::because(kind, format!("{what} in {} cannot be understood; {hint}", self.name()), error)
    }
}

/// Keeps the names of customers apart: each is one customer's id or subject.
async fn keep_names_apart(session: &mut dyn Session, order: &Order<'_>, is_new: bool) -> Result<(), Stop> {
    let tenant = order.tenant.as_str();
    let (name, taken) = match order.operation {
        Operation::Create if is_new => (tenant, "SELECT tenant FROM subjects WHERE subject = $1 AND tenant <> $2"),
        Operation::AddSubject { subject } => (
            &**subject,
            "SELECT tenant FROM subjects WHERE subject = $1 AND tenant <> $2
             UNION ALL SELECT tenant FROM accounts WHERE tenant = $1 AND tenant <> $2",
        ),
        Operation::RemoveSubject { subject } => {
            let sql = "DELETE FROM subjects WHERE subject = $1 AND tenant = $2";
            session.execute(sql, &[(&**subject).into(), tenant.into()]).await?;
            return Ok(());
        }
        _ => return Ok(()),
    };
    if let Some(owner) = session.query(taken, &[name.into(), tenant.into()]).await?.first() {
        let message = format!("\"{name}\" is a name of the customer \"{}\"; remove it there first", owner.text(0)?);
        return Err(Error::new(ErrorKind::Conflict, message).into());
    }
    if let Operation::AddSubject { subject } = order.operation {
        let sql = "INSERT INTO subjects (subject, tenant) VALUES ($1, $2)";
        session.execute(sql, &[(&**subject).into(), tenant.into()]).await?;
    }
    Ok(())
}

/// Whether a transaction failed because of another one, and may go well the next time.
fn is_crossed(error: &SqlError) -> bool {
    // Serialisation, deadlock, and a row that another one made in between.
    matches!(error.code(), Code::Postgres(state) if matches!(&state, b"40001" | b"40P01" | b"23505"))
}

fn page(limit: usize) -> Value<'static> {
    Value::Int(i64::try_from(limit.clamp(1, PAGE)).unwrap_or(1))
}

fn written(error: serde_json::Error) -> Stop {
    Stop::Database(SqlError::content(error))
}
