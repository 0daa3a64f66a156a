use std::fmt;
use std::time::Duration;

use halfbyte_core::{BoxError, Problem};

use super::decision::Decision;

/// Why something may not be done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Denied {
    /// Policies say no, or one of them could not be evaluated; or what is asked for is not there.
    Forbidden(Decision),
    /// There are no policies, or the product's own provider failed.
    Unavailable {
        /// When it makes sense to ask again.
        retry_in: Duration,
        /// Why.
        source: BoxError,
    },
}

impl Denied {
    /// The refusal that a client sees: `forbidden` or `unavailable`. It does not say which policy, nor whether the thing is there.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Forbidden(_) => forbidden(),
            Self::Unavailable { retry_in, .. } => Problem::unavailable(*retry_in),
        }
    }
}

/// The one refusal for whatever is not permitted, so that none tells more than another.
pub(super) fn forbidden() -> Problem {
    Problem::forbidden("the policies of this service do not permit it")
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(_) => f.write_str("the policies do not permit it"),
            Self::Unavailable { .. } => f.write_str("it cannot be decided now"),
        }
    }
}

impl std::error::Error for Denied {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Forbidden(_) => None,
            Self::Unavailable { source, .. } => Some(&**source),
        }
    }
}
