//! Slots: quarters of an hour since 1970. Every zone's midnights since 1972 begin one, so that any period is a number of
//! whole slots.

use jiff::Timestamp;

/// How long a slot is, in microseconds.
pub(crate) const SLOT_MICROS: i64 = SLOT_SECONDS * 1_000_000;

pub(super) const SLOT_SECONDS: i64 = 900;

/// The slot that an instant lies in.
pub(crate) fn slot_of(at: Timestamp) -> i64 {
    // Before 1970 a part of a second counts downwards.
    let second = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
    second.div_euclid(SLOT_SECONDS)
}

/// The slot that an instant, in microseconds since 1970, lies in.
pub(crate) fn slot_of_micros(at: i64) -> i64 {
    at.div_euclid(SLOT_MICROS)
}

/// When a slot begins; the nearest instant that there is for one out of range.
pub(crate) fn slot_start(slot: i64) -> Timestamp {
    let limit = if slot < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(slot.saturating_mul(SLOT_SECONDS)).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_instant_lies_in_the_slot_that_began_before_it() {
        for (at, slot) in [(0, 0), (899_999_999, 0), (900_000_000, 1), (-1, -1), (-900_000_000, -1), (-900_000_001, -2)]
        {
            assert_eq!(slot_of_micros(at), slot, "{at}");
        }
        assert_eq!(slot_start(4), "1970-01-01T01:00:00Z".parse().unwrap());
        assert_eq!((slot_start(i64::MAX), slot_start(i64::MIN)), (Timestamp::MAX, Timestamp::MIN));
    }

    #[test]
    fn the_last_nanosecond_before_a_slot_is_not_in_it() {
        for slot in [-96, 0, 96] {
            let start = slot_start(slot);
            assert_eq!([slot_of(start), slot_of(start - SignedDuration::from_nanos(1))], [slot, slot - 1]);
        }
    }

    proptest! {
        #[test]
        fn an_instant_lies_in_its_slot(second in -60_000_000_000_i64..250_000_000_000, micros in 0_i32..1_000_000) {
            let at = Timestamp::new(second, micros * 1000).unwrap();
            prop_assert!(slot_start(slot_of(at)) <= at && at < slot_start(slot_of(at) + 1));
            prop_assert_eq!(slot_of(at), slot_of_micros(at.as_microsecond()));
        }
    }
}
