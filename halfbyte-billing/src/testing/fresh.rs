use std::path::Path;

use halfbyte_core::home::Home;
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use uuid::Uuid;

use crate::store::{Place, Session, Store};

/// What stores are made on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Backend {
    /// A file in a temporary folder.
    Sqlite,
    /// A database of its own on the server that this is the address of, which must let databases be made.
    Postgres(SecretString),
}

/// A store with nothing in it.
pub(super) struct Fresh {
    pub(super) store: Store,
    pub(super) place: Place,
}

/// What is cleaned away when a case has ended.
pub(super) struct End {
    _folder: TempDir,
    #[cfg(feature = "postgres")]
    database: Option<(SecretString, String)>,
}

impl Fresh {
    pub(super) async fn on(backend: &Backend) -> (Self, End) {
        let folder = tempfile::tempdir().unwrap();
        let (place, end) = match backend {
            Backend::Sqlite => {
                let place = file_in(folder.path());
                #[cfg(feature = "postgres")]
                let end = End { _folder: folder, database: None };
                #[cfg(not(feature = "postgres"))]
                let end = End { _folder: folder };
                (place, end)
            }
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => {
                let name = format!("billing_{}", Uuid::now_v7().simple());
                administer(server, format!("CREATE DATABASE {name}")).await;
                let journals = Home::open(folder.path().join("journal")).unwrap();
                let (address, _) = server.expose_secret().rsplit_once('/').unwrap();
                let place = Place::Postgres { url: format!("{address}/{name}").into(), journals };
                (place, End { _folder: folder, database: Some((server.clone(), name)) })
            }
            #[cfg(not(feature = "postgres"))]
            Backend::Postgres(_) => panic!("PostgreSQL is not part of this build"),
        };
        (Self { store: Store::open(&place).await.unwrap(), place }, end)
    }

    /// A session of its own, as another process has.
    pub(super) async fn session(&self) -> Box<dyn Session> {
        self.store.writer().await.unwrap()
    }
}

/// Where a file and its journals are, in a folder.
fn file_in(folder: &Path) -> Place {
    let home = Home::open(folder.join("home")).unwrap();
    Place::Sqlite { file: home.path().join("billing.sqlite"), journals: home.folder("journal").unwrap() }
}

/// A store in a new file, for tests that are no cases.
#[cfg(all(test, feature = "sqlite"))]
pub(crate) async fn store_in(folder: &Path) -> Store {
    Store::open(&file_in(folder)).await.unwrap()
}

impl End {
    pub(super) async fn clean(self) {
        #[cfg(feature = "postgres")]
        if let Some((server, name)) = self.database {
            administer(&server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

#[cfg(feature = "postgres")]
async fn administer(server: &SecretString, sql: String) {
    use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

    let mut connection = PgConnection::connect(server.expose_secret()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
