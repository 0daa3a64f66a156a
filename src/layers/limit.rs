//! How many requests are handled at once: a limit that follows latency, in the manner of TCP Vegas (Brakmo and Peterson, 1994)
//! and of Netflix' concurrency-limits, with one thing more: a cut is a question. If fewer requests at once are faster, they had
//! been waiting for each other, and the limit goes down; if they are as slow as before, they are slow by nature, and it goes back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What is left of the limit when it is cut, and when latency is far from what it should be.
const CUT: f64 = 0.75;
const DEEP_CUT: f64 = 0.5;
/// How far that is.
const FAR: f64 = 3.0;
/// Latency may be so many times what it is without a queue.
const TOLERANCE: f64 = 1.25;
/// Below this many times it there is no queue, and the limit grows by a quarter.
const CALM: f64 = 1.1;
/// After so many windows it is asked whether what counts as no queue is none.
const ASKS_AFTER: u32 = 20;
const ASKS_AGAIN_AFTER: u32 = 5;

/// The decisions. No I/O, no clock.
#[derive(Clone, Debug)]
pub(super) struct Vegas {
    floor: f64,
    ceiling: f64,
    limit: f64,
    /// Latency without a queue, in seconds, as far as is known.
    base: f64,
    /// Windows since the last question.
    since: u32,
    question: Option<Question>,
    /// Whether the limit was used up in the last window too. Else latency may still be on its way up.
    is_steady: bool,
}

/// What was before a cut.
#[derive(Clone, Copy, Debug)]
struct Question {
    limit: f64,
    latency: f64,
    /// Whether nothing but time had asked for it.
    of_the_base: bool,
}

impl Vegas {
    /// Begins at the ceiling: nobody is refused for what is not known.
    pub(super) fn new(floor: usize, ceiling: usize) -> Self {
        let ceiling = ceiling as f64;
        let floor = (floor as f64).clamp(1.0, ceiling.max(1.0));
        // The first window that uses up the limit is asked at once.
        Self {
            floor,
            ceiling,
            limit: ceiling,
            base: f64::INFINITY,
            since: ASKS_AFTER,
            question: None,
            is_steady: false,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A window has ended in which somebody was refused or not, and requests took `latency` seconds on average, if enough
    /// did end to tell.
    pub(super) fn window(&mut self, latency: Option<f64>, used_up: bool) {
        self.since = self.since.saturating_add(1);
        let question = self.question.take();
        let Some(latency) = latency else {
            // Whoever is slower than a window must not be kept out for that.
            return match question {
                Some(before) => self.limit = before.limit,
                None => self.grow(self.limit / 4.0),
            };
        };
        let is_steady = std::mem::replace(&mut self.is_steady, used_up);
        match question {
            Some(before) if !used_up => self.limit = before.limit,
            Some(before) if latency > before.latency * (1.0 + self.limit / before.limit) / 2.0 => {
                self.limit = before.limit;
                if latency > TOLERANCE * self.base {
                    // Much news, which is looked at again soon.
                    self.since = ASKS_AFTER - ASKS_AGAIN_AFTER;
                }
                self.base = latency;
                return;
            }
            Some(before) if before.of_the_base => {
                self.base = self.base.min(latency);
                return self.cut(latency, true);
            }
            _ => {}
        }
        self.base = self.base.min(latency);
        if !used_up {
            // Nobody was refused: there is nothing to mend.
        } else if latency > TOLERANCE * self.base {
            if is_steady {
                self.cut(latency, false);
            }
        } else if self.since > ASKS_AFTER && is_steady {
            self.cut(latency, true);
        } else if latency < CALM * self.base {
            self.grow(self.limit / 4.0);
        } else {
            self.grow(self.limit.sqrt());
        }
    }

    fn grow(&mut self, by: f64) {
        self.limit = (self.limit + by).min(self.ceiling);
    }

    fn cut(&mut self, latency: f64, of_the_base: bool) {
        self.since = 0;
        let part = if latency > FAR * self.base { DEEP_CUT } else { CUT };
        let limit = (self.limit * part).max(self.floor);
        if limit < self.limit {
            self.question = Some(Question { limit: self.limit, latency, of_the_base });
            self.limit = limit;
        } else {
            // At the floor nothing can be asked: what is measured there is believed, or a base that is too low, which an outsider
            // may have brought about, would keep it there for good.
            self.base = latency;
        }
    }
}

/// A window is at least so long, and what is measured at most.
const WINDOW: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// A window in which hardly anything ends is given up after this, or four latencies.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many requests tell a latency: as many as the limit, within these bounds.
const ENOUGH: (u64, u64) = (16, 100);

/// The places of requests, and the window that is measured now.
///
/// Taking and giving back a place are a few atomic operations; whoever ends a window decides about the next, and nobody waits
/// for that.
#[derive(Debug)]
pub(super) struct Limit {
    begun: Instant,
    ceiling: usize,
    is_fixed: bool,
    limit: AtomicUsize,
    /// Requests whose response has not begun in the lower half, responses that are being sent in the upper.
    places: AtomicU64,
    used_up: AtomicBool,
    count: AtomicU64,
    sum: AtomicU64,
    /// In nanoseconds since `begun`, as all times here. What began earlier met the limit of before.
    from: AtomicU64,
    until: AtomicU64,
    patience: AtomicU64,
    enough: AtomicU64,
    decisions: Mutex<Vegas>,
}

const SENDING: u64 = 1 << 32;

impl Limit {
    pub(super) fn new(floor: usize, ceiling: usize) -> Self {
        let decisions = Vegas::new(floor, ceiling);
        Self {
            begun: Instant::now(),
            ceiling,
            is_fixed: floor >= ceiling,
            limit: AtomicUsize::new(ceiling),
            places: AtomicU64::new(0),
            used_up: AtomicBool::new(false),
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            from: AtomicU64::new(0),
            until: AtomicU64::new(nanos(WINDOW)),
            patience: AtomicU64::new(nanos(PATIENCE)),
            enough: AtomicU64::new(ENOUGH.1),
            decisions: Mutex::new(decisions),
        }
    }

    /// How many requests may be handled now.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// How many requests are handled, and how many responses are being sent.
    pub(super) fn in_flight(&self) -> (u64, u64) {
        halves(self.places.load(Ordering::Relaxed))
    }

    /// Takes a place; answers when, or `None` if there is none.
    pub(super) fn enter(&self) -> Option<u64> {
        let limit = self.limit() as u64;
        let free = |places| {
            let (handled, sending) = halves(places);
            (handled < limit && handled + sending < self.ceiling as u64).then_some(places + 1)
        };
        let entered = self.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free);
        if self.is_fixed {
            return entered.ok().map(|_| 0);
        }
        let now = self.now();
        match entered {
            Ok(_) => Some(now),
            Err(places) => {
                // Responses that are being sent may have taken the rest.
                if halves(places).0 >= limit {
                    self.used_up.store(true, Ordering::Relaxed);
                    if now > self.patience.load(Ordering::Relaxed) {
                        self.decide(now);
                    }
                }
                None
            }
        }
    }

    /// A request that [entered](Self::enter) at `entered` was handled to its end, and took its time for it, but for what it
    /// `waited` for its client.
    pub(super) fn measure(&self, entered: u64, waited: Duration) {
        if self.is_fixed || entered < self.from.load(Ordering::Relaxed) {
            return;
        }
        let now = self.now();
        let took = now.saturating_sub(entered).saturating_sub(nanos(waited));
        self.sum.fetch_add(took.min(nanos(2 * LONGEST)), Ordering::Relaxed);
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count >= self.enough.load(Ordering::Relaxed) && now >= self.until.load(Ordering::Relaxed) {
            self.decide(now);
        }
    }

    /// Its response is being sent, and is no measure of anything.
    pub(super) fn send(&self) {
        self.places.fetch_add(SENDING - 1, Ordering::Relaxed);
    }

    /// Gives a place back.
    pub(super) fn leave(&self, is_sending: bool) {
        self.places.fetch_sub(if is_sending { SENDING } else { 1 }, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        nanos(self.begun.elapsed())
    }

    fn decide(&self, now: u64) {
        // Another thread does it.
        let Ok(mut decisions) = self.decisions.try_lock() else { return };
        let count = self.count.load(Ordering::Relaxed);
        let is_over = count >= self.enough.load(Ordering::Relaxed) && now >= self.until.load(Ordering::Relaxed);
        let is_given_up = now > self.patience.load(Ordering::Relaxed);
        // Neither, if another thread has just done it.
        if !is_over && !is_given_up {
            return;
        }
        let used_up = self.used_up.swap(false, Ordering::Relaxed);
        if count < ENOUGH.0 {
            decisions.window(None, used_up);
            self.limit.store(decisions.limit(), Ordering::Relaxed);
            // What has begun since `from` may yet end, however long it takes.
            let waited = now.saturating_sub(self.from.load(Ordering::Relaxed));
            self.patience.store(now + waited, Ordering::Relaxed);
            return;
        }
        let (count, sum) = (self.count.swap(0, Ordering::Relaxed), self.sum.swap(0, Ordering::Relaxed));
        let latency = sum / count.max(1);
        decisions.window(Some(Duration::from_nanos(latency).as_secs_f64()), used_up);
        let limit = decisions.limit();
        self.limit.store(limit, Ordering::Relaxed);
        self.enough.store((limit as u64).clamp(ENOUGH.0, ENOUGH.1), Ordering::Relaxed);
        // What is queued now was let in by the limit of before, and is in the way of what comes for about one latency.
        let from = now + latency.min(nanos(LONGEST));
        self.from.store(from, Ordering::Relaxed);
        self.until.store(from + latency.clamp(nanos(WINDOW), nanos(LONGEST)), Ordering::Relaxed);
        self.patience.store(from + (3 * latency).clamp(nanos(PATIENCE), nanos(LONGEST)), Ordering::Relaxed);
    }
}

fn halves(places: u64) -> (u64, u64) {
    (places % SENDING, places / SENDING)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that takes `base` seconds, and does `capacity` at once.
    struct Model {
        base: f64,
        capacity: f64,
        /// How far a mean is off, at most.
        noise: f64,
        random: u64,
    }

    impl Model {
        fn new(base: f64, capacity: f64, noise: f64) -> Self {
            Self { base, capacity, noise, random: 1 }
        }

        fn latency(&mut self, at_once: f64) -> f64 {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let off = ((self.random >> 33) as f64 / f64::from(1 << 30) - 1.0) * self.noise;
            self.base * (at_once / self.capacity).max(1.0) * (1.0 + off)
        }

        /// Runs `windows` of them with more than enough to do; answers the mean limit of the last half.
        fn run(&mut self, vegas: &mut Vegas, windows: usize) -> f64 {
            let mut limits = Vec::new();
            for _ in 0..windows {
                let latency = self.latency(vegas.limit);
                vegas.window(Some(latency), true);
                limits.push(vegas.limit);
                assert!((vegas.floor..=vegas.ceiling).contains(&vegas.limit), "{vegas:?}");
            }
            let last = &limits[windows / 2..];
            last.iter().sum::<f64>() / last.len() as f64
        }
    }

    #[test]
    fn it_comes_to_what_the_service_does_at_once_from_above_and_from_below() {
        for noise in [0.0, 0.02, 0.05] {
            for capacity in [40.0, 100.0, 400.0] {
                for begins in [16.0, 1024.0] {
                    let mut vegas = Vegas { limit: begins, ..Vegas::new(16, 1024) };
                    let limit = Model::new(0.01, capacity, noise).run(&mut vegas, 400);
                    let ratio = limit / capacity;
                    assert!((0.9..1.6).contains(&ratio), "{noise} {capacity} from {begins}: {limit}");
                }
            }
        }
    }

    #[test]
    fn what_is_slow_by_nature_is_let_in_up_to_the_ceiling() {
        for noise in [0.0, 0.05] {
            for begins in [16.0, 1024.0] {
                let mut vegas = Vegas { limit: begins, ..Vegas::new(16, 1024) };
                let limit = Model::new(5.0, 1e9, noise).run(&mut vegas, 200);
                assert!(limit > 900.0, "{noise} from {begins}: {limit}");
            }
        }
    }

    #[test]
    fn what_becomes_slower_by_nature_is_let_in_again_after_one_question() {
        let mut vegas = Vegas::new(16, 1024);
        Model::new(0.01, 1e9, 0.0).run(&mut vegas, 100);
        let before = vegas.limit;
        let mut slower = Model::new(1.0, 1e9, 0.0);
        let mut lowest = f64::INFINITY;
        for _ in 0..5 {
            let latency = slower.latency(vegas.limit);
            vegas.window(Some(latency), true);
            lowest = lowest.min(vegas.limit);
        }
        assert!(lowest >= before * DEEP_CUT - 1.0 && vegas.limit >= before - 1.0, "{before} {lowest} {vegas:?}");
    }

    #[test]
    fn what_it_believes_wrongly_of_a_service_it_finds_out() {
        for (base, limit) in [(1e-6, 1024.0), (10.0, 1024.0), (1e-6, 16.0)] {
            let mut vegas = Vegas { base, limit, since: 0, ..Vegas::new(16, 1024) };
            let limit = Model::new(0.01, 100.0, 0.02).run(&mut vegas, 400);
            assert!((90.0..160.0).contains(&limit), "{base}: {limit}");
        }
    }

    #[test]
    fn a_limit_that_is_not_used_up_stays() {
        let mut vegas = Vegas::new(16, 1024);
        vegas.limit = 100.0;
        (0..100).for_each(|n| vegas.window(Some(0.01 * f64::from(n)), false));
        assert_eq!(vegas.limit(), 100);
    }

    #[test]
    fn where_nothing_ends_the_limit_grows() {
        let mut vegas = Vegas { limit: 16.0, ..Vegas::new(16, 1024) };
        (0..30).for_each(|_| vegas.window(None, true));
        assert_eq!(vegas.limit(), 1024);
    }

    #[test]
    fn floor_and_ceiling_are_kept_and_a_floor_is_never_above_the_ceiling() {
        let mut vegas = Vegas::new(50, 200);
        let limit = Model::new(0.01, 5.0, 0.0).run(&mut vegas, 200);
        assert!((50.0..90.0).contains(&limit), "{limit}");
        assert_eq!(Vegas::new(7, 3).limit(), 3);
        assert_eq!(Vegas::new(0, 10).floor, 1.0);
    }
}
