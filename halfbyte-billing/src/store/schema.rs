//! The tables, and who may open a database that has them.

use super::failure::{Attempt as _, Failure};
use super::sql::{Dialect, Session, SqlError};
use crate::{Error, ErrorKind};

/// "HBbi", in the header of a SQLite file and the lock of a migration: says that it is ours.
const APPLICATION_ID: i64 = 0x4842_6269;

/// A step from one version of the tables to the next.
struct Migration {
    version: i64,
    script: &'static str,
    /// SQLite keeps the version in the header of the file, and takes no parameter there.
    sqlite: &'static str,
}

/// Version 1 was of a crate that nobody was given.
const MIGRATIONS: &[Migration] = &[Migration {
    version: 2,
    script: include_str!("tables.sql"),
    sqlite: "PRAGMA application_id = 0x48426269; PRAGMA user_version = 2;",
}];

/// What this version of the crate works with.
const VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// Looks at a SQLite database without writing to it.
pub(super) async fn inspect(session: &mut dyn Session, name: &str) -> Result<(), Error> {
    version(session, name).await?;
    let verdict = session.query("PRAGMA quick_check(1)", &[]).await.attempt("checking", name)?;
    match verdict.first().map(|row| row.text(0)).transpose().attempt("checking", name)? {
        Some("ok") => Ok(()),
        other => Err(corrupt(name, other.unwrap_or("it could not be checked"))),
    }
}

/// Brings the tables up to date; any number of processes may do so at once.
pub(super) async fn prepare(session: &mut dyn Session, name: &str) -> Result<(), Error> {
    // Without a lock and without rights to change anything, as long as there is nothing to do.
    while version(session, name).await? < VERSION {
        session.begin().await.attempt("preparing", name)?;
        if session.dialect() == Dialect::Postgres {
            session
                .script(
                    "SET LOCAL statement_timeout = '60s';
                     SELECT pg_advisory_xact_lock(1212310121);
                     CREATE SCHEMA IF NOT EXISTS halfbyte_billing",
                )
                .await
                .attempt("preparing", name)?;
        }
        // Another process may have done it while this one waited.
        let had = version(session, name).await?;
        if let Some(next) = MIGRATIONS.iter().find(|migration| migration.version > had) {
            session.script(next.script).await.attempt("preparing", name)?;
            note(session, next).await.attempt("preparing", name)?;
        }
        session.commit().await.attempt("preparing", name)?;
    }
    Ok(())
}

async fn note(session: &mut dyn Session, done: &Migration) -> Result<(), SqlError> {
    if session.dialect() == Dialect::Sqlite {
        return session.script(done.sqlite).await;
    }
    session
        .script("CREATE TABLE IF NOT EXISTS version (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), number INTEGER NOT NULL)")
        .await?;
    session
        .execute(
            "INSERT INTO version VALUES (1, $1) ON CONFLICT (only_one) DO UPDATE SET number = excluded.number",
            &[done.version.into()],
        )
        .await?;
    Ok(())
}

/// The version of the tables that are there, 0 for none; what is not ours is refused.
async fn version(session: &mut dyn Session, name: &str) -> Result<i64, Error> {
    let found = match session.dialect() {
        Dialect::Sqlite => of_file(session).await,
        Dialect::Postgres => of_schema(session).await,
    };
    match found.attempt("opening", name)? {
        Found::Nothing => Ok(0),
        Found::Ours(version) if MIGRATIONS.iter().any(|known| known.version == version) => Ok(version),
        Found::Ours(version) if version < MIGRATIONS[0].version => Err(foreign(format!(
            "{name} was made by an earlier version that was never released; \
             move it away, or point HALFBYTE_BILLING_URL elsewhere"
        ))),
        Found::Ours(later) => Err(foreign(format!(
            "{name} has schema {later} and this version of halfbyte-billing knows {VERSION}; \
             run the later version, or point HALFBYTE_BILLING_URL elsewhere"
        ))),
        Found::Anothers => {
            Err(foreign(format!("{name} is the database of another program; point HALFBYTE_BILLING_URL elsewhere")))
        }
    }
}

enum Found {
    Nothing,
    Ours(i64),
    Anothers,
}

async fn of_file(session: &mut dyn Session) -> Result<Found, SqlError> {
    let id = number(session, "PRAGMA application_id").await?;
    let version = number(session, "PRAGMA user_version").await?;
    let tables = number(session, "SELECT count(*) FROM sqlite_schema").await?;
    Ok(match (id, version) {
        (APPLICATION_ID, version) => Found::Ours(version),
        (0, 0) if tables == 0 => Found::Nothing,
        _ => Found::Anothers,
    })
}

async fn of_schema(session: &mut dyn Session) -> Result<Found, SqlError> {
    // In one look: another process may be making them.
    let named = "SELECT count(*), count(*) FILTER (WHERE c.relname = 'version')
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = 'halfbyte_billing'";
    let rows = session.query(named, &[]).await?;
    let row = rows.first().ok_or(SqlError::Missing)?;
    match (row.int(0)?, row.int(1)?) {
        (0, _) => Ok(Found::Nothing),
        (_, 0) => Ok(Found::Anothers),
        _ => Ok(Found::Ours(number(session, "SELECT number FROM version").await?)),
    }
}

async fn number(session: &mut dyn Session, sql: &'static str) -> Result<i64, SqlError> {
    session.query(sql, &[]).await?.first().ok_or(SqlError::Missing)?.int(0)
}

fn foreign(message: String) -> Error {
    Error::new(ErrorKind::Foreign, message)
}

/// The error for a damaged file.
pub(super) fn corrupt(file: &str, what: &str) -> Error {
    Failure::corrupt(what).into_error("opening", file)
}
