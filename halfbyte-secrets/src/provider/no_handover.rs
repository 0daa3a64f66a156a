//! Where a program cannot hand values to itself, they stay in its environment.

use crate::Error;

/// Never made.
pub(super) struct Taken(std::convert::Infallible);

impl Taken {
    pub(super) fn get(&self, _variable: &str) -> Option<&[u8]> {
        match self.0 {}
    }
}

pub(super) fn take(_variables: Vec<String>, _before: Option<&Taken>) -> Result<Option<Taken>, Error> {
    Ok(None)
}
