use std::collections::BTreeMap;

use super::fresh::Fresh;
use super::support::{COUNTED, Dice, EVER, commit, correction, event, noon};
use crate::metering::{Aggregate, Latest, Level, Measured};
use crate::period::slot_of_micros;
use crate::store::{Entry, Outcome};

/// What counts, by name: when, and what it measures.
type Counting = BTreeMap<String, (i64, Entry)>;

/// When something was measured, what decides between two at once, and what it was.
type Point = (i64, Box<str>, Measured);

/// The aggregates of a meter, worked out from everything at once.
fn expected(counting: &Counting, meter: &str) -> Vec<(i64, Box<str>, Aggregate)> {
    let mut points: BTreeMap<(i64, Box<str>), Vec<Point>> = BTreeMap::new();
    for (at, entry) in counting.values() {
        for one in entry.measurements.iter().filter(|one| *one.meter == *meter) {
            let tie = format!("{}\u{1f}{}", entry.event.source, entry.event.id).into();
            points.entry((slot_of_micros(*at), one.dimensions.clone())).or_default().push((
                *at,
                tie,
                one.value.clone(),
            ));
        }
    }
    let aggregate = |mut points: Vec<Point>| {
        points.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        let numbers: Vec<(i64, i64)> = points
            .iter()
            .filter_map(|(at, _, value)| match value {
                Measured::Amount(number) | Measured::Level(number) => Some((*at, *number)),
                Measured::Unique(_) => None,
            })
            .collect();
        let is_level = matches!(points[0].2, Measured::Level(_));
        let is_amount = matches!(points[0].2, Measured::Amount(_));
        let area = numbers.windows(2).map(|pair| i128::from(pair[0].1) * i128::from(pair[1].0 - pair[0].0)).sum();
        let latest = points.last().zip(numbers.last());
        let mut unique = BTreeMap::new();
        for (_, _, value) in &points {
            if let Measured::Unique(text) = value {
                *unique.entry(text.clone()).or_default() += 1;
            }
        }
        Aggregate {
            count: i64::try_from(points.len()).unwrap(),
            sum: if is_amount { numbers.iter().map(|(_, number)| number).sum() } else { 0 },
            min: numbers.iter().map(|(_, number)| *number).min(),
            max: numbers.iter().map(|(_, number)| *number).max(),
            latest: latest.map(|((at, tie, _), (_, value))| Latest { at: *at, tie: tie.clone(), value: *value }),
            level: is_level.then(|| Level { first_at: numbers[0].0, area }),
            unique,
        }
    };
    points.into_iter().map(|((slot, dimensions), points)| (slot, dimensions, aggregate(points))).collect()
}

pub(super) async fn aggregates_are_what_the_events_say_in_any_order(fresh: Fresh) {
    for seed in 1..=12 {
        let mut dice = Dice::new(seed);
        let meters = ["amounts", "levels", "uniques"].map(|meter| format!("{meter} {seed}"));
        let measure = |entry: Entry, dice: &mut Dice| {
            let mut entry = entry;
            let number = i64::try_from(dice.below(9)).unwrap() - 4;
            let dimensions = ["", "[\"eu\"]"][dice.below(2)];
            if dice.below(3) > 0 {
                entry = entry.measures(&meters[0], dimensions, Measured::Amount(number));
            }
            if dice.below(3) == 0 {
                entry = entry.measures(&meters[1], dimensions, Measured::Level(number));
            }
            if dice.below(2) == 0 {
                entry = entry.measures(&meters[2], dimensions, Measured::Unique(number.to_string().into()));
            }
            entry
        };
        let mut counting = Counting::new();
        let mut names: Vec<String> = Vec::new();
        let mut session = fresh.session().await;
        for round in 0..25 {
            let mut batch = Vec::new();
            for n in 0..=dice.below(6) {
                let name = format!("{seed} {round} {n}");
                // Times that come again and again, forwards and backwards, in three slots.
                let at = noon(0) + jiff::SignedDuration::from_secs(i64::try_from(dice.below(27)).unwrap() * 100);
                if dice.below(3) == 0 && !names.is_empty() {
                    let target = names[dice.below(names.len())].clone();
                    let void = correction(&name, &target).at(at);
                    batch.push(if dice.below(2) == 0 { measure(void, &mut dice) } else { void });
                } else {
                    batch.push(measure(event(&name).at(at), &mut dice));
                }
                names.push(name);
            }
            for (entry, outcome) in batch.iter().zip(commit(&mut *session, &batch).await) {
                let target = entry.correction.as_ref().map(|correction| counting.remove(&*correction.id));
                match target {
                    Some(None) => assert_eq!(outcome, Outcome::NothingToCorrect),
                    Some(Some((at, _))) => _ = counting.insert(entry.event.id.to_string(), (at, entry.clone())),
                    None => {
                        let at = entry.event.time.as_microsecond();
                        counting.insert(entry.event.id.to_string(), (at, entry.clone()));
                    }
                }
            }
            for meter in &meters {
                assert_eq!(fresh.rows(meter).await, expected(&counting, meter), "seed {seed}, round {round}");
            }
        }
    }
}

pub(super) async fn a_level_goes_on_from_batch_to_batch(fresh: Fresh) {
    let seats = |id: &str, minute, level| event(id).at(noon(minute)).measures("seats", "", Measured::Level(level));
    fresh.count(&[seats("a", 1, 10)]).await;
    fresh.count(&[seats("c", 5, 20), seats("d", 6, 0)]).await;
    let minutes = |minutes: i128| minutes * 60_000_000;
    let level = fresh.rows("seats").await[0].2.level.clone().unwrap();
    assert_eq!((level.first_at, level.area), (noon(1).as_microsecond(), minutes(10 * 4 + 20)));
    fresh.count(&[seats("b", 3, 5)]).await;
    let level = fresh.rows("seats").await[0].2.level.clone().unwrap();
    assert_eq!(level.area, minutes(10 * 2 + 5 * 2 + 20), "what comes out of order finds its place");
}

pub(super) async fn levels_of_two_processes_do_not_lose_each_other(fresh: Fresh) {
    let ingest = async |process: i64| {
        let mut session = fresh.session().await;
        for n in 0..40 {
            // A slot that nobody has written to before, again and again.
            let at = noon(n * 15 + process);
            let entry = event(&format!("{process} {n}")).at(at).measures("seats", "", Measured::Level(1));
            assert_eq!(commit(&mut *session, &[entry.labels(1)]).await, [COUNTED]);
        }
    };
    tokio::join!(ingest(0), ingest(1));
    let rows = fresh.rows("seats").await;
    assert_eq!(rows.len(), 40);
    for (slot, _, aggregate) in rows {
        assert_eq!((aggregate.count, aggregate.level.unwrap().area), (2, 60_000_000), "{slot}");
    }
    assert_eq!(fresh.total("labels").await, (80, 80));
}

pub(super) async fn the_largest_numbers_stop_nothing(fresh: Fresh) {
    for (sign, meter) in [(1, "up"), (-1, "down")] {
        let most = |id: &str, minute: i64| {
            event(&format!("{meter} {id}")).at(noon(minute)).measures(meter, "", Measured::Amount(sign * i64::MAX))
        };
        assert_eq!(fresh.count(&[most("a", 0)]).await, [COUNTED]);
        assert_eq!(fresh.count(&[most("b", 1)]).await, [COUNTED], "a slot is full");
        assert_eq!(fresh.count(&[most("c", 15), most("d", 30)]).await, [COUNTED; 2]);
        assert_eq!(fresh.total(meter).await, (4, 3 * i128::from(sign * i64::MAX)), "a sum of slots never is");
        let level = event(&format!("{meter} level")).measures("levels", meter, Measured::Level(sign * i64::MAX));
        let later = level.clone().at(noon(14));
        let later = Entry { event: crate::Event { id: format!("{meter} later").into(), ..later.event }, ..later };
        assert_eq!(fresh.count(&[level, later]).await, [COUNTED; 2]);
    }
    let areas = fresh.store.usage_rows("acme", "levels", EVER, false, 9).await.unwrap();
    let area = i128::from(i64::MAX) * 14 * 60_000_000;
    assert_eq!(areas.iter().map(|row| row.aggregate.level.clone().unwrap().area).collect::<Vec<_>>(), [-area, area]);
}
