//! The rules of the sender, with random answers: the books balance, the order is kept, and nothing is delivered twice
//! unless an answer was lost.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::time::Instant;

use crate::export::answer::Answer;
use crate::export::backlog::Backlog;
use crate::export::sender::{Action, Input, Sender};
use crate::export::stats::SignalStats;
use crate::spool::Batch;

#[derive(Clone, Debug)]
enum Event {
    New {
        items: u64,
        pressure: bool,
    },
    Accept {
        rejected: u64,
    },
    Refuse,
    Later {
        after: Option<u16>,
    },
    /// It was taken, and the answer did not arrive.
    Lose,
    Wait {
        millis: u16,
    },
    Hurry,
    Close,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (1..5_u64, any::<bool>()).prop_map(|(items, pressure)| Event::New { items, pressure }),
        6 => prop_oneof![Just(0), 0..9_u64].prop_map(|rejected| Event::Accept { rejected }),
        1 => Just(Event::Refuse),
        5 => proptest::option::of(0..5000_u16).prop_map(|after| Event::Later { after }),
        1 => Just(Event::Lose),
        6 => (0..20_000_u16).prop_map(|millis| Event::Wait { millis }),
        1 => Just(Event::Hurry),
    ]
}

/// A sender, its backlog and a collector.
struct World {
    sender: Sender,
    books: SignalStats,
    backlog: Backlog,
    now: Instant,
    under_way: Option<Bytes>,
    made: u64,
    taken: Vec<u64>,
    refused: HashSet<u64>,
    in_doubt: HashSet<u64>,
}

impl World {
    fn new(batches: usize) -> Self {
        Self {
            sender: Sender::new(fastrand::Rng::with_seed(7)),
            books: SignalStats::default(),
            backlog: Backlog::in_memory(8 * batches),
            now: Instant::now(),
            under_way: None,
            made: 0,
            taken: Vec::new(),
            refused: HashSet::new(),
            in_doubt: HashSet::new(),
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::New { items, pressure } if self.sender.takes(*pressure) => {
                self.books.created += items;
                self.books.in_flight += items;
                let payload = Bytes::copy_from_slice(&self.made.to_be_bytes());
                self.made += 1;
                self.step(Input::New(Batch { items: *items, payload }));
            }
            Event::Accept { rejected } => self.answer(|world, id| {
                world.taken.push(id);
                Answer::Accepted { rejected: *rejected, message: None }
            }),
            Event::Refuse => self.answer(|world, id| {
                world.refused.insert(id);
                Answer::Refused { why: "no".into() }
            }),
            Event::Later { after } => self.answer(|_, _| Answer::Later {
                after: after.map(|millis| Duration::from_millis(millis.into())),
                why: "not now".into(),
            }),
            Event::Lose => self.answer(|world, id| {
                world.taken.push(id);
                world.in_doubt.insert(id);
                Answer::none("cut off")
            }),
            Event::Wait { millis } => {
                self.now += Duration::from_millis((*millis).into());
                self.step(Input::Tick);
            }
            Event::Hurry => {
                self.sender.hurry();
                self.step(Input::Tick);
            }
            Event::Close => {
                if let Some(payload) = &self.under_way {
                    self.in_doubt.insert(id(payload));
                }
                self.step(Input::Close);
            }
            Event::New { .. } => {}
        }
    }

    fn answer(&mut self, answer: impl FnOnce(&mut Self, u64) -> Answer) {
        if let Some(payload) = self.under_way.take() {
            let answer = answer(self, id(&payload));
            self.step(Input::Answer(answer));
        }
    }

    fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for action in self.sender.step(input, self.now, &mut self.books) {
                let backlog = &mut self.backlog;
                match action {
                    Action::Send(payload) => {
                        assert!(self.under_way.replace(payload).is_none(), "one request at a time");
                    }
                    Action::Abandon => self.under_way = None,
                    Action::Store(batch) => {
                        let (items, evicted) = (batch.items, backlog.push(batch));
                        inputs.push_back(Input::Stored { items, evicted, left: backlog.items() });
                    }
                    Action::Hold => drop(backlog.front()),
                    Action::Load => {
                        let batch = backlog.front();
                        inputs.push_back(Input::Head { batch, left: backlog.items() });
                    }
                    Action::Pop => {
                        backlog.pop();
                        inputs.push_back(Input::Popped { left: backlog.items() });
                    }
                }
            }
        }
        assert!(self.books.is_balanced(), "{:?}", self.books);
        assert_eq!(self.books.spooled, self.backlog.items());
        assert_eq!((self.books.dropped.corrupt, self.books.recovered), (0, 0));
    }

    /// What arrived, each once.
    fn arrived(&self) -> Vec<u64> {
        let mut seen = HashSet::new();
        self.taken.iter().copied().filter(|id| seen.insert(*id)).collect()
    }

    fn check_deliveries(&self) {
        let arrived = self.arrived();
        assert!(arrived.is_sorted(), "out of order: {:?}", self.taken);
        for id in &arrived {
            let times = self.taken.iter().filter(|taken| *taken == id).count();
            assert!(times == 1 || self.in_doubt.contains(id), "{id} arrived {times} times");
        }
    }
}

fn id(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload.try_into().expect("8 bytes"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn whatever_a_collector_answers_the_books_balance_and_all_arrives_in_order(
        events in prop::collection::vec(event(), 0..120),
        batches in 1..12_usize,
    ) {
        let mut world = World::new(batches);
        events.iter().for_each(|event| world.happen(event));
        world.check_deliveries();
        // In the end all is well again.
        for _ in 0..=events.len() {
            world.happen(&Event::Wait { millis: 60_000 });
            world.happen(&Event::Accept { rejected: 0 });
        }
        world.check_deliveries();
        prop_assert_eq!(world.books.unsent(), 0);
        let lost = world.books.dropped.backlog_full > 0;
        let settled = world.arrived().len() + world.refused.len();
        prop_assert!(lost || u64::try_from(settled).unwrap() >= world.made, "{} of {}", settled, world.made);
    }

    #[test]
    fn when_time_is_over_all_that_is_not_settled_is_in_the_backlog(
        before in prop::collection::vec(event(), 0..60),
        after in prop::collection::vec(event(), 0..20),
    ) {
        let mut world = World::new(1000);
        before.iter().for_each(|event| world.happen(event));
        world.happen(&Event::Close);
        prop_assert!(world.under_way.is_none());
        prop_assert_eq!(world.books.in_flight, 0);
        after.iter().for_each(|event| world.happen(event));
        prop_assert!(world.under_way.is_none(), "nothing is sent any more");
        prop_assert_eq!(world.books.unsent(), world.backlog.items());
        let lost = world.backlog.items();
        // It ends with the process.
        world.backlog = Backlog::in_memory(0);
        world.step(Input::Lost(lost));
        prop_assert_eq!((world.books.unsent(), world.books.dropped.shutdown), (0, lost));
        prop_assert!(world.books.is_balanced());
    }
}

#[test]
fn a_pause_grows_with_every_failure_and_ends_with_a_success() {
    let mut world = World::new(100);
    world.happen(&Event::New { items: 1, pressure: false });
    let mut longest = Duration::ZERO;
    for failures in 0..40 {
        world.happen(&Event::Later { after: None });
        let pause = world.sender.wakes(&world.books).expect("a pause") - world.now;
        let full = Duration::from_millis(500 << failures.min(5)).min(Duration::from_secs(15));
        assert!(pause >= full / 2 && pause <= full, "{pause:?} after {failures} failures");
        longest = longest.max(pause);
        world.now += pause;
        world.step(Input::Tick);
    }
    assert!(longest > Duration::from_secs(10));
    world.happen(&Event::Accept { rejected: 0 });
    world.happen(&Event::New { items: 1, pressure: false });
    assert!(world.under_way.is_some(), "what is new goes straight out again");
}

#[test]
fn a_collector_is_left_alone_for_as_long_as_it_asks() {
    let mut world = World::new(100);
    world.happen(&Event::New { items: 1, pressure: false });
    world.happen(&Event::Later { after: Some(5000) });
    world.happen(&Event::Hurry);
    world.happen(&Event::New { items: 1, pressure: false });
    world.happen(&Event::Wait { millis: 4999 });
    assert!(world.under_way.is_none());
    world.happen(&Event::Wait { millis: 1 });
    assert!(world.under_way.is_some());
}

#[test]
fn a_collector_that_wants_it_at_once_is_not_flooded() {
    let mut world = World::new(100);
    world.happen(&Event::New { items: 1, pressure: false });
    world.happen(&Event::Later { after: Some(0) });
    world.happen(&Event::Wait { millis: 249 });
    assert!(world.under_way.is_none());
    world.happen(&Event::Wait { millis: 251 });
    assert!(world.under_way.is_some());
}

#[test]
fn a_pause_of_our_own_ends_when_somebody_is_in_a_hurry() {
    let mut world = World::new(100);
    world.happen(&Event::New { items: 1, pressure: false });
    world.happen(&Event::Later { after: None });
    assert!(world.under_way.is_none());
    world.happen(&Event::Hurry);
    assert!(world.under_way.is_some());
}
