use halfbyte_core::BoxError;

use crate::{Error, ErrorKind};

const SQLITE_CORRUPT: i32 = 11;
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

    pub(super) fn into_error(self, doing: &str, file: &str) -> Error {
        let message = match self.kind {
            ErrorKind::Corrupt => {
                format!("{file} is damaged and was left as it is; restore a copy of it, or move it away to start anew")
            }
            _ => format!("{doing} {file} failed"),
        };
        Error::because(self.kind, message, self.source)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        // SQLite's extended codes keep the primary one in their lowest byte.
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok()).unwrap_or(0) & 0xff;
        let damaged = matches!(code, SQLITE_CORRUPT | SQLITE_NOTADB);
        let kind = if damaged { ErrorKind::Corrupt } else { ErrorKind::Unavailable };
        Self { kind, source: error.into() }
    }
}

/// Says of a failed query what was being done to which file.
pub(super) trait Attempt<T> {
    fn attempt(self, doing: &str, file: &str) -> Result<T, Error>;
}

impl<T> Attempt<T> for Result<T, sqlx::Error> {
    fn attempt(self, doing: &str, file: &str) -> Result<T, Error> {
        self.map_err(|error| Failure::from(error).into_error(doing, file))
    }
}

impl<T> Attempt<T> for Result<T, std::io::Error> {
    fn attempt(self, doing: &str, file: &str) -> Result<T, Error> {
        self.map_err(|error| Failure { kind: ErrorKind::Unavailable, source: error.into() }.into_error(doing, file))
    }
}
