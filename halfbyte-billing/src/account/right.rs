//! What an account entitles to at an instant.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::document::Terms;
use super::lots::{self, Amount, Cycle, Sequence};
use super::{Account, Grant, MeteredRight, Mode, Offers, OwnedAddOn, Right, Standing};
use crate::ledger::LotSpec;
use crate::{Allowance, Entitlement, Feature, FeatureKind, Limit, Per, Period, PlanVersion, Reset};

/// What a tenant without an account may use: what the default plan says. Nobody knows since when it could have used it, so
/// nothing is taken over from earlier periods.
pub(crate) fn default_right(default: Option<&PlanVersion>, feature: &Feature, at: Timestamp) -> Right {
    let plan = default.and_then(|plan| plan.entitlements.get(&*feature.name));
    let terms = Terms::without_subscription(Timestamp::MAX, Standing::Good);
    let question = Question { feature, at, terms: &terms, plan, add_ons: &[], grants: &[], earlier: &|_| None };
    question.answer(&mut Horizon::after(at))
}

impl Account {
    /// What it says of a feature at any instant; of the past as far as it is remembered.
    pub(crate) fn right(&self, feature: &Feature, at: Timestamp, offers: &dyn Offers) -> Right {
        self.right_until(feature, at, offers).0
    }

    /// As [`right`](Self::right), with the next instant at which it may be another one; [`Timestamp::MAX`] for never.
    pub(crate) fn right_until(&self, feature: &Feature, at: Timestamp, offers: &dyn Offers) -> (Right, Timestamp) {
        let mut horizon = Horizon::after(at);
        horizon.note(self.next_stage(at));
        let terms = self.terms(at);
        if terms.paused {
            return (Right::None, horizon.until);
        }
        let right = self.if_paid(feature, at, &terms, offers, &mut horizon);
        let right = if terms.past_due && right != Right::None { Right::Unpaid } else { right };
        (right, horizon.until)
    }

    /// What an event of `at` that is charged at `now` is charged to: the lots that could be used then, as large as later
    /// changes in the same period have made them. Answers also the instant for which that is what is said of them.
    pub(crate) fn right_in_retrospect(
        &self,
        feature: &Feature,
        at: Timestamp,
        now: Timestamp,
        offers: &dyn Offers,
    ) -> (Right, Timestamp) {
        let mut right = self.right(feature, at, offers);
        let Right::Metered(metered) = &mut right else { return (right, at) };
        let last = metered.period.end().checked_sub(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MIN);
        let known = now.min(last);
        if known < metered.until {
            // Nothing has changed since.
            return (right, known.max(at));
        }
        let mut said = at;
        let later = self.if_paid(feature, known, &self.terms(known), offers, &mut Horizon::after(known));
        if let Right::Metered(later) = later {
            let mut lots = metered.lots.to_vec();
            let mut all_are_there = true;
            for lot in &mut lots {
                match later.lots.iter().find(|later| later.key == lot.key) {
                    Some(later) => lot.clone_from(later),
                    // It was ended, and what is said of it is older than that.
                    None => all_are_there = false,
                }
            }
            if all_are_there {
                said = known.max(at);
            }
            metered.lots = lots.into();
            metered.limit = later.limit;
        }
        (right, said)
    }

    /// What it says were there neither a pause nor a debt.
    fn if_paid(
        &self,
        feature: &Feature,
        at: Timestamp,
        terms: &Terms,
        offers: &dyn Offers,
        horizon: &mut Horizon,
    ) -> Right {
        let plan = plan_of(terms, offers);
        let earlier = |period| {
            let plan = plan_of(self.terms_in(period, terms)?, offers)?;
            plan.entitlements.get(&*feature.name).and_then(allowance)
        };
        let question = Question {
            feature,
            at,
            terms,
            plan: plan.as_ref().and_then(|plan| plan.entitlements.get(&*feature.name)),
            add_ons: &self.add_ons,
            grants: &self.grants,
            earlier: &earlier,
        };
        question.answer(horizon)
    }

    fn terms(&self, at: Timestamp) -> Terms {
        let before = || Terms::without_subscription(self.since, Standing::Good);
        self.stage(at).map_or_else(before, |stage| stage.terms.clone())
    }

    /// What held last in a period and was not a pause, if it was of the same subscription.
    fn terms_in(&self, period: Period, same: &Terms) -> Option<&Terms> {
        let begun = self.stages_until(period.end());
        for stage in self.stages[..begun].iter().rev().filter(|stage| stage.from < period.end()) {
            let terms = &stage.terms;
            if terms.since != same.since || terms.subscribed.is_some() != same.subscribed.is_some() {
                return None;
            }
            if !terms.paused {
                return Some(terms);
            }
            if stage.from <= period.start() {
                return None;
            }
        }
        None
    }
}

fn plan_of(terms: &Terms, offers: &dyn Offers) -> Option<Arc<PlanVersion>> {
    match &terms.subscribed {
        Some((plan, _)) => offers.version(&plan.plan, plan.version),
        None => offers.default_plan(),
    }
}

fn allowance(entitlement: &Entitlement) -> Option<Allowance> {
    match entitlement {
        Entitlement::Metered(allowance) => Some(*allowance),
        _ => None,
    }
}

/// The next instant at which something changes.
struct Horizon {
    at: Timestamp,
    until: Timestamp,
}

impl Horizon {
    fn after(at: Timestamp) -> Self {
        Self { at, until: Timestamp::MAX }
    }

    fn note(&mut self, change: Option<Timestamp>) {
        if let Some(change) = change.filter(|change| *change > self.at) {
            self.until = self.until.min(change);
        }
    }
}

/// Everything that a right is made of.
struct Question<'a> {
    feature: &'a Feature,
    at: Timestamp,
    terms: &'a Terms,
    /// What the plan says of the feature.
    plan: Option<&'a Entitlement>,
    add_ons: &'a [OwnedAddOn],
    grants: &'a [Grant],
    /// What the plan said of the feature in an earlier period of the same subscription.
    earlier: &'a dyn Fn(Period) -> Option<Allowance>,
}

impl<'a> Question<'a> {
    fn answer(&self, horizon: &mut Horizon) -> Right {
        for (add_on, _) in self.add_ons() {
            horizon.note(Some(add_on.since));
            horizon.note(add_on.until);
        }
        match self.feature.kind {
            FeatureKind::Switch if self.held().any(|held| *held == Entitlement::Included) => Right::Included,
            FeatureKind::Switch => Right::None,
            FeatureKind::Value => self.value().map_or(Right::None, Right::Value),
            FeatureKind::Metered(_) => self.metered(horizon),
        }
    }

    /// The add-ons that say something of the feature, whether they hold now or not.
    fn add_ons(&self) -> impl Iterator<Item = (&'a OwnedAddOn, &'a Entitlement)> {
        let add_ons = self.add_ons.iter();
        add_ons.filter_map(|add_on| Some((add_on, add_on.entitlements.get(&*self.feature.name)?)))
    }

    fn add_ons_held(&self) -> impl Iterator<Item = (&'a OwnedAddOn, &'a Entitlement)> {
        self.add_ons().filter(|(add_on, _)| add_on.holds(self.at))
    }

    /// What plan and add-ons say now.
    fn held(&self) -> impl Iterator<Item = &'a Entitlement> {
        self.plan.into_iter().chain(self.add_ons_held().map(|(_, entitlement)| entitlement))
    }

    /// The value of the add-on that came last, or of the plan.
    fn value(&self) -> Option<Box<str>> {
        let values = self.held().filter_map(|held| match held {
            Entitlement::Value(value) => Some(value.clone()),
            _ => None,
        });
        values.last()
    }

    fn metered(&self, horizon: &mut Horizon) -> Right {
        let anchor = self.terms.subscribed.as_ref().map(|(_, anchor)| anchor);
        let mut found = Found::default();
        if let Some(allowance) = self.plan.and_then(allowance) {
            let cycle = Cycle::of(allowance.reset, anchor);
            let alike = |earlier: &Allowance| (earlier.per, earlier.reset) == (allowance.per, allowance.reset);
            let earlier = |period| (self.earlier)(period).filter(alike).as_ref().and_then(Amount::of);
            found.include(
                &allowance,
                cycle.period_at(allowance.per, self.at),
                Sequence::plan(cycle, self.terms.since),
                earlier,
            );
        }
        for (add_on, entitlement) in self.add_ons_held() {
            if let Some(allowance) = allowance(entitlement) {
                let cycle = Cycle::of(allowance.reset, anchor);
                let sequence = Sequence::add_on(add_on, cycle);
                found
                    .include(&allowance, cycle.period_at(allowance.per, self.at), sequence, |_| Amount::of(&allowance));
            }
        }
        for grant in self.grants.iter().filter(|grant| *grant.spec.feature == *self.feature.name) {
            horizon.note(Some(grant.anchor.at()));
            horizon.note(grant.end());
            if grant.anchor.at() <= self.at && !grant.is_over(self.at) {
                found.grant(grant, self.at);
            }
        }
        let Some(mode) = found.mode() else { return Right::None };
        let month = || Cycle::of(Reset::Anniversary, anchor).period_at(Per::Month, self.at);
        let period = found.period.unwrap_or_else(month);
        horizon.note(Some(period.end()));
        found.ends.iter().for_each(|end| horizon.note(Some(*end)));
        let mut lots = found.lots;
        if mode == Mode::Unlimited {
            lots.clear();
        }
        lots.sort_by(|a, b| burn_order(a).cmp(&burn_order(b)));
        let limit = if mode == Mode::Unlimited { 0 } else { found.limit };
        Right::Metered(MeteredRight { mode, lots: lots.into(), limit, period, until: horizon.until })
    }
}

/// Priority, expiry (none is last), creation.
fn burn_order(lot: &LotSpec) -> impl Ord + '_ {
    (lot.priority, lot.expires.unwrap_or(Timestamp::MAX), lot.created, &*lot.key)
}

/// What plan, add-ons and grants have of a metered feature.
#[derive(Default)]
struct Found {
    lots: Vec<LotSpec>,
    limit: u64,
    /// Of the plan, or else of the first add-on.
    first: Option<Mode>,
    unlimited: bool,
    period: Option<Period>,
    /// When the periods of add-ons and grants end.
    ends: Vec<Timestamp>,
}

impl Found {
    fn include(
        &mut self,
        allowance: &Allowance,
        period: Period,
        sequence: Sequence<'_>,
        earlier: impl Fn(Period) -> Option<Amount>,
    ) {
        let mode = match allowance.limit {
            Limit::Hard { .. } => Mode::Hard,
            Limit::Soft { .. } => Mode::Soft,
            Limit::Unlimited => Mode::Unlimited,
            Limit::Prepaid => Mode::Prepaid,
        };
        self.first.get_or_insert(mode);
        self.unlimited |= mode == Mode::Unlimited;
        self.period.get_or_insert(period);
        self.ends.push(period.end());
        if let Some(amount) = Amount::of(allowance) {
            let lot = sequence.lot(period, amount, earlier);
            self.limit = self.limit.saturating_add(amount.units);
            self.lots.extend(lots::grace(&lot, allowance.limit));
            self.lots.push(lot);
        }
    }

    fn grant(&mut self, grant: &Grant, at: Timestamp) {
        let lot = match grant.spec.recurrence {
            None => lots::once(grant),
            Some(per) => {
                let period = grant.anchor.period_at(per, at);
                self.ends.push(period.end());
                let amount = Amount { units: grant.spec.amount, rollover: grant.spec.rollover };
                Sequence::grant(grant).lot(period, amount, |_| Some(amount))
            }
        };
        self.lots.push(lot);
    }

    /// `None` if nothing was found.
    fn mode(&self) -> Option<Mode> {
        let granted = (!self.lots.is_empty()).then_some(Mode::Prepaid);
        if self.unlimited { Some(Mode::Unlimited) } else { self.first.or(granted) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{TestOffers, account, at, grant, subscribe};
    use super::super::{GrantSpec, Operation, When};
    use super::*;
    use crate::Anchor;

    fn calls() -> Feature {
        TestOffers::default().feature("calls").expect("there").clone()
    }

    /// An account to which something was done, each at its instant.
    fn done(steps: &[(&str, Operation)]) -> Account {
        let mut account = account("2026-01-01");
        for (when, operation) in steps {
            account.apply(operation, at(when), &TestOffers::default()).expect("well");
        }
        account
    }

    fn metered(account: &Account, when: &str) -> MeteredRight {
        match account.right(&calls(), at(when), &TestOffers::default()) {
            Right::Metered(metered) => metered,
            other => panic!("{other:?}"),
        }
    }

    fn keys(metered: &MeteredRight) -> Vec<String> {
        metered.lots.iter().map(|lot| format!("{} {}", lot.key, lot.amount)).collect()
    }

    #[test]
    fn lots_come_in_the_order_in_which_they_are_burned_and_grace_is_the_last() {
        let first = GrantSpec::new("first", "calls", 7).priority(1);
        let account = done(&[
            ("2026-01-10", subscribe("pro")),
            ("2026-01-12", Operation::AddAddOn { name: "boost".into() }),
            ("2026-01-13", grant("forever", 3, None)),
            ("2026-01-14", grant("soon", 4, Some(at("2026-01-20")))),
            ("2026-01-15", Operation::Grant(first)),
        ]);
        let right = metered(&account, "2026-01-16");
        let start = "2026-01-10T00:00:00Z";
        assert_eq!(
            keys(&right),
            [
                "grant/first 7".to_owned(),
                "grant/soon 4".into(),
                format!("add-on/boost/{start} 25"),
                format!("plan/{start} 200"),
                "grant/forever 3".into(),
                format!("grace/{start} 30"),
                format!("grace/add-on/boost/{start} 5"),
            ]
        );
        assert_eq!((right.mode, right.limit, right.until), (Mode::Hard, 225, at("2026-01-20")));
        assert_eq!(right.period.end(), at("2026-02-10"));
        assert!(right.lots.iter().all(|lot| lot.overage == lot.key.starts_with("grace/")));
        assert!(
            right.lots.iter().filter(|lot| lot.overage).all(|lot| lot.priority == i32::MAX && lot.rollover.is_none())
        );
        assert_eq!(metered(&account, "2026-01-09").lots.len(), 1, "the default plan, before");
    }

    #[test]
    fn a_period_takes_over_from_those_before_it_of_the_same_subscription() {
        let old = Operation::Subscribe { plan: "pro".into(), version: Some(1), anchor: None, trial: None };
        let newest = Operation::ChangePlan { plan: "pro".into(), version: None, when: When::PeriodEnd };
        let account = done(&[("2026-01-10", old), ("2026-03-15", newest)]);
        let right = metered(&account, "2026-05-20");
        let rollover = right.lots[0].rollover.clone().expect("it takes over");
        let previous: Vec<_> =
            rollover.previous.iter().map(|lot| (&*lot.key, lot.amount, lot.rollover.as_ref().map(|r| r.max))).collect();
        assert_eq!(rollover.max, 50);
        assert_eq!(
            previous,
            [
                ("plan/2026-04-10T00:00:00Z", 200, Some(50)),
                ("plan/2026-03-10T00:00:00Z", 100, Some(30)),
                ("plan/2026-02-10T00:00:00Z", 100, Some(30)),
                ("plan/2026-01-10T00:00:00Z", 100, Some(30)),
            ]
        );
        let far = metered(&account, "2036-05-20").lots[0].rollover.clone().expect("it takes over");
        assert_eq!(far.previous.len(), 24);
    }

    #[test]
    fn nothing_is_taken_over_from_before_the_subscription_or_from_a_pause() {
        let renewed = done(&[
            ("2026-01-10", subscribe("pro")),
            ("2026-03-20", Operation::Cancel { when: When::Now }),
            ("2026-04-01", subscribe("pro")),
        ]);
        let rollover =
            |account: &Account, when| metered(account, when).lots[0].rollover.clone().expect("it may").previous;
        assert!(rollover(&renewed, "2026-04-02").is_empty());
        let paused = done(&[
            ("2026-01-10", subscribe("pro")),
            ("2026-02-05", Operation::Pause),
            ("2026-03-11", Operation::Resume),
        ]);
        assert!(rollover(&paused, "2026-03-12").is_empty());
        assert_eq!(rollover(&paused, "2026-04-12").len(), 1);
        let default = account("2026-01-15");
        assert_eq!(rollover(&default, "2026-03-01").len(), 2);
    }

    #[test]
    fn who_has_no_account_has_the_default_plan_by_the_calendar_and_takes_nothing_over() {
        let offers = TestOffers::default();
        let default = offers.default_plan();
        let Right::Metered(right) = default_right(default.as_deref(), &calls(), at("2026-03-31T23:00:00")) else {
            panic!("it is metered")
        };
        assert_eq!(keys(&right), ["plan/2026-03-01T00:00:00Z 10"]);
        assert_eq!(right.until, at("2026-04-01"));
        assert!(right.lots[0].rollover.as_ref().is_some_and(|rollover| rollover.previous.is_empty()));
        assert_eq!(default_right(None, &calls(), at("2026-03-31")), Right::None);
        let fresh = account("2026-03-15");
        assert_eq!(fresh.right(&calls(), at("2026-03-31T23:00:00"), &offers), Right::Metered(right));
    }

    #[test]
    fn an_anniversary_without_a_subscription_is_the_calendars() {
        let offers = TestOffers::default();
        let pro = offers.version("pro", 2);
        let Right::Metered(right) = default_right(pro.as_deref(), &calls(), at("2026-03-31")) else {
            panic!("it is metered")
        };
        assert_eq!(right.period.to_string(), "2026-03");
    }

    #[test]
    fn a_grant_that_recurs_is_counted_from_its_own_beginning_in_the_zone_of_the_subscription() {
        let anchor = Some(Anchor::new(at("2026-01-10"), "America/New_York").expect("a zone"));
        let monthly = GrantSpec::new("gift", "calls", 40).effective(at("2026-01-31T17:00:00")).each(Per::Month, 10);
        let account = done(&[
            ("2026-01-10", Operation::Subscribe { plan: "pay".into(), version: None, anchor, trial: None }),
            ("2026-01-12", Operation::Grant(monthly.expires(at("2026-04-15")))),
        ]);
        let lots = |when| metered(&account, when).lots;
        assert!(lots("2026-01-31T16:59:59").is_empty());
        assert_eq!(metered(&account, "2026-01-31T16:59:59").until, at("2026-01-31T17:00:00"));
        // 12:00 in New York, where summer time began on 8 March.
        let march = lots("2026-04-10");
        assert_eq!(&*march[0].key, "grant/gift/2026-03-31T16:00:00Z");
        assert_eq!((march[0].expires, march[0].created), (Some(at("2026-04-15")), at("2026-01-12")));
        let previous = &march[0].rollover.as_ref().expect("it takes over").previous;
        let previous: Vec<_> = previous.iter().map(|lot| &*lot.key).collect();
        assert_eq!(previous, ["grant/gift/2026-02-28T17:00:00Z", "grant/gift/2026-01-31T17:00:00Z"]);
        assert!(lots("2026-04-15").is_empty());
    }

    #[test]
    fn grants_alone_make_a_feature_prepaid_as_long_as_one_can_be_used() {
        let account = done(&[("2026-01-10", subscribe("bare")), ("2026-01-12", grant("g", 3, Some(at("2026-01-20"))))]);
        let (offers, right) = (TestOffers::default(), metered(&account, "2026-01-15"));
        assert_eq!((right.mode, right.limit, right.period.end()), (Mode::Prepaid, 0, at("2026-02-10")));
        assert_eq!(account.right_until(&calls(), at("2026-01-11"), &offers), (Right::None, at("2026-01-12")));
        assert_eq!(account.right_until(&calls(), at("2026-01-20"), &offers), (Right::None, Timestamp::MAX));
    }

    #[test]
    fn a_right_ends_with_the_first_period_of_any_of_its_lots() {
        let daily = GrantSpec::new("daily", "calls", 1).effective(at("2026-01-12T06:00:00")).each(Per::Day, 0);
        let account = done(&[
            ("2026-01-10", subscribe("pay")),
            ("2026-01-11", Operation::AddAddOn { name: "boost".into() }),
            ("2026-01-12", Operation::Grant(daily.expires(at("2026-02-04")))),
        ]);
        let until = |when| metered(&account, when).until;
        assert_eq!(until("2026-01-15"), at("2026-01-15T06:00:00"), "the grant's day");
        assert_eq!(until("2026-02-05"), at("2026-02-10"), "the add-on's month");
        assert_eq!(until("2026-02-11"), at("2026-03-01"), "the plan's month");
    }

    #[test]
    fn what_is_revoked_or_removed_ends_then_and_what_was_before_stays() {
        let account = done(&[
            ("2026-01-10", subscribe("bare")),
            ("2026-01-12", grant("g", 3, None)),
            ("2026-01-12", Operation::AddAddOn { name: "boost".into() }),
            ("2026-01-14", Operation::RevokeGrant { id: "g".into() }),
            ("2026-01-14", Operation::RemoveAddOn { name: "boost".into() }),
        ]);
        let before = metered(&account, "2026-01-13");
        assert_eq!(
            keys(&before),
            ["add-on/boost/2026-01-10T00:00:00Z 25", "grant/g 3", "grace/add-on/boost/2026-01-10T00:00:00Z 5"]
        );
        assert!(before.lots.iter().all(|lot| lot.expires == Some(at("2026-01-14"))));
        assert_eq!(account.right(&calls(), at("2026-01-14"), &TestOffers::default()), Right::None);
    }

    #[test]
    fn who_owes_is_told_so_only_of_what_could_be_used() {
        let account = done(&[
            ("2026-01-10", subscribe("bare")),
            ("2026-01-12", Operation::AddAddOn { name: "boost".into() }),
            ("2026-01-14", Operation::SetStanding { standing: Standing::PastDue }),
        ]);
        let offers = TestOffers::default();
        let right = |feature: &str, when| account.right(offers.feature(feature).expect("there"), at(when), &offers);
        assert_eq!(right("sso", "2026-01-13"), Right::Included);
        assert_eq!(right("seats", "2026-01-13"), Right::Value("50".into()));
        assert_eq!([right("sso", "2026-01-14"), right("calls", "2026-01-14")], [Right::Unpaid, Right::Unpaid]);
        let none = done(&[("2026-01-14", Operation::SetStanding { standing: Standing::PastDue })]);
        assert_eq!(none.right(offers.feature("sso").expect("there"), at("2026-01-15"), &offers), Right::None);
    }

    #[test]
    fn the_value_of_an_add_on_takes_the_place_of_the_plans() {
        let account =
            done(&[("2026-01-10", subscribe("pro")), ("2026-01-12", Operation::AddAddOn { name: "boost".into() })]);
        let offers = TestOffers::default();
        let seats = |when| account.right(offers.feature("seats").expect("there"), at(when), &offers);
        assert_eq!([seats("2026-01-11"), seats("2026-01-12")], ["5", "50"].map(|seats| Right::Value(seats.into())));
    }

    #[test]
    fn an_event_of_before_a_change_of_plan_is_charged_to_the_lot_as_large_as_it_is_now() {
        let old = Operation::Subscribe { plan: "pro".into(), version: Some(1), anchor: None, trial: None };
        let newest = Operation::ChangePlan { plan: "pro".into(), version: None, when: When::Now };
        let account = done(&[("2026-01-10", old), ("2026-02-05", newest)]);
        let charged =
            |when, now| match account.right_in_retrospect(&calls(), at(when), at(now), &TestOffers::default()).0 {
                Right::Metered(metered) => metered.lots[0].amount,
                other => panic!("{other:?}"),
            };
        assert_eq!(metered(&account, "2026-02-04").lots[0].amount, 100, "that is what could be used then");
        assert_eq!(charged("2026-02-04", "2026-02-04T12:00:00"), 100, "nothing had changed by then");
        assert_eq!(charged("2026-02-04", "2026-02-06"), 200);
        assert_eq!(charged("2026-02-04", "2026-06-01"), 200, "the period ended with so much");
    }

    #[test]
    fn a_plan_version_that_the_catalogue_lacks_entitles_to_nothing_but_grants() {
        let mut account = done(&[("2026-01-10", subscribe("pro")), ("2026-01-12", grant("g", 3, None))]);
        account
            .stages
            .iter_mut()
            .filter_map(|stage| stage.terms.subscribed.as_mut())
            .for_each(|(plan, _)| plan.version = 9);
        assert_eq!(keys(&metered(&account, "2026-01-13")), ["grant/g 3"]);
        assert_eq!(account.right(&calls(), at("2026-01-11"), &TestOffers::default()), Right::None);
    }
}
