use halfbyte_core::BoxError;

use super::sql::{Code, SqlError};
use crate::{Error, ErrorKind};

const SQLITE_BUSY: i32 = 5;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_TOOBIG: i32 = 18;
const SQLITE_CONSTRAINT: i32 = 19;
const SQLITE_MISMATCH: i32 = 20;
const SQLITE_NOTADB: i32 = 26;

/// Why the database did not do what it was asked.
pub(super) struct Failure {
    kind: ErrorKind,
    source: BoxError,
}

impl Failure {
    pub(super) fn corrupt(what: &str) -> Self {
        Self { kind: ErrorKind::Corrupt, source: what.into() }
    }

    pub(super) fn into_error(self, doing: &str, name: &str) -> Error {
        let message = match self.kind {
            ErrorKind::Corrupt => {
                format!("{name} is damaged and was left as it is; restore a copy of it, or move it away to start anew")
            }
            _ => format!("{doing} {name} failed"),
        };
        Error::because(self.kind, message, self.source)
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        let damaged = match error.code() {
            Code::Sqlite(code) => matches!(code, SQLITE_CORRUPT | SQLITE_NOTADB),
            Code::Postgres(code) => matches!(&code, b"XX001" | b"XX002"),
            Code::None => false,
        };
        let kind = if damaged { ErrorKind::Corrupt } else { ErrorKind::Unavailable };
        Self { kind, source: error.into() }
    }
}

/// Whether the same transaction may well succeed when it is tried again, on the same session after a rollback: it lost
/// against another one, or waited for others too long.
pub(crate) fn is_passing(error: &SqlError) -> bool {
    match error.code() {
        Code::Sqlite(code) => code == SQLITE_BUSY,
        // Statement timeout, lock timeout, deadlock, serialization.
        Code::Postgres(code) => matches!(&code, b"57014" | b"55P03" | b"40P01" | b"40001"),
        Code::None => false,
    }
}

/// Whether it is what was to be written that the database refuses: it does so again however often it is tried, and takes
/// everything else.
///
/// So is what it has and cannot be read: whatever does not need that goes on.
pub(crate) fn is_of_data(error: &SqlError) -> bool {
    if error.is_of_content() {
        return true;
    }
    match error.code() {
        Code::Sqlite(code) => matches!(code, SQLITE_TOOBIG | SQLITE_CONSTRAINT | SQLITE_MISMATCH),
        // Data exceptions and constraints; what is larger than a value or a row of an index can be; what a trigger raises.
        Code::Postgres(code) => matches!(&code, [b'2', b'2' | b'3', ..] | b"54000" | b"P0001"),
        Code::None => false,
    }
}

/// Says of a failed query what was being done to which store.
pub(super) trait Attempt<T> {
    fn attempt(self, doing: &str, name: &str) -> Result<T, Error>;
}

impl<T> Attempt<T> for Result<T, SqlError> {
    fn attempt(self, doing: &str, name: &str) -> Result<T, Error> {
        self.map_err(|error| Failure::from(error).into_error(doing, name))
    }
}

impl<T> Attempt<T> for Result<T, std::io::Error> {
    fn attempt(self, doing: &str, name: &str) -> Result<T, Error> {
        self.map_err(|error| Failure { kind: ErrorKind::Unavailable, source: error.into() }.into_error(doing, name))
    }
}
