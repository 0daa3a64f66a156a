use std::error::Error;
use std::fmt;

use halfbyte_core::BoxError;

/// Why a database did not do what it was asked.
#[derive(Debug)]
pub(crate) enum SqlError {
    #[cfg(feature = "sqlite")]
    Sqlite(rusqlite::Error),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::Error),
    /// What was to be written or was read is not what the store keeps.
    Content(BoxError),
    /// A row that must be there is not.
    Missing,
    /// The session is of no use any more.
    Gone(&'static str),
}

/// What a database calls an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// SQLite's primary code.
    Sqlite(i32),
    /// The SQLSTATE of PostgreSQL.
    Postgres([u8; 5]),
    None,
}

impl SqlError {
    pub(crate) fn content(error: impl Into<BoxError>) -> Self {
        SqlError::Content(error.into())
    }

    /// Whether the database did as it was asked, and what is in it is not understood.
    pub(crate) fn is_of_content(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            SqlError::Postgres(error) => {
                matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Encode(_))
            }
            SqlError::Content(_) | SqlError::Missing => true,
            _ => false,
        }
    }

    pub(crate) fn code(&self) -> Code {
        match self {
            // The extended codes keep the primary one in their lowest byte.
            #[cfg(feature = "sqlite")]
            SqlError::Sqlite(error) => {
                error.sqlite_error().map_or(Code::None, |error| Code::Sqlite(error.extended_code & 0xff))
            }
            #[cfg(feature = "postgres")]
            SqlError::Postgres(error) => {
                let state = error.as_database_error().and_then(|error| error.code());
                let state = state.and_then(|state| <[u8; 5]>::try_from(state.as_bytes()).ok());
                state.map_or(Code::None, Code::Postgres)
            }
            SqlError::Content(_) | SqlError::Missing | SqlError::Gone(_) => Code::None,
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "sqlite")]
            SqlError::Sqlite(error) => fmt::Display::fmt(error, f),
            #[cfg(feature = "postgres")]
            SqlError::Postgres(error) => fmt::Display::fmt(error, f),
            SqlError::Content(error) => fmt::Display::fmt(error, f),
            SqlError::Missing => f.write_str("a row that must be there is not"),
            SqlError::Gone(why) => f.write_str(why),
        }
    }
}

impl Error for SqlError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            #[cfg(feature = "sqlite")]
            SqlError::Sqlite(error) => error.source(),
            #[cfg(feature = "postgres")]
            SqlError::Postgres(error) => error.source(),
            SqlError::Content(error) => error.source(),
            SqlError::Missing | SqlError::Gone(_) => None,
        }
    }
}

#[cfg(feature = "sqlite")]
impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        SqlError::Sqlite(error)
    }
}

#[cfg(feature = "postgres")]
impl From<sqlx::Error> for SqlError {
    fn from(error: sqlx::Error) -> Self {
        SqlError::Postgres(error)
    }
}
