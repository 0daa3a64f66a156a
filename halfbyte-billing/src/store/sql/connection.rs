//! One connection to a SQLite file, for threads that may wait for the disk.

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{InterruptHandle, OpenFlags, Statement, ToSql};

use super::{Answer, Dialect, Field, Insert, Row, Session, SqlError, Value, Work};

/// How long a writer waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// More statements than the store has.
const STATEMENTS: usize = 128;

pub(super) struct Connection(rusqlite::Connection);

impl Connection {
    /// Opens a file that must be there; how it is written is for whoever writes to say.
    pub(super) fn open(file: &Path, flags: OpenFlags) -> Result<Self, SqlError> {
        // One thread at a time uses it: that needs no lock.
        let connection = rusqlite::Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Self(connection))
    }

    /// Ends, from another thread, the statement that runs.
    pub(super) fn interrupt(&self) -> InterruptHandle {
        self.0.get_interrupt_handle()
    }

    /// Whether no transaction is open.
    pub(super) fn is_idle(&self) -> bool {
        self.0.is_autocommit()
    }

    pub(super) fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, SqlError> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let fields = (0..columns).map(|index| field(row.get_ref(index)?));
            found.push(Row(fields.collect::<Result<_, SqlError>>()?));
        }
        Ok(found)
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, SqlError> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        Ok(statement.raw_execute()? as u64)
    }

    /// A prepared statement for each row: nothing is parsed again, as it is where all of them come as JSON.
    pub(super) fn insert(&self, insert: &Insert, values: &[Value<'_>]) -> Result<u64, SqlError> {
        let mut statement = self.0.prepare_cached(&insert.sqlite())?;
        let mut changed = 0;
        for row in values.chunks(insert.columns.len()) {
            for (index, value) in row.iter().enumerate() {
                statement.raw_bind_parameter(index + 1, value)?;
            }
            changed += statement.raw_execute()? as u64;
        }
        Ok(changed)
    }

    /// Several statements without parameters.
    pub(super) fn script(&self, sql: &str) -> Result<(), SqlError> {
        Ok(self.0.execute_batch(sql)?)
    }

    /// One statement without parameters.
    fn perform(&self, sql: &str) -> Result<(), SqlError> {
        self.execute(sql, &[]).map(drop)
    }

    pub(super) fn now(&self) -> Result<i64, SqlError> {
        let rows = self.query("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)", &[])?;
        rows.first().ok_or(SqlError::Missing)?.int(0)
    }

    pub(super) fn close(self) -> Result<(), SqlError> {
        Ok(self.0.close().map_err(|(_, error)| error)?)
    }
}

/// `$1` is a name to SQLite, and has its place by where it stands first.
fn bind(statement: &mut Statement<'_>, values: &[Value<'_>]) -> Result<(), SqlError> {
    for place in 1..=statement.parameter_count() {
        let number = statement.parameter_name(place).and_then(|name| name.get(1..)?.parse::<usize>().ok());
        let value = number.and_then(|number| values.get(number.checked_sub(1)?));
        let value = value.ok_or_else(|| SqlError::content(format!("the parameter at place {place} has no value")))?;
        statement.raw_bind_parameter(place, value)?;
    }
    Ok(())
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::NoInt | Value::NoText => ValueRef::Null,
        }))
    }
}

fn field(value: ValueRef<'_>) -> Result<Field, SqlError> {
    match value {
        ValueRef::Null => Ok(Field::Null),
        ValueRef::Integer(number) => Ok(Field::Int(number)),
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).map(Field::Text).map_err(SqlError::content),
        ValueRef::Real(_) | ValueRef::Blob(_) => Err(SqlError::content("a field is neither a number nor a text")),
    }
}

/// A session whose answers are there at once, for work that is done on one thread from beginning to end.
pub(super) struct Direct(pub(super) Connection);

impl Direct {
    /// Does all of `work`.
    pub(super) fn run(&mut self, work: Work) {
        let work = pin!(work(self));
        match work.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => {}
            Poll::Pending => unreachable!("no answer of this session is waited for"),
        }
    }
}

fn at_once<'a, T: Send + 'a>(answer: Result<T, SqlError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Session for Direct {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn begin(&mut self) -> Answer<'_, ()> {
        at_once(self.0.perform("BEGIN IMMEDIATE"))
    }

    fn begin_reading(&mut self) -> Answer<'_, ()> {
        at_once(self.0.perform("BEGIN"))
    }

    fn commit(&mut self) -> Answer<'_, ()> {
        at_once(self.0.perform("COMMIT"))
    }

    fn rollback(&mut self) -> Answer<'_, ()> {
        at_once(self.0.perform("ROLLBACK"))
    }

    fn query<'a>(&'a mut self, sql: &'static str, values: &'a [Value<'a>]) -> Answer<'a, Vec<Row>> {
        at_once(self.0.query(sql, values))
    }

    fn execute<'a>(&'a mut self, sql: &'static str, values: &'a [Value<'a>]) -> Answer<'a, u64> {
        at_once(self.0.execute(sql, values))
    }

    fn insert<'a>(&'a mut self, insert: &'static Insert, values: &'a [Value<'a>]) -> Answer<'a, u64> {
        at_once(self.0.insert(insert, values))
    }

    fn script(&mut self, sql: &'static str) -> Answer<'_, ()> {
        at_once(self.0.script(sql))
    }

    fn now(&mut self) -> Answer<'_, i64> {
        at_once(self.0.now())
    }

    fn run(mut self: Box<Self>, work: Work) -> Answer<'static, Box<dyn Session>> {
        Direct::run(&mut self, work);
        at_once(Ok(self))
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        at_once(self.0.close())
    }
}
