//! Which lines are let through, and how many were not. Reads no clock, formats nothing, and never grows.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::Metadata;

use super::line::{Line, Text};

/// Sets of lines that share a lock, and lines in each: 256 lines, some 60 KiB.
const SETS: usize = 64;
const WAYS: usize = 4;

/// How many counts of lines that have lost their place wait to be told.
const EVICTED: usize = 64;

/// When nothing is held.
const NEVER: i64 = i64::MAX;

/// The lines of late. Times are milliseconds on a clock that may be set.
pub(super) struct Table {
    first: u32,
    window: i64,
    sets: Box<[Mutex<[Option<Slot>; WAYS]>]>,
    evicted: Mutex<Vec<Told>>,
    /// From when on something is to be told; may be early, is never late.
    due: AtomicI64,
}

/// One line in its window.
#[derive(Clone, Copy)]
struct Slot {
    hash: u64,
    since: i64,
    admitted: u32,
    held: u64,
    from: &'static Metadata<'static>,
    text: Text,
    suppressed: bool,
}

/// How often a line was held back.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) from: &'static Metadata<'static>,
    pub(super) text: Text,
    pub(super) suppressed: bool,
    pub(super) count: u64,
}

impl Slot {
    fn new(line: &Line, now: i64) -> Self {
        let Line { hash, from, text, suppressed } = *line;
        Self { hash, since: now, admitted: 1, held: 0, from, text, suppressed }
    }

    /// Also when the clock was set back, which nobody should wait out.
    fn is_over(&self, now: i64, window: i64) -> bool {
        !(self.since..self.since.saturating_add(window)).contains(&now)
    }

    fn told(&self) -> Option<Told> {
        let Self { from, text, suppressed, held: count, .. } = *self;
        (count > 0).then_some(Told { from, text, suppressed, count })
    }
}

impl Table {
    pub(super) fn new(first: u32, window: Duration) -> Self {
        Self {
            first,
            window: i64::try_from(window.as_millis()).unwrap_or(NEVER),
            sets: (0..SETS).map(|_| Mutex::new([None; WAYS])).collect(),
            evicted: Mutex::new(Vec::with_capacity(EVICTED)),
            due: AtomicI64::new(NEVER),
        }
    }

    /// Whether the line is let through; else it is counted.
    pub(super) fn admit(&self, line: &Line, now: i64) -> bool {
        let set = usize::try_from(line.hash % SETS as u64).unwrap_or(0);
        let mut set = lock(&self.sets[set]);
        if let Some(slot) = set.iter_mut().flatten().find(|slot| slot.hash == line.hash) {
            if !slot.is_over(now, self.window) && slot.admitted < self.first {
                slot.admitted += 1;
                return true;
            }
            // A new window, if what was held back in the last one has a place to wait.
            if slot.is_over(now, self.window) && self.evict(slot) {
                *slot = Slot::new(line, now);
                return true;
            }
            slot.held += 1;
            if slot.held == 1 {
                self.due.fetch_min(slot.since.saturating_add(self.window), Ordering::AcqRel);
            }
            return false;
        }
        // The empty one, then the one that is missed least, then the oldest.
        let rank = |slot: &Option<Slot>| slot.map(|slot| (!slot.is_over(now, self.window), slot.held > 0, slot.since));
        if let Some(victim) = set.iter_mut().min_by_key(|slot| rank(slot))
            && victim.is_none_or(|slot| self.evict(&slot))
        {
            *victim = Some(Slot::new(line, now));
        }
        // Without a place it is let through, and so needs none.
        true
    }

    /// Keeps what is to be told of a line that loses its place; false if there is no room.
    fn evict(&self, slot: &Slot) -> bool {
        let Some(told) = slot.told() else { return true };
        let mut evicted = lock(&self.evicted);
        let room = evicted.len() < EVICTED;
        if room {
            evicted.push(told);
            self.due.fetch_min(i64::MIN, Ordering::AcqRel);
        }
        room
    }

    /// Cheap, for every event.
    pub(super) fn is_anything_held(&self) -> bool {
        self.due.load(Ordering::Relaxed) != NEVER
    }

    /// Gives the counts of windows that are over to `tell`, with nothing locked.
    pub(super) fn take_due(&self, now: i64, tell: impl FnMut(Told)) {
        let due = self.due.load(Ordering::Relaxed);
        // Further off than a window it only is when the clock was set back.
        if due <= now || due > now.saturating_add(self.window) {
            // Whoever comes at the same time leaves it to this one.
            self.due.swap(NEVER, Ordering::AcqRel);
            self.take(|slot| slot.is_over(now, self.window), tell);
        }
    }

    /// Gives all counts to `tell`, with nothing locked.
    pub(super) fn take_all(&self, tell: impl FnMut(Told)) {
        self.take(|_| true, tell);
    }

    fn take(&self, is_due: impl Fn(&Slot) -> bool, mut tell: impl FnMut(Told)) {
        while let Some(told) = pop(&self.evicted) {
            tell(told);
        }
        for set in &self.sets {
            for way in 0..WAYS {
                let told = {
                    let mut set = lock(set);
                    let Some(slot) = &mut set[way] else { continue };
                    if slot.held > 0 && is_due(slot) {
                        let told = slot.told();
                        slot.held = 0;
                        told
                    } else {
                        if slot.held > 0 {
                            self.due.fetch_min(slot.since.saturating_add(self.window), Ordering::AcqRel);
                        }
                        None
                    }
                };
                told.into_iter().for_each(&mut tell);
            }
        }
    }
}

fn pop(list: &Mutex<Vec<Told>>) -> Option<Told> {
    lock(list).pop()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use tracing::Metadata;
    use tracing::field::FieldSet;
    use tracing::metadata::Kind;
    use tracing::{Callsite, Level, callsite, subscriber::Interest};

    use super::*;

    struct Here;

    static HERE: Here = Here;
    static FROM: Metadata<'static> = Metadata::new(
        "line",
        "here",
        Level::WARN,
        None,
        None,
        None,
        FieldSet::new(&["message"], callsite::Identifier(&HERE)),
        Kind::EVENT,
    );

    impl Callsite for Here {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            &FROM
        }
    }

    const FIRST: u32 = 3;
    const WINDOW: i64 = 10_000;

    fn table() -> Table {
        Table::new(FIRST, Duration::from_secs(10))
    }

    fn line(hash: u64) -> Line {
        let mut text = Text::default();
        text.push(&hash.to_string());
        Line { hash, from: &FROM, text, suppressed: false }
    }

    /// Adds what is told to `counts`.
    fn into(counts: &mut HashMap<u64, u64>) -> impl FnMut(Told) {
        |told| *counts.entry(told.text.as_str().parse().expect("a number")).or_default() += told.count
    }

    #[test]
    fn the_first_of_a_window_pass_and_the_others_are_told_when_it_is_over() {
        let (table, mut told) = (table(), HashMap::new());
        let admitted: Vec<_> = (0..8).map(|at| table.admit(&line(1), at)).collect();
        assert_eq!(admitted, [true, true, true, false, false, false, false, false]);
        assert!(table.admit(&line(2), 8), "another line is another line");
        table.take_due(WINDOW - 1, into(&mut told));
        assert!(told.is_empty());
        table.take_due(WINDOW, into(&mut told));
        assert_eq!((told.get(&1), told.len(), table.is_anything_held()), (Some(&5), 1, false));
        assert!(table.admit(&line(1), WINDOW), "a new window");
    }

    #[test]
    fn a_line_that_comes_again_begins_a_window_and_the_last_one_is_told() {
        let (table, mut told) = (table(), HashMap::new());
        (0..5).for_each(|at| _ = table.admit(&line(1), at));
        assert!(table.admit(&line(1), WINDOW) && table.is_anything_held());
        table.take_due(WINDOW, into(&mut told));
        assert_eq!(told, HashMap::from([(1, 2)]));
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_for_long() {
        let (table, mut told) = (table(), HashMap::new());
        (0..5).for_each(|_| _ = table.admit(&line(1), 1_000_000));
        table.take_due(5, into(&mut told));
        assert_eq!(told, HashMap::from([(1, 2)]));
        assert!(table.admit(&line(1), 5));
    }

    #[test]
    fn a_flood_of_lines_that_differ_does_not_displace_one_that_repeats() {
        let (table, mut told) = (table(), HashMap::new());
        (0..5).for_each(|_| _ = table.admit(&line(0), 0));
        assert!((1..10_000).all(|n| table.admit(&line(n), 1)));
        assert!(!table.admit(&line(0), 2));
        table.take_due(2, into(&mut told));
        assert!(told.is_empty());
    }

    #[test]
    fn what_a_line_that_lost_its_place_held_back_is_told_early() {
        let (table, mut told) = (table(), HashMap::new());
        // More than a set has places for, all of which repeat.
        for n in 0..=WAYS as u64 {
            (0..5).for_each(|_| _ = table.admit(&line(n * SETS as u64), n.cast_signed()));
        }
        table.take_due(5, into(&mut told));
        assert_eq!(told, HashMap::from([(0, 2)]), "that of the oldest");
    }

    proptest! {
        /// Few sets are met, so that lines lose their places, and seldom told, so that the list of those is full.
        #[test]
        fn what_passes_and_what_is_told_is_what_there_was(
            steps in prop::collection::vec((0..40_u64, 0..3_000_i64, 1..8_usize, prop::bool::weighted(0.02)), 1..400),
        ) {
            let (table, mut now) = (table(), 0);
            let [mut there_were, mut passed, mut told] = std::array::from_fn(|_| HashMap::<u64, u64>::new());
            for (n, later, times, tells) in steps {
                now += later;
                let hash = n * SETS as u64;
                for _ in 0..times {
                    *there_were.entry(hash).or_default() += 1;
                    if table.admit(&line(hash), now) {
                        *passed.entry(hash).or_default() += 1;
                    }
                }
                if tells {
                    table.take_due(now, into(&mut told));
                }
            }
            prop_assert!(lock(&table.evicted).len() <= EVICTED);
            table.take_all(into(&mut told));
            for (hash, count) in &told {
                *passed.entry(*hash).or_default() += count;
            }
            prop_assert_eq!(passed, there_were);
        }
    }
}
