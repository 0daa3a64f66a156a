//! When to say that a collector does not take what it is sent, and that it does again. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::Signal;

/// How long it must have been failing before anything is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is said.
const REPEAT: Duration = Duration::from_secs(60);

/// Over all signals, since they mostly go to one collector.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// Since when each signal has been failing.
    since: [Option<Instant>; 3],
    /// When something was last said, while not all is well.
    said: Option<Instant>,
}

impl Alarm {
    /// A request that was begun at `begun` has failed.
    pub(super) fn failed(&mut self, signal: Signal, begun: Instant) {
        self.since[signal.index()].get_or_insert(begun);
    }

    /// For how long they have been failing, if that is to be said now: it is then taken to be said.
    pub(super) fn is_due(&mut self, signal: Signal, now: Instant) -> Option<Duration> {
        let since = self.since[signal.index()]?;
        let due = self.said.is_none_or(|said| now.duration_since(said) >= REPEAT);
        let lasts = now.duration_since(since);
        (due && lasts >= PATIENCE).then(|| {
            self.said = Some(now);
            lasts
        })
    }

    /// A request was taken. Answers whether it is to be said that all is well again.
    pub(super) fn worked(&mut self, signal: Signal) -> bool {
        self.since[signal.index()] = None;
        self.since.iter().all(Option::is_none) && self.said.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(alarm: &mut Alarm, signal: Signal, begun: Instant, now: Instant) -> Option<Duration> {
        alarm.failed(signal, begun);
        alarm.is_due(signal, now)
    }

    #[test]
    fn it_speaks_in_time_though_nothing_is_tried_meanwhile() {
        let start = Instant::now();
        let mut alarm = Alarm::default();
        assert_eq!(failed(&mut alarm, Signal::Traces, start, start + Duration::from_secs(1)), None);
        assert_eq!(alarm.is_due(Signal::Logs, start + PATIENCE), None, "logs are well");
        assert_eq!(alarm.is_due(Signal::Traces, start + PATIENCE), Some(PATIENCE));
        assert_eq!(alarm.is_due(Signal::Traces, start + PATIENCE * 2), None);
    }

    #[test]
    fn it_speaks_after_ten_seconds_then_every_minute_and_once_when_all_is_well_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut alarm = Alarm::default();
        assert_eq!(failed(&mut alarm, Signal::Traces, at(0), at(1)), None);
        assert!(!alarm.worked(Signal::Traces), "nobody has heard that it failed");
        assert_eq!(failed(&mut alarm, Signal::Traces, at(2), at(3)), None);
        assert_eq!(failed(&mut alarm, Signal::Logs, at(3), at(4)), None);
        assert_eq!(failed(&mut alarm, Signal::Traces, at(11), at(12)), Some(Duration::from_secs(10)));
        assert_eq!(failed(&mut alarm, Signal::Logs, at(20), at(40)), None, "one of them was enough");
        assert_eq!(failed(&mut alarm, Signal::Logs, at(70), at(72)), Some(Duration::from_secs(69)));
        assert!(!alarm.worked(Signal::Traces), "logs still fail");
        assert!(alarm.worked(Signal::Logs));
        assert!(!alarm.worked(Signal::Logs), "once");
        assert_eq!(failed(&mut alarm, Signal::Logs, at(100), at(101)), None, "patience again");
    }

    #[test]
    fn a_request_that_hung_for_long_is_reason_enough() {
        let start = Instant::now();
        let after = start + PATIENCE;
        assert_eq!(failed(&mut Alarm::default(), Signal::Metrics, start, after), Some(PATIENCE));
    }
}
