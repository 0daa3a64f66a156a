use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Anchor, Per};

/// Something that is done to the account of a customer.
///
/// Operations are asked for under an id: the same id with the same operation is done once and answered twice alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Operation {
    /// Makes the account. One that is there stays as it is.
    Create,
    /// Lets the customer also be known as `subject` in usage events; at most 64, each of one customer.
    AddSubject {
        /// The name: 1 to 255 visible ASCII characters.
        subject: Box<str>,
    },
    /// Takes the name away again.
    RemoveSubject {
        /// The name.
        subject: Box<str>,
    },
    /// From now on the customer has this plan and nothing else: a pause, a trial, a planned change and a planned end are
    /// over. Who has a subscription keeps its anchor unless another is given; who has the plan keeps its version unless
    /// another is given.
    Subscribe {
        /// The plan.
        plan: Box<str>,
        /// Its version; the newest unless given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
        /// What periods are counted from; now, in UTC, unless given. One that is given begins the subscription anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        anchor: Option<Anchor>,
        /// That it begins with a trial.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trial: Option<Trial>,
    },
    /// Puts another plan, or another version of it, in place of the one that is subscribed to. The anchor stays; what was
    /// used in a period counts on under the limit of the new plan. It takes the place of a change that was planned.
    ChangePlan {
        /// The plan.
        plan: Box<str>,
        /// Its version; the newest unless given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
        /// When.
        when: When,
    },
    /// Suspends the subscription: until it is resumed the customer may use nothing, the default plan neither. Periods,
    /// trials and planned changes go on.
    Pause,
    /// Ends a pause.
    Resume,
    /// Ends the subscription: after that the customer has the default plan.
    Cancel {
        /// When. An end that is nearer already stays.
        when: When,
    },
    /// Adds an add-on, as the catalogue has it now; at most 100. It stays until it is removed, whatever the plan.
    AddAddOn {
        /// The add-on.
        name: Box<str>,
    },
    /// Takes an add-on away, now.
    RemoveAddOn {
        /// The add-on.
        name: Box<str>,
    },
    /// Gives an amount of a metered feature; at most 1000 that have not expired.
    Grant(GrantSpec),
    /// Takes back what is left of a grant, now. What was used of it stays used.
    RevokeGrant {
        /// The grant.
        id: Box<str>,
    },
    /// Says whether the customer pays.
    SetStanding {
        /// What holds from now on.
        standing: Standing,
    },
}

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once.
    Now,
    /// When the period ends: of the allowances of the plan the longest one; of two as long, the one that is counted from
    /// the anchor. A plan without allowances has months from the anchor.
    PeriodEnd,
}

/// A time at the beginning of a subscription after which something happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its end.
    pub until: Timestamp,
    /// What happens then.
    pub then: Then,
}

/// What happens at the end of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The subscription goes on.
    Continue,
    /// The subscription ends.
    Cancel,
}

/// Whether a customer pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing is owed.
    #[default]
    Good,
    /// Nothing may be used until something is paid.
    PastDue,
}

/// An amount of a metered feature, once or again each period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GrantSpec {
    /// Its name, once for a customer for ever: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub id: Box<str>,
    /// The feature.
    pub feature: Box<str>,
    /// How much, in the smallest unit of the feature's meter: 1 to 2^63 - 1.
    pub amount: u64,
    /// What is smaller is used up first; 100 unless given, as for what a plan includes.
    #[serde(default = "GrantSpec::usual_priority")]
    pub priority: i32,
    /// From when it can be used; at once unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Timestamp>,
    /// Until when it can be used; for ever unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// That the amount is given anew each day, month or year, counted from `effective` in the time zone of the
    /// subscription's anchor, or in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<Per>,
    /// How much of what was not used in a period may be used in the next, where it recurs.
    #[serde(default)]
    pub rollover: u64,
}

impl GrantSpec {
    /// A grant of `amount` smallest units that can be used at once and for ever.
    pub fn new(id: impl Into<Box<str>>, feature: impl Into<Box<str>>, amount: u64) -> Self {
        Self {
            id: id.into(),
            feature: feature.into(),
            amount,
            priority: Self::usual_priority(),
            effective: None,
            expires: None,
            recurrence: None,
            rollover: 0,
        }
    }

    /// Sets the priority: what is smaller is used up first.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Sets from when it can be used.
    #[must_use]
    pub fn effective(mut self, at: Timestamp) -> Self {
        self.effective = Some(at);
        self
    }

    /// Sets until when it can be used.
    #[must_use]
    pub fn expires(mut self, at: Timestamp) -> Self {
        self.expires = Some(at);
        self
    }

    /// Lets it be given anew each period, with at most `rollover` units taken over from the period before.
    #[must_use]
    pub fn each(mut self, per: Per, rollover: u64) -> Self {
        self.recurrence = Some(per);
        self.rollover = rollover;
        self
    }

    fn usual_priority() -> i32 {
        100
    }
}

/// A version of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRef {
    /// The plan's name.
    pub plan: Box<str>,
    /// The number of the version.
    pub version: u32,
}

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// Whether anything is other than before.
    pub changed: bool,
    /// When it takes effect.
    pub effective: Timestamp,
    /// The version that was subscribed to or changed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanRef>,
}
