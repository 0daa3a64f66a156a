//! The embedded store: one SQLite file that processes share.

mod customers;
mod failure;
mod place;
mod schema;
mod tranches;
mod usage;

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite, SqliteConnection, SqlitePool, Transaction};

use self::failure::Attempt;
pub(crate) use self::place::Place;
pub(crate) use self::tranches::{Lease, release_of, tranche_owners};
pub(crate) use self::usage::{Counted, count};
use crate::{Error, ErrorKind};

/// How long a writer waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// The store, for reading and for the back office. Usage and leases are written by the committer alone, on a
/// [writer](Store::writer) of its own.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pool: SqlitePool,
    options: SqliteConnectOptions,
    file: Arc<str>,
    /// Device and inode of the file that was opened.
    identity: (u64, u64),
}

impl Store {
    /// Opens the database, made if it is not there. One that is damaged or another's is refused and left as it is.
    pub(crate) async fn open(place: &Place) -> Result<Self, Error> {
        let file: Arc<str> = place.file.display().to_string().into();
        // SQLite cannot wait while another process turns the write-ahead log on; this lock can.
        let journals = place.journals.clone();
        let opening = tokio::task::spawn_blocking(move || journals.lock("opening.lock"));
        let _opening = opening.await.map_err(io::Error::other).flatten().attempt("opening", &file)?;
        place.prepare()?;

        let options = SqliteConnectOptions::new()
            .filename(&place.file)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .thread_name(|number| format!("billing-sqlite-{number}"))
            .disable_statement_logging();
        let mut reader = options.clone().read_only(true).connect().await.attempt("opening", &file)?;
        schema::inspect(&mut reader, &file).await?;
        reader.close().await.attempt("opening", &file)?;

        let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let mut writer = options.connect().await.attempt("opening", &file)?;
        schema::prepare(&mut writer, &file).await?;
        writer.close().await.attempt("opening", &file)?;
        place.note_made()?;

        let identity = identity(&place.file).attempt("opening", &file)?;
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone());
        Ok(Self { pool, options, file, identity })
    }

    /// Whether the file that was opened is still the one under its name: SQLite itself would go on writing into a file
    /// that was removed, where nobody finds it again.
    pub(crate) fn is_in_place(&self) -> Result<(), Error> {
        if identity(self.options.get_filename()).attempt("looking for", &self.file)? == self.identity {
            return Ok(());
        }
        let message = format!("{} was replaced while it was open; start this process again", self.file);
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// A connection for the committer.
    pub(crate) async fn writer(&self) -> Result<SqliteConnection, Error> {
        self.options.connect().await.attempt("opening", &self.file)
    }

    /// Closes what is open for reading; the last of all processes to close moves the write-ahead log into the file.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// The file, for people.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Says of a failed query of the committer what was being done.
    pub(crate) fn explain(&self, doing: &str, error: sqlx::Error) -> Error {
        failure::Failure::from(error).into_error(doing, &self.file)
    }

    async fn change(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.attempt("writing", &self.file)
    }
}

fn identity(file: &Path) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
