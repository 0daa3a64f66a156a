//! What a tenant has bought, and what that entitles it to at any instant. Pure.

mod apply;
mod document;
mod lots;
#[cfg(test)]
pub(crate) mod model;
mod offers;
mod operation;
mod right;

use std::sync::Arc;

use jiff::Timestamp;

pub use self::document::{Account, Grant, OwnedAddOn, Subscription};
pub(crate) use self::offers::Offers;
pub use self::operation::{Answer, GrantSpec, Operation, PlanRef, Standing, Then, Trial, When};
pub(crate) use self::right::default_right;
use crate::Period;
use crate::ledger::LotSpec;

/// What an account says of a feature at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// Nothing: the plan lacks it, there is no plan, or the subscription is paused or has ended.
    None,
    /// Nothing until something is paid: the account is past due.
    Unpaid,
    /// A switch that is on.
    Included,
    /// A static value.
    Value(Box<str>),
    /// So much use.
    Metered(MeteredRight),
}

/// What an account may use of a metered feature, as long as nothing changes: until `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MeteredRight {
    pub(crate) mode: Mode,
    /// What there is to burn: the plan's allowance, grace, add-ons and grants.
    pub(crate) lots: Arc<[LotSpec]>,
    /// What the plan and add-ons include in the period, without grants, grace and rollover.
    pub(crate) limit: u64,
    /// The period of the plan's allowance.
    pub(crate) period: Period,
    /// When it is to be computed anew: the period or a lot ends, or another lot begins. At most the end of the period.
    pub(crate) until: Timestamp,
}

impl MeteredRight {
    /// Of a tenant of whom nothing is known: what it uses is counted, and charged when more is known.
    pub(crate) fn unknown(now: Timestamp) -> Self {
        let period = Period::containing(now, crate::Per::Day);
        Self { mode: Mode::Unlimited, lots: Arc::default(), limit: 0, period, until: now }
    }
}

/// What happens when the lots are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Refused with `quota-exhausted`.
    Hard,
    /// Refused with `payment-required`.
    Prepaid,
    /// Let through, and counted as overage.
    Soft,
    /// There are no lots to use up.
    Unlimited,
}
