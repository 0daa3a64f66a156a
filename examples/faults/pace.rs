//! When requests are due, whatever became of those before, and whether that many were really asked.

use std::ops::AddAssign;
use std::time::Duration;

use tokio::time::Instant;

use crate::load::Record;

/// What is sent later than this after it was due is not the load that was meant.
pub const LATE: Duration = Duration::from_millis(250);

/// The times at which a product is asked: so many a second, and those that were missed are made up for at once. An answer that
/// takes long puts nothing off.
#[derive(Debug)]
pub struct Pace {
    beat: Duration,
    next: Instant,
}

impl Pace {
    pub fn new(now: Instant, beat: Duration) -> Self {
        Self { beat, next: now }
    }

    /// When the next request is due.
    pub fn due(&mut self) -> Instant {
        let due = self.next;
        self.next += self.beat;
        due
    }

    /// How many were due by now that nobody has asked for.
    pub fn missed(&self, now: Instant) -> u64 {
        let behind = now.saturating_duration_since(self.next);
        u64::try_from(behind.as_nanos() / self.beat.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    /// Nothing was to be asked until now.
    pub fn resume(&mut self, now: Instant) {
        self.next = now;
    }
}

/// What of a load was really there, of both products.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Offered {
    /// How many requests were due.
    pub due: u64,
    /// How many of them were sent when they were.
    pub on_time: u64,
    /// How many were answered while others still were due.
    pub answered: u64,
    /// For how long requests were due, of each product, in all.
    pub time: Duration,
}

impl Offered {
    /// Of so many that were due, until `end`, these were sent.
    pub fn new(due: u64, time: Duration, records: &[Record], end: Instant) -> Self {
        let count = |is: &dyn Fn(&Record) -> bool| records.iter().filter(|record| is(record)).count() as u64;
        Self {
            due,
            on_time: count(&|record| record.sent.saturating_duration_since(record.due) <= LATE),
            answered: count(&|record| record.answered() <= end),
            time,
        }
    }

    /// Whether what was seen was seen under the load that was meant: nine in ten requests in time.
    pub fn is_enough(&self) -> bool {
        self.due > 0 && self.on_time * 10 >= self.due * 9
    }

    /// So many a second and product.
    pub fn a_second(&self, count: u64) -> f64 {
        if self.time.is_zero() { 0.0 } else { count as f64 / self.time.as_secs_f64() }
    }
}

impl AddAssign for Offered {
    fn add_assign(&mut self, more: Self) {
        self.due += more.due;
        self.on_time += more.on_time;
        self.answered += more.answered;
        self.time += more.time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use crate::load::Product;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_due_is_put_off_by_nothing_but_a_pause() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun, SECOND / 200);
        let due: Vec<_> = (0..3).map(|_| pace.due() - begun).collect();
        assert_eq!(due, [Duration::ZERO, SECOND / 200, SECOND / 100], "however late it is by then");
        assert_eq!(pace.missed(begun), 0);
        assert_eq!(pace.missed(begun + SECOND), 197);
        pace.resume(begun + SECOND);
        assert_eq!(pace.due(), begun + SECOND);
    }

    #[test]
    fn what_is_sent_late_or_not_at_all_was_not_offered() {
        let begun = Instant::now();
        let record = |late, took| Record {
            number: 1,
            product: Product::Parcel,
            tenant: "acme".into(),
            key: "key".to_owned(),
            has_kit: false,
            due: begun,
            sent: begun + late,
            took,
            answer: Answer::Good,
        };
        let records = [record(Duration::ZERO, SECOND), record(LATE, SECOND * 3), record(LATE * 2, SECOND)];
        let offered = Offered::new(4, SECOND * 2, &records, begun + SECOND * 2);
        assert_eq!(offered, Offered { due: 4, on_time: 2, answered: 2, time: SECOND * 2 });
        assert_eq!(offered.a_second(offered.on_time), 1.0);
        for (due, on_time, is_enough) in [(0, 0, false), (10, 9, true), (10, 8, false), (1000, 899, false)] {
            assert_eq!(Offered { due, on_time, ..offered }.is_enough(), is_enough, "{on_time} of {due}");
        }
    }
}
