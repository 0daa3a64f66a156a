use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Per, Period, slot_of};
use crate::{Error, ErrorKind};

/// What the periods of a subscription are counted from: an instant, and the time zone whose calendar counts.
///
/// Period `n` begins `n` days, months or years after the anchor by the zone's calendar, and is computed from the anchor
/// alone, never from the period before: nothing drifts. A day that a month lacks is its last one. A time of day that a
/// change of clocks skips is as much later, of one that comes twice it is the first. Boundaries are rounded down to quarter
/// hours of UTC. Periods follow each other without a gap; those before the anchor have negative numbers.
///
/// The rules of time zones are those that are built into the program, so that all processes of one version agree whatever
/// their machines know.
///
/// ```
/// use halfbyte_billing::{Anchor, Per};
///
/// let anchor = Anchor::new("2026-01-31T12:00:00+01:00".parse().unwrap(), "Europe/Berlin")?;
/// let starts = [1, 2].map(|month| anchor.period(Per::Month, month).start().to_string());
/// assert_eq!(starts, ["2026-02-28T11:00:00Z", "2026-03-31T10:00:00Z"]);
/// # Ok::<(), halfbyte_billing::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Anchor {
    at: Timestamp,
    zone: TimeZone,
}

impl Anchor {
    /// An anchor at `at` in the zone of this IANA name, such as `Europe/Berlin` or `UTC`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`]: there is no such zone.
    pub fn new(at: Timestamp, zone: &str) -> Result<Self, Error> {
        let found = TimeZoneDatabase::bundled().get(zone).ok().filter(|found| !found.is_unknown());
        let Some(found) = found else {
            let message =
                format!("there is no time zone {zone:?}; use an IANA name such as \"Europe/Berlin\" or \"UTC\"");
            return Err(Error::new(ErrorKind::Invalid, message));
        };
        Ok(Self { at, zone: found })
    }

    /// An anchor at `at` in UTC.
    pub fn utc(at: Timestamp) -> Self {
        Self { at, zone: TimeZone::UTC }
    }

    /// The same zone, counted from another instant.
    pub(crate) fn moved_to(&self, at: Timestamp) -> Self {
        Self { at, zone: self.zone.clone() }
    }

    /// The instant.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The IANA name of the time zone.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// Period `ordinal`; 0 is the one that begins at the anchor. It may be empty in a zone that skipped a whole day.
    pub fn period(&self, per: Per, ordinal: i64) -> Period {
        Period { first: self.boundary(per, ordinal), end: self.boundary(per, ordinal.saturating_add(1)), per }
    }

    /// The period that `at` lies in.
    pub fn period_at(&self, per: Per, at: Timestamp) -> Period {
        self.period(per, self.ordinal_at(per, at))
    }

    /// The number of the period that `at` lies in.
    pub fn ordinal_at(&self, per: Per, at: Timestamp) -> i64 {
        let (anchor, civil) = (self.zone.to_datetime(self.at).date(), self.zone.to_datetime(at).date());
        let years = i64::from(civil.year()) - i64::from(anchor.year());
        // At most one off: only the time of day, the last day of a month and a change of clocks are left out.
        let mut ordinal = match per {
            Per::Day => i64::from(anchor.until(civil).map_or(0, |span| span.get_days())),
            Per::Month => years * 12 + i64::from(civil.month()) - i64::from(anchor.month()),
            Per::Year => years,
        };
        let slot = slot_of(at);
        while self.boundary(per, ordinal) > slot {
            ordinal -= 1;
        }
        while self.boundary(per, ordinal + 1) <= slot {
            ordinal += 1;
        }
        ordinal
    }

    /// The slot that period `ordinal` begins in. Beyond what a timestamp can be, the first or the one after the last.
    fn boundary(&self, per: Per, ordinal: i64) -> i64 {
        if ordinal == 0 {
            return slot_of(self.at);
        }
        let anchor = self.zone.to_datetime(self.at);
        let date = moved(anchor.date(), per, ordinal);
        let at = date.and_then(|date| self.zone.to_timestamp(DateTime::from_parts(date, anchor.time())).ok());
        at.map_or_else(|| if ordinal < 0 { slot_of(Timestamp::MIN) } else { slot_of(Timestamp::MAX) + 1 }, slot_of)
    }
}

/// `date` plus so many days, months or years; `None` if there is no such date.
fn moved(date: Date, per: Per, by: i64) -> Option<Date> {
    match per {
        Per::Day => date.checked_add(Span::new().try_days(by).ok()?).ok(),
        Per::Month => {
            let months = (i64::from(date.year()) * 12 + i64::from(date.month()) - 1).checked_add(by)?;
            let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
            in_month(i16::try_from(year).ok()?, i8::try_from(month).ok()?, date.day())
        }
        Per::Year => in_month(i16::try_from(i64::from(date.year()).checked_add(by)?).ok()?, date.month(), date.day()),
    }
}

/// The day of a month, or the month's last.
fn in_month(year: i16, month: i8, day: i8) -> Option<Date> {
    let first = Date::new(year, month, 1).ok()?;
    Date::new(year, month, day.min(first.days_in_month())).ok()
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchor({} {})", self.at, self.zone())
    }
}

/// An anchor as it is kept.
#[derive(Serialize, Deserialize)]
struct Written {
    at: Timestamp,
    zone: Box<str>,
}

impl TryFrom<Written> for Anchor {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self, Error> {
        Self::new(written.at, &written.zone)
    }
}

impl From<Anchor> for Written {
    fn from(anchor: Anchor) -> Self {
        Self { at: anchor.at, zone: anchor.zone().into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use jiff::ToSpan as _;

    use super::super::slot_start;
    use super::*;

    fn anchor(at: &str, zone: &str) -> Anchor {
        Anchor::new(at.parse().expect("a timestamp"), zone).expect("a zone")
    }

    fn starts(anchor: &Anchor, per: Per, ordinals: impl IntoIterator<Item = i64>) -> Vec<String> {
        ordinals.into_iter().map(|n| anchor.period(per, n).start().to_string()).collect()
    }

    #[test]
    fn the_31st_is_the_last_day_of_a_shorter_month_and_comes_back() {
        let anchor = anchor("2026-01-31T08:00:00Z", "UTC");
        assert_eq!(
            starts(&anchor, Per::Month, [-2, -1, 0, 1, 2, 3, 25]),
            [
                "2025-11-30T08:00:00Z",
                "2025-12-31T08:00:00Z",
                "2026-01-31T08:00:00Z",
                "2026-02-28T08:00:00Z",
                "2026-03-31T08:00:00Z",
                "2026-04-30T08:00:00Z",
                "2028-02-29T08:00:00Z"
            ]
        );
    }

    #[test]
    fn the_29th_of_february_comes_back_every_leap_year() {
        let anchor = anchor("2024-02-29T00:00:00Z", "UTC");
        assert_eq!(
            starts(&anchor, Per::Year, [-1, 1, 4]),
            ["2023-02-28T00:00:00Z", "2025-02-28T00:00:00Z", "2028-02-29T00:00:00Z"]
        );
    }

    #[test]
    fn a_time_that_clocks_skip_is_as_much_later_and_one_that_comes_twice_is_the_first() {
        let winter = anchor("2026-02-28T02:30:00+01:00", "Europe/Berlin");
        assert_eq!(
            starts(&winter, Per::Day, [28, 29, 30]),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
        );
        let summer = anchor("2026-09-25T02:30:00+02:00", "Europe/Berlin");
        assert_eq!(starts(&summer, Per::Month, [1]), ["2026-10-25T00:30:00Z"]);
    }

    #[test]
    fn an_anchor_in_the_second_of_two_equal_hours_begins_its_own_period() {
        let anchor = anchor("2026-10-25T02:30:00+01:00", "Europe/Berlin");
        assert_eq!(anchor.period(Per::Month, 0).start(), anchor.at());
        assert_eq!(anchor.ordinal_at(Per::Month, anchor.at()), 0);
    }

    #[test]
    fn a_day_that_a_zone_skipped_is_an_empty_period() {
        let anchor = anchor("2011-12-29T10:00:00-10:00", "Pacific/Apia");
        let (before, skipped, after) =
            (anchor.period(Per::Day, 0), anchor.period(Per::Day, 1), anchor.period(Per::Day, 2));
        assert_eq!(skipped.length().as_secs(), 0);
        assert_eq!((before.end(), skipped.end()), (after.start(), after.start()));
        assert_eq!(anchor.period_at(Per::Day, after.start()), after);
    }

    #[test]
    fn boundaries_are_rounded_down_to_quarter_hours() {
        let anchor = anchor("2026-05-05T10:44:59.5Z", "Asia/Kathmandu");
        assert_eq!(starts(&anchor, Per::Day, [0, 1]), ["2026-05-05T10:30:00Z", "2026-05-06T10:30:00Z"]);
    }

    #[test]
    fn ordinals_beyond_all_time_are_empty_and_the_ends_of_time_have_periods() {
        for zone in ["UTC", "Pacific/Kiritimati", "America/Adak"] {
            let anchor = anchor("2026-01-31T12:00:00Z", zone);
            for per in [Per::Day, Per::Month, Per::Year] {
                assert_eq!(anchor.period(per, i64::MAX).length().as_secs(), 0);
                assert_eq!(anchor.period(per, i64::MIN).length().as_secs(), 0);
                for at in [Timestamp::MIN, Timestamp::MAX] {
                    assert!(anchor.period_at(per, at).contains(at), "{zone} {per:?} {at}");
                }
            }
        }
    }

    #[test]
    fn an_unknown_zone_is_refused_with_an_example() {
        let error = Anchor::new(Timestamp::UNIX_EPOCH, "Europe/Berlin2").expect_err("there is none");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("\"Europe/Berlin2\"; use an IANA name"), "{error}");
        assert!(Anchor::new(Timestamp::UNIX_EPOCH, "Etc/Unknown").is_err());
    }

    #[test]
    fn an_anchor_is_kept_as_instant_and_name() {
        let kept = anchor("2026-01-31T12:00:00Z", "europe/berlin");
        let text = serde_json::to_string(&kept).expect("it can be written");
        assert_eq!(text, r#"{"at":"2026-01-31T12:00:00Z","zone":"Europe/Berlin"}"#);
        assert_eq!(serde_json::from_str::<Anchor>(&text).expect("it can be read"), kept);
        assert!(serde_json::from_str::<Anchor>(&text.replace("Berlin", "Nowhere")).is_err());
    }

    /// Any zone that there is.
    fn any_zone() -> impl Strategy<Value = String> {
        any::<Index>().prop_map(|index| {
            let names: Vec<_> = TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
            names[index.index(names.len())].clone()
        })
    }

    /// Fifty years of instants, every other one on one of the last days of a month.
    fn any_instant() -> impl Strategy<Value = Timestamp> {
        let free =
            (0_i64..1_577_836_800).prop_map(|second| Timestamp::from_second(second + 315_532_800).expect("in range"));
        let late =
            (1980_i16..2030, 1_i8..13, 28_i8..32, 0_i8..24, 0_i8..60).prop_map(|(year, month, day, hour, minute)| {
                let date = in_month(year, month, day).expect("a date");
                TimeZone::UTC.to_timestamp(date.at(hour, minute, 0, 0)).expect("in range")
            });
        prop_oneof![free, late]
    }

    fn any_per() -> impl Strategy<Value = Per> {
        prop_oneof![Just(Per::Day), Just(Per::Month), Just(Per::Year)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn every_instant_is_in_exactly_one_period_in_any_zone(
            zone in any_zone(), at in any_instant(), per in any_per(), other in any_instant(),
        ) {
            let anchor = Anchor::new(at, &zone).expect("a zone");
            let ordinal = anchor.ordinal_at(per, other);
            let period = anchor.period_at(per, other);
            prop_assert!(period.start() <= other && other < period.end());
            prop_assert_eq!(anchor.period(per, ordinal), period);
            prop_assert_eq!(anchor.period(per, ordinal - 1).end(), period.start());
            prop_assert_eq!(anchor.period(per, ordinal + 1).start(), period.end());
            // The boundaries around it rise, so that no other period has the instant.
            for near in ordinal - 3..ordinal + 3 {
                prop_assert!(anchor.boundary(per, near) <= anchor.boundary(per, near + 1));
            }
        }

        #[test]
        fn the_first_instant_of_a_period_tells_its_ordinal(
            zone in any_zone(), at in any_instant(), per in any_per(), ordinal in -600_i64..600,
        ) {
            let anchor = Anchor::new(at, &zone).expect("a zone");
            let period = anchor.period(per, ordinal);
            prop_assume!(period.first_slot() < period.end_slot());
            prop_assert_eq!(anchor.ordinal_at(per, period.start()), ordinal);
            prop_assert_eq!(anchor.ordinal_at(per, slot_start(period.end_slot() - 1)), ordinal);
        }

        #[test]
        fn nothing_drifts_in_fifty_years(zone in any_zone(), at in any_instant(), months in 1_i64..600) {
            let anchor = Anchor::new(at, &zone).expect("a zone");
            let local = |at| anchor.zone.to_datetime(at);
            let start = local(anchor.period(Per::Month, months).start());
            let wanted = local(at).checked_add(i32::try_from(months).expect("small").months()).expect("in range");
            // A quarter of an hour of rounding, and at most a day of change of clocks.
            let off = start.duration_until(wanted);
            prop_assert!(off.as_secs().abs() <= 86_400 + 900, "{start} for {wanted}");
            let unmoved = anchor.zone.to_ambiguous_timestamp(wanted).is_ambiguous();
            prop_assert!(unmoved || (0..900).contains(&off.as_secs()), "{start} for {wanted}");
        }
    }
}
