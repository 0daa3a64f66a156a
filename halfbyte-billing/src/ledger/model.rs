//! The reference that the ledger is tested against: every unit is a thing of its own, moved one at a time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::{LotSpec, Rollover};
use crate::store::Holder;

/// Seconds of a period.
const PERIOD: i64 = 100;

/// Something that happens. Events and holders are numbers; what there is less of is counted round.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A new event uses units `late` seconds ago, at most so many of them out of what a holder has.
    Use {
        units: u64,
        late: i64,
        held: Option<(u8, u64)>,
    },
    /// An event comes again, and its use was already held.
    Again {
        event: u8,
        units: u64,
        holder: u8,
    },
    /// An event is void.
    Void {
        event: u8,
    },
    GiveBack {
        holder: u8,
        units: Option<u64>,
    },
    Lease {
        holder: u8,
        waiting: u64,
    },
    Reserve {
        holder: u8,
        units: u64,
    },
    Wait {
        seconds: i64,
    },
    /// From now on the plan includes so much.
    Plan {
        amount: u64,
    },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let holder = 0..3_u8;
    let step = prop_oneof![
        6 => (1..12_u64, prop_oneof![3 => Just(0), 1 => 0..250_i64], prop::option::of((holder.clone(), 0..12_u64)))
            .prop_map(|(units, late, held)| Step::Use { units, late, held }),
        1 => (any::<u8>(), 1..12_u64, holder.clone())
            .prop_map(|(event, units, holder)| Step::Again { event, units, holder }),
        2 => any::<u8>().prop_map(|event| Step::Void { event }),
        2 => (holder.clone(), prop::option::of(1..10_u64))
            .prop_map(|(holder, units)| Step::GiveBack { holder, units }),
        4 => (holder.clone(), 0..10_u64).prop_map(|(holder, waiting)| Step::Lease { holder, waiting }),
        2 => (holder, 1..12_u64).prop_map(|(holder, units)| Step::Reserve { holder, units }),
        3 => (1..120_i64).prop_map(|seconds| Step::Wait { seconds }),
        1 => (0..40_u64).prop_map(|amount| Step::Plan { amount }),
    ];
    prop::collection::vec(step, 1..60)
}

pub(crate) fn holder(number: u8) -> Holder {
    Holder { owner: Uuid::from_u128(u128::from(number) + 1), cell: i64::from(number) + 1 }
}

pub(crate) fn instant(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a second of this century")
}

/// What the plan says: an allowance that rolls over, grace, and two grants.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) now: i64,
    /// Since when the plan includes how much.
    plans: Vec<(i64, u64)>,
    rollover: u64,
}

impl World {
    pub(crate) fn new(amount: u64, rollover: u64) -> Self {
        Self { now: 0, plans: vec![(0, amount)], rollover }
    }

    pub(crate) fn wait(&mut self, seconds: i64) {
        self.now += seconds;
    }

    pub(crate) fn plan(&mut self, amount: u64) {
        self.plans.push((self.now, amount));
    }

    /// All lots that an account would list for an instant.
    pub(crate) fn specs(&self, at: i64) -> Vec<LotSpec> {
        let period = at / PERIOD;
        let mut plan = self.allowance(period, at);
        let previous = (0..period).rev().map(|before| self.allowance(before, (before + 1) * PERIOD - 1)).collect();
        plan.rollover = Some(Rollover { max: self.rollover, previous });
        let grace = lot(format!("grace/{period}"), 100, 3, period * PERIOD, Some((period + 1) * PERIOD));
        let mut specs = vec![LotSpec { overage: true, ..grace }, plan];
        specs.push(lot("grant/small".into(), -1, 7, 30, Some(250)));
        specs.push(lot("grant/large".into(), 0, 20, 150, None));
        specs
    }

    fn allowance(&self, period: i64, at: i64) -> LotSpec {
        let (_, amount) = self.plans.iter().rfind(|(since, _)| *since <= at).expect("a plan from the start");
        lot(format!("plan/{period}"), 0, *amount, period * PERIOD, Some((period + 1) * PERIOD))
    }
}

fn lot(key: String, priority: i32, amount: u64, effective: i64, expires: Option<i64>) -> LotSpec {
    LotSpec {
        key: key.into(),
        priority,
        effective: instant(effective),
        expires: expires.map(instant),
        created: instant(effective),
        amount,
        rollover: None,
        overage: false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Held(Holder),
    Burned(usize),
}

#[derive(Clone, Debug)]
struct Pile {
    spec: LotSpec,
    as_of: i64,
    /// How many units fit: less than there are when the plan was made smaller.
    size: i64,
    units: Vec<Unit>,
    shrank: bool,
}

impl Pile {
    fn has_room(&self) -> bool {
        self.size > self.units.len() as i64
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    piles: BTreeMap<Box<str>, Pile>,
    /// Events and how many units of theirs no lot had.
    beyond: BTreeMap<usize, u64>,
    pub(crate) counted: Vec<u64>,
    void: BTreeSet<usize>,
}

impl Model {
    /// Uses units for a new event, at most so many of them out of what a holder has; answers how much is overage.
    pub(crate) fn charge(&mut self, world: &World, at: i64, held: Option<(Holder, u64)>, units: u64) -> u64 {
        let event = self.counted.len();
        self.counted.push(units);
        let mut overage = 0;
        for unit in 0..units {
            let from = held.filter(|(_, most)| unit < *most).map(|(holder, _)| holder);
            let held = from.and_then(|from| self.in_order().into_iter().find(|key| self.holds(key, from)));
            if let (Some(key), Some(from)) = (held, from) {
                let pile = self.pile(&key);
                let unit = pile.units.iter().position(|unit| *unit == Unit::Held(from)).expect("it holds one");
                pile.units[unit] = Unit::Burned(event);
                overage += u64::from(pile.spec.overage);
            } else if let Some(key) = self.first_with_room(world, at) {
                let pile = self.pile(&key);
                pile.units.push(Unit::Burned(event));
                overage += u64::from(pile.spec.overage);
            } else {
                *self.beyond.entry(event).or_default() += 1;
                overage += 1;
            }
        }
        if let Some((from, most)) = held.filter(|(_, most)| *most > units) {
            self.give_back(from, Some(most - units));
        }
        overage
    }

    /// Whether there was something to void.
    pub(crate) fn void(&mut self, event: usize) -> bool {
        if event >= self.counted.len() || !self.void.insert(event) {
            return false;
        }
        self.beyond.remove(&event);
        self.piles.values_mut().for_each(|pile| pile.units.retain(|unit| *unit != Unit::Burned(event)));
        true
    }

    pub(crate) fn give_back(&mut self, holder: Holder, units: Option<u64>) {
        for _ in 0..units.unwrap_or(u64::MAX) {
            let Some(key) = self.in_order().into_iter().rfind(|key| self.holds(key, holder)) else { return };
            let pile = self.pile(&key);
            let unit = pile.units.iter().position(|unit| *unit == Unit::Held(holder)).expect("it holds one");
            pile.units.swap_remove(unit);
        }
    }

    /// Answers how many units were leased and how many are left.
    pub(crate) fn lease(&mut self, world: &World, holder: Holder, wanted: impl FnOnce(u64) -> u64) -> (u64, u64) {
        let left = self.room(world);
        let units = wanted(left);
        for _ in 0..units {
            let key = self.first_with_room(world, world.now).expect("no more is leased than is left");
            self.pile(&key).units.push(Unit::Held(holder));
        }
        (units, self.room(world))
    }

    /// Lot, amount and what was carried over, burned, held: of all lots.
    pub(crate) fn balances(&self) -> Vec<(Box<str>, i64, u64, u64)> {
        let count = |pile: &Pile, burned: bool| {
            pile.units.iter().filter(|unit| matches!(unit, Unit::Burned(_)) == burned).count() as u64
        };
        self.piles.iter().map(|(key, pile)| (key.clone(), pile.size, count(pile, true), count(pile, false))).collect()
    }

    pub(crate) fn held_by(&self, holder: Holder) -> u64 {
        let units = self.piles.values().flat_map(|pile| &pile.units);
        units.filter(|unit| **unit == Unit::Held(holder)).count() as u64
    }

    /// Units beyond everything and out of grace.
    pub(crate) fn overage(&self) -> u64 {
        let graces = self.piles.values().filter(|pile| pile.spec.overage).flat_map(|pile| &pile.units);
        let burned = graces.filter(|unit| matches!(unit, Unit::Burned(_))).count() as u64;
        burned + self.beyond.values().sum::<u64>()
    }

    /// What must be true of every ledger.
    pub(crate) fn check(&self) {
        for pile in self.piles.values().filter(|pile| !pile.shrank) {
            assert!(pile.units.len() as i64 <= pile.size, "more than there is: {pile:?}");
        }
        for (event, units) in self.counted.iter().enumerate().filter(|(event, _)| !self.void.contains(event)) {
            let all = self.piles.values().flat_map(|pile| &pile.units);
            let burned = all.filter(|unit| **unit == Unit::Burned(event)).count() as u64;
            assert_eq!(*units, burned + self.beyond.get(&event).copied().unwrap_or(0));
        }
    }

    fn room(&mut self, world: &World) -> u64 {
        self.make(world, world.now);
        let usable = self.usable(world, world.now);
        usable.iter().map(|key| &self.piles[key]).map(|pile| (pile.size - pile.units.len() as i64).max(0) as u64).sum()
    }

    fn first_with_room(&mut self, world: &World, at: i64) -> Option<Box<str>> {
        self.make(world, at);
        self.usable(world, at).into_iter().find(|key| self.piles[key].has_room())
    }

    fn usable(&self, world: &World, at: i64) -> Vec<Box<str>> {
        let listed: BTreeSet<_> = world.specs(at).into_iter().map(|spec| spec.key).collect();
        let usable = |key: &str| {
            let spec = &self.piles[key].spec;
            spec.effective <= instant(at) && spec.expires.is_none_or(|expires| instant(at) < expires)
        };
        self.in_order().into_iter().filter(|key| listed.contains(key) && usable(key)).collect()
    }

    /// Makes what lots there must be, and takes on what the plan says.
    fn make(&mut self, world: &World, at: i64) {
        for spec in world.specs(at) {
            let expired = spec.expires.is_some_and(|expires| expires <= instant(at));
            if spec.effective > instant(at) || expired {
                continue;
            }
            self.make_one(&spec, at.min(world.now));
            let pile = self.pile(&spec.key);
            if pile.spec.amount != spec.amount && pile.as_of <= at.min(world.now) {
                pile.size += spec.amount as i64 - pile.spec.amount as i64;
                pile.shrank |= spec.amount < pile.spec.amount;
                pile.as_of = at.min(world.now);
                pile.spec.amount = spec.amount;
            }
        }
    }

    fn make_one(&mut self, spec: &LotSpec, as_of: i64) {
        if self.piles.contains_key(&spec.key) {
            return;
        }
        let mut size = spec.amount as i64;
        if let Some(Rollover { max, previous }) = &spec.rollover
            && let Some((before, earlier)) = previous.split_first()
        {
            let rollover = Some(Rollover { max: *max, previous: earlier.to_vec() });
            self.make_one(&LotSpec { rollover, ..before.clone() }, before.effective.as_second());
            let before = self.pile(&before.key);
            let carried = (before.size - before.units.len() as i64).clamp(0, *max as i64);
            before.size -= carried;
            size += carried;
        }
        let pile = Pile { spec: spec.clone(), as_of, size, units: Vec::new(), shrank: false };
        self.piles.insert(spec.key.clone(), pile);
    }

    fn pile(&mut self, key: &str) -> &mut Pile {
        self.piles.get_mut(key).expect("a lot that was made")
    }

    fn holds(&self, key: &str, holder: Holder) -> bool {
        self.piles[key].units.contains(&Unit::Held(holder))
    }

    fn in_order(&self) -> Vec<Box<str>> {
        let mut keys: Vec<_> = self.piles.keys().cloned().collect();
        keys.sort_by_key(|key| {
            let spec = &self.piles[key].spec;
            (spec.priority, spec.expires.unwrap_or(Timestamp::MAX), spec.created, key.clone())
        });
        keys
    }
}
