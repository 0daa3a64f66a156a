//! Periods of a quota: pure arithmetic on UTC days, without a clock.

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

const DAY_SECONDS: i64 = 86_400;

/// How often a quota starts anew. Always in UTC, so that every process and every product agree on the instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Per {
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
}

impl Per {
    /// The word as the catalogue has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Per::Day => "day",
            Per::Month => "month",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Per::Day, Per::Month].into_iter().find(|per| per.as_str() == word)
    }
}

/// One period of a quota: whole days in UTC, the first included, the end not.
///
/// ```
/// use halfbyte_billing::{Per, Period};
///
/// let period = Period::containing("2028-02-10T12:00:00Z".parse().unwrap(), Per::Month);
/// assert_eq!(period.to_string(), "2028-02");
/// assert_eq!(period.end(), "2028-03-01T00:00:00Z".parse().unwrap());
/// assert_eq!(period.length().as_secs(), 29 * 86_400);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    first: i32,
    end: i32,
    per: Per,
}

impl Period {
    /// The period of kind `per` that `at` lies in.
    pub fn containing(at: Timestamp, per: Per) -> Self {
        match per {
            Per::Day => {
                let first = day_of(at);
                Self { first, end: first + 1, per }
            }
            Per::Month => {
                let date = TimeZone::UTC.to_datetime(at).date();
                let first = day_of(at) - (i32::from(date.day()) - 1);
                Self { first, end: first + i32::from(date.days_in_month()), per }
            }
        }
    }

    /// The period before this one.
    #[must_use]
    pub fn previous(self) -> Self {
        let before = midnight(self.first).checked_sub(1.second()).unwrap_or(Timestamp::MIN);
        Self::containing(before, self.per)
    }

    /// Its kind.
    pub fn per(self) -> Per {
        self.per
    }

    /// Its first instant.
    pub fn start(self) -> Timestamp {
        midnight(self.first)
    }

    /// The first instant after it.
    pub fn end(self) -> Timestamp {
        midnight(self.end)
    }

    /// How long it is as a whole.
    pub fn length(self) -> Duration {
        Duration::from_secs(u64::try_from(i64::from(self.end - self.first) * DAY_SECONDS).unwrap_or(0))
    }

    /// How long it is until the next one begins; zero once it has.
    pub fn resets_in(self, now: Timestamp) -> Duration {
        Duration::try_from(self.end().duration_since(now)).unwrap_or(Duration::ZERO)
    }

    /// Its first day, counted from 1970-01-01.
    #[cfg(feature = "sqlite")]
    pub(crate) fn first_day(self) -> i32 {
        self.first
    }

    /// The day after its last.
    #[cfg(feature = "sqlite")]
    pub(crate) fn end_day(self) -> i32 {
        self.end
    }
}

/// `2028-02-10` for a day, `2028-02` for a month.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = TimeZone::UTC.to_datetime(self.start()).date();
        match self.per {
            Per::Day => write!(f, "{date}"),
            Per::Month => write!(f, "{:04}-{:02}", date.year(), date.month()),
        }
    }
}

/// The day that `at` lies in, counted from 1970-01-01. Every timestamp's day fits.
pub(crate) fn day_of(at: Timestamp) -> i32 {
    i32::try_from(at.as_second().div_euclid(DAY_SECONDS)).unwrap_or(i32::MAX - 31)
}

fn midnight(day: i32) -> Timestamp {
    Timestamp::from_second(i64::from(day) * DAY_SECONDS).unwrap_or(Timestamp::MAX)
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
        ] {
            assert_eq!(month(at).length().as_secs(), days * 86_400, "{at}");
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

    proptest! {
        #[test]
        fn every_instant_lies_in_its_period_and_periods_are_seamless(
            second in -60_000_000_000_i64..250_000_000_000,
            per in prop_oneof![Just(Per::Day), Just(Per::Month)],
        ) {
            let at = Timestamp::from_second(second).expect("in range");
            let period = Period::containing(at, per);
            prop_assert!(period.start() <= at && at < period.end());
            prop_assert_eq!(Period::containing(period.end(), per).previous(), period);
            prop_assert_eq!(Period::containing(period.start(), per), period);
        }
    }
}
