//! Random sequences of events against a model that says what must be visible after each, and how often the backend may be
//! asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::live::{ErrorKind, Fetched, Policy, Source, State};
use halfbyte_core::{BoxError, Live};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::{life, millis, secs};

const FRESH_FOR: Duration = secs(10);
const MAX_STALE: Duration = secs(30);
const GAP: Duration = secs(2);
const BACKOFF: Duration = secs(1);
const MAX_BACKOFF: Duration = secs(16);
const TIMEOUT: Duration = secs(5);
/// Timers count in milliseconds and round up.
const TICK: Duration = millis(3);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Good,
    Bad,
    Same,
    Stuck,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Turn(Mode),
    Get,
    Refresh { latest: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![Just(Mode::Good), Just(Mode::Bad), Just(Mode::Same), Just(Mode::Stuck)];
    prop_oneof![
        4 => (1u64..15_000).prop_map(Step::Wait),
        1 => (30_000u64..60_000).prop_map(Step::Wait),
        3 => mode.prop_map(Step::Turn),
        2 => Just(Step::Get),
        2 => any::<bool>().prop_map(|latest| Step::Refresh { latest }),
    ]
}

/// One fetch as the backend saw it.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    /// When and how it ended; a fetch that was given up ends as a bad one.
    end: Option<(Instant, Mode)>,
}

/// The backend, and with its record the model: all that must be visible follows from what it answered and when.
#[derive(Clone)]
struct Backend(Arc<Mutex<Record>>);

struct Record {
    mode: Mode,
    asked: Vec<Asked>,
}

struct Ends<'a>(&'a Backend, Mode);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let mut record = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.asked.last_mut().expect("it began").end = Some((Instant::now(), self.1));
    }
}

impl Source<usize> for Backend {
    async fn fetch(&self) -> Result<Fetched<usize>, BoxError> {
        let mode = {
            let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(record.asked.last().is_none_or(|last| last.end.is_some()), "two fetches at once");
            record.asked.push(Asked { at: Instant::now(), end: None });
            record.mode
        };
        let mut ends = Ends(self, Mode::Bad);
        match mode {
            Mode::Good => {
                ends.1 = Mode::Good;
                drop(ends);
                Ok(Fetched::new(self.good()))
            }
            Mode::Same if self.good() > 0 => {
                ends.1 = Mode::Same;
                Ok(Fetched::unchanged())
            }
            Mode::Same | Mode::Bad => Err("bad".into()),
            Mode::Stuck => std::future::pending().await,
        }
    }
}

impl Backend {
    fn asked(&self) -> Vec<Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).asked.clone()
    }

    fn turn(&self, mode: Mode) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).mode = mode;
    }

    /// How many values were given: the generation, and the value itself.
    fn good(&self) -> usize {
        self.asked().iter().filter(|asked| matches!(asked.end, Some((_, Mode::Good)))).count()
    }

    /// When a value was last given or confirmed.
    fn confirmed(&self) -> Option<Instant> {
        let confirmed = |asked: &Asked| asked.end.filter(|end| end.1 != Mode::Bad).map(|end| end.0);
        self.asked().iter().rev().find_map(confirmed)
    }

    /// How many fetches have failed since the last that did not, up to the fetch of that index.
    fn failures(asked: &[Asked]) -> u32 {
        let failed = asked.iter().rev().take_while(|asked| matches!(asked.end, Some((_, Mode::Bad)))).count();
        u32::try_from(failed).expect("few")
    }

    fn expected_state(&self) -> Option<State> {
        let Some(at) = self.confirmed() else { return Some(State::Cold) };
        let age = at.elapsed();
        // Within a tick of a boundary either side is right.
        let near = |boundary: Duration| age.abs_diff(boundary) <= TICK;
        match age {
            _ if near(FRESH_FOR) || near(FRESH_FOR + MAX_STALE) => None,
            _ if age < FRESH_FOR => Some(State::Fresh),
            _ if age < FRESH_FOR + MAX_STALE => Some(State::Stale),
            _ => Some(State::Expired),
        }
    }
}

/// What must be so after each step, whatever came before.
fn check(live: &Live<usize>, backend: &Backend) {
    let asked = backend.asked();
    let status = live.status();
    assert_eq!(status.generation as usize, backend.good());
    if let Some(expected) = backend.expected_state() {
        assert_eq!(status.state(), expected);
        match (live.load(), expected) {
            (Ok(snapshot), State::Fresh | State::Stale) => {
                assert_eq!((*snapshot, snapshot.generation() as usize), (backend.good(), backend.good()));
            }
            (Err(error), State::Cold) => assert_eq!(error.kind(), ErrorKind::Cold),
            (Err(error), State::Expired) => assert_eq!(error.kind(), ErrorKind::Expired),
            (loaded, expected) => panic!("{loaded:?} while {expected:?}"),
        }
    }
    for (index, pair) in asked.windows(2).enumerate() {
        let (at, outcome) = pair[0].end.expect("only the last is in flight");
        let waited = pair[1].at - at;
        if outcome == Mode::Bad {
            // Nothing but time ends a back-off, and it ends in time.
            let failures = Backend::failures(&asked[..=index]);
            let full = (BACKOFF * (1 << (failures - 1).min(10))).min(MAX_BACKOFF);
            assert!((full / 2..=full + TICK).contains(&waited), "{waited:?} after {failures} failures");
        } else {
            let gap = pair[1].at - pair[0].at;
            assert!(gap >= GAP, "asked again after {gap:?}");
            assert!(waited <= FRESH_FOR + TICK, "asked again only after {waited:?}");
        }
    }
    match asked.last() {
        Some(Asked { end: Some((at, Mode::Bad)), .. }) => assert!(at.elapsed() <= MAX_BACKOFF + TICK),
        Some(Asked { end: Some((at, _)), .. }) => assert!(at.elapsed() <= FRESH_FOR + TICK),
        Some(Asked { at, end: None }) => assert!(at.elapsed() <= TIMEOUT + TICK),
        None => panic!("an eager value is fetched at once"),
    }
}

async fn run(steps: Vec<Step>) {
    let backend = Backend(Arc::new(Mutex::new(Record { mode: Mode::Good, asked: Vec::new() })));
    if let Some(Step::Turn(mode)) = steps.first() {
        backend.turn(*mode);
    }
    let policy = Policy {
        fresh_for: FRESH_FOR,
        max_stale: MAX_STALE,
        jitter: 0.0,
        demand_gap: GAP,
        backoff: BACKOFF,
        max_backoff: MAX_BACKOFF,
        fetch_timeout: TIMEOUT,
        ..Policy::default()
    };
    let live = Live::start("model", policy, backend.clone(), &life());
    sleep(millis(1)).await;
    check(&live, &backend);
    for step in steps {
        let (began, fetches) = (Instant::now(), backend.asked().len());
        let backing_off = matches!(backend.asked().last(), Some(Asked { end: Some((_, Mode::Bad)), .. }));
        match step {
            Step::Wait(time) => sleep(millis(time)).await,
            Step::Turn(mode) => backend.turn(mode),
            Step::Get => {
                let answer = live.get().await;
                assert_eq!(answer.is_ok(), live.load().is_ok());
                assert!(began.elapsed() <= TIMEOUT + TICK);
                assert!(backend.asked().len() <= fetches + 1);
            }
            Step::Refresh { latest } => {
                let generation = live.status().generation;
                let seen = if latest { generation } else { generation.saturating_sub(1) };
                let servable = live.load().is_ok();
                let answer = live.refresh(seen).await;
                assert!(began.elapsed() <= TIMEOUT + TICK);
                if servable && !latest && generation > 0 {
                    assert!(answer.is_ok() && began.elapsed().is_zero(), "a newer one was there");
                } else if backing_off {
                    assert!(answer.is_err() || backend.asked().len() > fetches, "the error of the back-off");
                } else if answer.is_err() {
                    assert!(Backend::failures(&backend.asked()) > 0);
                }
            }
        }
        check(&live, &backend);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_visible_follows_from_what_the_backend_answered_and_when(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(run(steps));
    }
}
