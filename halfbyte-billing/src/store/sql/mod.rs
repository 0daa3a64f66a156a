//! What the store needs of a database. Every statement is written once, in the SQL that both speak; what differs stands
//! in [`postgres::adapt`].

#[cfg(feature = "sqlite")]
mod connection;
mod error;
mod insert;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod readers;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio::sync::oneshot;

pub(crate) use self::error::{Code, SqlError};
pub(crate) use self::insert::{Column, Insert};
#[cfg(feature = "postgres")]
pub(crate) use self::postgres::Postgres;
#[cfg(feature = "sqlite")]
pub(crate) use self::sqlite::Sqlite;

pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SqlError>> + Send + 'a>>;

/// A database that the store can stand on.
pub(crate) trait Database: fmt::Debug + Send + Sync {
    /// A session of its own, for whoever writes.
    fn connect(&self) -> Answer<'_, Box<dyn Session>>;

    /// A session for reading; it goes back to where it came from when it is dropped.
    fn reader(&self) -> Answer<'_, Box<dyn Session>>;

    /// Whether processes on several machines share it.
    fn is_shared_by_machines(&self) -> bool;

    /// Whether what was opened is still what stands under its name.
    fn is_in_place(&self) -> Result<(), String> {
        Ok(())
    }

    /// Closes what is open for reading.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// What it is, for people: never with a password.
    fn name(&self) -> &str;
}

/// Which database it is, for the little that [`postgres::adapt`] cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// One connection. A session whose work failed is dropped, which rolls back.
pub(crate) trait Session: Send {
    fn dialect(&self) -> Dialect;

    /// Begins a transaction that writes: SQLite lets one at a time, PostgreSQL locks rows.
    fn begin(&mut self) -> Answer<'_, ()>;

    /// Begins one that only reads, and sees one state of everything.
    fn begin_reading(&mut self) -> Answer<'_, ()>;

    /// When this answers well, everything since [`begin`](Self::begin) is durable.
    fn commit(&mut self) -> Answer<'_, ()>;

    fn rollback(&mut self) -> Answer<'_, ()>;

    /// All rows of a query. Parameters are `$1`, `$2`, ... .
    ///
    /// A list of rows goes into one statement as one JSON parameter: `json_each($1)` gives a column `value` with one row
    /// each, of which `value ->> 0` is the first member as text, and `CAST(value ->> 0 AS INTEGER)` as a number; joined with
    /// `CROSS JOIN`, in which a column `id` or `key` is named with its table, for it is SQLite's too. What a
    /// transaction reads to change it is locked with `/*lock*/` at the end of the query.
    fn query<'a>(&'a mut self, sql: &'static str, values: &'a [Value<'a>]) -> Answer<'a, Vec<Row>>;

    /// Runs a statement; answers how many rows it changed.
    fn execute<'a>(&'a mut self, sql: &'static str, values: &'a [Value<'a>]) -> Answer<'a, u64>;

    /// Inserts rows, whose values follow each other; answers how many rows were inserted or updated.
    fn insert<'a>(&'a mut self, insert: &'static Insert, values: &'a [Value<'a>]) -> Answer<'a, u64>;

    /// Several statements without parameters.
    fn script(&mut self, sql: &'static str) -> Answer<'_, ()>;

    /// The time of the database in milliseconds since 1970: the one that all processes on it agree on.
    fn now(&mut self) -> Answer<'_, i64>;

    /// Does all of `work` where that takes the least time, and gives the session back.
    fn run(self: Box<Self>, work: Work) -> Answer<'static, Box<dyn Session>>;

    /// Closes it, and waits until that is done; one that is dropped closes a little later.
    fn close(self: Box<Self>) -> Answer<'static, ()>;
}

/// What is done with a session, and waits for nothing but its answers.
pub(crate) type Work =
    Box<dyn for<'a> FnOnce(&'a mut dyn Session) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> + Send>;

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Int(i64),
    Text(&'a str),
    /// A number that is not there.
    NoInt,
    /// A text that is not there.
    NoText,
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Value::NoInt, Value::Int)
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Value::NoText, Value::Text)
    }
}

/// A field of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Null,
    Int(i64),
    Text(String),
}

/// A row of an answer: numbers and texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row(Vec<Field>);

impl Row {
    /// The number in column `index`.
    pub(crate) fn int(&self, index: usize) -> Result<i64, SqlError> {
        match self.0.get(index) {
            Some(Field::Int(number)) => Ok(*number),
            other => Err(unexpected(index, other, "a number")),
        }
    }

    pub(crate) fn int_or_none(&self, index: usize) -> Result<Option<i64>, SqlError> {
        if self.0.get(index) == Some(&Field::Null) { Ok(None) } else { self.int(index).map(Some) }
    }

    /// The text in column `index`.
    pub(crate) fn text(&self, index: usize) -> Result<&str, SqlError> {
        match self.0.get(index) {
            Some(Field::Text(text)) => Ok(text),
            other => Err(unexpected(index, other, "a text")),
        }
    }

    pub(crate) fn text_or_none(&self, index: usize) -> Result<Option<&str>, SqlError> {
        if self.0.get(index) == Some(&Field::Null) { Ok(None) } else { self.text(index).map(Some) }
    }
}

#[cold]
fn unexpected(index: usize, found: Option<&Field>, wanted: &str) -> SqlError {
    let found = match found {
        None => "nothing",
        Some(Field::Null) => "null",
        Some(Field::Int(_)) => "a number",
        Some(Field::Text(_)) => "a text",
    };
    SqlError::content(format!("column {index} holds {found} and not {wanted}"))
}

/// Does all of `work` with `session` where that takes the least time.
///
/// # Errors
///
/// The session is lost, and it is not known how far the work came.
pub(crate) async fn run<T: Send + 'static>(
    session: Box<dyn Session>,
    work: impl for<'a> FnOnce(&'a mut dyn Session) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> + Send + 'static,
) -> Result<(Box<dyn Session>, T), SqlError> {
    let (told, outcome) = oneshot::channel();
    let work: Work = Box::new(|session| Box::pin(async move { _ = told.send(work(session).await) }));
    let session = session.run(work).await?;
    let outcome = outcome.await.map_err(|_| SqlError::Gone("the work was not done"))?;
    Ok((session, outcome))
}
