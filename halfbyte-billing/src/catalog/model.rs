//! What a catalogue consists of: plain values.

use std::collections::BTreeMap;
use std::sync::Arc;

use halfbyte_core::ProductId;
use serde::{Deserialize, Serialize};

use crate::Per;

/// A product that features and meters belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its name.
    pub id: ProductId,
    /// Its name for people; the id unless the catalogue gives one.
    pub title: Box<str>,
}

/// What use is counted by: which events, which number in them, and how numbers become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Its name, once in a catalogue.
    pub name: Arc<str>,
    /// Whose use it counts.
    pub product: ProductId,
    /// What one of it is called.
    pub unit: Box<str>,
    /// The CloudEvents `type` of the events that it counts; `PRODUCT.METER` unless the catalogue gives one.
    pub event: Arc<str>,
    /// How the values of events become one.
    pub aggregation: Aggregation,
    /// The member of an event's `data` that holds the value; not used by [`Aggregation::Count`].
    pub value: Box<str>,
    /// Digits after the point that are counted: amounts are whole numbers of the smallest unit, `10^-decimals`. 0 to 9.
    pub decimals: u8,
    /// The members of `data` that usage is kept apart by, in this order.
    pub group_by: Box<[Box<str>]>,
    /// What an event must have to be counted: all of these.
    pub filters: Box<[Filter]>,
}

/// How the values of many events become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Aggregation {
    /// How many events there are.
    Count,
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The one whose event has the latest time.
    Latest,
    /// How many different values there are.
    Unique,
    /// Each value times the seconds for which it was the latest one: a level such as "seats" becomes "seat seconds".
    TimeWeighted,
}

/// A condition on a member of an event's `data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The member.
    pub property: Box<str>,
    /// The texts that it may be.
    pub any_of: Box<[Box<str>]>,
}

/// What a plan grants and a layer checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, once in a catalogue.
    pub name: Arc<str>,
    /// The product that has it.
    pub product: ProductId,
    /// What there is to say of it.
    pub kind: FeatureKind,
    /// What is decided while nothing is known.
    pub fallback: Fallback,
}

/// What there is to say of a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    /// A plan has it or has it not.
    Switch,
    /// A plan gives it a value, such as a number of seats or the name of a support level.
    Value,
    /// Its use is counted by the meter of this name, which counts or sums and belongs to no other feature.
    Metered(Arc<str>),
}

/// What is decided on a feature while the store cannot be asked and nothing good is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fallback {
    /// Nobody may: for what is paid for in advance.
    #[default]
    Deny,
    /// Everybody may, and it is counted: for what is paid for afterwards.
    Allow,
}

/// What customers subscribe to. A version of it never changes: who has it keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: Arc<str>,
    /// Its name for people; the name unless the catalogue gives one.
    pub title: Box<str>,
    /// Its versions, at least one.
    pub(super) versions: BTreeMap<u32, Arc<PlanVersion>>,
}

impl Plan {
    /// The version that new customers get.
    pub fn newest(&self) -> &Arc<PlanVersion> {
        self.versions.values().next_back().expect("a plan has a version")
    }

    /// One version.
    pub fn version(&self, number: u32) -> Option<&Arc<PlanVersion>> {
        self.versions.get(&number)
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<PlanVersion>> {
        self.versions.values()
    }
}

/// One version of a plan, or of an add-on: what it grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanVersion {
    /// The plan's name.
    pub plan: Box<str>,
    /// Its number, from 1.
    pub number: u32,
    /// What it says of each feature that it has.
    pub entitlements: BTreeMap<Box<str>, Entitlement>,
}

/// What can be had besides a plan: it adds to what the plan grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddOn {
    /// Its name.
    pub name: Box<str>,
    /// Its name for people.
    pub title: Box<str>,
    /// What it adds: units to a metered feature, a switch that is on, a value that replaces the plan's.
    pub entitlements: BTreeMap<Box<str>, Entitlement>,
}

/// What a plan says of one feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Entitlement {
    /// A switch that is on.
    Included,
    /// A static value.
    Value(Box<str>),
    /// So much use.
    Metered(Allowance),
}

/// How much of a metered feature may be used, and when it starts anew. In the meter's smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// How much in a period.
    pub limit: Limit,
    /// How long a period is.
    pub per: Per,
    /// From when periods are counted.
    #[serde(default)]
    pub reset: Reset,
    /// How much of what was not used in a period may be used in the next.
    #[serde(default)]
    pub rollover: u64,
}

/// How much may be used in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// No more than this, and `grace` percent of it on top: who is over the units is told so by `overage`.
    Hard {
        /// The units.
        units: u64,
        /// Percent on top.
        grace: u8,
    },
    /// This is included; what goes beyond is let through and counted as overage.
    Soft {
        /// The units.
        units: u64,
    },
    /// Any amount.
    Unlimited,
    /// Nothing is included: it is used out of grants alone, and refused with `payment-required` when they are used up.
    Prepaid,
}

/// From when the periods of an allowance are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// Calendar days, months and years in UTC.
    #[default]
    Calendar,
    /// From the anchor of the subscription.
    Anniversary,
}
