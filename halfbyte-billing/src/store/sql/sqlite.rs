use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{InterruptHandle, OpenFlags};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::connection::{Connection, Direct};
use super::{Answer, Database, Dialect, Insert, Row, Session, SqlError, Value, Work};

const READERS: u32 = 4;
/// How long somebody waits for a session to read with.
const READER_TIMEOUT: Duration = Duration::from_secs(5);

/// A SQLite file: write-ahead log, `synchronous=FULL`, so that what is committed survives a loss of power.
pub(crate) struct Sqlite {
    file: Arc<Path>,
    readers: Arc<Readers>,
    name: Box<str>,
    /// Device and inode of the file that was opened.
    identity: (u64, u64),
}

impl Sqlite {
    /// The file, which must be there.
    pub(crate) fn open(file: &Path) -> io::Result<Self> {
        let readers = Readers { idle: Mutex::default(), places: Arc::new(Semaphore::new(READERS as usize)) };
        Ok(Self {
            file: file.into(),
            readers: Arc::new(readers),
            name: file.display().to_string().into(),
            identity: identity(&file.metadata()?),
        })
    }

    /// A session that cannot write, on a file of which nothing is known.
    pub(crate) async fn inspector(file: &Path) -> Result<Box<dyn Session>, SqlError> {
        let file: Arc<Path> = file.into();
        let connection = blocking(move || Connection::open(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)).await?;
        Ok(Box::new(SqliteSession { connection: Some(connection), place: None }))
    }

    async fn connection(&self) -> Result<Connection, SqlError> {
        let file = self.file.clone();
        blocking(move || {
            let connection = Connection::open(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            connection.script("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
            Ok(connection)
        })
        .await
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
            let connection = Some(self.connection().await?);
            Ok(Box::new(SqliteSession { connection, place: None }) as Box<dyn Session>)
        })
    }

    fn reader(&self) -> Answer<'_, Box<dyn Session>> {
        Box::pin(async {
            let place = timeout(READER_TIMEOUT, self.readers.places.clone().acquire_owned()).await;
            let place = place.map_err(|_| SqlError::Gone("all sessions for reading have been busy for too long"))?;
            let place = place.map_err(|_| SqlError::Gone("the store is closed"))?;
            let idle = self.readers.idle().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => self.connection().await?,
            };
            let place = Some((place, self.readers.clone()));
            Ok(Box::new(SqliteSession { connection: Some(connection), place }) as Box<dyn Session>)
        })
    }

    /// SQLite itself would go on writing into a file that was removed, where nobody finds it again.
    fn is_in_place(&self) -> Result<(), String> {
        match self.file.metadata() {
            Ok(file) if identity(&file) == self.identity => Ok(()),
            Ok(_) => Err(format!("{} was replaced while it was open; start this process again", self.name)),
            Err(error) => Err(format!("{} is gone: {error}", self.name)),
        }
    }

    /// The last of all processes to close moves the write-ahead log into the file.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            // Those who read have theirs back by then, and nobody gets another one.
            let all = self.readers.places.acquire_many(READERS).await;
            self.readers.places.close();
            drop(all);
            let idle = std::mem::take(&mut *self.readers.idle());
            for connection in idle {
                _ = blocking(move || connection.close()).await;
            }
        })
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

/// Connections for reading that nobody uses now, and places for those who want one.
struct Readers {
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

impl Readers {
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection of its own, or one of those for reading. Each statement runs on a thread where it may wait for the disk; one
/// that is given up takes the connection with it, which closes when the statement has ended.
struct SqliteSession {
    connection: Option<Connection>,
    place: Option<(OwnedSemaphorePermit, Arc<Readers>)>,
}

impl SqliteSession {
    fn on_a_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, SqlError> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move {
            let connection = self.connection.take().ok_or(GIVEN_UP)?;
            let place = self.place.take();
            // Who reads and is dropped leaves nothing running, and its place is taken until that has ended.
            let given_up = place.is_some().then(|| Interrupt(Some(connection.interrupt())));
            let (connection, place, outcome) = blocking(move || {
                let outcome = work(&connection);
                Ok((connection, place, outcome))
            })
            .await?;
            given_up.into_iter().for_each(Interrupt::forget);
            (self.connection, self.place) = (Some(connection), place);
            outcome
        })
    }
}

/// Ends what a connection is doing, unless it is forgotten before.
struct Interrupt(Option<InterruptHandle>);

impl Interrupt {
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.interrupt();
        }
    }
}

const GIVEN_UP: SqlError = SqlError::Gone("a statement of this session was given up, and the session with it");

/// Runs what may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
) -> Result<T, SqlError> {
    match spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(SqlError::Gone("the runtime stops")),
        },
    }
}

impl Drop for SqliteSession {
    fn drop(&mut self) {
        match (self.connection.take(), self.place.take()) {
            // Whoever reads may be dropped in the midst of it; to end a snapshot waits for nothing.
            (Some(connection), Some((_place, readers)))
                if connection.is_idle() || connection.script("ROLLBACK").is_ok() =>
            {
                readers.idle().push(connection);
            }
            // The last one to close writes what is in the log into the file.
            (Some(connection), None) if Handle::try_current().is_ok() => {
                drop(spawn_blocking(move || drop(connection)));
            }
            _ => {}
        }
    }
}

impl Session for SqliteSession {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn begin(&mut self) -> Answer<'_, ()> {
        self.script("BEGIN IMMEDIATE")
    }

    fn begin_reading(&mut self) -> Answer<'_, ()> {
        self.script("BEGIN")
    }

    fn commit(&mut self) -> Answer<'_, ()> {
        self.script("COMMIT")
    }

    fn rollback(&mut self) -> Answer<'_, ()> {
        self.script("ROLLBACK")
    }

    fn query<'a>(&'a mut self, sql: &'static str, values: &'a [Value<'a>]) -> Answer<'a, Vec<Row>> {
        let values = Owned::all(values);
        self.on_a_thread(move |connection| connection.query(sql, &Owned::values(&values)))
    }

    fn execute<'a>(&'a mut self, sql: &'static str, values: &'a [Value<'a>]) -> Answer<'a, u64> {
        let values = Owned::all(values);
        self.on_a_thread(move |connection| connection.execute(sql, &Owned::values(&values)))
    }

    fn insert<'a>(&'a mut self, insert: &'static Insert, values: &'a [Value<'a>]) -> Answer<'a, u64> {
        let values = Owned::all(values);
        self.on_a_thread(move |connection| connection.insert(insert, &Owned::values(&values)))
    }

    fn script(&mut self, sql: &'static str) -> Answer<'_, ()> {
        self.on_a_thread(|connection| connection.script(sql))
    }

    fn now(&mut self) -> Answer<'_, i64> {
        self.on_a_thread(Connection::now)
    }

    /// On one thread from the first statement to the last: to go back and forth takes longer than most of them do.
    fn run(mut self: Box<Self>, work: Work) -> Answer<'static, Box<dyn Session>> {
        Box::pin(async move {
            let connection = self.connection.take().ok_or(GIVEN_UP)?;
            let done = blocking(move || {
                let mut direct = Direct(connection);
                direct.run(work);
                Ok(direct.0)
            });
            self.connection = Some(done.await?);
            Ok(self as Box<dyn Session>)
        })
    }

    fn close(mut self: Box<Self>) -> Answer<'static, ()> {
        let connection = self.connection.take();
        Box::pin(async move {
            match connection {
                Some(connection) => blocking(move || connection.close()).await,
                None => Ok(()),
            }
        })
    }
}

/// A parameter for another thread.
enum Owned {
    Int(i64),
    Text(Box<str>),
    NoInt,
    NoText,
}

impl Owned {
    fn all(values: &[Value<'_>]) -> Vec<Self> {
        let owned = values.iter().map(|value| match value {
            Value::Int(number) => Owned::Int(*number),
            Value::Text(text) => Owned::Text((*text).into()),
            Value::NoInt => Owned::NoInt,
            Value::NoText => Owned::NoText,
        });
        owned.collect()
    }

    fn values(owned: &[Self]) -> Vec<Value<'_>> {
        let values = owned.iter().map(|value| match value {
            Owned::Int(number) => Value::Int(*number),
            Owned::Text(text) => Value::Text(text),
            Owned::NoInt => Value::NoInt,
            Owned::NoText => Value::NoText,
        });
        values.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_query_that_is_given_up_ends_and_another_reader_has_its_place() {
        const LONG: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("test.sqlite");
        std::fs::write(&file, "").expect("made");
        let database = Sqlite::open(&file).expect("opened");
        for _ in 0..=READERS {
            let mut reader = timeout(READER_TIMEOUT / 2, database.reader()).await.expect("a place").expect("a reader");
            let given_up = timeout(Duration::from_millis(50), reader.query(LONG, &[])).await;
            assert!(given_up.is_err(), "it never ends by itself");
        }
        let mut reader = database.reader().await.expect("a reader");
        assert_eq!(reader.query("SELECT 7", &[]).await.expect("an answer")[0].int(0).expect("a number"), 7);
        drop(reader);
        database.close().await;
        assert!(database.reader().await.is_err(), "it is closed");
    }
}
