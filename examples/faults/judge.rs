//! What is promised, and whether what was seen keeps it. Pure, so that each promise is tried against something that breaks it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::answer::{Answer, DEADLINE, SLACK};
use crate::load::Record;
use crate::telemetry::Told;

/// Within this everything is as it was before a fault: the longest that anything waits before it tries again.
pub const RECOVERY: Duration = Duration::from_secs(30);

/// Refusals that are true while something is away. All customers may do all that they ask for, so any other is a lie.
const TRUE: [&str; 4] = ["unavailable", "overloaded", "draining", "deadline-exceeded"];

/// What was seen of one fault.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How many requests each product answered well.
    pub good: [u64; 2],
    /// How many requests met the same answer.
    pub refused: BTreeMap<&'static str, u64>,
    pub broken: BTreeMap<String, u64>,
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
    /// Spans, and what the metrics say of how many there were.
    pub measured: (u64, u64),
    /// How often the products met the fault; `None` where that cannot be counted.
    pub met: Option<u64>,
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
        if self.worst > DEADLINE + SLACK {
            broken.push(format!("an answer took {:.1} s", self.worst.as_secs_f64()));
        }
        if self.met == Some(0) {
            broken.push("the products did not meet the fault: nothing is shown".to_owned());
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
        let (spans, measured) = self.measured;
        if spans != measured {
            broken.push(format!("{measured} measurements for {spans} spans"));
        }
        broken.extend(self.incidents.iter().cloned());
        broken
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::load::Product;

    fn record(answer: Answer, took: Duration) -> Record {
        Record {
            number: 1,
            product: Product::Parcel,
            tenant: "acme".into(),
            key: "key".to_owned(),
            has_kit: false,
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
        let mutants: [(Mutant, &str); 14] = [
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
}
