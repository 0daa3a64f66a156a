use std::time::Duration;

use halfbyte_core::Problem;
use halfbyte_core::problem::Quota;

/// Whether a tenant may use a feature now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// It may. For a metered feature: as far as this process knows without asking the store; what counts is the
    /// reservation that the entitle layer makes.
    Allow {
        /// Units that are left, as far as this process knows; `None` if the feature is not metered, or its limit
        /// is soft or there is none. Before the store was asked it is all that plan, add-ons and grants have.
        remaining: Option<u64>,
        /// What it was decided by.
        basis: Basis,
    },
    /// Its plan does not have the feature, or it has no plan, or nobody knows it.
    NotEntitled,
    /// It is past due, or what it paid for in advance is used up.
    PaymentRequired,
    /// Its quota is used up, or not as much is left as was asked for.
    QuotaExhausted(Quota),
    /// The store cannot be reached, and no good copy of what is needed is left.
    Unavailable {
        /// When to ask again.
        retry_in: Duration,
    },
}

/// What a decision was made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// What the store says, seconds old at most.
    Live,
    /// The last that the store said, so long ago: it cannot be reached.
    Stale(Duration),
    /// Nothing is known: the product's own word for this feature.
    Fallback,
}

impl Decision {
    /// Whether it may.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow { .. })
    }

    /// What a client of `feature` is told; `None` if it may.
    pub fn to_problem(&self, feature: &str) -> Option<Problem> {
        match self {
            Decision::Allow { .. } => None,
            Decision::NotEntitled => Some(Problem::not_entitled(feature)),
            Decision::PaymentRequired => Some(Problem::payment_required(format!(
                "what this tenant has paid for \"{feature}\" is used up or past due"
            ))),
            Decision::QuotaExhausted(quota) => Some(Problem::quota_exhausted(quota.clone())),
            Decision::Unavailable { retry_in } => Some(Problem::unavailable(*retry_in)),
        }
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::problem::Kind;

    use super::*;

    #[test]
    fn every_refusal_is_a_row_of_the_table_and_what_is_allowed_is_none() {
        let quota = Quota {
            name: "labels".into(),
            limit: 10,
            remaining: 2,
            window: Duration::from_secs(86_400),
            resets_in: Duration::from_secs(60),
        };
        for (decision, kind) in [
            (Decision::Allow { remaining: Some(3), basis: Basis::Live }, None),
            (Decision::NotEntitled, Some(Kind::NotEntitled)),
            (Decision::PaymentRequired, Some(Kind::PaymentRequired)),
            (Decision::QuotaExhausted(quota), Some(Kind::QuotaExhausted)),
            (Decision::Unavailable { retry_in: Duration::from_secs(1) }, Some(Kind::Unavailable)),
        ] {
            assert_eq!(decision.to_problem("labels").map(|problem| problem.kind()), kind);
            assert_eq!(decision.is_allowed(), kind.is_none());
        }
    }

    #[test]
    fn who_has_to_pay_is_told_for_what() {
        let problem = Decision::PaymentRequired.to_problem("labels").expect("refused");
        assert!(problem.detail().contains("\"labels\""), "{problem}");
    }
}
