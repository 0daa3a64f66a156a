//! `Live` on a paused clock: time moves only where a test says so, and as fast as it likes.

mod allocations;
mod backoff;
mod ending;
mod first_load;
mod leases;
mod model;
mod on_demand;
mod racing;
mod refreshing;
mod refusing;
mod staleness;
mod status;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::live::{Fetched, Policy, Source};
use halfbyte_core::{BoxError, Clock, Lifecycle, Live};
use tokio::time::{Instant, sleep};

/// A backend that answers as told, and remembers when it was asked.
#[derive(Clone, Default)]
struct Backend(Arc<Inner>);

#[derive(Default)]
struct Inner {
    answer: Mutex<Answer>,
    takes: Mutex<Duration>,
    fresh_for: Mutex<Option<Duration>>,
    starts: Mutex<Vec<Instant>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    cut_short: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Answer {
    /// The number of the fetch, from 1.
    #[default]
    Number,
    Fail,
    Unchanged,
    Hang,
    Panic,
}

fn set<T>(cell: &Mutex<T>, value: T) {
    *cell.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

fn get<T: Clone>(cell: &Mutex<T>) -> T {
    cell.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Backend {
    fn new(answer: Answer) -> Self {
        let backend = Self::default();
        backend.answer(answer);
        backend
    }

    fn answer(&self, answer: Answer) {
        set(&self.0.answer, answer);
    }

    /// How long each answer takes from now on.
    fn takes(&self, time: Duration) {
        set(&self.0.takes, time);
    }

    fn fresh_for(&self, time: Duration) {
        set(&self.0.fresh_for, Some(time));
    }

    fn fetches(&self) -> usize {
        get(&self.0.starts).len()
    }

    /// The time between each fetch and the one before it.
    fn gaps(&self) -> Vec<Duration> {
        get(&self.0.starts).windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    fn most_in_flight(&self) -> usize {
        self.0.most_in_flight.load(Ordering::SeqCst)
    }

    fn cut_short(&self) -> usize {
        self.0.cut_short.load(Ordering::SeqCst)
    }
}

/// Counts a fetch that ends, and whether it was dropped before it was through.
struct InFlight<'a>(&'a Inner, bool);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !self.1 {
            self.0.cut_short.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Source<u64> for Backend {
    async fn fetch(&self) -> Result<Fetched<u64>, BoxError> {
        let number = {
            let mut starts = self.0.starts.lock().unwrap_or_else(PoisonError::into_inner);
            starts.push(Instant::now());
            starts.len() as u64
        };
        let now = self.0.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let mut guard = InFlight(&self.0, false);
        let takes = get(&self.0.takes);
        if !takes.is_zero() {
            sleep(takes).await;
        }
        let fetched = match get(&self.0.answer) {
            Answer::Number => Fetched::new(number),
            Answer::Fail => {
                guard.1 = true;
                return Err(format!("fetch {number} failed").into());
            }
            Answer::Unchanged => Fetched::unchanged(),
            Answer::Hang => std::future::pending().await,
            Answer::Panic => panic!("fetch {number} panics, as it was told to"),
        };
        guard.1 = true;
        Ok(match get(&self.0.fresh_for) {
            Some(time) => fetched.fresh_for(time),
            None => fetched,
        })
    }
}

fn life() -> Lifecycle {
    Lifecycle::new(Clock::system())
}

/// Ten seconds fresh, thirty more stale, no jitter.
fn policy() -> Policy {
    Policy { fresh_for: secs(10), max_stale: secs(30), jitter: 0.0, ..Policy::default() }
}

fn start(policy: Policy, backend: &Backend) -> Live<u64> {
    Live::start("test", policy, backend.clone(), &life())
}

/// A live value that has loaded once.
async fn warm(policy: Policy, backend: &Backend) -> Live<u64> {
    let live = start(policy, backend);
    live.ready().await.expect("loaded");
    live
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
