//! Random operations on the handle against a simple reference: what became of each, what was used on which day, and what
//! is burned and held of every lot must be the same after each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use halfbyte_billing::{
    Catalog, Event, EventRef, GrantSpec, IdempotencyKey, Per, Period, Receipt, Reservation, Reserved,
};
use halfbyte_core::Clock;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::support::{Desk, Folder, answering, at, jump_to, keyed, labels, lots, number, tenant};

const CATALOGUE: &str = r#"
[products.parcel]
[meters.labels]
product = "parcel"
[features.labels]
product = "parcel"
meter = "labels"
[plans.small]
features.labels = { limit = 5, per = "day" }
[plans.large]
features.labels = { limit = 12, per = "day" }
"#;

/// One thing that is done; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    /// So many units, so many days ago.
    Ingest(u64, usize),
    /// The event again, as it was or with another content.
    Again(usize, bool),
    Void(usize),
    Amend(usize, u64),
    /// A request that is answered well or badly.
    Request(bool),
    Reserve(u64),
    Settle(usize, u64),
    Release(usize),
    Grant(u64),
    Plan(&'static str),
    /// So many hours pass.
    Pass(i64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nth = any::<usize>;
    let step = prop_oneof![
        4 => (0_u64..7, 0_usize..3).prop_map(|(units, days)| Step::Ingest(units, days)),
        2 => (nth(), any::<bool>()).prop_map(|(nth, same)| Step::Again(nth, same)),
        2 => nth().prop_map(Step::Void),
        2 => (nth(), 0_u64..9).prop_map(|(nth, units)| Step::Amend(nth, units)),
        4 => prop::bool::weighted(0.8).prop_map(Step::Request),
        3 => (1_u64..9).prop_map(Step::Reserve),
        3 => (nth(), 0_u64..9).prop_map(|(nth, units)| Step::Settle(nth, units)),
        1 => nth().prop_map(Step::Release),
        2 => (1_u64..6).prop_map(Step::Grant),
        1 => prop::sample::select(vec!["small", "large"]).prop_map(Step::Plan),
        2 => (1_i64..30).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..30)
}

/// An event that was taken in: it counts as long as it has not been corrected.
struct Taken {
    is: EventRef,
    /// As it was sent; `None` for what the layers and reservations make.
    sent: Option<Event>,
    /// When it counts; of an amendment, when that counted which it amends.
    at: Timestamp,
    units: u64,
    counts: bool,
    /// Out of which lots.
    burned: Vec<(String, u64)>,
    overage: u64,
}

#[derive(Default)]
struct Lot {
    burned: u64,
    held: u64,
}

/// What must be true.
struct Reference {
    /// The limits of the plan, each from an instant on.
    limits: Vec<(Timestamp, u64)>,
    /// The grants by name, each with its amount and from when it can be used.
    grants: Vec<(String, u64, Timestamp)>,
    lots: BTreeMap<String, Lot>,
    events: Vec<Taken>,
    reserved: Vec<(Reserved, Vec<(String, u64)>)>,
}

fn day(at: Timestamp) -> Period {
    Period::containing(at, Per::Day)
}

impl Reference {
    /// What can be used at an instant, in the order in which it is burned, each with how much is left of it.
    fn usable(&self, at: Timestamp) -> Vec<(String, u64)> {
        let end = day(at).end();
        let limit = self.limits.iter().rfind(|(since, _)| *since < end).expect("there is a first plan").1;
        let plan = (format!("plan/{}", day(at).start()), limit);
        let grants = self.grants.iter().filter(|(_, _, since)| *since <= at);
        let all = [plan].into_iter().chain(grants.map(|(name, amount, _)| (name.clone(), *amount)));
        let left = |name: &String, amount: u64| {
            self.lots.get(name).map_or(amount, |lot| amount.saturating_sub(lot.burned + lot.held))
        };
        all.map(|(name, amount)| (name.clone(), left(&name, amount))).collect()
    }

    fn left(&self, at: Timestamp) -> u64 {
        self.usable(at).iter().map(|(_, left)| left).sum()
    }

    /// Out of which lots `units` come; answers also how many come out of none.
    fn choose(&self, at: Timestamp, mut units: u64) -> (Vec<(String, u64)>, u64) {
        let mut parts = Vec::new();
        for (name, left) in self.usable(at) {
            let part = left.min(units);
            units -= part;
            parts.push((name, part));
        }
        (parts, units)
    }

    fn lot(&mut self, name: &str) -> &mut Lot {
        self.lots.entry(name.to_owned()).or_default()
    }

    /// Counts an event; `held` is taken first.
    fn count(
        &mut self,
        is: EventRef,
        sent: Option<Event>,
        at: Timestamp,
        units: u64,
        held: Vec<(String, u64)>,
    ) -> Receipt {
        let mut rest = units;
        let mut burned = Vec::new();
        for (name, held) in &held {
            let part = rest.min(*held);
            rest -= part;
            let lot = self.lot(name);
            (lot.held, lot.burned) = (lot.held - part, lot.burned + part);
            burned.push((name.clone(), part));
        }
        let (more, overage) = self.choose(at, rest);
        for (name, part) in more {
            self.lot(&name).burned += part;
            burned.push((name, part));
        }
        // What was held and is not used goes back only now.
        let mut unused = held.iter().map(|(_, held)| held).sum::<u64>().saturating_sub(units);
        for (name, held) in held.iter().rev() {
            let part = unused.min(*held);
            unused -= part;
            self.lot(name).held -= part;
        }
        self.events.push(Taken { is, sent, at, units, counts: true, burned, overage });
        Receipt::Counted { overage }
    }

    /// Takes the nth event back; `None` if there is nothing to take back.
    fn take_back(&mut self, nth: usize) -> Option<Timestamp> {
        let taken = &mut self.events[nth];
        if !std::mem::replace(&mut taken.counts, false) {
            return None;
        }
        let (at, burned) = (taken.at, std::mem::take(&mut taken.burned));
        taken.overage = 0;
        for (name, units) in burned {
            self.lot(&name).burned -= units;
        }
        Some(at)
    }
}

async fn open(folder: &Folder, clock: &Clock) -> Desk {
    let catalog = Catalog::parse("reference.toml", CATALOGUE).unwrap_or_else(|error| panic!("{error}"));
    Desk::of(&folder.home(), clock.clone(), catalog).await.expect("opens")
}

async fn run(steps: &[Step]) {
    let folder = Folder::new();
    let start = at("2026-03-01");
    let clock = Clock::manual(start);
    let mut desk = open(&folder, &clock).await;
    desk.subscribe("acme", "small").await;
    let (events, reserved) = (Vec::new(), Vec::new());
    let mut reference =
        Reference { limits: vec![(start, 5)], grants: Vec::new(), lots: BTreeMap::new(), events, reserved };
    jump_to(&clock, at("2026-03-03T05:00:00"));
    for (count, step) in steps.iter().enumerate() {
        // What the store just did not have is asked for again.
        tokio::time::pause();
        tokio::time::advance(Duration::from_millis(300)).await;
        tokio::time::resume();
        if let Step::Restart = step {
            desk.stop().await;
            desk = open(&folder, &clock).await;
        } else {
            apply(&desk, &mut reference, step, count).await;
            desk.billing.flush(Duration::from_secs(5)).await.expect("flushed");
        }
        compare(&desk, &folder, &reference).await;
    }
}

async fn apply(desk: &Desk, reference: &mut Reference, step: &Step, count: usize) {
    let clock = desk.life.clock();
    let (now, id) = (clock.now(), format!("e{count}"));
    let nth = |nth: usize, all: usize| (all > 0).then(|| nth % all.max(1));
    let key = IdempotencyKey::of(id.as_bytes());
    let of_use = EventRef::new("/parcel/acme", &format!("labels/{key}")).expect("a reference");
    match *step {
        Step::Ingest(units, days) => {
            let at = now - SignedDuration::from_hours(24) * i32::try_from(days).expect("few");
            let event = labels(&id, "acme", at, units);
            let at = event.time();
            assert_eq!(
                desk.ingest(event.clone()).await,
                reference.count(event.reference(), Some(event), at, units, Vec::new())
            );
        }
        Step::Again(number, same) => {
            let Some(number) = nth(number, reference.events.len()) else { return };
            let before = &reference.events[number];
            let (again, expected) = if same {
                (before.sent.clone(), Receipt::Duplicate)
            } else {
                let other = Event::new(before.is.source(), before.is.id(), "parcel.labels", "acme", now);
                let other = other.and_then(|other| other.raw_data("{\"units\": 77}"));
                (Some(other.expect("an event")), Receipt::Conflict)
            };
            if let Some(again) = again {
                assert_eq!(desk.ingest(again).await, expected);
            }
        }
        Step::Void(number) => {
            let Some(number) = nth(number, reference.events.len()) else { return };
            let void = Event::void("/office", &id, "acme", now, &reference.events[number].is).expect("a void");
            let expected = match reference.take_back(number) {
                Some(at) => {
                    let (is, sent, burned) = (void.reference(), Some(void.clone()), Vec::new());
                    // It is use of nothing, and cannot be taken back.
                    reference.events.push(Taken { is, sent, at, units: 0, counts: false, burned, overage: 0 });
                    Receipt::Counted { overage: 0 }
                }
                None => Receipt::NothingToCorrect,
            };
            assert_eq!(desk.ingest(void).await, expected);
        }
        Step::Amend(number, units) => {
            let Some(number) = nth(number, reference.events.len()) else { return };
            let data = serde_json::json!({ "units": units });
            let target = &reference.events[number].is;
            let amendment = Event::amend("/office", &id, "acme", now, target, data).expect("an amendment");
            let expected = match reference.take_back(number) {
                Some(at) => reference.count(amendment.reference(), Some(amendment.clone()), at, units, Vec::new()),
                None => Receipt::NothingToCorrect,
            };
            assert_eq!(desk.ingest(amendment).await, expected);
        }
        Step::Request(well) => {
            let is_there = reference.left(now) > 0;
            let status = desk.status("labels", answering(keyed("acme", &id), if well { 200 } else { 500 })).await;
            assert_eq!(
                status,
                if !is_there {
                    429
                } else if well {
                    200
                } else {
                    500
                }
            );
            if well && is_there {
                reference.count(of_use, None, now, 1, Vec::new());
            }
        }
        Step::Reserve(units) => {
            let time = Duration::from_secs(86_400);
            let answer = desk.billing.reserve(&tenant("acme"), "labels", units, time).await.expect("an answer");
            match answer {
                Reservation::Held(reserved) => {
                    assert!(units <= reference.left(now), "{units} of {}", reference.left(now));
                    let (parts, _) = reference.choose(now, units);
                    parts.iter().for_each(|(name, part)| reference.lot(name).held += part);
                    reference.reserved.push((reserved, parts));
                }
                _ => assert!(units > reference.left(now), "{units} of {}", reference.left(now)),
            }
        }
        Step::Settle(number, units) => {
            let Some(number) = nth(number, reference.reserved.len()) else { return };
            let (reserved, parts) = reference.reserved.remove(number);
            let receipt = desk.billing.settle_reserved(&reserved, units, key).await.expect("settled");
            assert_eq!(receipt, reference.count(of_use, None, now, units, parts));
            assert_eq!(desk.billing.settle_reserved(&reserved, units, key).await.expect("again"), Receipt::Duplicate);
        }
        Step::Release(number) => {
            let Some(number) = nth(number, reference.reserved.len()) else { return };
            let (reserved, parts) = reference.reserved.remove(number);
            desk.billing.release_reserved(&reserved).await.expect("released");
            parts.iter().for_each(|(name, part)| reference.lot(name).held -= part);
        }
        Step::Grant(amount) => {
            let name = format!("g{count:02}");
            desk.billing
                .customers()
                .grant(&tenant("acme"), GrantSpec::new(&*name, "labels", amount))
                .await
                .expect("done");
            reference.grants.push((format!("grant/{name}"), amount, now));
        }
        Step::Plan(plan) => {
            desk.subscribe("acme", plan).await;
            reference.limits.push((now, if plan == "small" { 5 } else { 12 }));
        }
        Step::Pass(hours) => clock.jump(SignedDuration::from_hours(hours)),
        Step::Restart => {}
    }
}

async fn compare(desk: &Desk, folder: &Folder, reference: &Reference) {
    let found: Vec<_> = lots(&folder.database(), "acme").into_iter().filter(|lot| (lot.1, lot.2) != (0, 0)).collect();
    let amount = |units: u64| i64::try_from(units).expect("small");
    let wanted = reference.lots.iter().map(|(name, lot)| (name.clone(), amount(lot.burned), amount(lot.held)));
    assert_eq!(found, wanted.filter(|lot| (lot.1, lot.2) != (0, 0)).collect::<Vec<_>>());
    let overage = reference.events.iter().map(|taken| taken.overage).sum();
    assert_eq!(number(&folder.database(), "SELECT coalesce(sum(units), 0) FROM burns WHERE lot = ''"), amount(overage));
    let days: BTreeMap<_, _> = reference.events.iter().map(|taken| (day(taken.at).start(), day(taken.at))).collect();
    for period in days.into_values() {
        let on_it = reference.events.iter().filter(|taken| taken.counts && day(taken.at) == period);
        let used = desk.billing.usage(&tenant("acme"), "labels", period).await.expect("usage");
        assert_eq!(used, on_it.map(|taken| taken.units).sum::<u64>().into(), "{period}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_leaves_the_balances_and_the_usage_of_the_reference(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(&steps));
    }
}

#[test]
fn what_is_amended_is_charged_to_the_lot_as_large_as_a_plan_of_after_it_has_made_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(&[Step::Request(true), Step::Plan("large"), Step::Amend(0, 8)]));
}
