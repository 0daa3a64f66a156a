//! The store: one SQLite file that processes share, or one PostgreSQL database.

mod accounts;
mod aggregates;
mod burns;
mod catalogues;
mod closing;
mod commit;
mod corrections;
mod entry;
mod events;
mod failure;
mod holds;
mod lookup;
mod lots;
mod measured;
mod outbox;
pub(crate) mod owners;
mod place;
pub(crate) mod processes;
mod schema;
mod sql;
mod usage;

use std::io;
use std::path::Path;
use std::sync::Arc;

use halfbyte_core::error_chain;
use halfbyte_core::home::Home;
use secrecy::SecretString;
use tokio::sync::OnceCell;

pub use self::accounts::OperationRecord;
pub(crate) use self::burns::overage_in;
pub use self::catalogues::Published;
pub(crate) use self::commit::commit;
pub(crate) use self::entry::{
    Batch, Charge, Committed, Entry, Held, Holder, LeaseAsk, Leased, Outcome, Release, Units,
};
#[cfg(any(test, feature = "testing"))]
pub(crate) use self::events::count;
use self::failure::Attempt as _;
pub(crate) use self::failure::{is_of_data, is_passing};
#[cfg(any(test, feature = "testing"))]
pub(crate) use self::lookup::Standing;
pub(crate) use self::lots::balance;
pub(crate) use self::outbox::Position;
pub(crate) use self::place::Place;
#[cfg(feature = "postgres")]
use self::sql::Postgres;
#[cfg(feature = "sqlite")]
pub(crate) use self::sql::Sqlite;
#[cfg(any(test, feature = "testing"))]
pub(crate) use self::sql::{Answer, Work};
pub(crate) use self::sql::{Column, Database, Dialect, Insert, Row, Session, SqlError, Value, run};
#[cfg(any(test, feature = "testing"))]
pub(crate) use self::usage::Slots;
pub(crate) use self::usage::Total;
use crate::{Error, ErrorKind};

/// The store. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    database: Arc<dyn Database>,
    /// Whether its tables are known to be there and up to date.
    prepared: Arc<OnceCell<()>>,
}

impl Store {
    /// Opens the store, made if it is not there. One that is damaged or another's is refused and left as it is.
    pub(crate) async fn open(place: &Place) -> Result<Self, Error> {
        match place {
            #[cfg(feature = "sqlite")]
            Place::Sqlite { file, journals } => Self::open_file(file, journals).await,
            #[cfg(feature = "postgres")]
            Place::Postgres { url, .. } => Self::open_database(url).await,
            #[cfg(not(feature = "sqlite"))]
            Place::Sqlite { .. } => {
                let message = "billing in SQLite needs the feature \"sqlite\" of halfbyte-billing; enable it, or use postgres://...";
                Err(Error::new(ErrorKind::Invalid, message))
            }
            // There is no such place in this build.
            #[cfg(not(feature = "postgres"))]
            Place::Postgres { .. } => {
                Err(Error::new(ErrorKind::Invalid, "billing in PostgreSQL is not part of this build"))
            }
        }
    }

    #[cfg(feature = "sqlite")]
    async fn open_file(file: &Path, journals: &Home) -> Result<Self, Error> {
        let name = file.display().to_string();
        // SQLite cannot wait while another process turns the write-ahead log on; this lock can.
        let folder = journals.clone();
        let opening = tokio::task::spawn_blocking(move || folder.lock("opening.lock"));
        let _opening = opening.await.map_err(io::Error::other).flatten().attempt("opening", &name)?;
        place::prepare(file, journals)?;

        let mut inspector = Sqlite::inspector(file).await.attempt("opening", &name)?;
        schema::inspect(&mut *inspector, &name).await?;
        inspector.close().await.attempt("opening", &name)?;

        let database = Sqlite::open(file).attempt("opening", &name)?;
        let mut writer = database.connect().await.attempt("opening", &name)?;
        schema::prepare(&mut *writer, &name).await?;
        writer.close().await.attempt("opening", &name)?;
        place::note_made(file, journals)?;
        Ok(Self { database: Arc::new(database), prepared: Arc::new(OnceCell::new_with(Some(()))) })
    }

    #[cfg(feature = "postgres")]
    async fn open_database(url: &SecretString) -> Result<Self, Error> {
        let database = Postgres::new(url).attempt("reading the address of", "the billing database")?;
        let store = Self { database: Arc::new(database), prepared: Arc::default() };
        match store.prepare().await {
            // It is tried again whenever it is needed.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(error = error_chain(&error), "the billing database cannot be reached");
                Ok(store)
            }
            outcome => outcome.map(|()| store),
        }
    }

    /// Brings the tables up to date before anything else is done with them.
    async fn prepare(&self) -> Result<(), Error> {
        let prepare = async || {
            let mut writer = self.database.connect().await.attempt("opening", self.name())?;
            schema::prepare(&mut *writer, self.name()).await?;
            writer.close().await.attempt("opening", self.name())
        };
        self.prepared.get_or_try_init(prepare).await.copied()
    }

    /// Whether what was opened is still what stands under its name.
    pub(crate) fn is_in_place(&self) -> Result<(), Error> {
        self.database.is_in_place().map_err(|what| Error::new(ErrorKind::Unavailable, what))
    }

    /// Whether processes on several machines share it: then it need not be there when a process starts.
    pub(crate) fn is_shared_by_machines(&self) -> bool {
        self.database.is_shared_by_machines()
    }

    /// A session of its own, for whoever writes.
    pub(crate) async fn writer(&self) -> Result<Box<dyn Session>, Error> {
        self.prepare().await?;
        self.database.connect().await.attempt("opening", self.name())
    }

    /// A session for reading.
    pub(crate) async fn reader(&self) -> Result<Box<dyn Session>, Error> {
        self.prepare().await?;
        self.database.reader().await.attempt("reading", self.name())
    }

    /// What it is, for people.
    pub(crate) fn name(&self) -> &str {
        self.database.name()
    }

    /// Says of a failed statement what was being done.
    pub(crate) fn explain(&self, doing: &str, error: SqlError) -> Error {
        failure::Failure::from(error).into_error(doing, self.name())
    }

    /// Closes what is open for reading.
    pub(crate) async fn close(&self) {
        self.database.close().await;
    }
}
