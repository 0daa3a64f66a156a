//! What operations do to an account.

use halfbyte_core::TenantId;
use jiff::Timestamp;

use super::document::{Stage, Terms};
use super::{
    Account, Answer, Grant, GrantSpec, Offers, Operation, OwnedAddOn, PlanRef, Standing, Subscription, Trial, When,
};
use crate::{Anchor, Entitlement, Error, ErrorKind, FeatureKind, Per, Period, PlanVersion, Reset};

const SUBJECTS: usize = 64;
const ADD_ONS: usize = 100;
const GRANTS: usize = 1000;
/// How many add-ons and grants that are over are remembered, for events that come late.
const OVER: usize = 256;
/// How many past stages are remembered.
const STAGES: usize = 64;

impl Account {
    /// What an operation makes of the account of `tenant`, if there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoCustomer`] if there is none and it is not made; as for [`apply`](Self::apply).
    pub(crate) fn operate(
        existing: Option<Self>,
        tenant: &TenantId,
        operation: &Operation,
        now: Timestamp,
        offers: &dyn Offers,
    ) -> Result<(Self, Answer), Error> {
        match (existing, operation) {
            (Some(mut account), _) => {
                let answer = account.apply(operation, now, offers)?;
                Ok((account, answer))
            }
            (None, Operation::Create) => {
                let answer = Answer { changed: true, effective: now, plan: None };
                Ok((Self::new(tenant.clone(), now), answer))
            }
            (None, _) => {
                let message = format!("there is no customer \"{}\"; create it first", tenant.as_str());
                Err(Error::new(ErrorKind::NoCustomer, message))
            }
        }
    }

    /// Does an operation. After an error the account is as it was.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Catalog`] for a name that the catalogue lacks, [`ErrorKind::Invalid`] for what makes no sense or is
    /// more than is allowed, [`ErrorKind::Conflict`] for a grant whose id was given to another one.
    pub(crate) fn apply(
        &mut self,
        operation: &Operation,
        now: Timestamp,
        offers: &dyn Offers,
    ) -> Result<Answer, Error> {
        let now = now.max(self.changed);
        let mut next = self.clone();
        next.subscription = next.subscription(now);
        let mut answer = Answer { changed: false, effective: now, plan: None };
        next.carry_out(operation, now, offers, &mut answer)?;
        next.plan_stages(now);
        // What time alone has changed is left to be written with the next thing that somebody asks for.
        let as_it_was = Self { subscription: self.subscription(now), ..self.clone() };
        let as_it_is = Self { stages: as_it_was.stages.clone(), ..next.clone() };
        answer.changed = as_it_is != as_it_was;
        if answer.changed {
            next.changed = now;
            next.forget(now);
            *self = next;
        }
        Ok(answer)
    }

    fn carry_out(
        &mut self,
        operation: &Operation,
        now: Timestamp,
        offers: &dyn Offers,
        answer: &mut Answer,
    ) -> Result<(), Error> {
        match operation {
            Operation::Create => {}
            Operation::AddSubject { subject } => self.add_subject(subject)?,
            Operation::RemoveSubject { subject } => {
                self.subjects.remove(subject);
            }
            Operation::Subscribe { plan, version, anchor, trial } => {
                let plan = self.subscribe(plan, *version, anchor.as_ref(), *trial, now, offers)?;
                answer.plan = Some(plan);
            }
            Operation::ChangePlan { plan, version, when } => {
                let plan = plan_ref(plan, *version, offers)?;
                let subscription = self.subscribed_to()?;
                answer.effective = effective(*when, subscription, now, offers);
                answer.plan = Some(plan.clone());
                subscription.change = None;
                match when {
                    When::Now => subscription.plan = plan,
                    When::PeriodEnd if plan == subscription.plan => {}
                    When::PeriodEnd => subscription.change = Some((plan, answer.effective)),
                }
            }
            Operation::Pause => {
                self.subscribed_to()?.paused.get_or_insert(now);
            }
            Operation::Resume => self.subscribed_to()?.paused = None,
            Operation::Cancel { when } => {
                let subscription = self.subscribed_to()?;
                answer.effective = effective(*when, subscription, now, offers);
                match when {
                    When::Now => self.subscription = None,
                    When::PeriodEnd => {
                        let end = subscription.end().map_or(answer.effective, |end| end.min(answer.effective));
                        (subscription.ends, answer.effective) = (Some(end), end);
                    }
                }
            }
            Operation::AddAddOn { name } => self.add_add_on(name, now, offers)?,
            Operation::RemoveAddOn { name } => {
                for add_on in self.add_ons.iter_mut().filter(|add_on| add_on.name == *name && add_on.holds(now)) {
                    add_on.until = Some(now);
                }
                self.add_ons.retain(|add_on| add_on.until.is_none_or(|until| add_on.since < until));
            }
            Operation::Grant(spec) => answer.effective = self.grant(spec, now, offers)?,
            Operation::RevokeGrant { id } => self.revoke(id, now)?,
            Operation::SetStanding { standing } => self.standing = *standing,
        }
        Ok(())
    }

    fn subscribed_to(&mut self) -> Result<&mut Subscription, Error> {
        let tenant = self.tenant.as_str();
        self.subscription
            .as_mut()
            .ok_or_else(|| invalid(format!("\"{tenant}\" has no subscription; subscribe it first")))
    }

    fn add_subject(&mut self, subject: &str) -> Result<(), Error> {
        if !(1..=255).contains(&subject.len()) || !subject.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("a subject must be 1 to 255 visible ASCII characters"));
        }
        self.subjects.insert(subject.into());
        within(self.subjects.len(), SUBJECTS, "subjects; remove one that is not used")
    }

    fn subscribe(
        &mut self,
        plan: &str,
        version: Option<u32>,
        anchor: Option<&Anchor>,
        trial: Option<Trial>,
        now: Timestamp,
        offers: &dyn Offers,
    ) -> Result<PlanRef, Error> {
        if let Some(trial) = trial.filter(|trial| trial.until <= now) {
            return Err(invalid(format!("the trial ends at {}, and it is {now} already", trial.until)));
        }
        let before = self.subscription.take();
        let kept = before.as_ref().filter(|before| version.is_none() && *before.plan.plan == *plan);
        let plan = match kept {
            Some(before) => before.plan.clone(),
            None => plan_ref(plan, version, offers)?,
        };
        let lasting = before.filter(|before| anchor.is_none_or(|anchor| *anchor == before.anchor));
        let (anchor, since) = match (lasting, anchor) {
            (Some(before), _) => (before.anchor, before.since),
            (None, Some(anchor)) => (anchor.clone(), now),
            (None, None) => (Anchor::utc(now), now),
        };
        let subscription =
            Subscription { plan: plan.clone(), anchor, since, trial, change: None, ends: None, paused: None };
        self.subscription = Some(subscription);
        Ok(plan)
    }

    fn add_add_on(&mut self, name: &str, now: Timestamp, offers: &dyn Offers) -> Result<(), Error> {
        if self.add_ons(now).any(|add_on| *add_on.name == *name) {
            return Ok(());
        }
        let entitlements = offers.add_on(name)?.entitlements.clone();
        self.add_ons.push(OwnedAddOn { name: name.into(), entitlements, since: now, until: None });
        within(self.add_ons(now).count(), ADD_ONS, "add-ons; remove one first")
    }

    /// Answers from when the grant can be used.
    fn grant(&mut self, spec: &GrantSpec, now: Timestamp, offers: &dyn Offers) -> Result<Timestamp, Error> {
        if let Some(there) = self.grants.iter().find(|grant| grant.spec.id == spec.id) {
            let effective = spec.effective.or(there.spec.effective);
            if !there.is_over(now) && there.spec == (GrantSpec { effective, ..spec.clone() }) {
                return Ok(there.anchor.at());
            }
            let message = format!(
                "the id \"{}\" was given to another grant, or to one that is over; give this one an id of its own",
                spec.id
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let effective = spec.effective.unwrap_or(now);
        check(spec, effective, now)?;
        if !matches!(offers.feature(&spec.feature)?.kind, FeatureKind::Metered(_)) {
            return Err(invalid(format!(
                "the feature \"{}\" has no meter; only what is metered can be granted",
                spec.feature
            )));
        }
        let zone = self.subscription.as_ref().map(|subscription| subscription.anchor.moved_to(effective));
        let anchor = zone.unwrap_or_else(|| Anchor::utc(effective));
        let spec = GrantSpec { effective: Some(effective), ..spec.clone() };
        self.grants.push(Grant { spec, granted: now, anchor, revoked: None });
        let live = self.grants.iter().filter(|grant| !grant.is_over(now)).count();
        within(live, GRANTS, "grants that have not expired; revoke one first")?;
        Ok(effective)
    }

    fn revoke(&mut self, id: &str, now: Timestamp) -> Result<(), Error> {
        let Some(grant) = self.grants.iter_mut().find(|grant| *grant.spec.id == *id) else {
            return Err(invalid(format!("there is no grant \"{}\"", id.escape_debug())));
        };
        if !grant.is_over(now) {
            grant.revoked = Some(now);
        }
        Ok(())
    }

    /// Writes down what holds from `now` on, in place of what was planned before.
    fn plan_stages(&mut self, now: Timestamp) {
        self.stages.truncate(self.stages.partition_point(|stage| stage.from < now));
        let Some(subscription) = self.subscription.clone() else {
            // None before and none now is one time without.
            let last = self.stages.last().filter(|last| last.terms.subscribed.is_none());
            let since = last.map_or(now, |last| last.terms.since);
            return self.stage_from(now, Terms::without_subscription(since, self.standing));
        };
        let terms = |plan: &PlanRef| Terms {
            since: subscription.since,
            subscribed: Some((plan.clone(), subscription.anchor.clone())),
            paused: subscription.paused.is_some(),
            past_due: self.standing == Standing::PastDue,
        };
        let end = subscription.end();
        let change = subscription.change.as_ref().filter(|(_, at)| end.is_none_or(|end| *at < end));
        let first = terms(&subscription.plan);
        let second = change.map(|(plan, at)| (*at, terms(plan)));
        self.stage_from(now, first);
        if let Some((at, terms)) = second {
            self.stage_from(at, terms);
        }
        if let Some(end) = end {
            self.stage_from(end, Terms::without_subscription(end, self.standing));
        }
    }

    fn stage_from(&mut self, from: Timestamp, terms: Terms) {
        if self.stages.last().is_none_or(|last| last.terms != terms) {
            self.stages.push(Stage { from, terms });
        }
    }

    /// Keeps the document small: forgets the oldest of what is over.
    fn forget(&mut self, now: Timestamp) {
        let past = self.stages_until(now).saturating_sub(1);
        self.stages.drain(..past.saturating_sub(STAGES));
        forget_oldest(&mut self.add_ons, |add_on| add_on.until.filter(|until| *until <= now));
        forget_oldest(&mut self.grants, |grant| grant.end().filter(|end| *end <= now));
    }
}

/// Leaves as many as are remembered of those that are over, by when they ended.
fn forget_oldest<T>(all: &mut Vec<T>, ended: impl Fn(&T) -> Option<Timestamp>) {
    let mut ends: Vec<_> = all.iter().filter_map(&ended).collect();
    if ends.len() > OVER {
        ends.sort_unstable();
        let oldest = ends[ends.len() - OVER];
        all.retain(|one| ended(one).is_none_or(|end| end >= oldest));
    }
}

fn plan_ref(plan: &str, version: Option<u32>, offers: &dyn Offers) -> Result<PlanRef, Error> {
    let newest = offers.newest(plan)?;
    let version = version.unwrap_or(newest.number);
    if version != newest.number && offers.version(plan, version).is_none() {
        let message = format!("the plan \"{plan}\" has no version {version}; the newest is {}", newest.number);
        return Err(Error::new(ErrorKind::Catalog, message));
    }
    Ok(PlanRef { plan: plan.into(), version })
}

fn effective(when: When, subscription: &Subscription, now: Timestamp, offers: &dyn Offers) -> Timestamp {
    match when {
        When::Now => now,
        When::PeriodEnd => {
            let version = offers.version(&subscription.plan.plan, subscription.plan.version);
            let (per, reset) = longest(version.as_deref());
            match reset {
                Reset::Calendar => Period::containing(now, per).end(),
                Reset::Anniversary => subscription.anchor.period_at(per, now).end(),
            }
        }
    }
}

/// The longest period of what a plan includes.
fn longest(version: Option<&PlanVersion>) -> (Per, Reset) {
    let allowances = version.into_iter().flat_map(|version| version.entitlements.values());
    let periods = allowances.filter_map(|entitlement| match entitlement {
        Entitlement::Metered(allowance) => Some((allowance.per, allowance.reset)),
        _ => None,
    });
    let longest = periods.max_by_key(|(per, reset)| (*per, *reset == Reset::Anniversary));
    longest.unwrap_or((Per::Month, Reset::Anniversary))
}

fn check(spec: &GrantSpec, effective: Timestamp, now: Timestamp) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let max = i64::MAX.unsigned_abs();
    let fault = if !(1..=64).contains(&spec.id.len()) || !spec.id.bytes().all(plain) {
        "the id must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"
    } else if !(1..=max).contains(&spec.amount) || spec.rollover > max {
        "the amount must be from 1 to 9223372036854775807, and the rollover no more than that"
    } else if spec.priority == i32::MAX {
        "the priority must be less than 2147483647, which is that of grace"
    } else if spec.expires.is_some_and(|expires| expires <= effective || expires <= now) {
        "it expires before it can be used"
    } else if spec.rollover > 0 && spec.recurrence.is_none() {
        "what does not recur has no period to take anything over into; leave the rollover out"
    } else {
        return Ok(());
    };
    Err(invalid(format!("the grant \"{}\" cannot be made: {fault}", spec.id.escape_debug())))
}

fn within(count: usize, max: usize, what: &str) -> Result<(), Error> {
    if count > max { Err(invalid(format!("a customer has at most {max} {what}"))) } else { Ok(()) }
}

fn invalid(message: impl Into<Box<str>>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::model::{TestOffers, account, at, grant, subscribe};
    use super::*;
    use crate::account::Then;

    fn change(plan: &str, when: When) -> Operation {
        Operation::ChangePlan { plan: plan.into(), version: None, when }
    }

    /// Does operations at instants, each of which must be well.
    fn done(steps: &[(&str, Operation)]) -> Account {
        let mut account = account("2026-01-01");
        for (when, operation) in steps {
            account.apply(operation, at(when), &TestOffers::default()).expect("well");
        }
        account
    }

    fn plans(account: &Account, instants: &[&str]) -> Vec<String> {
        let plan =
            |when: &&str| account.plan_at(at(when)).map_or("-".into(), |plan| format!("{}{}", plan.plan, plan.version));
        instants.iter().map(plan).collect()
    }

    #[test]
    fn what_is_done_twice_changes_nothing_the_second_time() {
        let steps = [
            Operation::Create,
            Operation::AddSubject { subject: "acme-2".into() },
            subscribe("pro"),
            change("max", When::PeriodEnd),
            Operation::Pause,
            Operation::Resume,
            Operation::AddAddOn { name: "boost".into() },
            Operation::Grant(GrantSpec::new("welcome", "calls", 5)),
            Operation::SetStanding { standing: Standing::PastDue },
            Operation::Cancel { when: When::PeriodEnd },
            Operation::RemoveAddOn { name: "boost".into() },
            Operation::RevokeGrant { id: "welcome".into() },
            Operation::RemoveSubject { subject: "acme-2".into() },
        ];
        let (mut account, offers) = (account("2026-01-01"), TestOffers::default());
        for (day, step) in steps.iter().enumerate() {
            let now = at(&format!("2026-01-{:02}", day + 2));
            let first = account.apply(step, now, &offers).expect("well");
            assert_eq!(first.changed, *step != Operation::Create, "{step:?}");
            let before = account.clone();
            let again = account.apply(step, now + SignedDuration::from_hours(1), &offers).expect("well");
            assert!(!again.changed, "{step:?}");
            assert_eq!(account, before);
        }
    }

    #[test]
    fn a_change_at_the_end_of_the_period_takes_effect_by_itself() {
        let account = done(&[("2026-01-10", subscribe("pro")), ("2026-01-20", change("max", When::PeriodEnd))]);
        assert_eq!(
            plans(&account, &["2026-01-09", "2026-01-15", "2026-02-09T23:59:59", "2026-02-10"]),
            ["-", "pro2", "pro2", "max1"]
        );
        let subscription = account.subscription(at("2026-03-01")).expect("there is one");
        assert_eq!(
            (&*subscription.plan.plan, subscription.change, subscription.anchor.at()),
            ("max", None, at("2026-01-10"))
        );
    }

    #[test]
    fn a_change_takes_the_place_of_one_that_was_planned() {
        let steps = [
            ("2026-01-10", subscribe("pro")),
            ("2026-01-20", change("max", When::PeriodEnd)),
            ("2026-01-25", change("pay", When::Now)),
        ];
        assert_eq!(plans(&done(&steps), &["2026-01-24", "2026-01-25", "2026-02-10"]), ["pro2", "pay1", "pay1"]);
        let back = [steps[0].clone(), steps[1].clone(), ("2026-01-25", change("pro", When::PeriodEnd))];
        assert_eq!(plans(&done(&back), &["2026-01-25", "2026-02-10"]), ["pro2", "pro2"]);
    }

    #[test]
    fn a_period_is_the_longest_of_the_plan_and_a_calendar_one_where_the_plan_says_so() {
        let cancel = Operation::Cancel { when: When::PeriodEnd };
        let daily = done(&[("2026-01-10T12:00:00", subscribe("max")), ("2026-01-20", cancel.clone())]);
        assert_eq!(daily.subscription(at("2026-01-20")).and_then(|s| s.end()), Some(at("2026-01-21")));
        let none = done(&[("2026-01-31", subscribe("bare")), ("2026-02-20", cancel)]);
        assert_eq!(none.subscription(at("2026-02-20")).and_then(|s| s.end()), Some(at("2026-02-28")));
    }

    #[test]
    fn a_trial_ends_by_itself_in_a_subscription_or_in_none() {
        for (then, after) in [(Then::Continue, "pro2"), (Then::Cancel, "-")] {
            let trial = Some(Trial { until: at("2026-01-24"), then });
            let steps =
                [("2026-01-10", Operation::Subscribe { plan: "pro".into(), version: None, anchor: None, trial })];
            let account = done(&steps);
            assert_eq!(plans(&account, &["2026-01-23", "2026-01-24"]), ["pro2", after]);
            assert!(account.subscription(at("2026-01-23")).is_some_and(|s| s.trial.is_some()));
            assert!(account.subscription(at("2026-01-24")).is_none_or(|s| s.trial.is_none()));
        }
    }

    #[test]
    fn who_subscribes_again_keeps_version_and_anchor_and_takes_back_the_end() {
        let old = Operation::Subscribe { plan: "pro".into(), version: Some(1), anchor: None, trial: None };
        let cancel = Operation::Cancel { when: When::PeriodEnd };
        let account = done(&[("2026-01-10", old), ("2026-01-20", cancel), ("2026-01-22", subscribe("pro"))]);
        let subscription = account.subscription(at("2026-06-01")).expect("it goes on");
        assert_eq!(subscription.plan, PlanRef { plan: "pro".into(), version: 1 });
        assert_eq!((subscription.since, subscription.anchor.at()), (at("2026-01-10"), at("2026-01-10")));
        let renewed = done(&[
            ("2026-01-10", subscribe("pro")),
            ("2026-01-20", Operation::Cancel { when: When::Now }),
            ("2026-01-22", subscribe("pro")),
        ]);
        assert_eq!(plans(&renewed, &["2026-01-19", "2026-01-21", "2026-01-22"]), ["pro2", "-", "pro2"]);
        assert_eq!(renewed.subscription(at("2026-01-22")).map(|s| s.since), Some(at("2026-01-22")));
    }

    #[test]
    fn a_pause_outlasts_a_planned_change_and_not_the_end() {
        let account = done(&[
            ("2026-01-10", subscribe("pro")),
            ("2026-01-11", change("max", When::PeriodEnd)),
            ("2026-01-12", Operation::Pause),
        ]);
        assert!(account.stage(at("2026-03-01")).is_some_and(|stage| stage.terms.paused));
        let ended = done(&[
            ("2026-01-10", subscribe("pro")),
            ("2026-01-11", Operation::Cancel { when: When::PeriodEnd }),
            ("2026-01-12", Operation::Pause),
        ]);
        assert!(ended.stage(at("2026-02-09")).is_some_and(|stage| stage.terms.paused));
        assert!(
            ended.stage(at("2026-02-10")).is_some_and(|stage| !stage.terms.paused && stage.terms.subscribed.is_none())
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let spec = |id: &str| GrantSpec::new(id, "calls", 5);
        let over = Some(Trial { until: at("2026-01-02"), then: Then::Continue });
        let cases = [
            (Operation::Pause, ErrorKind::Invalid, "has no subscription"),
            (change("pro", When::Now), ErrorKind::Invalid, "has no subscription"),
            (subscribe("prp"), ErrorKind::Catalog, "no plan"),
            (
                Operation::Subscribe { plan: "pro".into(), version: Some(9), anchor: None, trial: None },
                ErrorKind::Catalog,
                "no version 9",
            ),
            (
                Operation::Subscribe { plan: "pro".into(), version: None, anchor: None, trial: over },
                ErrorKind::Invalid,
                "already",
            ),
            (Operation::AddSubject { subject: "a b".into() }, ErrorKind::Invalid, "visible ASCII"),
            (Operation::AddAddOn { name: "bost".into() }, ErrorKind::Catalog, "no add-on"),
            (Operation::RevokeGrant { id: "g".into() }, ErrorKind::Invalid, "no grant"),
            (Operation::Grant(spec("a/b")), ErrorKind::Invalid, "the id must be"),
            (Operation::Grant(GrantSpec::new("g", "calls", 0)), ErrorKind::Invalid, "the amount"),
            (Operation::Grant(GrantSpec::new("g", "calls", u64::MAX)), ErrorKind::Invalid, "the amount"),
            (Operation::Grant(GrantSpec::new("g", "sso", 1)), ErrorKind::Invalid, "has no meter"),
            (Operation::Grant(GrantSpec::new("g", "cals", 1)), ErrorKind::Catalog, "no feature"),
            (Operation::Grant(spec("g").priority(i32::MAX)), ErrorKind::Invalid, "the priority"),
            (Operation::Grant(spec("g").expires(at("2026-01-03"))), ErrorKind::Invalid, "it expires"),
            (Operation::Grant(GrantSpec { rollover: 1, ..spec("g") }), ErrorKind::Invalid, "does not recur"),
        ];
        for (operation, kind, word) in cases {
            let mut account = account("2026-01-01");
            let before = account.clone();
            let error = account.apply(&operation, at("2026-01-03"), &TestOffers::default()).expect_err("refused");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(account, before);
        }
    }

    #[test]
    fn an_account_is_made_by_create_alone() {
        let (tenant, now) = (TenantId::new("acme").expect("valid"), at("2026-01-01"));
        let error = Account::operate(None, &tenant, &Operation::Pause, now, &TestOffers::default()).expect_err("none");
        assert_eq!(error.kind(), ErrorKind::NoCustomer);
        let made = Account::operate(None, &tenant, &Operation::Create, now, &TestOffers::default()).expect("made");
        assert!(made.1.changed);
    }

    #[test]
    fn an_id_names_one_grant_for_ever() {
        let mut account = done(&[("2026-01-02", Operation::Grant(GrantSpec::new("g", "calls", 5)))]);
        let mut again = |amount| {
            account.apply(
                &Operation::Grant(GrantSpec::new("g", "calls", amount)),
                at("2026-01-03"),
                &TestOffers::default(),
            )
        };
        assert!(!again(5).expect("the same").changed);
        assert_eq!(again(6).expect_err("another").kind(), ErrorKind::Conflict);
        account
            .apply(&Operation::RevokeGrant { id: "g".into() }, at("2026-01-04"), &TestOffers::default())
            .expect("well");
        let late =
            account.apply(&Operation::Grant(GrantSpec::new("g", "calls", 5)), at("2026-01-05"), &TestOffers::default());
        assert_eq!(late.expect_err("it is over").kind(), ErrorKind::Conflict);
    }

    #[test]
    fn an_account_has_so_many_grants_and_no_more_and_remembers_a_part_of_those_that_are_over() {
        let (mut account, offers) = (account("2026-01-01"), TestOffers::default());
        for number in 0..GRANTS {
            let expires = at("2026-02-01") + SignedDuration::from_secs(i64::try_from(number).expect("small"));
            account.apply(&grant(&format!("g{number}"), 1, Some(expires)), at("2026-01-02"), &offers).expect("well");
        }
        let error = account.apply(&grant("more", 1, None), at("2026-01-02"), &offers).expect_err("too many");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        account.apply(&grant("more", 1, None), at("2026-03-01"), &offers).expect("all others are over");
        assert_eq!(account.grants().count(), OVER + 1);
        assert!(account.grants().any(|grant| *grant.spec.id == *"g999"), "the last ones are remembered");
    }

    #[test]
    fn the_past_that_is_remembered_is_bounded() {
        let (mut account, offers) = (account("2026-01-01"), TestOffers::default());
        for day in 0..400 {
            let now = at("2026-01-02") + SignedDuration::from_hours(24 * day);
            account.apply(&subscribe(if day % 2 == 0 { "pro" } else { "max" }), now, &offers).expect("well");
        }
        assert_eq!(account.stages.len(), STAGES + 1);
    }

    #[test]
    fn of_two_changes_at_one_instant_the_second_holds_and_the_first_leaves_nothing() {
        let account = done(&[("2026-01-10", subscribe("pro")), ("2026-01-10", subscribe("max"))]);
        assert_eq!(plans(&account, &["2026-01-09", "2026-01-10"]), ["-", "max1"]);
        assert_eq!(account.stages.len(), 2);
    }

    #[test]
    fn an_operation_is_never_before_the_one_before_it() {
        let account = done(&[("2026-02-01", subscribe("pro")), ("2026-01-01", subscribe("max"))]);
        assert_eq!(plans(&account, &["2026-01-31", "2026-02-01"]), ["-", "max1"]);
    }

    #[test]
    fn a_document_reads_as_it_was_written_and_one_of_a_later_version_is_known_as_such() {
        let account = done(&[
            ("2026-01-10", subscribe("pro")),
            ("2026-01-11", change("max", When::PeriodEnd)),
            ("2026-01-12", Operation::Pause),
            ("2026-01-12", Operation::AddAddOn { name: "boost".into() }),
            ("2026-01-13", grant("g", u64::try_from(i64::MAX).expect("positive"), Some(at("2026-05-01")))),
        ]);
        let text = account.write().expect("it can be written");
        assert_eq!(Account::read(&text).expect("it can be read"), account);
        let newer = text.replacen("\"v\":1", "\"v\":2", 1);
        assert!(Account::read(&newer).is_err() && Account::is_later(&newer) && !Account::is_later(&text));
        let unknown = text.replacen('{', "{\"something_new\":1,", 1);
        assert_eq!(Account::read(&unknown).expect("what is unknown is left alone"), account);
    }
}
