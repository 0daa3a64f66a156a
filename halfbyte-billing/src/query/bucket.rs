//! Where buckets begin: at the hours, days and months of a time zone.

use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::period::{slot_of, slot_start};

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Bucket {
    /// As long as the range.
    #[default]
    Whole,
    /// An hour of the clocks of the zone.
    Hour,
    /// A day of the zone: 23 or 25 hours where clocks are changed.
    Day,
    /// A calendar month of the zone.
    Month,
}

/// The slots at which buckets begin, and the end of the last one; `None` if there are more than `max` buckets.
pub(super) fn boundaries(bucket: Bucket, zone: &TimeZone, range: Range<i64>, max: usize) -> Option<Vec<i64>> {
    let mut boundaries = vec![range.start];
    let mut slot = range.start;
    loop {
        let next = next(bucket, zone, slot_start(slot)).map(slot_of);
        // A zone whose offset once was no whole number of slots must not stop the way forward.
        slot = next.map_or(range.end, |next| next.clamp(slot + 1, range.end.max(slot + 1)));
        if boundaries.len() > max {
            return None;
        }
        boundaries.push(slot);
        if slot >= range.end {
            return Some(boundaries);
        }
    }
}

/// When the bucket that `at` lies in ends; `None` where that is beyond what a timestamp can say.
fn next(bucket: Bucket, zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
    let date = zone.to_datetime(at).date();
    match bucket {
        Bucket::Whole => None,
        Bucket::Hour => {
            let local = at.as_second() + i64::from(zone.to_offset(at).seconds());
            Timestamp::from_second(at.as_second() + 3600 - local.rem_euclid(3600)).ok()
        }
        Bucket::Day => midnight_after(at, date.tomorrow().ok()?, zone),
        Bucket::Month => midnight_after(at, date.last_of_month().tomorrow().ok()?, zone),
    }
}

/// The beginning of a day that is after `at`.
fn midnight_after(at: Timestamp, date: Date, zone: &TimeZone) -> Option<Timestamp> {
    let midnight = zone.to_ambiguous_timestamp(date.to_datetime(jiff::civil::Time::midnight()));
    // Where clocks go back over midnight, the day begins twice; it is the second time if the first is over.
    let first = midnight.compatible().ok()?;
    if first > at { Some(first) } else { midnight.later().ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hours(bucket: Bucket, zone: &str, from: &str, until: &str) -> Vec<f32> {
        let slot = |at: &str| slot_of(at.parse().unwrap());
        let zone = TimeZone::get(zone).unwrap();
        let boundaries = boundaries(bucket, &zone, slot(from)..slot(until), 1000).unwrap();
        assert_eq!((boundaries.first(), boundaries.last()), (Some(&slot(from)), Some(&slot(until))));
        boundaries.windows(2).map(|pair| f32::from(u16::try_from(pair[1] - pair[0]).unwrap()) / 4.0).collect()
    }

    #[test]
    fn a_day_on_which_clocks_change_has_23_or_25_hours() {
        let days = |from, until| hours(Bucket::Day, "Europe/Vienna", from, until);
        assert_eq!(days("2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z"), [24.0, 23.0, 24.0]);
        assert_eq!(days("2026-10-23T22:00:00Z", "2026-10-26T23:00:00Z"), [24.0, 25.0, 24.0]);
        // On Lord Howe by half an hour, in Apia a whole day was left out, in Cairo and Beirut midnight itself.
        let odd = |zone, from, until| hours(Bucket::Day, zone, from, until);
        assert_eq!(odd("Australia/Lord_Howe", "2026-04-03T13:00:00Z", "2026-04-05T13:30:00Z"), [24.0, 24.5]);
        assert_eq!(odd("Pacific/Apia", "2011-12-28T10:00:00Z", "2011-12-31T10:00:00Z"), [24.0, 24.0, 24.0]);
        assert_eq!(odd("Asia/Beirut", "2026-03-27T22:00:00Z", "2026-03-29T21:00:00Z"), [24.0, 23.0]);
    }

    #[test]
    fn the_first_and_last_bucket_are_as_much_as_lies_in_the_range() {
        let days = hours(Bucket::Day, "UTC", "2026-11-01T20:15:00Z", "2026-11-03T00:15:00Z");
        assert_eq!(days, [3.75, 24.0, 0.25]);
        assert_eq!(hours(Bucket::Whole, "UTC", "2026-11-01T20:15:00Z", "2026-11-02T00:15:00Z"), [4.0]);
    }

    #[test]
    fn a_day_that_begins_twice_ends_the_one_before_it_twice() {
        // In St. John's it was 00:01 when clocks went back to 23:01 of the day before.
        let days = |from| hours(Bucket::Day, "America/St_Johns", from, "2009-11-02T03:30:00Z");
        assert_eq!(days("2009-10-31T02:30:00Z"), [24.0, 25.0]);
        assert_eq!(days("2009-11-01T03:00:00Z"), [0.5, 24.0]);
    }

    #[test]
    fn months_are_those_of_the_zone() {
        let months = hours(Bucket::Month, "Europe/Vienna", "2026-02-28T23:00:00Z", "2026-05-31T22:00:00Z");
        assert_eq!(months, [31.0 * 24.0 - 1.0, 30.0 * 24.0, 31.0 * 24.0]);
        assert_eq!(hours(Bucket::Month, "UTC", "2028-01-31T00:00:00Z", "2028-03-02T00:00:00Z"), [24.0, 696.0, 24.0]);
    }

    #[test]
    fn hours_are_those_of_the_clocks() {
        let hours = |zone, from, until| hours(Bucket::Hour, zone, from, until);
        assert_eq!(hours("Asia/Kolkata", "2026-11-01T00:00:00Z", "2026-11-01T02:00:00Z"), [0.5, 1.0, 0.5]);
        assert_eq!(hours("Asia/Kathmandu", "2026-11-01T00:00:00Z", "2026-11-01T01:15:00Z"), [0.25, 1.0]);
        assert_eq!(hours("Europe/Vienna", "2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z"), [1.0, 1.0, 1.0]);
        assert_eq!(hours("Australia/Lord_Howe", "2026-04-04T14:00:00Z", "2026-04-04T16:30:00Z"), [1.0, 0.5, 1.0]);
    }

    #[test]
    fn too_many_buckets_are_none() {
        let count = |max| boundaries(Bucket::Hour, &TimeZone::UTC, 0..40, max).map(|all| all.len());
        assert_eq!((count(9), count(10)), (None, Some(11)));
        assert_eq!(boundaries(Bucket::Hour, &TimeZone::UTC, i64::MIN / 2..i64::MAX / 2, 10), None);
    }

    proptest! {
        #[test]
        fn buckets_are_seamless_and_never_longer_than_they_should_be(
            zone in proptest::sample::select(vec![
                "UTC", "Europe/Vienna", "America/St_Johns", "America/Havana", "Africa/Monrovia", "Asia/Kathmandu",
                "Australia/Lord_Howe", "Pacific/Apia", "America/Asuncion", "Africa/Cairo", "Antarctica/Troll",
            ]),
            bucket in proptest::sample::select(vec![Bucket::Hour, Bucket::Day, Bucket::Month]),
            start in -100_000_i64..2_800_000,
            length in 1_i64..3000,
        ) {
            let zone = TimeZone::get(zone).unwrap();
            let all = boundaries(bucket, &zone, start..start + length, 3000).unwrap();
            prop_assert_eq!((all[0], all[all.len() - 1]), (start, start + length));
            let longest = match bucket { Bucket::Hour => 5, Bucket::Day => 26 * 4, _ => 31 * 96 + 8 };
            for pair in all.windows(2) {
                prop_assert!(pair[0] < pair[1] && pair[1] - pair[0] <= longest, "{:?}", pair);
            }
        }
    }
}
