//! The whole exporter on a paused clock, against an outbox and a destination in memory.

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::lifecycle::Check;
use halfbyte_core::{Clock, Lifecycle};
use proptest::prelude::*;
use tokio::time::{Instant, sleep, timeout};

use super::memory::{Memory, Sink};
use super::{Bell, Export, ExportState, Exporter, SendError};

const NAME: &str = "sink";

/// One process with one export.
struct Process {
    life: Lifecycle,
    bell: Bell,
    exporter: Exporter,
}

impl Process {
    fn start(memory: &Memory, sink: &Sink) -> Self {
        Self::with(memory, export(sink, 256))
    }

    fn with(memory: &Memory, export: Export) -> Self {
        let (life, bell) = (Lifecycle::new(Clock::system()), Bell::default());
        let exporter = Exporter::start(export, Arc::new(memory.clone()), bell.clone(), &life);
        Self { life, bell, exporter }
    }

    fn check(&self) -> Check {
        self.life.health().report().pop().expect("one check")
    }

    fn state(&self) -> ExportState {
        self.exporter.stats().state
    }

    async fn stop(self) {
        assert!(self.life.stop_tasks(seconds(10)).await, "the export ends with its process");
    }
}

fn export(sink: &Sink, batch: usize) -> Export {
    Export::new(NAME, sink.clone()).expect("a name").batch(batch)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|id| id.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn events_are_sent_in_order_and_in_batches() {
    let (memory, sink) = (Memory::with(600), Sink::default());
    let process = Process::start(&memory, &sink);
    sleep(seconds(1)).await;
    assert_eq!(sink.ids(), ids(0..600));
    assert_eq!(sink.requests().iter().map(|request| request.ids.len()).collect::<Vec<_>>(), [256, 256, 88]);
    assert_eq!(memory.position(NAME), 600);
    let stats = process.exporter.stats();
    assert_eq!((stats.state, stats.exported, stats.failed), (ExportState::Current, 600, 0));
    assert_eq!(stats.lag, Some(Duration::ZERO));
    assert_eq!(process.check().name.as_ref(), "billing.export.sink");
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_this_process_is_exported_at_once_and_one_of_another_at_the_next_poll() {
    let (memory, sink) = (Memory::default(), Sink::default());
    let process = Process::with(&memory, export(&sink, 256).poll(seconds(600)));
    sleep(seconds(1)).await;
    memory.add(2);
    process.bell.ring();
    process.bell.ring();
    sleep(Duration::from_millis(30)).await;
    assert_eq!(sink.ids(), ids(0..2));
    memory.add(1);
    sleep(seconds(500)).await;
    assert_eq!(sink.requests().len(), 1, "nothing told of the third");
    sleep(seconds(101)).await;
    assert_eq!(sink.ids(), ids(0..3));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_taken_in_part_goes_on_behind_what_is_safe() {
    let (memory, sink) = (Memory::with(10), Sink::default());
    sink.answer([Ok(3), Ok(1), Ok(1000)]);
    let process = Process::start(&memory, &sink);
    sleep(seconds(1)).await;
    let firsts: Vec<String> = sink.requests().iter().map(|request| request.ids[0].clone()).collect();
    assert_eq!(firsts, ["0", "3", "4"]);
    assert_eq!((memory.position(NAME), process.exporter.stats().exported), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_takes_nothing_and_says_nothing_is_tried_again() {
    let (memory, sink) = (Memory::with(2), Sink::default());
    sink.answer([Ok(0)]);
    let process = Process::start(&memory, &sink);
    sleep(Duration::from_millis(100)).await;
    assert_eq!((process.state(), memory.position(NAME)), (ExportState::Failing, 0));
    sleep(seconds(1)).await;
    assert_eq!((process.state(), memory.position(NAME)), (ExportState::Current, 2));
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_and_not_kept_is_sent_again() {
    let (memory, sink) = (Memory::with(6), Sink::default());
    memory.fail_advances(1);
    let process = Process::with(&memory, export(&sink, 4));
    sleep(seconds(2)).await;
    let sent: Vec<Vec<String>> = sink.requests().into_iter().map(|request| request.ids).collect();
    assert_eq!(sent, [ids(0..4), ids(0..4), ids(4..6)]);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_asked_again_until_it_is_back() {
    let (memory, sink) = (Memory::with(2), Sink::default());
    memory.set_down(true);
    let process = Process::start(&memory, &sink);
    sleep(seconds(100)).await;
    let check = process.check();
    assert_eq!((check.state, check.ready), ("failing", true), "requests are served all the same");
    assert_eq!(check.detail.as_deref(), Some("the store is down"));
    memory.set_down(false);
    sleep(seconds(61)).await;
    assert_eq!((sink.ids(), process.check().detail), (ids(0..2), None));
}

#[tokio::test(start_paused = true)]
async fn a_claim_outlasts_a_short_failure_of_the_store() {
    let (memory, sink) = (Memory::with(1), Sink::default());
    sink.takes(seconds(60));
    let process = Process::start(&memory, &sink);
    sleep(seconds(5)).await;
    memory.set_down(true);
    sleep(seconds(15)).await;
    memory.set_down(false);
    sleep(seconds(45)).await;
    assert_eq!((memory.position(NAME), sink.requests().len()), (1, 1), "the request was not broken off");
    assert_eq!(process.state(), ExportState::Current);
}

#[tokio::test(start_paused = true)]
async fn without_a_store_to_renew_its_claim_a_process_stops_sending_before_another_may() {
    let (memory, sink) = (Memory::with(1), Sink::default());
    sink.takes(seconds(600));
    let process = Process::start(&memory, &sink);
    sleep(seconds(5)).await;
    memory.set_down(true);
    sleep(seconds(24)).await;
    assert_eq!(process.state(), ExportState::Failing, "29 seconds after the claim, which was for 30");
}

#[tokio::test(start_paused = true)]
async fn one_process_exports_and_another_goes_on_when_it_stops() {
    let (memory, first_sink, second_sink) = (Memory::with(5), Sink::default(), Sink::default());
    let first = Process::start(&memory, &first_sink);
    sleep(seconds(1)).await;
    let second = Process::start(&memory, &second_sink);
    memory.add(5);
    sleep(seconds(100)).await;
    assert_eq!((first_sink.ids(), second_sink.ids().len()), (ids(0..10), 0));
    assert_eq!((second.state(), second.exporter.stats().lag), (ExportState::Standby, None));
    first.stop().await;
    memory.add(1);
    sleep(seconds(6)).await;
    assert_eq!(second_sink.ids(), ids(10..11));
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_claim_went_to_another_breaks_its_request_off_and_keeps_nothing() {
    let (memory, sink) = (Memory::with(3), Sink::default());
    sink.takes(seconds(100));
    let process = Process::start(&memory, &sink);
    sink.reached(1).await;
    memory.steal(NAME, seconds(300));
    sleep(seconds(200)).await;
    assert_eq!((sink.requests().len(), memory.position(NAME)), (1, 0));
    assert_eq!(process.state(), ExportState::Standby);
    sleep(seconds(300)).await;
    assert_eq!(memory.position(NAME), 3, "the other died");
}

#[tokio::test(start_paused = true)]
async fn the_claim_is_renewed_while_nothing_happens_and_seldom() {
    let (memory, sink) = (Memory::default(), Sink::default());
    let _process = Process::start(&memory, &sink);
    for _ in 0..300 {
        sleep(seconds(1)).await;
        assert!(memory.is_held(NAME));
    }
    assert!(memory.claimed() <= 31, "{} writes in 300 seconds", memory.claimed());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_refused_for_good_is_named_and_holds_up_those_behind_it() {
    let (memory, sink) = (Memory::with(100), Sink::default());
    sink.set_poison(Some("37"));
    let process = Process::start(&memory, &sink);
    sleep(seconds(300)).await;
    assert_eq!(memory.position(NAME), 37);
    let check = process.check();
    assert_eq!((check.state, check.ready), ("refused", true));
    let expected = "event \"37\" of \"/test\" is refused, and those behind it wait: 422 unknown meter";
    assert_eq!(check.detail.as_deref(), Some(expected));
    assert_eq!(process.exporter.stats().exported, 37);
    assert!(process.exporter.stats().lag.is_some_and(|lag| lag > seconds(290)));
    assert!(sink.requests().len() < 40, "it is tried again, and not in a hurry: {}", sink.requests().len());
    sink.set_poison(None);
    sleep(seconds(61)).await;
    assert_eq!((memory.position(NAME), process.check().detail), (100, None));
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_left_alone_for_as_long_as_it_asks_and_the_claim_is_kept() {
    let (memory, sink) = (Memory::with(1), Sink::default());
    sink.answer([Err(SendError::failed("429").retry_in(seconds(600)))]);
    let process = Process::start(&memory, &sink);
    let other = Process::start(&memory, &sink);
    sink.reached(1).await;
    for _ in 0..595 {
        process.bell.ring();
        sleep(seconds(1)).await;
        assert!(memory.is_held(NAME));
    }
    assert_eq!(sink.requests().len(), 1, "neither a commit nor another process cuts the wait short");
    sink.reached(2).await;
    let requests = sink.requests();
    assert_eq!((requests[1].at - requests[0].at).as_secs(), 600);
    assert_eq!(other.exporter.stats().exported + process.exporter.stats().exported, 1);
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_more_and_more_slowly_up_to_a_minute() {
    let (memory, sink) = (Memory::with(1), Sink::default());
    sink.answer((0..20).map(|_| Err(SendError::failed("503"))));
    let process = Process::start(&memory, &sink);
    sink.reached(21).await;
    let at: Vec<Instant> = sink.requests().iter().map(|request| request.at).collect();
    for (index, pair) in at.windows(2).enumerate() {
        let longest = Duration::from_millis(500 << index.min(10)).min(seconds(60));
        let wait = pair[1] - pair[0];
        assert!(wait >= longest / 2 && wait <= longest + Duration::from_millis(5), "{index}: {wait:?}");
    }
    sleep(seconds(1)).await;
    let stats = process.exporter.stats();
    assert_eq!((stats.exported, stats.failed, stats.problem), (1, 20, None));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stops_waits_a_little_for_its_request_and_gives_its_claim_up() {
    let (memory, sink) = (Memory::with(1), Sink::default());
    sink.takes(Duration::from_millis(1500));
    let process = Process::start(&memory, &sink);
    sink.reached(1).await;
    process.stop().await;
    assert_eq!(memory.position(NAME), 1);
    assert!(!memory.is_held(NAME));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stops_does_not_wait_for_a_destination_that_hangs() {
    let (memory, sink) = (Memory::with(4), Sink::default());
    sink.takes(seconds(3600));
    let process = Process::with(&memory, export(&sink, 2));
    sink.reached(1).await;
    let start = Instant::now();
    process.stop().await;
    assert!(start.elapsed() <= seconds(3), "{:?}", start.elapsed());
    assert_eq!((memory.position(NAME), sink.requests().len(), memory.is_held(NAME)), (0, 1, false));
    sink.takes(Duration::ZERO);
    let _next = Process::start(&memory, &sink);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(memory.position(NAME), 4, "the next need not wait for the claim to run out");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stops_begins_no_other_request() {
    let (memory, sink) = (Memory::with(100), Sink::default());
    sink.takes(Duration::from_millis(500));
    sink.answer((0..100).map(|_| Ok(1)));
    let process = Process::start(&memory, &sink);
    sink.reached(3).await;
    process.stop().await;
    assert_eq!((sink.requests().len(), memory.position(NAME)), (3, 3));
}

/// What befalls a process: after how many milliseconds it is killed, and what its destination answers until then.
#[derive(Clone, Debug)]
struct Fate {
    lives: u64,
    answers: Vec<u8>,
    lost_advances: u32,
    lost_answers: u32,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = (0_u64..4000, proptest::collection::vec(0_u8..8, 0..6), 0_u32..3, 0_u32..2);
    let fate = fate.prop_map(|(lives, answers, lost_advances, lost_answers)| Fate {
        lives,
        answers,
        lost_advances,
        lost_answers,
    });
    proptest::collection::vec(fate, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_fails_and_whoever_is_killed_no_event_is_left_out_and_none_overtakes(fates in fates(), batch in 1_usize..9) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            const EVENTS: usize = 40;
            let (memory, sink) = (Memory::with(EVENTS), Sink::default());
            sink.takes(Duration::from_millis(100));
            let life = Lifecycle::new(Clock::system());
            let task = || Exporter::prepare(export(&sink, batch), Arc::new(memory.clone()), Bell::default(), &life).1;
            for fate in fates {
                sink.answer(fate.answers.into_iter().map(|answer| match answer {
                    0 => Err(SendError::failed("503")),
                    1 => Err(SendError::refused("422")),
                    few => Ok(usize::from(few) - 1),
                }));
                memory.fail_advances(fate.lost_advances);
                memory.lose_answers(fate.lost_answers);
                let _killed = timeout(Duration::from_millis(fate.lives), task()).await;
                // Until its claim has run out.
                sleep(seconds(30)).await;
            }
            memory.fail_advances(0);
            let _last = timeout(seconds(600), task()).await;
            assert_eq!(memory.position(NAME), EVENTS);
            let mut safe = 0;
            for request in sink.requests() {
                let numbers: Vec<usize> = request.ids.iter().map(|id| id.parse().expect("a number")).collect();
                assert!(numbers[0] <= safe, "{} was sent before {safe} was safe", numbers[0]);
                assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
                safe = safe.max(numbers[0] + request.safe);
            }
            assert_eq!(safe, EVENTS);
        });
    }
}
