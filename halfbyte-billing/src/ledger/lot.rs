use super::LotSpec;

/// What an amount may be at most, so that every sum of a lot can be kept in a signed number.
const MOST: u64 = i64::MAX as u64;

/// A lot with what has become of it. Times are microseconds since 1970, as the store keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lot {
    pub(crate) key: Box<str>,
    pub(crate) priority: i32,
    pub(crate) effective: i64,
    pub(crate) expires: Option<i64>,
    pub(crate) created: i64,
    /// Never changes, so that what was counted as overage can be taken back.
    pub(crate) overage: bool,
    pub(crate) amount: u64,
    /// Taken over from the lot before it, less what the lot after it took over.
    pub(crate) carried: i64,
    pub(crate) burned: u64,
    pub(crate) held: u64,
    /// The instant that the amount was last said for. What is said for an earlier one, on behalf of an event that came
    /// late, does not change it.
    pub(crate) as_of: i64,
}

impl Lot {
    /// A lot that nothing was done with.
    pub(crate) fn of(spec: &LotSpec, as_of: i64) -> Self {
        Self {
            key: spec.key.clone(),
            priority: spec.priority,
            effective: spec.effective.as_microsecond(),
            expires: spec.expires.map(|expires| expires.as_microsecond()),
            created: spec.created.as_microsecond(),
            overage: spec.overage,
            amount: spec.amount.min(MOST),
            carried: 0,
            burned: 0,
            held: 0,
            as_of,
        }
    }

    /// The rows that a lot needs: itself, and the lots that it takes over from, directly or by way of others.
    pub(crate) fn with_previous(spec: &LotSpec, as_of: i64) -> impl Iterator<Item = Self> {
        let previous = spec.rollover.iter().flat_map(|rollover| &rollover.previous);
        let previous = previous.map(|previous| Self::of(previous, previous.effective.as_microsecond()));
        std::iter::once(Self::of(spec, as_of)).chain(previous)
    }

    /// Takes on what the plan says by now. What was burned or is held stays so, even where it is more than the new amount.
    pub(super) fn follow(&mut self, spec: &LotSpec, as_of: i64) {
        let room = MOST - self.carried.max(0).unsigned_abs();
        let expires = spec.expires.map(|expires| expires.as_microsecond());
        let said = (spec.priority, spec.effective.as_microsecond(), expires, spec.amount.min(room));
        if as_of >= self.as_of && said != (self.priority, self.effective, self.expires, self.amount) {
            (self.priority, self.effective, self.expires, self.amount) = said;
            self.as_of = as_of;
        }
    }

    /// What nobody has used or holds.
    pub(crate) fn available(&self) -> u64 {
        let whole = i128::from(self.amount) + i128::from(self.carried);
        let left = whole - i128::from(self.burned) - i128::from(self.held);
        u64::try_from(left.max(0)).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_usable(&self, at: i64) -> bool {
        self.effective <= at && self.expires.is_none_or(|expires| at < expires)
    }

    /// Sorts lots in the order in which they are burned.
    pub(super) fn order(&self) -> impl Ord + '_ {
        (self.priority, self.expires.is_none(), self.expires, self.created, &*self.key)
    }

    /// At most what is [`available`](Self::available).
    pub(super) fn hold(&mut self, units: u64) {
        self.held = self.held.saturating_add(units);
    }

    /// At most what is [`available`](Self::available).
    pub(super) fn burn(&mut self, units: u64) {
        self.burned = self.burned.saturating_add(units);
    }

    /// Makes held units burned ones.
    pub(super) fn burn_held(&mut self, units: u64) {
        self.give_back(units);
        self.burn(units);
    }

    pub(crate) fn give_back(&mut self, units: u64) {
        self.held = self.held.saturating_sub(units);
    }

    pub(super) fn refund(&mut self, units: u64) {
        self.burned = self.burned.saturating_sub(units);
    }

    /// Hands what is left, and at most `max`, on to the lot `next`.
    pub(super) fn roll_over(&mut self, next: &mut Self, max: u64) {
        let room = MOST.saturating_sub(next.amount).saturating_sub(next.carried.max(0).unsigned_abs());
        let units = i64::try_from(self.available().min(max).min(room)).unwrap_or(0);
        let Some(rest) = self.carried.checked_sub(units) else { return };
        self.carried = rest;
        next.carried += units;
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn spec(amount: u64) -> LotSpec {
        LotSpec {
            key: "grant/a".into(),
            priority: 0,
            effective: Timestamp::UNIX_EPOCH,
            expires: None,
            created: Timestamp::UNIX_EPOCH,
            amount,
            rollover: None,
            overage: false,
        }
    }

    #[test]
    fn a_plan_that_was_made_smaller_leaves_nothing_and_undoes_nothing() {
        let mut lot = Lot::of(&spec(10), 0);
        lot.burn(6);
        lot.hold(3);
        lot.follow(&spec(5), 1);
        assert_eq!((lot.available(), lot.burned, lot.held), (0, 6, 3));
        lot.follow(&spec(20), 2);
        assert_eq!(lot.available(), 11);
    }

    #[test]
    fn what_is_said_for_an_earlier_instant_changes_nothing() {
        let mut lot = Lot::of(&spec(10), 5);
        lot.follow(&spec(20), 4);
        assert_eq!(lot.amount, 10);
        lot.follow(&spec(20), 5);
        assert_eq!(lot.amount, 20);
    }

    proptest! {
        #[test]
        fn no_numbers_overflow_and_units_that_roll_over_are_neither_made_nor_lost(
            amount in any::<u64>(), next in any::<u64>(), max in any::<u64>(), burned in any::<u64>(), held in any::<u64>(),
            later in any::<u64>(),
        ) {
            let (mut old, mut new) = (Lot::of(&spec(amount), 0), Lot::of(&spec(next), 0));
            old.burn(burned.min(MOST));
            old.hold(held.min(MOST));
            let before = u128::from(old.available()) + u128::from(new.available());
            old.roll_over(&mut new, max);
            prop_assert_eq!(before, u128::from(old.available()) + u128::from(new.available()));
            prop_assert!(new.carried >= 0 && new.carried.unsigned_abs() <= max);
            new.follow(&spec(later), 1);
            prop_assert!(i64::try_from(i128::from(new.amount) + i128::from(new.carried)).is_ok());
        }
    }
}
