//! What a product does otherwise than the contract says, for a reason and not for ever.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::contract::{Contract, Limits, millis};
use crate::manifest;

/// A limit of the contract that a product departs from: see [`Builder::deviate`](crate::Builder::deviate).
///
/// What is pinned for reasons of security, such as refusals and the order of layers, cannot be departed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deviation {
    /// HB-REQ-004: from a request's head to the head of its response.
    Deadline(Duration),
    /// HB-REQ-005: requests at once.
    RequestsInFlight(usize),
    /// HB-REQ-006: connections at once.
    Connections(usize),
    /// HB-LIFE-002: how long requests in flight may go on in a drain.
    DrainInFlight(Duration),
}

/// The longest time that a limit may be.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// The highest number that a limit may be.
const MOST: u64 = 1_000_000;

/// A deviation as a product declares it.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) deviation: Deviation,
    pub(crate) reason: String,
    pub(crate) until: Date,
}

impl Deviation {
    /// The clause of `CONTRACT.md` that does not hold.
    pub fn clause(self) -> &'static str {
        match self {
            Self::Deadline(_) => "HB-REQ-004",
            Self::RequestsInFlight(_) => "HB-REQ-005",
            Self::Connections(_) => "HB-REQ-006",
            Self::DrainInFlight(_) => "HB-LIFE-002",
        }
    }

    /// The limit, as [`Contract::pinned`](crate::Contract::pinned) names it, and its value.
    pub(crate) fn limit(self) -> (&'static str, u64) {
        match self {
            Self::Deadline(time) => ("deadline_ms", millis(time)),
            Self::RequestsInFlight(count) => ("requests_in_flight", count as u64),
            Self::Connections(count) => ("connections", count as u64),
            Self::DrainInFlight(time) => ("drain_in_flight_ms", millis(time)),
        }
    }

    pub(crate) fn apply(self, limits: &mut Limits) {
        match self {
            Self::Deadline(time) => limits.deadline = time,
            Self::RequestsInFlight(count) => {
                limits.in_flight = count;
                limits.in_flight_floor = limits.in_flight_floor.min(count);
            }
            Self::Connections(count) => limits.connections = count,
            Self::DrainInFlight(time) => limits.drain_in_flight = time,
        }
    }
}

/// The limits of `contract` but for `deviations`, or what is wrong with these.
pub(crate) fn limits(contract: Contract, deviations: &[Declared]) -> Result<Limits, String> {
    let mut limits = contract.limits();
    for (index, declared) in deviations.iter().enumerate() {
        if let Some(fault) = declared.fault(&deviations[..index]) {
            return Err(fault);
        }
        declared.deviation.apply(&mut limits);
    }
    Ok(limits)
}

impl Declared {
    /// What is wrong with it.
    pub(crate) fn fault(&self, others: &[Declared]) -> Option<String> {
        let (name, value) = self.deviation.limit();
        if self.reason.trim().is_empty() {
            return Some(format!("the deviation of {name} gives no reason"));
        }
        if value == 0 {
            return Some(format!("the deviation of {name} would leave nothing: it is 0"));
        }
        let most = if name.ends_with("_ms") { millis(LONGEST) } else { MOST };
        if value > most {
            return Some(format!("the deviation of {name} is more than {most}"));
        }
        let same =
            |other: &Declared| std::mem::discriminant(&other.deviation) == std::mem::discriminant(&self.deviation);
        others.iter().any(same).then(|| format!("there are two deviations of {name}"))
    }

    /// Whether its last day has passed.
    pub(crate) fn has_expired(&self, today: Date) -> bool {
        today > self.until
    }

    /// Logs that it has expired, if it has by `now`.
    pub(crate) fn tell(&self, now: Timestamp) {
        let (limit, value) = self.deviation.limit();
        let (clause, until) = (self.deviation.clause(), self.until);
        if self.has_expired(now.to_zoned(TimeZone::UTC).date()) {
            tracing::warn!(clause, limit, value, %until, reason = self.reason, "a deviation from the contract has expired");
        }
    }

    /// As the manifest shows it, beside what the contract says.
    pub(crate) fn shown(&self, contract: &Limits) -> manifest::Deviation {
        let (name, value) = self.deviation.limit();
        let promised = contract.each().into_iter().find(|(limit, _)| *limit == name);
        manifest::Deviation {
            clause: self.deviation.clause().to_owned(),
            limit: name.to_owned(),
            contract: promised.map_or(0, |(_, value)| value),
            value,
            reason: self.reason.clone(),
            until: self.until.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Contract;

    fn declared(deviation: Deviation, reason: &str) -> Declared {
        Declared { deviation, reason: reason.into(), until: jiff::civil::date(2027, 3, 1) }
    }

    #[test]
    fn each_changes_the_limit_that_it_names_and_no_other() {
        let all = [
            Deviation::Deadline(Duration::from_secs(7)),
            Deviation::RequestsInFlight(70),
            Deviation::Connections(7),
            Deviation::DrainInFlight(Duration::from_secs(7)),
        ];
        for deviation in all {
            let mut limits = Contract::V1.limits();
            deviation.apply(&mut limits);
            let before = Contract::V1.limits().each();
            let changed: Vec<_> = limits.each().into_iter().zip(before).filter(|(now, was)| now != was).collect();
            assert_eq!(changed.iter().map(|(now, _)| *now).collect::<Vec<_>>(), [deviation.limit()]);
        }
    }

    #[test]
    fn one_without_a_reason_without_room_or_twice_is_refused() {
        let good = declared(Deviation::Deadline(Duration::from_secs(60)), "reports take long");
        assert_eq!(good.fault(&[]), None);
        let again = declared(Deviation::Deadline(Duration::from_secs(90)), "so do exports");
        assert!(again.fault(&[good]).is_some_and(|fault| fault.contains("two deviations of deadline_ms")));
        assert!(declared(Deviation::Connections(7), " ").fault(&[]).is_some_and(|fault| fault.contains("no reason")));
        let endless = declared(Deviation::DrainInFlight(Duration::MAX), "why").fault(&[]);
        assert!(endless.is_some_and(|fault| fault.contains("drain_in_flight_ms is more than 3600000")));
        assert!(declared(Deviation::Connections(usize::MAX), "why").fault(&[]).is_some());
        assert!(declared(Deviation::Connections(0), "why").fault(&[]).is_some_and(|fault| fault.contains("is 0")));
    }

    #[test]
    fn it_holds_through_its_last_day() {
        let one = declared(Deviation::Connections(7), "why");
        assert!(!one.has_expired(one.until) && one.has_expired(one.until.tomorrow().unwrap()));
    }
}
