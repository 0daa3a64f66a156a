use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Lot, LotSpec};
use crate::store::Holder;

/// Units out of lots: which, by its index in the [`Book`], and how many; in burn order.
pub(crate) type Parts = Vec<(usize, u64)>;

/// The lots of one tenant's feature that something is to be done with, and who holds what of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Book {
    lots: Vec<Lot>,
    /// Lots that were just made. They take over from the lots before them when they are first used, and not sooner: what
    /// is to be used before that is still taken out of the old ones.
    fresh: BTreeSet<usize>,
    holds: BTreeMap<Holder, BTreeMap<usize, u64>>,
}

impl Book {
    /// Adds a lot, each key once.
    pub(crate) fn add(&mut self, lot: Lot, just_made: bool) {
        if just_made {
            self.fresh.insert(self.lots.len());
        }
        self.lots.push(lot);
    }

    /// Says that `holder` holds units of the lot `key`, which they are counted in.
    pub(crate) fn add_hold(&mut self, holder: Holder, key: &str, units: u64) {
        if let Some(lot) = self.find(key) {
            *self.holds.entry(holder).or_default().entry(lot).or_default() += units;
        }
    }

    pub(crate) fn lots(&self) -> &[Lot] {
        &self.lots
    }

    #[cfg(test)]
    pub(crate) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Who holds how many units of which lot.
    pub(crate) fn holds(&self) -> impl Iterator<Item = (Holder, usize, u64)> {
        self.holds.iter().flat_map(|(holder, lots)| lots.iter().map(|(lot, units)| (*holder, *lot, *units)))
    }

    /// Burns `units` of the `held` that a holder has for them, and gives back what that is too much. Answers what was burned.
    pub(crate) fn settle_held(&mut self, holder: Holder, held: u64, units: u64) -> Parts {
        let parts = self.burn_held(holder, units.min(held));
        if held > units {
            self.release(holder, Some(held - units));
        }
        parts
    }

    /// Burns up to `units` of what `holder` holds, whether the lots have expired meanwhile or not.
    fn burn_held(&mut self, holder: Holder, units: u64) -> Parts {
        let parts = share(self.held_in_order(holder), units);
        for &(lot, units) in &parts {
            self.lots[lot].burn_held(units);
            self.drop_hold(holder, lot, units);
        }
        parts
    }

    /// Burns up to `units` out of the lots of `specs` that can be used at `at`.
    pub(crate) fn burn(&mut self, specs: &[LotSpec], at: Timestamp, now: Timestamp, units: u64) -> Parts {
        let parts = share(self.usable(specs, at, now), units);
        for &(lot, units) in &parts {
            self.lots[lot].burn(units);
        }
        parts
    }

    /// Takes back that units of the lot `key` were burned.
    pub(crate) fn refund(&mut self, key: &str, units: u64) {
        if let Some(lot) = self.find(key) {
            self.lots[lot].refund(units);
        }
    }

    /// Gives what `holder` holds back to the lots that it is of, those that are burned last first; all of it, or up to
    /// `units`. Answers how many units that were.
    pub(crate) fn release(&mut self, holder: Holder, units: Option<u64>) -> u64 {
        let mut held = self.held_in_order(holder);
        held.reverse();
        let parts = share(held, units.unwrap_or(u64::MAX));
        for &(lot, units) in &parts {
            self.lots[lot].give_back(units);
            self.drop_hold(holder, lot, units);
        }
        sum(&parts)
    }

    /// Takes units out of the lots of `specs` for `holder`: as many as `wanted` says when it is told how many are left.
    /// Answers how many those are, and how many are left then. More than is left is never taken.
    pub(crate) fn lease(
        &mut self,
        holder: Holder,
        specs: &[LotSpec],
        now: Timestamp,
        wanted: impl FnOnce(u64) -> u64,
    ) -> (u64, u64) {
        let usable = self.usable(specs, now, now);
        let left = sum(&usable);
        let units = wanted(left).min(left);
        for (lot, units) in share(usable, units) {
            self.lots[lot].hold(units);
            *self.holds.entry(holder).or_default().entry(lot).or_default() += units;
        }
        (units, left - units)
    }

    /// The lots of `specs` that can be used at `at`, with what they have, in burn order. All must have been added.
    ///
    /// Before, each is brought to what its spec says, unless something else was said for an instant after `said`.
    pub(crate) fn usable(&mut self, specs: &[LotSpec], at: Timestamp, said: Timestamp) -> Parts {
        let as_of = said.as_microsecond();
        let at = at.as_microsecond();
        let mut usable = Vec::with_capacity(specs.len());
        for spec in specs.iter().filter(|spec| spec.is_usable(at)) {
            let Some(lot) = self.find(&spec.key) else { continue };
            self.take_over(spec);
            self.lots[lot].follow(spec, as_of);
            if self.lots[lot].is_usable(at) {
                usable.push(lot);
            }
        }
        usable.sort_by(|a, b| self.lots[*a].order().cmp(&self.lots[*b].order()));
        usable.dedup();
        usable.into_iter().map(|lot| (lot, self.lots[lot].available())).collect()
    }

    /// Lets a lot that was just made, and those before it that were made for it, take over what is left of the one before,
    /// oldest first: so that what was not used over several idle periods arrives as if there had been no idleness.
    pub(crate) fn take_over(&mut self, spec: &LotSpec) {
        let Some(rollover) = spec.rollover.as_ref().filter(|_| !self.fresh.is_empty()) else { return };
        let chain: Vec<_> = std::iter::once(spec).chain(&rollover.previous).collect();
        for pair in chain.windows(2).rev() {
            let [newer, older] = pair else { continue };
            let Some(new) = self.find(&newer.key).filter(|new| self.fresh.remove(new)) else { continue };
            let Some(old) = self.find(&older.key).filter(|old| *old != new) else { continue };
            let max = newer.rollover.as_ref().map_or(rollover.max, |own| own.max);
            if let Ok([old, new]) = self.lots.get_disjoint_mut([old, new]) {
                old.roll_over(new, max);
            }
        }
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.lots.iter().position(|lot| *lot.key == *key)
    }

    fn held_in_order(&self, holder: Holder) -> Parts {
        let mut held: Parts =
            self.holds.get(&holder).into_iter().flatten().map(|(lot, units)| (*lot, *units)).collect();
        held.sort_by(|(a, _), (b, _)| self.lots[*a].order().cmp(&self.lots[*b].order()));
        held
    }

    fn drop_hold(&mut self, holder: Holder, lot: usize, units: u64) {
        let Some(lots) = self.holds.get_mut(&holder) else { return };
        if let Some(held) = lots.get_mut(&lot) {
            *held -= units;
            if *held == 0 {
                lots.remove(&lot);
            }
        }
    }
}

/// The first `units` of what there is.
fn share(there: Parts, mut units: u64) -> Parts {
    let mut parts = Vec::new();
    for (lot, has) in there {
        let part = has.min(units);
        if part > 0 {
            units -= part;
            parts.push((lot, part));
        }
    }
    parts
}

fn sum(parts: &[(usize, u64)]) -> u64 {
    parts.iter().fold(0, |sum, (_, units)| sum.saturating_add(*units))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::model::{Model, Step, World, holder, instant, steps};
    use super::super::{Rollover, tranche};
    use super::*;

    fn lot(key: &str, priority: i32, amount: u64, expires: Option<i64>) -> LotSpec {
        LotSpec {
            key: key.into(),
            priority,
            effective: instant(0),
            expires: expires.map(instant),
            created: instant(0),
            amount,
            rollover: None,
            overage: false,
        }
    }

    /// A book with the lots of `specs`, as if they had just been made.
    fn book(specs: &[LotSpec]) -> Book {
        let mut book = Book::default();
        need(&mut book, specs, instant(0));
        book
    }

    fn need(book: &mut Book, specs: &[LotSpec], as_of: Timestamp) {
        for lot in specs.iter().flat_map(|spec| Lot::with_previous(spec, as_of.as_microsecond())) {
            if !book.has(&lot.key) {
                book.add(lot, true);
            }
        }
    }

    fn left(book: &Book) -> Vec<u64> {
        book.lots().iter().map(Lot::available).collect()
    }

    #[test]
    fn lots_are_burned_by_priority_then_expiry_then_age_then_key() {
        let old = LotSpec { created: instant(-5), ..lot("c", 1, 10, None) };
        let specs =
            [lot("b", 1, 10, None), lot("a", 1, 10, None), old, lot("d", 1, 10, Some(50)), lot("e", 0, 10, None)];
        let mut book = book(&specs);
        let parts = book.burn(&specs, instant(1), instant(1), 100);
        assert_eq!(parts, [(4, 10), (3, 10), (2, 10), (1, 10), (0, 10)]);
    }

    #[test]
    fn a_lot_is_not_burned_before_it_begins_nor_from_its_end_on() {
        let specs = [LotSpec { effective: instant(10), ..lot("a", 0, 10, Some(20)) }];
        let mut book = book(&specs);
        assert_eq!(book.burn(&specs, instant(9), instant(9), 1), []);
        assert_eq!(book.burn(&specs, instant(10), instant(10), 1), [(0, 1)]);
        assert_eq!(book.burn(&specs, instant(19), instant(19), 1), [(0, 1)]);
        assert_eq!(book.burn(&specs, instant(20), instant(20), 1), []);
    }

    #[test]
    fn a_lot_that_was_ended_early_is_not_burned_after_that_by_who_does_not_know() {
        let mut book = book(&[lot("a", 0, 10, Some(20))]);
        assert_eq!(book.usable(&[lot("a", 0, 10, Some(15))], instant(14), instant(14)), [(0, 10)]);
        assert_eq!(book.burn(&[lot("a", 0, 10, Some(20))], instant(16), instant(13), 1), []);
    }

    #[test]
    fn held_units_are_burned_out_of_exactly_their_lots_even_after_these_expired() {
        let specs = [lot("a", 0, 10, Some(20)), lot("b", 1, 10, None)];
        let mut book = book(&specs);
        assert_eq!(book.lease(holder(1), &specs, instant(0), |_| 12), (12, 8));
        assert_eq!(book.burn_held(holder(1), 11), [(0, 10), (1, 1)]);
        assert_eq!(book.burn_held(holder(1), 11), [(1, 1)]);
        assert_eq!(book.burn_held(holder(1), 11), []);
    }

    #[test]
    fn what_is_given_back_in_part_is_of_the_lots_that_are_burned_last() {
        let specs = [lot("a", 0, 10, None), lot("b", 1, 10, None)];
        let mut book = book(&specs);
        book.lease(holder(1), &specs, instant(0), |_| 15);
        assert_eq!(book.release(holder(1), Some(6)), 6);
        assert_eq!(left(&book), [1, 10]);
        assert_eq!(book.release(holder(1), None), 9);
        assert_eq!(left(&book), [10, 10]);
        assert_eq!(book.holds().count(), 0);
    }

    #[test]
    fn a_lease_is_never_for_more_than_is_left() {
        let specs = [lot("a", 0, 10, None)];
        assert_eq!(book(&specs).lease(holder(1), &specs, instant(0), |_| 11), (10, 0));
    }

    fn period(number: i64) -> LotSpec {
        LotSpec { effective: instant(number * 10), ..lot(&format!("plan/{number}"), 0, 100, Some(number * 10 + 10)) }
    }

    /// The allowance of a period, which takes over at most 150.
    fn rolling(number: i64) -> LotSpec {
        let previous = (0..number).rev().map(period).collect();
        LotSpec { rollover: Some(Rollover { max: 150, previous }), ..period(number) }
    }

    #[test]
    fn idle_periods_roll_over_as_if_there_had_been_no_idleness() {
        let idle = [rolling(3)];
        let mut skipped = book(&idle);
        assert_eq!(skipped.usable(&idle, instant(35), instant(35)), [(0, 250)]);

        let mut watched = Book::default();
        for number in 0..4 {
            need(&mut watched, &[rolling(number)], instant(0));
            watched.usable(&[rolling(number)], instant(number * 10), instant(number * 10));
        }
        assert_eq!(left(&watched), [0, 50, 100, 250]);
        assert_eq!(left(&skipped), [250, 100, 50, 0]);
    }

    #[test]
    fn a_period_whose_plan_did_not_roll_over_takes_over_nothing() {
        let mut spec = rolling(2);
        let rollover = spec.rollover.as_mut().expect("it has one");
        rollover.previous[0].rollover = Some(Rollover { max: 0, previous: Vec::new() });
        let specs = [spec];
        assert_eq!(book(&specs).usable(&specs, instant(25), instant(25)), [(0, 200)]);
    }

    #[test]
    fn a_lot_takes_over_once_and_only_when_it_is_first_used() {
        let (old, new) = ([rolling(0)], [rolling(1)]);
        let mut book = book(&new);
        assert_eq!(book.burn(&old, instant(5), instant(5), 60), [(1, 60)]);
        assert_eq!(book.usable(&new, instant(10), instant(10)), [(0, 140)]);
        book.refund("plan/0", 60);
        assert_eq!(book.usable(&new, instant(10), instant(10)), [(0, 140)]);
        assert_eq!(book.usable(&old, instant(5), instant(5)), [(1, 60)]);
    }

    /// Does what a step says with a book; answers what the model answers.
    fn follow(
        step: &Step,
        world: &mut World,
        book: &mut Book,
        model: &mut Model,
        burns: &mut Vec<Vec<(Box<str>, u64)>>,
    ) {
        let now = instant(world.now);
        match *step {
            Step::Use { units, late, held } => {
                let at = (world.now - late).max(0);
                let held = held.map(|(from, most)| (holder(from), most));
                let mut parts = held.map(|(from, most)| book.settle_held(from, most, units)).unwrap_or_default();
                let rest = units - sum(&parts);
                if rest > 0 {
                    let specs = world.specs(at);
                    let specs: Vec<_> =
                        specs.into_iter().filter(|spec| spec.is_usable(instant(at).as_microsecond())).collect();
                    need(book, &specs, instant(at).min(now));
                    parts.extend(book.burn(&specs, instant(at), instant(at).min(now), rest));
                }
                let of_grace = |(lot, _): &&(usize, u64)| book.lots()[*lot].overage;
                let grace: u64 = parts.iter().filter(of_grace).map(|(_, units)| units).sum();
                let overage = units - sum(&parts) + grace;
                assert_eq!(overage, model.charge(world, at, held, units));
                burns.push(parts.iter().map(|(lot, units)| (book.lots()[*lot].key.clone(), *units)).collect());
            }
            Step::Again { units, holder: from, .. } => {
                book.release(holder(from), Some(units));
                model.give_back(holder(from), Some(units));
            }
            Step::Void { event } => {
                let event = usize::from(event) % burns.len().max(1);
                if model.void(event) {
                    burns[event].iter().for_each(|(lot, units)| book.refund(lot, *units));
                }
            }
            Step::GiveBack { holder: from, units } => {
                book.release(holder(from), units);
                model.give_back(holder(from), units);
            }
            Step::Lease { holder: to, waiting } => lease(world, book, model, to, |left| tranche(left, 1, waiting)),
            Step::Reserve { holder: to, units } => {
                lease(world, book, model, to, |left| if units <= left { units } else { 0 });
            }
            Step::Wait { seconds } => world.wait(seconds),
            Step::Plan { amount } => world.plan(amount),
        }
    }

    fn lease(world: &World, book: &mut Book, model: &mut Model, to: u8, wanted: impl Fn(u64) -> u64) {
        let now = instant(world.now);
        let specs = world.specs(world.now);
        let specs: Vec<_> = specs.into_iter().filter(|spec| spec.is_usable(now.as_microsecond())).collect();
        need(book, &specs, now);
        let leased = book.lease(holder(to), &specs, now, &wanted);
        assert_eq!(leased, model.lease(world, holder(to), &wanted));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
        #[test]
        fn a_book_is_what_the_reference_is_after_each_of_many_steps(
            steps in steps(), amount in 0..40_u64, rollover in 0..60_u64,
        ) {
            let (mut world, mut book, mut model) = (World::new(amount, rollover), Book::default(), Model::default());
            let mut burns = Vec::new();
            for step in &steps {
                follow(step, &mut world, &mut book, &mut model, &mut burns);
                model.check();
                let mut balances: Vec<_> = book
                    .lots()
                    .iter()
                    .map(|lot| (lot.key.clone(), lot.amount as i64 + lot.carried, lot.burned, lot.held))
                    .collect();
                balances.sort();
                prop_assert_eq!(balances, model.balances(), "after {:?}", step);
                for number in 0..3 {
                    let held: u64 = book.holds().filter(|(by, ..)| *by == holder(number)).map(|(.., units)| units).sum();
                    prop_assert_eq!(held, model.held_by(holder(number)));
                }
            }
        }
    }
}
