//! How many events are sent at a time, and how long is waited after a failure. No clock and no I/O.

use std::time::Duration;

use super::SendError;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The longest that a destination may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// What the last answers of the destination say about the next request.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// One that is refused is among so many next events.
    suspect: usize,
    /// Requests that failed in a row, those not counted that were one of several being looked for.
    failures: u32,
}

/// What to do after a request failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send fewer at once: one of them is refused, and it is not known which.
    Narrow,
    Wait(Duration),
}

impl Pace {
    /// How many of `available` next events go into one request.
    pub(super) fn take(&self, available: usize) -> usize {
        match self.suspect {
            0 => available,
            suspect => available.min((suspect / 2).max(1)),
        }
    }

    pub(super) fn accepted(&mut self, events: usize) {
        self.suspect = self.suspect.saturating_sub(events);
        self.failures = 0;
    }

    /// After a request with `events` failed; `random` is in 0..1.
    pub(super) fn failed(&mut self, events: usize, error: &SendError, random: f64) -> Next {
        if error.permanent {
            self.suspect = events;
            if events > 1 {
                return Next::Narrow;
            }
        }
        Next::Wait(self.wait(error.retry_in, random))
    }

    /// After something failed that has to do with no event.
    pub(super) fn wait(&mut self, asked: Option<Duration>, random: f64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doubled = FIRST_WAIT.saturating_mul(1 << (self.failures - 1).min(16));
        match asked {
            Some(asked) => asked.clamp(FIRST_WAIT, LONGEST_ASKED),
            None => doubled.min(LONGEST_WAIT).mul_f64(1.0 - random / 2.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_start_over_after_a_success() {
        let mut pace = Pace::default();
        let mut wait = || pace.wait(None, 0.0).as_millis();
        assert_eq!([wait(), wait(), wait()], [500, 1000, 2000]);
        assert_eq!((0..40).map(|_| wait()).last(), Some(60_000));
        pace.accepted(1);
        assert_eq!(pace.wait(None, 0.0), FIRST_WAIT);
        assert_eq!(pace.wait(None, 0.999_999).as_millis(), 500, "at most half of it is left out");
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept_within_bounds() {
        let mut pace = Pace::default();
        let mut wait = |seconds| pace.wait(Some(Duration::from_secs(seconds)), 0.5);
        assert_eq!(wait(120), Duration::from_secs(120));
        assert_eq!(wait(0), FIRST_WAIT);
        assert_eq!(wait(1_000_000), LONGEST_ASKED);
    }

    proptest! {
        #[test]
        fn a_refused_event_is_found_in_few_requests_and_all_before_it_are_sent(len in 1_usize..600, seed: usize) {
            let bad = seed % len;
            let (mut pace, mut sent, mut requests) = (Pace::default(), 0, 0);
            loop {
                requests += 1;
                let take = pace.take(len - sent);
                prop_assert!((1..=len - sent).contains(&take));
                if (sent..sent + take).contains(&bad) {
                    if pace.failed(take, &SendError::refused("no"), 0.0) != Next::Narrow {
                        prop_assert_eq!((sent, take), (bad, 1));
                        break;
                    }
                } else {
                    pace.accepted(take);
                    sent += take;
                }
            }
            prop_assert!(requests <= 2 + 2 * len.ilog2(), "{} requests for {}", requests, len);
            pace.accepted(1);
            prop_assert_eq!(pace.take(len), len, "full speed once it is taken");
        }
    }
}
