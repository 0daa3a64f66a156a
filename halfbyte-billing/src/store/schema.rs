//! The tables, and who may open a file that has them.

use sqlx::{Connection as _, Row as _, SqliteConnection};

use super::failure::{Attempt as _, Failure};
use crate::{Error, ErrorKind};

/// "HBbi", in the header of the file: says that it is ours.
const APPLICATION_ID: i64 = 0x4842_6269;
const VERSION: i64 = 1;

// Rows of usage are kept by day: a sum over days answers for any period, whatever the plan was or will be.
const TABLES: &str = "
    CREATE TABLE revision (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), number INTEGER NOT NULL) STRICT;
    INSERT INTO revision VALUES (1, 1);

    CREATE TABLE customers (
        tenant TEXT NOT NULL PRIMARY KEY,
        since  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE subscriptions (
        id     INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL REFERENCES customers (tenant),
        plan   TEXT NOT NULL,
        since  INTEGER NOT NULL,
        ended  INTEGER
    ) STRICT;
    CREATE UNIQUE INDEX current_subscription ON subscriptions (tenant) WHERE ended IS NULL;

    CREATE TABLE usage_events (
        tenant  TEXT NOT NULL,
        product TEXT NOT NULL,
        meter   TEXT NOT NULL,
        key     BLOB NOT NULL,
        feature TEXT NOT NULL,
        units   INTEGER NOT NULL,
        at      INTEGER NOT NULL,
        PRIMARY KEY (tenant, product, meter, key)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE usage_totals (
        tenant  TEXT NOT NULL,
        product TEXT NOT NULL,
        meter   TEXT NOT NULL,
        day     INTEGER NOT NULL,
        units   INTEGER NOT NULL,
        PRIMARY KEY (tenant, product, meter, day)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE tranches (
        tenant    TEXT NOT NULL,
        product   TEXT NOT NULL,
        meter     TEXT NOT NULL,
        owner     TEXT NOT NULL,
        feature   TEXT NOT NULL,
        first_day INTEGER NOT NULL,
        end_day   INTEGER NOT NULL,
        quota     INTEGER NOT NULL,
        units     INTEGER NOT NULL CHECK (units > 0),
        PRIMARY KEY (tenant, product, meter, owner, feature, first_day, end_day, quota)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tranches_by_owner ON tranches (owner);

    PRAGMA application_id = 0x48426269;
    PRAGMA user_version = 1;
";

/// Whose a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Fresh,
    Current,
}

/// Looks at a database without writing to it.
pub(super) async fn inspect(connection: &mut SqliteConnection, file: &str) -> Result<(), Error> {
    origin(connection, file).await?;
    let verdict: String = sqlx::query("PRAGMA quick_check(1)")
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .attempt("checking", file)?;
    if verdict == "ok" { Ok(()) } else { Err(corrupt(file, &verdict)) }
}

/// Makes the tables if they are not there; two processes may do so at once.
pub(super) async fn prepare(connection: &mut SqliteConnection, file: &str) -> Result<(), Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.attempt("preparing", file)?;
    if origin(&mut transaction, file).await? == Origin::Fresh {
        sqlx::raw_sql(TABLES).execute(&mut *transaction).await.attempt("preparing", file)?;
    }
    transaction.commit().await.attempt("preparing", file)
}

async fn origin(connection: &mut SqliteConnection, file: &str) -> Result<Origin, Error> {
    let id = number(connection, "PRAGMA application_id").await.attempt("opening", file)?;
    let version = number(connection, "PRAGMA user_version").await.attempt("opening", file)?;
    let tables = number(connection, "SELECT count(*) FROM sqlite_schema").await.attempt("opening", file)?;
    match (id, version) {
        (APPLICATION_ID, VERSION) => Ok(Origin::Current),
        (0, 0) if tables == 0 => Ok(Origin::Fresh),
        (APPLICATION_ID, later) => {
            let message = format!(
                "{file} has schema {later} and this version of halfbyte-billing knows {VERSION}; \
                 run the later version, or point HALFBYTE_BILLING_URL elsewhere"
            );
            Err(Error::new(ErrorKind::Foreign, message))
        }
        _ => {
            let message = format!("{file} is the database of another program; point HALFBYTE_BILLING_URL elsewhere");
            Err(Error::new(ErrorKind::Foreign, message))
        }
    }
}

async fn number(connection: &mut SqliteConnection, query: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query(query).fetch_one(connection).await?.try_get(0)
}

/// The error for a damaged file.
pub(super) fn corrupt(file: &str, what: &str) -> Error {
    Failure::corrupt(what).into_error("opening", file)
}
