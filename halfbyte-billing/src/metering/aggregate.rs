//! Adding up what was measured.

use std::fmt;

use super::{Aggregate, Latest, Level, Measured};

/// Why values cannot be added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AggregateError {
    /// The sum does not fit into 64 bits.
    Overflow,
    /// A level was to be added before the latest that is there. Levels are added in the order of time and tie.
    OutOfOrder,
}

impl fmt::Display for AggregateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AggregateError::Overflow => "the sum is too large to be kept exactly; give the meter fewer decimals",
            AggregateError::OutOfOrder => "a level came before one that had been added",
        })
    }
}

impl std::error::Error for AggregateError {}

impl Aggregate {
    /// Adds one value; amounts and unique values in any order, levels in the order of `(at, tie)`. After an error it is
    /// as before.
    pub(crate) fn add(&mut self, measured: &Measured, at: i64, tie: &str) -> Result<(), AggregateError> {
        let count = plus(self.count, 1)?;
        match measured {
            Measured::Amount(amount) => {
                self.sum = plus(self.sum, *amount)?;
                self.min = Some(self.min.map_or(*amount, |min| min.min(*amount)));
                self.max = Some(self.max.map_or(*amount, |max| max.max(*amount)));
                if self.latest.as_ref().is_none_or(|latest| (latest.at, &*latest.tie) < (at, tie)) {
                    self.latest = Some(Latest { at, tie: tie.into(), value: *amount });
                }
            }
            Measured::Unique(value) => match self.unique.get_mut(value) {
                Some(times) => *times = plus(*times, 1)?,
                None => _ = self.unique.insert(value.clone(), 1),
            },
            Measured::Level(value) => {
                let area = match (&self.level, &self.latest) {
                    (Some(_), Some(latest)) if (at, tie) < (latest.at, &*latest.tie) => {
                        return Err(AggregateError::OutOfOrder);
                    }
                    (Some(level), Some(latest)) => stretch(level.area, latest.value, at, latest.at)?,
                    _ => 0,
                };
                let first_at = self.level.as_ref().map_or(at, |level| level.first_at);
                self.level = Some(Level { first_at, area });
                self.latest = Some(Latest { at, tie: tie.into(), value: *value });
            }
        }
        self.count = count;
        Ok(())
    }

    /// The aggregate of the levels of events, which are sorted by time and tie: `(at, tie, value)`.
    pub(crate) fn of_levels<'a>(sorted: impl IntoIterator<Item = (i64, &'a str, i64)>) -> Result<Self, AggregateError> {
        let mut whole = Self::default();
        for (at, tie, value) in sorted {
            whole.add(&Measured::Level(value), at, tie)?;
        }
        Ok(whole)
    }

    /// Adds another stretch: any other one, but where there are levels, one that begins where this one ends or later.
    pub(crate) fn merge(&mut self, later: &Aggregate) -> Result<(), AggregateError> {
        let count = plus(self.count, later.count)?;
        let sum = plus(self.sum, later.sum)?;
        let level = match (&self.level, &self.latest, &later.level) {
            (Some(_), Some(latest), Some(next)) if next.first_at < latest.at => return Err(AggregateError::OutOfOrder),
            (Some(level), Some(latest), Some(next)) => {
                let gap = stretch(level.area, latest.value, next.first_at, latest.at)?;
                let area = gap.checked_add(next.area).ok_or(AggregateError::Overflow)?;
                Some(Level { first_at: level.first_at, area })
            }
            (Some(level), ..) | (None, _, Some(level)) => Some(level.clone()),
            _ => None,
        };
        for (value, times) in &later.unique {
            let sum = plus(self.unique.get(value).copied().unwrap_or(0), *times)?;
            self.unique.insert(value.clone(), sum);
        }
        (self.count, self.sum, self.level) = (count, sum, level);
        self.min = self.min.into_iter().chain(later.min).min();
        self.max = self.max.into_iter().chain(later.max).max();
        if later.latest > self.latest {
            self.latest.clone_from(&later.latest);
        }
        Ok(())
    }

    /// Level times microseconds from the first event to `until`, or to the latest event where that is later.
    pub(crate) fn level_area(&self, until: i64) -> Result<i128, AggregateError> {
        match (&self.level, &self.latest) {
            (Some(level), Some(latest)) => stretch(level.area, latest.value, until.max(latest.at), latest.at),
            _ => Ok(0),
        }
    }
}

/// An area with one more stretch of a level, from `start` to `end`.
fn stretch(area: i128, value: i64, end: i64, start: i64) -> Result<i128, AggregateError> {
    // 64 bits times 65 bits is at most 128 bits with its sign.
    let more = i128::from(value).checked_mul(i128::from(end) - i128::from(start));
    more.and_then(|more| area.checked_add(more)).ok_or(AggregateError::Overflow)
}

fn plus(a: i64, b: i64) -> Result<i64, AggregateError> {
    a.checked_add(b).ok_or(AggregateError::Overflow)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Sample = (i64, String, Measured);

    fn whole<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Aggregate {
        let mut whole = Aggregate::default();
        for (at, tie, measured) in samples {
            whole.add(measured, *at, tie).unwrap();
        }
        whole
    }

    fn level(at: i64, value: i64) -> Sample {
        (at, format!("s\u{1f}{at}"), Measured::Level(value))
    }

    #[test]
    fn a_level_lasts_until_the_next_and_the_last_until_asked() {
        let seats = whole(&[level(10, 3), level(20, 5), level(50, 0), level(60, 2)]);
        assert_eq!(seats.level, Some(Level { first_at: 10, area: 3 * 10 + 5 * 30 }));
        assert_eq!(seats.level_area(60), Ok(180));
        assert_eq!(seats.level_area(100), Ok(180 + 2 * 40));
        assert_eq!(seats.level_area(0), Ok(180), "what was measured after the end counts to the latest event");
        assert_eq!(Aggregate::default().level_area(100), Ok(0));
    }

    #[test]
    fn a_gap_between_stretches_has_the_level_of_the_earlier_one() {
        let mut seats = whole(&[level(10, 3)]);
        seats.merge(&whole(&[level(110, 5), level(120, 1)])).unwrap();
        assert_eq!(seats.level, Some(Level { first_at: 10, area: 3 * 100 + 5 * 10 }));
        assert_eq!(seats.latest.unwrap().value, 1);
    }

    #[test]
    fn levels_that_come_out_of_order_are_refused_and_change_nothing() {
        let mut seats = whole(&[level(10, 3), level(20, 5)]);
        let before = seats.clone();
        assert_eq!(seats.add(&Measured::Level(1), 15, "s"), Err(AggregateError::OutOfOrder));
        assert_eq!(seats.merge(&whole(&[level(19, 1)])), Err(AggregateError::OutOfOrder));
        assert_eq!(seats, before);
    }

    #[test]
    fn the_latest_of_one_time_is_the_one_whose_tie_sorts_last() {
        let (a, b) = ((5, "a".into(), Measured::Amount(1)), (5, "b".into(), Measured::Amount(2)));
        assert_eq!(whole([&a, &b]).latest.unwrap().value, 2);
        assert_eq!(whole([&b, &a]).latest.unwrap().value, 2);
    }

    #[test]
    fn a_sum_that_does_not_fit_is_an_error_and_changes_nothing() {
        let mut sum = whole(&[(1, "a".into(), Measured::Amount(i64::MAX))]);
        let before = sum.clone();
        assert_eq!(sum.add(&Measured::Amount(1), 2, "b"), Err(AggregateError::Overflow));
        assert_eq!(sum.clone().merge(&before), Err(AggregateError::Overflow));
        assert_eq!(sum, before);
        let mut level = Aggregate { level: Some(Level { first_at: 0, area: i128::MAX }), ..before };
        assert_eq!(level.add(&Measured::Level(1), 2, "b"), Err(AggregateError::Overflow));
    }

    /// All of one kind, as a meter has them: (at, tie, value) in the order of time and tie, each pair once.
    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let measured: [fn(i64) -> Measured; 3] =
            [Measured::Amount, |value| Measured::Unique((value % 5).to_string().into()), Measured::Level];
        let values = proptest::collection::btree_map((0_i64..40, 0_u8..6), -1_000_i64..1_000, 0..30);
        (values, proptest::sample::select(measured.to_vec())).prop_map(|(values, measured)| {
            values.into_iter().map(|((at, tie), value)| (at * 7, format!("tie-{tie}"), measured(value))).collect()
        })
    }

    /// What it should be, found the simple way: by asking for each microsecond what the level is.
    fn naive(samples: &[Sample]) -> Aggregate {
        let amounts = samples.iter().filter_map(|(.., measured)| match measured {
            Measured::Amount(amount) => Some(*amount),
            _ => None,
        });
        let number = |sample: &Sample| match &sample.2 {
            Measured::Amount(value) | Measured::Level(value) => Some((sample.0, sample.1.clone(), *value)),
            Measured::Unique(_) => None,
        };
        let latest = samples.iter().filter_map(number).max_by_key(|(at, tie, _)| (*at, tie.clone()));
        let mut unique = std::collections::BTreeMap::new();
        for (.., measured) in samples {
            if let Measured::Unique(value) = measured {
                *unique.entry(value.clone()).or_default() += 1;
            }
        }
        let levels: Vec<_> = samples.iter().filter(|sample| matches!(sample.2, Measured::Level(_))).collect();
        let level = levels.first().zip(levels.last()).map(|(first, last)| {
            let at = |micro| levels.iter().filter(|sample| sample.0 <= micro).filter_map(|s| number(s)).next_back();
            let area = (first.0..last.0).map(|micro| i128::from(at(micro).unwrap().2)).sum();
            Level { first_at: first.0, area }
        });
        Aggregate {
            count: i64::try_from(samples.len()).unwrap(),
            sum: amounts.clone().sum(),
            min: amounts.clone().min(),
            max: amounts.max(),
            latest: latest.map(|(at, tie, value)| Latest { at, tie: tie.into(), value }),
            level,
            unique,
        }
    }

    proptest! {
        #[test]
        fn it_is_what_a_naive_model_says(samples in samples()) {
            prop_assert_eq!(whole(&samples), naive(&samples));
        }

        #[test]
        fn stretches_of_any_partition_merge_to_the_whole(
            samples in samples(),
            mut cuts in proptest::collection::vec(0_usize..30, 0..6),
        ) {
            cuts.extend([0, samples.len()]);
            cuts.retain(|cut| *cut <= samples.len());
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|cut| whole(&samples[cut[0]..cut[1]])).collect();
            let mut merged = Aggregate::default();
            for part in &parts {
                merged.merge(part).unwrap();
            }
            prop_assert_eq!(&merged, &whole(&samples));
            // Which neighbours are merged first makes no difference.
            let mut from_the_end = Aggregate::default();
            for part in parts.iter().rev() {
                let mut joined = part.clone();
                joined.merge(&from_the_end).unwrap();
                from_the_end = joined;
            }
            prop_assert_eq!(merged, from_the_end);
        }

        #[test]
        fn the_order_in_which_events_come_makes_no_difference(
            (samples, shuffled) in samples()
                .prop_filter("levels have an order", |all| !all.iter().any(|s| matches!(s.2, Measured::Level(_))))
                .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
            cut in 0_usize..30,
        ) {
            let cut = cut.min(shuffled.len());
            let mut merged = whole(&shuffled[cut..]);
            merged.merge(&whole(&shuffled[..cut])).unwrap();
            prop_assert_eq!(&whole(&shuffled), &whole(&samples));
            prop_assert_eq!(merged, whole(&samples));
        }

        #[test]
        fn of_levels_is_adding_one_after_the_other(samples in samples(), until in 0_i64..600) {
            let levels: Vec<_> = samples.iter().filter_map(|(at, tie, measured)| match measured {
                Measured::Level(value) => Some((*at, &**tie, *value)),
                _ => None,
            }).collect();
            let built = Aggregate::of_levels(levels.iter().copied()).unwrap();
            let end = levels.last().map_or(0, |last| last.0.max(until));
            let simple = levels.iter().enumerate().map(|(index, (at, _, value))| {
                i128::from(*value) * i128::from(levels.get(index + 1).map_or(end, |next| next.0) - at)
            });
            prop_assert_eq!(built.level_area(until), Ok(simple.sum::<i128>()));
        }
    }
}
