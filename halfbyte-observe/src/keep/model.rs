//! The buffer against a naive model: every span remembered for ever, every decision made anew from all that has happened.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::SpanId;
use proptest::prelude::*;

use super::buffer::{Budget, Buffer, Ended, Kept, Policy};

const SLOW: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum Step {
    Root,
    /// A child of one of the spans so far, open or not.
    Child(prop::sample::Index),
    /// One of the open spans ends.
    End {
        of: prop::sample::Index,
        erred: bool,
        slow: bool,
    },
    Wait(Duration),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let end = (index(), prop::bool::weighted(0.15), prop::bool::weighted(0.2));
    let step = prop_oneof![
        2 => Just(Step::Root),
        5 => index().prop_map(Step::Child),
        6 => end.prop_map(|(of, erred, slow)| Step::End { of, erred, slow }),
        1 => (0..400_u64).prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
    ];
    prop::collection::vec(step, 0..120)
}

/// One span of the model; its number is its id less one.
#[derive(Debug)]
struct Known {
    root: usize,
    started: Duration,
    ended: bool,
    went_on: bool,
    /// Of a root.
    fate: Option<bool>,
}

struct Run {
    buffer: Buffer<usize>,
    budget: Arc<Budget>,
    spans: Vec<Known>,
    now: Duration,
    released: Vec<usize>,
    ended: u64,
    /// Spans that erred before the fate of their root was known.
    errors: Vec<usize>,
}

impl Run {
    fn new(cap: usize, policy: Policy) -> Self {
        let budget = Arc::new(Budget::new(cap));
        let buffer = Buffer::new(policy, budget.clone());
        Self {
            buffer,
            budget,
            spans: Vec::new(),
            now: Duration::ZERO,
            released: Vec::new(),
            ended: 0,
            errors: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Root => self.start(None),
            Step::Child(parent) if !self.spans.is_empty() => self.start(Some(parent.index(self.spans.len()))),
            Step::Child(_) => {}
            Step::End { of, erred, slow } => {
                let open: Vec<_> = (0..self.spans.len()).filter(|span| !self.spans[*span].ended).collect();
                if !open.is_empty() {
                    self.end(open[of.index(open.len())], *erred, *slow);
                }
            }
            Step::Wait(time) => self.now += *time,
        }
    }

    fn start(&mut self, parent: Option<usize>) {
        let span = self.spans.len();
        let root = parent.map_or(span, |parent| self.spans[parent].root);
        // What has been open for long is slow, as soon as anything starts.
        let (now, is_open) = (self.now, |known: &Known, at| known.root == at && !known.ended);
        let slow: Vec<_> =
            (0..span).filter(|at| is_open(&self.spans[*at], *at) && now - self.spans[*at].started >= SLOW).collect();
        slow.into_iter().for_each(|root| self.settle(root, true));
        self.spans.push(Known { root, started: now, ended: false, went_on: false, fate: None });
        let released = self.buffer.start(now, id(span), parent.map(id));
        self.released.extend(released);
    }

    fn end(&mut self, span: usize, erred: bool, slow: bool) {
        self.spans[span].ended = true;
        self.ended += 1;
        let root = self.spans[span].root;
        if erred {
            if self.spans[root].fate.is_none() {
                self.errors.push(span);
            }
            self.settle(root, true);
        }
        if span == root {
            self.settle(root, slow);
        }
        if let Some(fate) = self.spans[root].fate {
            self.spans[span].went_on |= fate;
        }
        let took = if slow { SLOW } else { SLOW - Duration::from_nanos(1) };
        let ended = Ended { span: id(span), is_local_root: span == root, erred, took, bytes: 500 };
        self.released.extend(self.buffer.end(ended, span));
    }

    /// The first decision counts.
    fn settle(&mut self, root: usize, kept: bool) {
        if self.spans[root].fate.is_none() {
            self.spans[root].fate = Some(kept);
            let members = self.spans.iter_mut().filter(|known| known.root == root && known.ended);
            members.for_each(|known| known.went_on |= kept);
        }
    }

    fn counts_add_up(&self) -> bool {
        let Kept { kept, discarded, given_up, held } = self.buffer.counts();
        kept + discarded + given_up + held == self.ended && kept == self.released.len() as u64
    }
}

fn id(span: usize) -> SpanId {
    SpanId::from(span as u64 + 1)
}

fn policy(spans: usize, remembered: usize) -> Policy {
    Policy { slow: Some(SLOW), patience: Duration::from_secs(10), spans, remembered }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn with_room_for_all_exactly_those_go_on_that_the_model_says(steps in steps()) {
        let mut run = Run::new(usize::MAX, policy(1000, 1000));
        for step in &steps {
            run.take(step);
            let released: BTreeSet<_> = run.released.iter().copied().collect();
            prop_assert_eq!(released.len(), run.released.len(), "something went on twice");
            let expected: BTreeSet<_> = (0..run.spans.len()).filter(|span| run.spans[*span].went_on).collect();
            prop_assert_eq!(released, expected);
            prop_assert!(run.counts_add_up(), "{:?}", run.buffer.counts());
            let waits = |known: &&Known| known.ended && run.spans[known.root].fate.is_none();
            prop_assert_eq!(run.buffer.counts().held, run.spans.iter().filter(waits).count() as u64);
            prop_assert_eq!(run.buffer.counts().given_up, 0);
        }
    }

    #[test]
    fn with_little_room_nothing_is_doubled_or_uncounted_and_no_error_is_lost(
        steps in steps(),
        cap in 0..6000_usize,
        spans in 0..6_usize,
        remembered in 0..4_usize,
    ) {
        let mut run = Run::new(cap, policy(spans, remembered));
        for step in &steps {
            run.take(step);
            prop_assert!(run.budget.used() <= cap);
            prop_assert!(run.counts_add_up(), "{:?}", run.buffer.counts());
            let released: BTreeSet<_> = run.released.iter().copied().collect();
            prop_assert_eq!(released.len(), run.released.len(), "something went on twice");
            for error in &run.errors {
                prop_assert!(released.contains(error), "the error {} is lost", error);
            }
        }
        run.buffer.close();
        prop_assert_eq!((run.buffer.counts().held, run.budget.used()), (0, 0));
        // Those that are open end, and others begin: late by a moment.
        let (open, errors) = (run.spans.len(), run.errors.len());
        for step in &steps {
            run.take(step);
            prop_assert_eq!((run.buffer.counts().held, run.budget.used()), (0, 0), "after {} spans", open);
        }
        let released: BTreeSet<_> = run.released.iter().copied().collect();
        prop_assert!(run.errors[errors..].iter().all(|error| released.contains(error)), "a late error is lost");
        prop_assert!(run.counts_add_up(), "{:?}", run.buffer.counts());
    }
}

fn end(span: usize, is_local_root: bool, erred: bool) -> Ended {
    Ended { span: id(span), is_local_root, erred, took: Duration::ZERO, bytes: 500 }
}

fn run(cap: usize, policy: Policy) -> Buffer<usize> {
    Buffer::new(policy, Arc::new(Budget::new(cap)))
}

#[test]
fn an_error_that_nothing_is_known_of_goes_on() {
    let mut buffer = run(0, policy(10, 10));
    assert!(buffer.start(Duration::ZERO, id(0), None).is_empty());
    assert_eq!(buffer.end(end(1, false, true), 1).into_iter().collect::<Vec<_>>(), [1]);
    assert_eq!(buffer.end(end(2, false, false), 2).into_iter().count(), 0);
    assert_eq!(buffer.end(end(0, true, false), 0).into_iter().count(), 0);
    assert_eq!(buffer.counts(), Kept { kept: 1, given_up: 1, discarded: 1, held: 0 });
}

#[test]
fn a_child_of_what_is_not_known_is_no_root() {
    let mut buffer = run(224 + 56, policy(10, 10));
    buffer.start(Duration::ZERO, id(0), None);
    // No room for this one; then there is again.
    buffer.start(Duration::ZERO, id(1), None);
    buffer.end(end(0, true, false), 0);
    buffer.start(Duration::ZERO, id(2), Some(id(1)));
    buffer.start(Duration::ZERO, id(3), Some(id(2)));
    assert_eq!(buffer.end(end(2, false, false), 2).into_iter().count(), 0);
    assert_eq!(buffer.end(end(3, false, true), 3).into_iter().collect::<Vec<_>>(), [3]);
}

#[test]
fn a_root_that_never_ends_is_given_up_where_slowness_is_no_reason() {
    let mut buffer = run(usize::MAX, Policy { slow: None, ..policy(10, 10) });
    buffer.start(Duration::ZERO, id(0), None);
    buffer.start(Duration::ZERO, id(1), Some(id(0)));
    buffer.end(end(1, false, false), 1);
    buffer.start(Duration::from_millis(9999), id(2), None);
    assert_eq!(buffer.counts().held, 1);
    assert!(buffer.start(Duration::from_secs(10), id(3), None).is_empty());
    assert_eq!(buffer.counts(), Kept { given_up: 1, ..Kept::default() });
}

#[test]
fn one_span_too_many_is_lost_alone() {
    let mut buffer = run(usize::MAX, policy(2, 10));
    buffer.start(Duration::ZERO, id(0), None);
    for span in 1..=3 {
        buffer.start(Duration::ZERO, id(span), Some(id(0)));
        buffer.end(end(span, false, false), span);
    }
    let released: Vec<_> = buffer.end(end(0, true, true), 0).into_iter().collect();
    assert_eq!(released, [1, 2, 0]);
    assert_eq!(buffer.counts(), Kept { kept: 3, given_up: 1, ..Kept::default() });
}

#[test]
fn the_trace_that_has_held_the_longest_makes_room() {
    let mut buffer = run(2 * (224 + 56 + 500) - 1, policy(10, 10));
    for root in [0, 2] {
        buffer.start(Duration::ZERO, id(root), None);
        buffer.start(Duration::ZERO, id(root + 1), Some(id(root)));
    }
    buffer.end(end(1, false, false), 1);
    buffer.end(end(3, false, false), 3);
    assert_eq!(buffer.counts(), Kept { held: 1, given_up: 1, ..Kept::default() });
    assert_eq!(buffer.end(end(0, true, true), 0).into_iter().collect::<Vec<_>>(), [0]);
    assert_eq!(buffer.end(end(2, true, true), 2).into_iter().collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn a_trace_never_makes_room_for_itself() {
    let mut buffer = run(2 * 224 + 4 * 56 + 2 * 500, policy(10, 10));
    buffer.start(Duration::ZERO, id(0), None);
    buffer.start(Duration::ZERO, id(1), None);
    for (span, root) in [(2, 0), (3, 1), (4, 0), (5, 1)] {
        buffer.start(Duration::ZERO, id(span), Some(id(root)));
    }
    // The root that has held the longest wants more: it is the other one that loses.
    for span in [2, 3, 4] {
        buffer.end(end(span, false, false), span);
    }
    assert_eq!(buffer.end(end(0, true, true), 0).into_iter().collect::<Vec<_>>(), [2, 4, 0]);
    assert_eq!(buffer.counts(), Kept { kept: 3, given_up: 1, ..Kept::default() });
}

#[test]
fn what_is_forgotten_gives_all_of_its_memory_back() {
    let budget = Arc::new(Budget::new(usize::MAX));
    let mut buffer = Buffer::new(policy(10, 0), budget.clone());
    for root in (0..300).step_by(3) {
        buffer.start(Duration::ZERO, id(root), None);
        for span in [root + 1, root + 2] {
            buffer.start(Duration::ZERO, id(span), Some(id(root)));
            buffer.end(end(span, false, false), span);
        }
        buffer.end(end(root, true, root % 2 == 0), root);
        assert_eq!(budget.used(), 0);
    }
}

#[test]
fn what_is_remembered_of_fates_is_bounded_and_open_spans_come_last() {
    let budget = Arc::new(Budget::new(usize::MAX));
    let mut buffer = Buffer::new(policy(10, 4), budget.clone());
    buffer.start(Duration::ZERO, id(0), None);
    buffer.start(Duration::ZERO, id(1), Some(id(0)));
    buffer.end(end(0, true, true), 0);
    for root in 2..1000 {
        buffer.start(Duration::ZERO, id(root), None);
        buffer.end(end(root, true, false), root);
    }
    assert!(budget.used() <= 6 * (224 + 56), "{}", budget.used());
    assert_eq!(buffer.end(end(1, false, false), 1).into_iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_root_alone_costs_no_allocation_once_warm() {
    let mut buffer = run(usize::MAX, policy(10, 16));
    let mut cycles = |from: usize| {
        for root in from..from + 1000 {
            buffer.start(Duration::from_millis(root as u64), id(root), None);
            buffer.end(end(root, true, false), root);
        }
    };
    cycles(0);
    assert_eq!(allocation_counter::measure(|| cycles(1000)).count_total, 0);
}
