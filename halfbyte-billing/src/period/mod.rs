//! Periods of an allowance: pure arithmetic, without a clock.

mod anchor;
mod slot;

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

pub use self::anchor::Anchor;
use self::slot::SLOT_SECONDS;
pub(crate) use self::slot::{SLOT_MICROS, slot_of, slot_of_micros, slot_start};

const SLOTS_IN_A_DAY: i64 = 96;

/// How often an allowance starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Per {
    /// Each day.
    Day,
    /// Each month.
    Month,
    /// Each year.
    Year,
}

impl Per {
    /// The word as the catalogue has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Per::Day => "day",
            Per::Month => "month",
            Per::Year => "year",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Per::Day, Per::Month, Per::Year].into_iter().find(|per| per.as_str() == word)
    }
}

/// One period of an allowance: a range of quarter hours of UTC, the first included, the end not.
///
/// ```
/// use halfbyte_billing::{Per, Period};
///
/// let period = Period::containing("2028-02-10T12:00:00Z".parse().unwrap(), Per::Month);
/// assert_eq!(period.to_string(), "2028-02");
/// assert_eq!(period.end(), "2028-03-01T00:00:00Z".parse().unwrap());
/// assert_eq!(period.length().as_secs(), 29 * 86_400);
/// ```
///
/// Periods that are counted from an anniversary are made by [`Anchor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    first: i64,
    end: i64,
    per: Per,
}

impl Period {
    /// The calendar day, month or year in UTC that `at` lies in.
    pub fn containing(at: Timestamp, per: Per) -> Self {
        let day = slot_of(at).div_euclid(SLOTS_IN_A_DAY);
        let date = TimeZone::UTC.to_datetime(at).date();
        let (before, days) = match per {
            Per::Day => (0, 1),
            Per::Month => (i64::from(date.day()) - 1, i64::from(date.days_in_month())),
            Per::Year => (i64::from(date.day_of_year()) - 1, i64::from(date.days_in_year())),
        };
        let first = day - before;
        Self { first: first * SLOTS_IN_A_DAY, end: (first + days) * SLOTS_IN_A_DAY, per }
    }

    /// The calendar period before this one; for a period that is counted from an anniversary, the calendar period that
    /// its last instant before lies in: ask its [`Anchor`] for the one before it.
    #[must_use]
    pub fn previous(self) -> Self {
        let before = self.start().checked_sub(1.second()).unwrap_or(Timestamp::MIN);
        Self::containing(before, self.per)
    }

    /// Its kind.
    pub fn per(self) -> Per {
        self.per
    }

    /// Its first instant.
    pub fn start(self) -> Timestamp {
        slot_start(self.first)
    }

    /// The first instant after it.
    pub fn end(self) -> Timestamp {
        slot_start(self.end)
    }

    /// How long it is as a whole.
    pub fn length(self) -> Duration {
        Duration::from_secs(u64::try_from((self.end - self.first) * SLOT_SECONDS).unwrap_or(0))
    }

    /// How long it is until the next one begins; zero once it has.
    pub fn resets_in(self, now: Timestamp) -> Duration {
        Duration::try_from(self.end().duration_since(now)).unwrap_or(Duration::ZERO)
    }

    /// Its first quarter hour, counted from 1970-01-01.
    pub(crate) fn first_slot(self) -> i64 {
        self.first
    }

    /// The first quarter hour after it.
    #[cfg(test)]
    pub(crate) fn end_slot(self) -> i64 {
        self.end
    }

    #[cfg(test)]
    pub(crate) fn contains(self, at: Timestamp) -> bool {
        (self.first..self.end).contains(&slot_of(at))
    }
}

/// `2028-02-10` for a day, `2028-02` for a month, `2028` for a year; `START/END` (ISO 8601) for what is no calendar period.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self != Self::containing(self.start(), self.per) {
            return write!(f, "{}/{}", self.start(), self.end());
        }
        let date = TimeZone::UTC.to_datetime(self.start()).date();
        match self.per {
            Per::Day => write!(f, "{date}"),
            Per::Month => write!(f, "{:04}-{:02}", date.year(), date.month()),
            Per::Year => write!(f, "{:04}", date.year()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn month(at: &str) -> Period {
        Period::containing(at.parse().expect("a timestamp"), Per::Month)
    }

    #[test]
    fn months_have_their_calendar_lengths() {
        for (at, days) in [
            ("2026-01-31T23:59:59.999Z", 31),
            ("2026-02-28T00:00:00Z", 28),
            ("2028-02-29T12:00:00Z", 29),
            ("2100-02-01T00:00:00Z", 28),
            ("2000-02-01T00:00:00Z", 29),
            ("2026-04-30T23:59:59Z", 30),
            ("1969-12-31T23:59:59Z", 31),
            ("1969-12-31T23:59:59.999Z", 31),
        ] {
            assert_eq!(month(at).length().as_secs(), days * 86_400, "{at}");
        }
    }

    #[test]
    fn years_have_their_calendar_lengths() {
        for (at, days) in [("2028-02-29T12:00:00Z", 366), ("2026-12-31T23:59:59Z", 365), ("2100-01-01T00:00:00Z", 365)]
        {
            let year = Period::containing(at.parse().expect("a timestamp"), Per::Year);
            assert_eq!(year.length().as_secs(), days * 86_400, "{at}");
            assert_eq!(year.to_string(), at[..4]);
        }
    }

    #[test]
    fn the_last_instant_of_december_and_the_first_of_january_are_in_different_periods() {
        let (december, january) = (month("2026-12-31T23:59:59.999999999Z"), month("2027-01-01T00:00:00Z"));
        assert_eq!(december.end(), january.start());
        assert_eq!(january.previous(), december);
        assert_eq!((december.to_string(), january.to_string()), ("2026-12".into(), "2027-01".into()));
    }

    #[test]
    fn a_day_is_a_utc_day() {
        let day = Period::containing("2026-03-29T01:30:00+02:00".parse().expect("a timestamp"), Per::Day);
        assert_eq!(day.to_string(), "2026-03-28");
        assert_eq!(day.length().as_secs(), 86_400);
        assert_eq!(day.resets_in(day.start()), day.length());
        assert_eq!(day.resets_in(day.end()), Duration::ZERO);
        assert_eq!(day.resets_in(Timestamp::MAX), Duration::ZERO);
    }

    #[test]
    fn the_first_and_the_last_instant_have_periods() {
        for per in [Per::Day, Per::Month, Per::Year] {
            for at in [Timestamp::MIN, Timestamp::MAX] {
                let period = Period::containing(at, per);
                assert!(period.contains(at) && period.start() <= at && at <= period.end(), "{period:?}");
            }
        }
    }

    fn any_per() -> impl Strategy<Value = Per> {
        prop_oneof![Just(Per::Day), Just(Per::Month), Just(Per::Year)]
    }

    proptest! {
        #[test]
        fn every_instant_lies_in_its_period_and_periods_are_seamless(
            second in -60_000_000_000_i64..250_000_000_000,
            nanosecond in 0_i32..1_000_000_000,
            per in any_per(),
        ) {
            let at = Timestamp::new(second, nanosecond).expect("in range");
            let period = Period::containing(at, per);
            prop_assert!(period.start() <= at && at < period.end() && period.contains(at));
            prop_assert_eq!(Period::containing(period.end(), per).previous(), period);
            prop_assert_eq!(Period::containing(period.start(), per), period);
        }
    }
}
