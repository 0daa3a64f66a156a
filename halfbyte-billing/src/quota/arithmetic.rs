//! How much of a quota a process may lease. Pure.

/// The largest tranche.
const LARGEST: u64 = 256;
/// A tranche is this part of what is left, so that what one process holds idle is small against it.
const PART: u64 = 8;

/// Units to lease when `used` of `limit` are counted, `leased` are with all processes, and `waiting` requests ask.
///
/// Never more than is left: that is what makes the limit a hard one.
pub(crate) fn tranche(limit: u64, used: u64, leased: u64, waiting: u64) -> u64 {
    let left = limit.saturating_sub(used).saturating_sub(leased);
    (left / PART).max(waiting).clamp(1, LARGEST).min(left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tranches_shrink_with_what_is_left() {
        assert_eq!(tranche(1_000_000, 0, 0, 1), 256);
        assert_eq!(tranche(1000, 0, 0, 1), 125);
        assert_eq!(tranche(1000, 500, 460, 1), 5);
        assert_eq!(tranche(3, 0, 0, 1), 1);
        assert_eq!(tranche(3, 2, 1, 1), 0);
        assert_eq!(tranche(0, 0, 0, 1), 0);
    }

    #[test]
    fn whoever_waits_is_served_by_one_lease_where_there_is_enough() {
        assert_eq!(tranche(100, 0, 0, 64), 64);
        assert_eq!(tranche(100, 90, 0, 64), 10);
        assert_eq!(tranche(100_000, 0, 0, 5_000), 256);
    }

    proptest! {
        #[test]
        fn a_lease_never_goes_over_the_limit_and_is_never_empty_while_something_is_left(
            limit in any::<u64>(), used in any::<u64>(), leased in any::<u64>(), waiting in any::<u64>(),
        ) {
            let granted = u128::from(tranche(limit, used, leased, waiting));
            let (limit, taken) = (u128::from(limit), u128::from(used) + u128::from(leased));
            prop_assert!(granted == 0 || taken + granted <= limit);
            prop_assert_eq!(granted == 0, taken >= limit);
        }
    }
}
