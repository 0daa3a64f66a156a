use std::time::Duration;

use halfbyte_core::Problem;
use halfbyte_core::problem::Quota;

/// Whether a tenant may use a feature now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// It may. For a metered feature: as far as this process knows without asking the store; what counts is the
    /// reservation that the entitle layer makes.
    Allowed,
    /// Its plan does not have the feature, or it has no plan, or nobody knows it.
    NotEntitled,
    /// Its quota is used up.
    QuotaExhausted(Quota),
    /// The store cannot be reached, and no good copy of what is needed is left.
    Unavailable {
        /// When to ask again.
        retry_in: Duration,
    },
}

impl Decision {
    /// What a client of `feature` is told; `None` if it may.
    pub fn to_problem(&self, feature: &str) -> Option<Problem> {
        match self {
            Decision::Allowed => None,
            Decision::NotEntitled => Some(Problem::not_entitled(feature)),
            Decision::QuotaExhausted(quota) => Some(Problem::quota_exhausted(quota.clone())),
            Decision::Unavailable { retry_in } => Some(Problem::unavailable(*retry_in)),
        }
    }
}
