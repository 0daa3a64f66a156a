use std::collections::{BTreeMap, BTreeSet};

use halfbyte_core::TenantId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{GrantSpec, PlanRef, Standing, Then, Trial};
use crate::{Anchor, Entitlement};

/// The version of the document that this program writes.
const VERSION: u32 = 1;

/// The account of a customer: everything that says what it may use.
///
/// Nothing has to be run for time to pass: what it says of an instant is computed for that instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub(super) v: u32,
    pub(super) tenant: TenantId,
    pub(super) since: Timestamp,
    /// When an operation last changed it. Operations after that are not before it, whatever clocks say.
    pub(super) changed: Timestamp,
    #[serde(default)]
    pub(super) standing: Standing,
    #[serde(default)]
    pub(super) subjects: BTreeSet<Box<str>>,
    /// As it was when the account last changed.
    #[serde(default)]
    pub(super) subscription: Option<Subscription>,
    /// What held and will hold from when on, oldest first: the past, bounded, and what follows from `subscription`.
    pub(super) stages: Vec<Stage>,
    #[serde(default)]
    pub(super) add_ons: Vec<OwnedAddOn>,
    #[serde(default)]
    pub(super) grants: Vec<Grant>,
}

/// What a customer subscribes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Subscription {
    /// The plan, in the version that was bought.
    #[serde(flatten)]
    pub plan: PlanRef,
    /// What its periods are counted from.
    pub anchor: Anchor,
    /// Since when it has lasted, whatever changes of plan there were.
    pub since: Timestamp,
    /// The trial that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// The change that is planned, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<(PlanRef, Timestamp)>,
    /// When it ends, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// Since when it has been paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Timestamp>,
}

impl Subscription {
    /// When it is over, as far as is known.
    pub fn end(&self) -> Option<Timestamp> {
        let trial = self.trial.filter(|trial| trial.then == Then::Cancel).map(|trial| trial.until);
        [self.ends, trial].into_iter().flatten().min()
    }

    /// What is left of it at a later instant.
    fn at(mut self, at: Timestamp) -> Option<Self> {
        if self.end().is_some_and(|end| end <= at) {
            return None;
        }
        self.trial = self.trial.filter(|trial| trial.until > at);
        if let Some((plan, _)) = self.change.take_if(|(_, when)| *when <= at) {
            self.plan = plan;
        }
        Some(self)
    }
}

/// An add-on that a customer has or had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OwnedAddOn {
    /// Its name.
    pub name: Box<str>,
    /// What it adds, as the catalogue had it when it was added.
    pub entitlements: BTreeMap<Box<str>, Entitlement>,
    /// Since when.
    pub since: Timestamp,
    /// Until when, if it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl OwnedAddOn {
    pub(super) fn holds(&self, at: Timestamp) -> bool {
        self.since <= at && self.until.is_none_or(|until| at < until)
    }
}

/// A grant that a customer has or had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Grant {
    /// What was granted.
    #[serde(flatten)]
    pub spec: GrantSpec,
    /// When it was.
    pub granted: Timestamp,
    /// What its periods are counted from, where it recurs; its instant is the one from which it can be used.
    pub anchor: Anchor,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

impl Grant {
    /// The first instant at which it can be used no more.
    pub fn end(&self) -> Option<Timestamp> {
        [self.spec.expires, self.revoked].into_iter().flatten().min()
    }

    pub(super) fn is_over(&self, at: Timestamp) -> bool {
        self.end().is_some_and(|end| end <= at)
    }
}

/// What holds from an instant on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stage {
    pub(super) from: Timestamp,
    #[serde(flatten)]
    pub(super) terms: Terms,
}

/// What a customer has besides add-ons and grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    /// Since when the subscription has lasted, or there has been none.
    pub(super) since: Timestamp,
    /// What is subscribed to; `None` for the default plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subscribed: Option<(PlanRef, Anchor)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) paused: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) past_due: bool,
}

impl Terms {
    pub(super) fn without_subscription(since: Timestamp, standing: Standing) -> Self {
        Self { since, subscribed: None, paused: false, past_due: standing == Standing::PastDue }
    }
}

impl Account {
    pub(super) fn new(tenant: TenantId, now: Timestamp) -> Self {
        Self {
            v: VERSION,
            tenant,
            since: now,
            changed: now,
            standing: Standing::Good,
            subjects: BTreeSet::new(),
            subscription: None,
            stages: vec![Stage { from: now, terms: Terms::without_subscription(now, Standing::Good) }],
            add_ons: Vec::new(),
            grants: Vec::new(),
        }
    }

    pub(crate) fn read(document: &str) -> Result<Self, serde_json::Error> {
        let account: Self = serde_json::from_str(document)?;
        if account.v > VERSION { Err(serde::de::Error::custom("a later version wrote it")) } else { Ok(account) }
    }

    /// Whether a document was written by a later version of this program.
    pub(crate) fn is_later(document: &str) -> bool {
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        serde_json::from_str::<Versioned>(document).is_ok_and(|document| document.v > VERSION)
    }

    pub(crate) fn write(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Who it is of.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Since when it has been there.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Whether the customer pays.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The other names that the customer has in usage events.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.subjects.iter().map(|subject| &**subject)
    }

    /// What is subscribed to at `at`: now or later, as far as is known. [`plan_at`](Self::plan_at) also knows the past.
    pub fn subscription(&self, at: Timestamp) -> Option<Subscription> {
        self.subscription.clone()?.at(at)
    }

    /// The version of a plan that was or will be subscribed to at any instant, paused or not; of the past only the last 64
    /// changes are known.
    pub fn plan_at(&self, at: Timestamp) -> Option<&PlanRef> {
        let (plan, _) = self.stage(at)?.terms.subscribed.as_ref()?;
        Some(plan)
    }

    /// The add-ons at `at`.
    pub fn add_ons(&self, at: Timestamp) -> impl Iterator<Item = &OwnedAddOn> {
        self.add_ons.iter().filter(move |add_on| add_on.holds(at))
    }

    /// All grants that are remembered, also those that have expired or been revoked.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    /// Whether the subscription is paused at `at`.
    pub(crate) fn is_paused(&self, at: Timestamp) -> bool {
        self.stage(at).is_some_and(|stage| stage.terms.paused)
    }

    /// What holds at `at`, if that is not before the account, or before what is remembered.
    pub(super) fn stage(&self, at: Timestamp) -> Option<&Stage> {
        self.stages[..self.stages_until(at)].last()
    }

    /// When something else begins to hold.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &PlanRef> {
        self.stages.iter().filter_map(|stage| stage.terms.subscribed.as_ref()).map(|(plan, _)| plan)
    }

    /// When another stage begins.
    pub(super) fn next_stage(&self, at: Timestamp) -> Option<Timestamp> {
        self.stages.get(self.stages_until(at)).map(|stage| stage.from)
    }

    /// How many stages have begun by `at`.
    pub(super) fn stages_until(&self, at: Timestamp) -> usize {
        self.stages.partition_point(|stage| stage.from <= at)
    }
}
