//! Rights compared with a simple model: everything that was done is done again up to the instant that is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use halfbyte_core::{ProductId, TenantId};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::{
    AddOn, Allowance, Anchor, Entitlement, Error, ErrorKind, Fallback, Feature, FeatureKind, Limit, Per, Period,
    PlanVersion, Reset,
};

/// `2026-01-31` or `2026-01-31T12:00:00`, in UTC.
pub(crate) fn at(text: &str) -> Timestamp {
    let time = if text.contains('T') { "" } else { "T00:00:00" };
    format!("{text}{time}Z").parse().expect("a timestamp")
}

pub(crate) fn account(since: &str) -> Account {
    Account::new(TenantId::new("acme").expect("valid"), at(since))
}

pub(crate) fn subscribe(plan: &str) -> Operation {
    Operation::Subscribe { plan: plan.into(), version: None, anchor: None, trial: None }
}

pub(crate) fn grant(id: &str, amount: u64, expires: Option<Timestamp>) -> Operation {
    Operation::Grant(GrantSpec { expires, ..GrantSpec::new(id, "calls", amount) })
}

/// A small catalogue.
pub(crate) struct TestOffers {
    plans: BTreeMap<(&'static str, u32), Arc<PlanVersion>>,
    add_ons: BTreeMap<&'static str, Arc<AddOn>>,
    features: Vec<Feature>,
}

fn metered(limit: Limit, per: Per, reset: Reset, rollover: u64) -> Entitlement {
    Entitlement::Metered(Allowance { limit, per, reset, rollover })
}

impl Default for TestOffers {
    fn default() -> Self {
        let calls = |limit, per, reset, rollover| vec![("calls", metered(limit, per, reset, rollover))];
        let mut pro = calls(Limit::Hard { units: 200, grace: 15 }, Per::Month, Reset::Anniversary, 50);
        pro.extend([("sso", Entitlement::Included), ("seats", Entitlement::Value("5".into()))]);
        let old = calls(Limit::Hard { units: 100, grace: 0 }, Per::Month, Reset::Anniversary, 30);
        let plans = [
            ("free", 1, calls(Limit::Hard { units: 10, grace: 0 }, Per::Month, Reset::Calendar, 5)),
            ("pro", 1, old),
            ("pro", 2, pro),
            ("max", 1, calls(Limit::Soft { units: 1000 }, Per::Day, Reset::Calendar, 0)),
            ("pay", 1, calls(Limit::Prepaid, Per::Month, Reset::Calendar, 0)),
            ("open", 1, calls(Limit::Unlimited, Per::Year, Reset::Anniversary, 0)),
            ("bare", 1, Vec::new()),
        ];
        let plans = plans.into_iter().map(|(plan, number, entitlements)| {
            let entitlements = entitlements.into_iter().map(|(name, entitlement)| (name.into(), entitlement)).collect();
            ((plan, number), Arc::new(PlanVersion { plan: plan.into(), number, entitlements }))
        });
        let mut boost = calls(Limit::Hard { units: 25, grace: 20 }, Per::Month, Reset::Anniversary, 0);
        boost.extend([("sso", Entitlement::Included), ("seats", Entitlement::Value("50".into()))]);
        let boost = boost.into_iter().map(|(name, entitlement)| (name.into(), entitlement)).collect();
        let boost = AddOn { name: "boost".into(), title: "Boost".into(), entitlements: boost };
        let feature = |name: &str, kind| {
            let product = ProductId::new("p").expect("valid");
            Feature { name: name.into(), product, kind, fallback: Fallback::Deny }
        };
        Self {
            plans: plans.collect(),
            add_ons: BTreeMap::from([("boost", Arc::new(boost))]),
            features: vec![
                feature("calls", FeatureKind::Metered("calls".into())),
                feature("sso", FeatureKind::Switch),
                feature("seats", FeatureKind::Value),
            ],
        }
    }
}

impl Offers for TestOffers {
    fn version(&self, plan: &str, number: u32) -> Option<Arc<PlanVersion>> {
        self.plans.get(&(plan, number)).cloned()
    }

    fn newest(&self, plan: &str) -> Result<Arc<PlanVersion>, Error> {
        let found = self.plans.iter().rfind(|((name, _), _)| *name == plan);
        found.map(|(_, version)| version.clone()).ok_or_else(|| Error::new(ErrorKind::Catalog, "no plan"))
    }

    fn default_plan(&self) -> Option<Arc<PlanVersion>> {
        self.version("free", 1)
    }

    fn add_on(&self, name: &str) -> Result<Arc<AddOn>, Error> {
        self.add_ons.get(name).cloned().ok_or_else(|| Error::new(ErrorKind::Catalog, "no add-on"))
    }

    fn feature(&self, name: &str) -> Result<&Feature, Error> {
        let found = self.features.iter().find(|feature| &*feature.name == name);
        found.ok_or_else(|| Error::new(ErrorKind::Catalog, "no feature"))
    }
}

/// What is known when everything up to an instant is done again.
#[derive(Clone, Default)]
struct Model {
    plan: Option<(&'static str, u32)>,
    anchor: Option<Anchor>,
    change: Option<((&'static str, u32), Timestamp)>,
    end: Option<Timestamp>,
    paused: bool,
    past_due: bool,
    boosted: bool,
    /// Amount and expiry of each grant.
    grants: BTreeMap<u32, (u64, Timestamp)>,
}

/// One thing that is done.
#[derive(Clone, Debug)]
enum Step {
    Subscribe(&'static str, Option<i64>),
    Change(&'static str, When),
    Pause,
    Resume,
    Cancel(When),
    Boost(bool),
    Grant(u32, u64, i64),
    Revoke(u32),
    PastDue(bool),
}

impl Model {
    fn pass(&mut self, now: Timestamp) {
        if let Some((plan, when)) = self.change
            && when <= now
            && self.plan.is_some()
        {
            (self.plan, self.change) = (Some(plan), None);
        }
        if self.end.is_some_and(|end| end <= now) {
            self.stop();
        }
    }

    fn stop(&mut self) {
        (self.plan, self.anchor, self.change, self.end, self.paused) = (None, None, None, None, false);
    }

    fn period_end(&self, now: Timestamp) -> Timestamp {
        let anchor = self.anchor.as_ref().expect("a subscription has an anchor");
        match self.plan.expect("asked for a subscription").0 {
            "max" => Period::containing(now, Per::Day).end(),
            "free" | "pay" => Period::containing(now, Per::Month).end(),
            "open" => anchor.period_at(Per::Year, now).end(),
            _ => anchor.period_at(Per::Month, now).end(),
        }
    }

    /// Does a step; answers the operation for it, or nothing where it would be refused.
    fn step(&mut self, step: &Step, now: Timestamp) -> Option<Operation> {
        self.pass(now);
        let newest = |plan| (plan, if plan == "pro" { 2 } else { 1 });
        match *step {
            Step::Subscribe(plan, trial) => {
                let until = trial.map(|hours| now + SignedDuration::from_hours(hours));
                let trial = until.map(|until| Trial { until, then: Then::Cancel });
                self.anchor.get_or_insert(Anchor::utc(now));
                (self.plan, self.change, self.end, self.paused) = (Some(newest(plan)), None, until, false);
                Some(Operation::Subscribe { plan: plan.into(), version: None, anchor: None, trial })
            }
            Step::Grant(id, amount, hours) => {
                if self.grants.contains_key(&id) {
                    return None;
                }
                let expires = now + SignedDuration::from_hours(hours);
                self.grants.insert(id, (amount, expires));
                Some(grant(&format!("g{id}"), amount, Some(expires)))
            }
            Step::Revoke(id) => {
                let (_, expires) = self.grants.get_mut(&id)?;
                *expires = now.min(*expires);
                Some(Operation::RevokeGrant { id: format!("g{id}").into() })
            }
            Step::Boost(on) => {
                self.boosted = on;
                let name = "boost".into();
                Some(if on { Operation::AddAddOn { name } } else { Operation::RemoveAddOn { name } })
            }
            Step::PastDue(owes) => {
                self.past_due = owes;
                Some(Operation::SetStanding { standing: if owes { Standing::PastDue } else { Standing::Good } })
            }
            _ if self.plan.is_none() => None,
            Step::Change(plan, when) => {
                self.change = None;
                match when {
                    When::Now => self.plan = Some(newest(plan)),
                    When::PeriodEnd if self.plan == Some(newest(plan)) => {}
                    When::PeriodEnd => self.change = Some((newest(plan), self.period_end(now))),
                }
                Some(Operation::ChangePlan { plan: plan.into(), version: None, when })
            }
            Step::Pause => {
                self.paused = true;
                Some(Operation::Pause)
            }
            Step::Resume => {
                self.paused = false;
                Some(Operation::Resume)
            }
            Step::Cancel(when) => {
                match when {
                    When::Now => self.stop(),
                    When::PeriodEnd => {
                        let end = self.period_end(now);
                        self.end = Some(self.end.map_or(end, |before| before.min(end)));
                    }
                }
                Some(Operation::Cancel { when })
            }
        }
    }

    /// What may be used of `calls` at the instant up to which time has passed: how much of what kind. Rollover is left out.
    fn calls(&self, now: Timestamp) -> Option<(Mode, u64)> {
        let granted: u64 = self.grants.values().filter(|(_, expires)| now < *expires).map(|(amount, _)| amount).sum();
        let boost = if self.boosted { 25 + 5 } else { 0 };
        let (mode, included) = match self.plan.map_or("free", |(plan, _)| plan) {
            "free" => (Mode::Hard, 10),
            "pro" => (Mode::Hard, 200 + 30),
            "max" => (Mode::Soft, 1000),
            "pay" => (Mode::Prepaid, 0),
            "open" => return Some((Mode::Unlimited, 0)),
            _ if self.boosted => (Mode::Hard, 0),
            _ if granted > 0 => (Mode::Prepaid, 0),
            _ => return None,
        };
        Some((mode, included + boost + granted))
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let plan = || prop::sample::select(vec!["pro", "max", "pay", "open", "bare", "free"]);
    let when = || prop_oneof![Just(When::Now), Just(When::PeriodEnd)];
    prop_oneof![
        3 => (plan(), prop::option::of(1_i64..2000)).prop_map(|(plan, trial)| Step::Subscribe(plan, trial)),
        3 => (plan(), when()).prop_map(|(plan, when)| Step::Change(plan, when)),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        1 => when().prop_map(Step::Cancel),
        2 => any::<bool>().prop_map(Step::Boost),
        2 => (0_u32..6, 1_u64..1000, 1_i64..2000).prop_map(|(id, amount, hours)| Step::Grant(id, amount, hours)),
        1 => (0_u32..6).prop_map(Step::Revoke),
        1 => any::<bool>().prop_map(Step::PastDue),
    ]
}

/// Steps, each with the minutes since the one before.
fn any_steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    prop::collection::vec((1_i64..60_000, any_step()), 0..24)
}

/// The account after all steps, and the model after each.
fn carry_out(steps: &[(i64, Step)], offers: &TestOffers) -> (Account, Vec<(Timestamp, Model)>) {
    let mut now = at("2026-01-01");
    let mut account = account("2026-01-01");
    let mut models = vec![(now, Model::default())];
    for (minutes, step) in steps {
        now += SignedDuration::from_mins(*minutes);
        let mut model = models.last().expect("there is a first one").1.clone();
        if let Some(operation) = model.step(step, now) {
            account.apply(&operation, now, offers).expect("what the model does can be done");
        }
        models.push((now, model));
    }
    (account, models)
}

/// Lots without what they take over, for how much there is in them.
fn amount(lots: &[LotSpec]) -> u64 {
    lots.iter().map(|lot| lot.amount).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rights_at_any_instant_are_those_of_the_model(steps in any_steps(), instants in prop::collection::vec(0_i64..1_500_000, 20)) {
        let offers = TestOffers::default();
        let calls = offers.feature("calls").expect("there");
        let (account, models) = carry_out(&steps, &offers);
        let stored = Account::read(&account.write().expect("written")).expect("read");
        for minutes in instants {
            let now = at("2026-01-01") + SignedDuration::from_mins(minutes);
            let mut model = models.iter().rfind(|(since, _)| *since <= now).expect("there is a first one").1.clone();
            model.pass(now);
            let right = stored.right(calls, now, &offers);
            let wanted = model.calls(now);
            match &right {
                Right::None => prop_assert!(model.paused || wanted.is_none(), "{now}"),
                Right::Unpaid => prop_assert!(model.past_due && !model.paused, "{now}"),
                Right::Metered(metered) => {
                    prop_assert!(!model.paused && !model.past_due);
                    prop_assert_eq!(Some((metered.mode, amount(&metered.lots))), wanted, "{}", now);
                    prop_assert!(metered.period.contains(now) && metered.until <= metered.period.end() && now < metered.until);
                    prop_assert!(metered.lots.iter().all(|lot| lot.effective <= now && lot.expires.is_none_or(|end| now < end)));
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn a_right_stays_as_it_is_until_it_says_so(
        steps in any_steps(), minutes in 0_i64..1_500_000, part in 0_i32..1000, feature in 0_usize..3,
    ) {
        let offers = TestOffers::default();
        let (account, _) = carry_out(&steps, &offers);
        let feature = &offers.features[feature];
        let now = at("2026-01-01") + SignedDuration::from_mins(minutes);
        let (right, until) = account.right_until(feature, now, &offers);
        prop_assert!(now < until);
        if let Right::Metered(metered) = &right {
            prop_assert_eq!(metered.until, until);
        }
        let last = until.min(at("2040-01-01")) - SignedDuration::from_nanos(1);
        let between = now + last.duration_since(now) / 1000 * part;
        for later in [between, last] {
            prop_assert_eq!(account.right_until(feature, later, &offers), (right.clone(), until), "{} and {}", now, later);
        }
        if let Right::Metered(metered) = &right {
            // What lots there are is the account's and the instant's: two that ask at different times make the same ones.
            let mut keys: Vec<_> = metered.lots.iter().map(|lot| &lot.key).collect();
            keys.sort();
            keys.dedup();
            prop_assert_eq!(keys.len(), metered.lots.len());
        }
    }
}
