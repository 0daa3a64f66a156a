//! One error for all chores: a message for the person at the terminal, that says what to do next.

use std::fmt::{self, Display};

/// What a chore that can fail returns.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why a chore failed, ready to print.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Says what was being done when an error came up.
pub trait Context<T> {
    /// Turns the error into ours, with `doing` in front of it.
    fn context(self, doing: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl Display) -> Result<T> {
        self.map_err(|error| Error(format!("{doing}: {error}")))
    }
}
