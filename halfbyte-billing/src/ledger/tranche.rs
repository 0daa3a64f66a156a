/// A tranche is this part of what is left, so that what one process holds idle is small against it.
const PART: u64 = 8;
/// The largest part of small amounts: more requests than this do not come between two leases.
const LARGEST: u64 = 256;
/// The largest part of amounts in small units, such as bytes, is this part of what is left.
const LARGEST_PART: u64 = 64;

/// How many units to lease where the lots have `left`, one request needs `least`, and all who wait need `waiting`.
///
/// Nothing if there is not what the one needs. Else an eighth of what is left, but no more than 256 or a 64th of it, whichever
/// is more; at least what is waited for, since that is not held idle, up to half of what is left, since who waits may want
/// more than there is; and never more than is left, which is what makes a limit a hard one.
pub(crate) fn tranche(left: u64, least: u64, waiting: u64) -> u64 {
    if left < least {
        return 0;
    }
    let largest = LARGEST.max(left / LARGEST_PART);
    (left / PART).min(largest).max(waiting.min(left / 2)).max(least).max(1).min(left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tranches_shrink_with_what_is_left() {
        assert_eq!(tranche(10_000, 1, 1), 256);
        assert_eq!(tranche(1000, 1, 1), 125);
        assert_eq!(tranche(40, 1, 1), 5);
        assert_eq!(tranche(3, 0, 0), 1);
        assert_eq!(tranche(0, 1, 1), 0);
    }

    #[test]
    fn tranches_of_bytes_are_a_64th_of_what_is_left() {
        assert_eq!(tranche(64_000_000, 1, 1), 1_000_000);
    }

    #[test]
    fn whoever_waits_is_served_by_one_lease_where_there_is_enough() {
        assert_eq!(tranche(100, 1, 40), 40);
        assert_eq!(tranche(10, 1, 64), 5);
        assert_eq!(tranche(100_000, 70_000, 90_000), 70_000);
    }

    #[test]
    fn who_needs_more_than_is_left_gets_nothing_and_takes_nothing_from_others() {
        assert_eq!(tranche(3, 4, 4), 0);
        assert_eq!(tranche(1000, 1, 900), 500);
    }

    proptest! {
        #[test]
        fn a_lease_is_never_more_than_is_left_and_never_empty_while_something_is(
            left in prop_oneof![any::<u64>(), 0..1000_u64], least in prop_oneof![any::<u64>(), 0..1000_u64], waiting in prop_oneof![any::<u64>(), 0..1000_u64],
        ) {
            let units = tranche(left, least, waiting);
            prop_assert!(units <= left);
            prop_assert_eq!(units == 0, left == 0 || left < least);
            if units > 0 {
                prop_assert!(units >= least && units >= waiting.min(left / 2));
                prop_assert!(units <= least.max(waiting).max(1).max(LARGEST).max(left / LARGEST_PART));
            }
        }
    }
}
