//! What is promised, and whether what was seen keeps it. Pure, so that each promise is tried against something that breaks it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::answer::{Answer, DEADLINE, SLACK};
use crate::load::{Product, Record};
use crate::pace::Offered;
use crate::telemetry::Told;

/// Within this everything is as it was before a fault: the longest that anything waits before it tries again.
pub const RECOVERY: Duration = Duration::from_secs(30);

/// Who has answered nothing for that long under load does not answer.
const OF_LATE: Duration = Duration::from_secs(1);

/// Refusals that are true while something is away. All customers may do all that they ask for, so any other is a lie.
const TRUE: [&str; 4] = ["unavailable", "overloaded", "draining", "deadline-exceeded"];

/// How exactly it is known by how much a clock is off: what is asked under load is answered late.
const SKEW: i64 = 30;

/// A clock that was off, and by how much, in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    pub of: &'static str,
    pub meant: i64,
    /// As what it says of the time tells; `None` if it said nothing.
    pub seen: Option<i64>,
}

/// What was seen of one fault.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How many requests each product answered well.
    pub good: [u64; 2],
    /// How many requests met the same answer.
    pub refused: BTreeMap<&'static str, u64>,
    pub broken: BTreeMap<String, u64>,
    /// The load that was really there.
    pub offered: Offered,
    /// Another refusal that is true under this fault.
    pub excused: Option<&'static str>,
    pub worst: Duration,
    /// How long after the fault all was as before; `None` if it was not.
    pub recovered: Option<Duration>,
    /// What was the last to come back.
    pub last: String,
    /// Labels: by tenant, how many there must be and how many are counted.
    pub usage: BTreeMap<String, (u64, u64)>,
    /// How requests were told of.
    pub told: Told,
    /// Spans that came more than once.
    pub again: u64,
    /// How many may: the collector had taken them and could not say so.
    pub may_come_again: u64,
    /// Spans, and what the metrics say of how many there were.
    pub measured: (u64, u64),
    /// How often the products met the fault; `None` where that cannot be counted.
    pub met: Option<u64>,
    /// The clocks that were to be off.
    pub clocks: Vec<Clock>,
    /// What went wrong besides: a process that ended otherwise than with 0, say.
    pub incidents: Vec<String>,
}

impl Seen {
    /// Takes note of answers.
    pub fn answers(&mut self, records: &[Record]) {
        for record in records {
            self.worst = self.worst.max(record.took);
            match &record.answer {
                Answer::Good => self.good[record.product as usize] += 1,
                Answer::Refused(kind) => *self.refused.entry(kind).or_default() += 1,
                Answer::Broken(why) => {
                    *self.broken.entry(format!("{}: {why}", record.product.name())).or_default() += 1
                }
            }
        }
    }

    pub fn good(&self) -> u64 {
        self.good.iter().sum()
    }

    pub fn requests(&self) -> u64 {
        self.good() + self.refused.values().sum::<u64>() + self.broken.values().sum::<u64>()
    }

    /// The promises that were broken, each in words; none if all is well.
    pub fn verdict(&self) -> Vec<String> {
        let mut broken: Vec<String> = self.broken.iter().map(|(why, times)| format!("{times} × {why}")).collect();
        let lies = self.refused.iter().filter(|(kind, _)| !TRUE.contains(kind) && Some(**kind) != self.excused);
        broken.extend(lies.map(|(kind, times)| format!("{times} × {kind}, which is not true")));
        if self.requests() == 0 {
            broken.push("nothing was asked".to_owned());
        }
        if self.good() == 0 {
            broken.push("nothing was answered well, before, during or after".to_owned());
        }
        let Offered { due, on_time, .. } = self.offered;
        if !self.offered.is_enough() {
            broken.push(format!("not judged: of {due} requests that were due, {on_time} were sent in time"));
        }
        if self.worst > DEADLINE + SLACK {
            broken.push(format!("an answer took {:.1} s", self.worst.as_secs_f64()));
        }
        if self.met == Some(0) {
            broken.push("the products did not meet the fault: nothing is shown".to_owned());
        }
        for Clock { of, meant, seen } in &self.clocks {
            match seen {
                Some(seen) if seen.abs_diff(*meant) <= SKEW.unsigned_abs() => {}
                Some(seen) => broken.push(format!("the clock of {of} was off by {seen} s, and was to be by {meant}")),
                None => broken.push(format!("by how much the clock of {of} was off is not known")),
            }
        }
        match self.recovered {
            None => broken.push(format!("not recovered: {}", self.last)),
            Some(after) if after > RECOVERY => broken.push(format!("recovered late: {}", self.last)),
            Some(_) => {}
        }
        for (tenant, (expected, counted)) in &self.usage {
            if counted < expected {
                broken.push(format!("{} labels of {tenant} lost", expected - counted));
            }
            if counted > expected {
                broken.push(format!("{} labels of {tenant} counted too often", counted - expected));
            }
        }
        let Told { never, twice, .. } = self.told;
        for (times, what) in [(never, "lost"), (twice, "told of twice")] {
            if times > 0 {
                broken.push(format!("{times} requests {what} in traces"));
            }
        }
        if self.again > self.may_come_again {
            broken.push(format!("{} spans came again, of {} that may", self.again, self.may_come_again));
        }
        let (spans, measured) = self.measured;
        if spans != measured {
            broken.push(format!("{measured} measurements for {spans} spans"));
        }
        broken.extend(self.incidents.iter().cloned());
        broken
    }
}

/// Since when both products answer well, of what was sent after the fault was `ended`; none if one of them does not, or has not of late.
pub fn well_since(records: &[Record], ended: Instant, now: Instant) -> Option<Instant> {
    let mut well = ended;
    for product in Product::ALL {
        let after = || records.iter().filter(move |record| record.product == product && record.answered() > ended);
        let bad = after().filter(|record| record.answer != Answer::Good).map(Record::answered).max().unwrap_or(ended);
        let good = after().filter(|record| record.answer == Answer::Good && record.sent > ended);
        let good: Vec<_> = good.map(Record::answered).filter(|answered| *answered > bad).collect();
        let (first, last) = (good.iter().min()?, good.iter().max()?);
        if now.saturating_duration_since(*last) > OF_LATE {
            return None;
        }
        well = well.max(*first);
    }
    Some(well)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(answer: Answer, took: Duration) -> Record {
        Record {
            number: 1,
            product: Product::Parcel,
            tenant: "acme".into(),
            key: "key".to_owned(),
            has_kit: false,
            due: Instant::now(),
            sent: Instant::now(),
            took,
            answer,
        }
    }

    fn fine() -> Seen {
        let mut seen = Seen {
            recovered: Some(Duration::from_secs(2)),
            told: Told { once: 2, ..Told::default() },
            measured: (2, 2),
            met: Some(3),
            again: 1,
            may_come_again: 1,
            clocks: vec![Clock { of: "parcel", meant: -300, seen: Some(-299) }],
            offered: Offered { due: 10, on_time: 10, answered: 10, time: Duration::from_secs(1) },
            ..Seen::default()
        };
        seen.usage.insert("acme".to_owned(), (1, 1));
        seen.answers(&[
            record(Answer::Good, Duration::from_millis(3)),
            record(Answer::Refused("unavailable"), Duration::from_secs(2)),
        ]);
        seen
    }

    #[test]
    fn what_keeps_every_promise_is_found_to() {
        assert_eq!(fine().verdict(), Vec::<String>::new());
    }

    #[test]
    fn each_promise_that_is_broken_is_told() {
        type Mutant = fn(&mut Seen);
        let mutants: [(Mutant, &str); 19] = [
            (
                |seen| seen.answers(&[record(Answer::Refused("not-entitled"), Duration::ZERO)]),
                "1 × not-entitled, which is not true",
            ),
            (
                |seen| seen.answers(&[record(Answer::Broken("500 internal".to_owned()), Duration::ZERO)]),
                "1 × parcel: 500 internal",
            ),
            (|seen| seen.answers(&[record(Answer::Good, Duration::from_secs(34))]), "an answer took 34.0 s"),
            (|seen| seen.good = [0; 2], "nothing was answered well, before, during or after"),
            (|seen| seen.met = Some(0), "the products did not meet the fault: nothing is shown"),
            (|seen| seen.offered.on_time = 8, "not judged: of 10 requests that were due, 8 were sent in time"),
            (|seen| seen.offered = Offered::default(), "not judged: of 0 requests that were due, 0 were sent in time"),
            (|seen| seen.again = 2, "2 spans came again, of 1 that may"),
            (|seen| seen.clocks[0].seen = Some(0), "the clock of parcel was off by 0 s, and was to be by -300"),
            (|seen| seen.clocks[0].seen = None, "by how much the clock of parcel was off is not known"),
            (|seen| seen.recovered = None, "not recovered: "),
            (|seen| seen.recovered = Some(Duration::from_secs(31)), "recovered late: "),
            (|seen| seen.usage = [("acme".to_owned(), (5, 6))].into(), "1 labels of acme counted too often"),
            (|seen| seen.usage = [("acme".to_owned(), (5, 3))].into(), "2 labels of acme lost"),
            (|seen| seen.told.never = 1, "1 requests lost in traces"),
            (|seen| seen.told.twice = 2, "2 requests told of twice in traces"),
            (|seen| seen.measured = (2, 1), "1 measurements for 2 spans"),
            (|seen| seen.measured = (2, 3), "3 measurements for 2 spans"),
            (|seen| seen.incidents.push("parcel ended with 70".to_owned()), "parcel ended with 70"),
        ];
        for (mutate, expected) in mutants {
            let mut seen = fine();
            mutate(&mut seen);
            assert_eq!(seen.verdict(), [expected]);
        }
    }

    #[test]
    fn a_run_that_asked_nothing_shows_nothing() {
        let verdict = Seen { recovered: Some(Duration::ZERO), ..Seen::default() }.verdict();
        assert_eq!(verdict[0], "nothing was asked");
    }

    /// What was sent and answered so many milliseconds after a fault was over.
    fn after(ended: Instant, product: Product, sent: u64, answered: u64, answer: Answer) -> Record {
        let took = Duration::from_millis(answered - sent);
        let sent = ended + Duration::from_millis(sent);
        Record { product, due: sent, sent, ..record(answer, took) }
    }

    #[test]
    fn who_answers_nothing_is_not_well() {
        use Product::{Clinic, Parcel};
        let ended = Instant::now();
        let at = |milliseconds| ended + Duration::from_millis(milliseconds);
        let good = |product, sent, answered| after(ended, product, sent, answered, Answer::Good);
        let bad = |product, sent, answered| after(ended, product, sent, answered, Answer::Refused("unavailable"));
        assert_eq!(well_since(&[], ended, at(0)), None, "nothing was answered");
        assert_eq!(well_since(&[good(Parcel, 1, 9)], ended, at(10)), None, "by one of them");
        let both = [good(Parcel, 1, 9), good(Clinic, 2, 7)];
        assert_eq!(well_since(&both, ended, at(10)), Some(at(9)));
        assert_eq!(well_since(&both, ended, at(2_000)), None, "not of late");
        let [first, second] = both;
        assert_eq!(well_since(&[first.clone(), second.clone(), bad(Clinic, 3, 8)], ended, at(10)), None);
        let again = [first, second, bad(Clinic, 3, 8), good(Clinic, 4, 20)];
        assert_eq!(well_since(&again, ended, at(30)), Some(at(20)));
        let before = Record { sent: ended, ..good(Clinic, 1, 9) };
        assert_eq!(well_since(&[good(Parcel, 1, 9), before], ended, at(10)), None, "it was asked before");
    }
}
