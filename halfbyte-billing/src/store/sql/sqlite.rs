use std::fmt;
use std::fs::Metadata;
use std::future::Future;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{
    ConnectOptions as _, Connection, Row as _, SqliteConnection, SqlitePool, TypeInfo as _, ValueRef as _, query::Query,
};

use super::{Answer, Database, Dialect, Field, Row, Session, Value};

/// How long a writer waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// A SQLite file: write-ahead log, `synchronous=FULL`, so that what is committed survives a loss of power.
pub(crate) struct Sqlite {
    options: SqliteConnectOptions,
    pool: SqlitePool,
    name: Box<str>,
    /// Device and inode of the file that was opened.
    identity: (u64, u64),
}

impl Sqlite {
    /// How a file is opened, before anything of it is known.
    fn options(file: &Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(file)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .thread_name(|number| format!("billing-sqlite-{number}"))
            .disable_statement_logging()
    }

    /// The file, which must be there.
    pub(crate) fn open(file: &Path) -> std::io::Result<Self> {
        let options = Self::options(file).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            // Whoever reads may be dropped in the midst of it.
            .after_release(|connection, _| {
                Box::pin(async {
                    let _there_may_be_none = sqlx::raw_sql("ROLLBACK").execute(connection).await;
                    Ok(true)
                })
            })
            .connect_lazy_with(options.clone());
        Ok(Self { options, pool, name: file.display().to_string().into(), identity: identity(&file.metadata()?) })
    }

    /// A session that cannot write, on a file of which nothing is known.
    pub(crate) async fn inspector(file: &Path) -> Result<Box<dyn Session>, sqlx::Error> {
        Ok(Box::new(SqliteSession(Self::options(file).read_only(true).connect().await?)))
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl Database for Sqlite {
    fn is_shared_by_machines(&self) -> bool {
        false
    }

    fn connect(&self) -> Answer<'_, Box<dyn Session>> {
        Box::pin(async {
            let connection = self.options.connect().await?;
            Ok(Box::new(SqliteSession(connection)) as Box<dyn Session>)
        })
    }

    fn reader(&self) -> Answer<'_, Box<dyn Session>> {
        Box::pin(async {
            let connection = self.pool.acquire().await?;
            Ok(Box::new(SqliteSession(connection)) as Box<dyn Session>)
        })
    }

    /// SQLite itself would go on writing into a file that was removed, where nobody finds it again.
    fn is_in_place(&self) -> Result<(), String> {
        match self.options.get_filename().metadata() {
            Ok(file) if identity(&file) == self.identity => Ok(()),
            Ok(_) => Err(format!("{} was replaced while it was open; start this process again", self.name)),
            Err(error) => Err(format!("{} is gone: {error}", self.name)),
        }
    }

    /// The last of all processes to close moves the write-ahead log into the file.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.pool.close())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sqlite({})", self.name)
    }
}

/// A connection of its own, or one out of the pool.
struct SqliteSession<C>(C);

trait Connected: Send {
    fn connection(&mut self) -> &mut SqliteConnection;

    fn close(self) -> Answer<'static, ()>;
}

impl Connected for SqliteConnection {
    fn connection(&mut self) -> &mut SqliteConnection {
        self
    }

    fn close(self) -> Answer<'static, ()> {
        Box::pin(Connection::close(self))
    }
}

impl Connected for PoolConnection<sqlx::Sqlite> {
    fn connection(&mut self) -> &mut SqliteConnection {
        self
    }

    fn close(self) -> Answer<'static, ()> {
        Box::pin(PoolConnection::close(self))
    }
}

impl<C: Connected> SqliteSession<C> {
    fn run(&mut self, sql: &'static str) -> Answer<'_, ()> {
        Box::pin(async move {
            sqlx::raw_sql(sql).execute(self.0.connection()).await?;
            Ok(())
        })
    }
}

type Bound<'a> = Query<'a, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind<'a>(sql: &'static str, values: &'a [Value<'a>]) -> Bound<'a> {
    values.iter().fold(sqlx::query(sql), |query, value| match value {
        Value::Int(number) => query.bind(*number),
        Value::Text(text) => query.bind(*text),
        Value::NoInt => query.bind(None::<i64>),
        Value::NoText => query.bind(None::<&str>),
    })
}

impl<C: Connected + 'static> Session for SqliteSession<C> {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn begin(&mut self) -> Answer<'_, ()> {
        self.run("BEGIN IMMEDIATE")
    }

    fn begin_reading(&mut self) -> Answer<'_, ()> {
        self.run("BEGIN")
    }

    fn commit(&mut self) -> Answer<'_, ()> {
        self.run("COMMIT")
    }

    fn rollback(&mut self) -> Answer<'_, ()> {
        self.run("ROLLBACK")
    }

    fn query<'a>(&'a mut self, sql: &'static str, values: &'a [Value<'a>]) -> Answer<'a, Vec<Row>> {
        Box::pin(async move {
            let rows = bind(sql, values).fetch_all(self.0.connection()).await?;
            rows.iter().map(row).collect()
        })
    }

    fn execute<'a>(&'a mut self, sql: &'static str, values: &'a [Value<'a>]) -> Answer<'a, u64> {
        Box::pin(async move { Ok(bind(sql, values).execute(self.0.connection()).await?.rows_affected()) })
    }

    fn script(&mut self, sql: &'static str) -> Answer<'_, ()> {
        self.run(sql)
    }

    fn now(&mut self) -> Answer<'_, i64> {
        Box::pin(async { self.query("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)", &[]).await?[0].int(0) })
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Connected::close(self.0)
    }
}

fn row(found: &SqliteRow) -> Result<Row, sqlx::Error> {
    let fields = (0..found.len()).map(|index| {
        let value = found.try_get_raw(index)?;
        // The type that is said of no value is that of its column.
        if value.is_null() {
            return Ok(Field::Null);
        }
        Ok(match value.type_info().name() {
            "INTEGER" => Field::Int(found.try_get(index)?),
            _ => Field::Text(found.try_get(index)?),
        })
    });
    fields.collect::<Result<_, sqlx::Error>>().map(Row)
}
