//! What was measured in each quarter of an hour, kept as a sum of the events so that nobody has to read those.

use std::collections::{BTreeMap, BTreeSet};

use super::events::COUNTS;
use super::measured::{Kept, to_json};
use super::{Column, Dialect, Insert, Row, Session, SqlError, Value};
use crate::metering::{Aggregate, Latest, Level, Measured};

/// Tenant, meter, slot, dimensions.
pub(super) type Key<'a> = (&'a str, &'a str, i64, &'a str);

/// What decides which of several events at one time is the latest.
pub(super) fn tie(source: &str, id: &str) -> String {
    format!("{source}\u{1f}{id}")
}

/// What a transaction changes in the aggregates.
#[derive(Default)]
pub(super) struct Changes<'a> {
    added: BTreeMap<Key<'a>, Aggregate>,
    levels: BTreeMap<Key<'a>, BTreeMap<Point, i64>>,
    recomputed: BTreeSet<Key<'a>>,
}

/// Time and [`tie`].
type Point = (i64, Box<str>);

impl<'a> Changes<'a> {
    /// Something was measured.
    pub(super) fn add(&mut self, key: Key<'a>, at: i64, tie: &str, value: &Measured) {
        if let Measured::Level(level) = value {
            self.levels.entry(key).or_default().insert((at, tie.into()), *level);
        } else {
            put(self.added.entry(key).or_default(), at, tie, value);
        }
    }

    /// Something does not count any more: the events that are left are counted anew.
    pub(super) fn recompute(&mut self, key: Key<'a>) {
        self.recomputed.insert(key);
    }

    /// Writes it, after the events themselves.
    pub(super) async fn write(mut self, session: &mut dyn Session) -> Result<(), SqlError> {
        let mut whole = Vec::new();
        if !(self.levels.is_empty() && self.recomputed.is_empty()) {
            self.lock(session).await?;
            whole = self.extend_levels(session).await?;
            // Counted anew is counted with everything that came now.
            self.added.retain(|key, _| !self.recomputed.contains(key));
            whole.append(&mut recompute(session, &self.recomputed).await?);
        }
        replace(session, &whole).await?;
        add(session, &self.added).await?;
        let forgotten: Vec<_> = self.recomputed.into_iter().collect();
        forget_uniques(session, &forgotten).await?;
        let uniques = whole.iter().map(|(key, aggregate)| (key, aggregate)).chain(&self.added);
        add_uniques(session, uniques).await
    }

    /// Makes all rows that will be written, and locks them, in one order: from here on, whoever else has an event for
    /// one of them has committed it, and is seen, or will wait.
    async fn lock(&self, session: &mut dyn Session) -> Result<(), SqlError> {
        if session.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let keys: BTreeSet<_> = self.added.keys().chain(self.levels.keys()).chain(&self.recomputed).collect();
        session
            .execute(
                "INSERT INTO aggregates (tenant, meter, slot, dimensions, count, sum)
                 SELECT value ->> 0, value ->> 1, CAST(value ->> 2 AS INTEGER), value ->> 3, 0, 0
                 FROM json_each($1) WHERE true
                 ON CONFLICT (tenant, meter, slot, dimensions) DO UPDATE SET count = aggregates.count",
                &[to_json(&keys)?.as_str().into()],
            )
            .await?;
        Ok(())
    }

    /// Levels that come in the order of their times go on from where the row is; the others are counted anew.
    async fn extend_levels(&mut self, session: &mut dyn Session) -> Result<Vec<(Key<'a>, Aggregate)>, SqlError> {
        let levels: Vec<_> = std::mem::take(&mut self.levels).into_iter().collect();
        if levels.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = levels.iter().enumerate().map(|(index, (key, _))| (index, key)).collect();
        let found = session
            .query(
                "SELECT count, sum, min, max, latest, latest_at, latest_id, first_at, area, CAST(value ->> 0 AS INTEGER)
                 FROM json_each($1) CROSS JOIN aggregates
                 WHERE tenant = value -> 1 ->> 0 AND meter = value -> 1 ->> 1
                 AND slot = CAST(value -> 1 ->> 2 AS INTEGER) AND dimensions = value -> 1 ->> 3",
                &[to_json(&keys)?.as_str().into()],
            )
            .await?;
        let mut before = vec![Aggregate::default(); levels.len()];
        for row in &found {
            let index = usize::try_from(row.int(9)?).unwrap_or(usize::MAX);
            *before.get_mut(index).ok_or(SqlError::Missing)? = read(row)?;
        }
        let mut whole = Vec::with_capacity(levels.len());
        for ((key, points), mut aggregate) in levels.into_iter().zip(before) {
            let ends = aggregate.latest.as_ref().map(|latest| (latest.at, latest.tie.clone()));
            let goes_on = points.first_key_value().is_some_and(|(first, _)| ends.is_none_or(|ends| ends < *first));
            if !goes_on || self.recomputed.contains(&key) {
                self.recomputed.insert(key);
                continue;
            }
            for ((at, tie), level) in points {
                put(&mut aggregate, at, &tie, &Measured::Level(level));
            }
            whole.push((key, aggregate));
        }
        Ok(whole)
    }
}

/// Adds one measurement; levels in the order of their times.
fn put(aggregate: &mut Aggregate, at: i64, tie: &str, value: &Measured) {
    aggregate.count += 1;
    let number = match value {
        Measured::Unique(text) => {
            *aggregate.unique.entry(text.clone()).or_default() += 1;
            return;
        }
        Measured::Amount(amount) => {
            aggregate.sum = aggregate.sum.saturating_add(*amount);
            *amount
        }
        Measured::Level(level) => {
            let ends = aggregate.latest.as_ref().map_or((at, 0), |latest| (latest.at, latest.value));
            let level_so_far = aggregate.level.get_or_insert(Level { first_at: at, area: 0 });
            level_so_far.area += i128::from(ends.1) * i128::from(at - ends.0);
            *level
        }
    };
    aggregate.min = Some(aggregate.min.map_or(number, |min| min.min(number)));
    aggregate.max = Some(aggregate.max.map_or(number, |max| max.max(number)));
    if aggregate.latest.as_ref().is_none_or(|latest| (latest.at, &*latest.tie) < (at, tie)) {
        aggregate.latest = Some(Latest { at, tie: tie.into(), value: number });
    }
}

/// Reads the columns from `count` to `area`.
pub(super) fn read(row: &Row) -> Result<Aggregate, SqlError> {
    let latest = match (row.int_or_none(4)?, row.int_or_none(5)?, row.text_or_none(6)?) {
        (Some(value), Some(at), Some(tie)) => Some(Latest { at, tie: tie.into(), value }),
        _ => None,
    };
    let level = match (row.int_or_none(7)?, row.text_or_none(8)?) {
        (Some(first_at), Some(area)) => {
            Some(Level { first_at, area: area.parse().map_err(|_| SqlError::content("an area is no number"))? })
        }
        _ => None,
    };
    let (min, max) = (row.int_or_none(2)?, row.int_or_none(3)?);
    Ok(Aggregate { count: row.int(0)?, sum: row.int(1)?, min, max, latest, level, unique: BTreeMap::new() })
}

/// Counts from the events.
async fn recompute<'a>(
    session: &mut dyn Session,
    keys: &BTreeSet<Key<'a>>,
) -> Result<Vec<(Key<'a>, Aggregate)>, SqlError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let meters: BTreeSet<_> = keys.iter().map(|(tenant, meter, slot, _)| (*tenant, *meter, *slot)).collect();
    let meters: Vec<_> = meters.into_iter().collect();
    let rows = meters.iter().enumerate().map(|(index, (tenant, meter, slot))| {
        // Leaves most of what is about other meters in the database: their names are written as JSON there.
        Ok((index, tenant, slot, format!("%{}%", to_json(meter)?.replace('\\', "_"))))
    });
    let rows = rows.collect::<Result<Vec<_>, SqlError>>()?;
    let found = session
        .query(
            "SELECT CAST(value ->> 0 AS INTEGER), source, events.id, time, measured, state
             FROM json_each($1) CROSS JOIN events
             WHERE tenant = value ->> 1 AND slot = CAST(value ->> 2 AS INTEGER) AND measured LIKE value ->> 3",
            &[to_json(&rows)?.as_str().into()],
        )
        .await?;
    // By dimensions, for each of `meters`.
    let mut points: Vec<BTreeMap<&'a str, BTreeMap<Point, Measured>>> = vec![BTreeMap::new(); meters.len()];
    for (tenant, meter, slot, dimensions) in keys {
        if let Ok(index) = meters.binary_search(&(*tenant, *meter, *slot)) {
            points[index].insert(dimensions, BTreeMap::new());
        }
    }
    for row in &found {
        // Not a condition of the query: PostgreSQL would go by it, and not by the index, as long as the table is new.
        if row.int(5)? != COUNTS {
            continue;
        }
        let index = usize::try_from(row.int(0)?).unwrap_or(usize::MAX);
        let (meter, points) =
            meters.get(index).map(|meter| meter.1).zip(points.get_mut(index)).ok_or(SqlError::Missing)?;
        let kept = Kept::parse(row.text(4)?)?;
        let point = (kept.at(row.int(3)?), tie(row.text(1)?, row.text(2)?).into());
        for part in kept.parts().iter().filter(|part| *part.0 == *meter) {
            if let Some(points) = points.get_mut(&*part.1) {
                points.insert(point.clone(), part.value());
            }
        }
    }
    let of_meters = meters.into_iter().zip(points);
    let counted = of_meters.flat_map(|((tenant, meter, slot), points)| {
        points.into_iter().map(move |(dimensions, points)| {
            let mut aggregate = Aggregate::default();
            points.iter().for_each(|((at, tie), value)| put(&mut aggregate, *at, tie, value));
            ((tenant, meter, slot, dimensions), aggregate)
        })
    });
    Ok(counted.collect())
}

type Columns<'a> = (i64, i64, Option<i64>, Option<i64>, Option<(i64, i64, &'a str)>, Option<(i64, String)>);

fn columns(aggregate: &Aggregate) -> Columns<'_> {
    let latest = aggregate.latest.as_ref().map(|latest| (latest.value, latest.at, &*latest.tie));
    let level = aggregate.level.as_ref().map(|level| (level.first_at, level.area.to_string()));
    (aggregate.count, aggregate.sum, aggregate.min, aggregate.max, latest, level)
}

/// Puts rows in the place of those that are there; those in which nothing is left go.
async fn replace(session: &mut dyn Session, rows: &[(Key<'_>, Aggregate)]) -> Result<(), SqlError> {
    let (empty, full): (Vec<_>, Vec<_>) = rows.iter().partition(|(_, aggregate)| aggregate.count == 0);
    if !full.is_empty() {
        let full: Vec<_> = full.iter().map(|(key, aggregate)| (key, columns(aggregate))).collect();
        session
            .execute(
                "INSERT INTO aggregates (tenant, meter, slot, dimensions, count, sum, min, max,
                                         latest, latest_at, latest_id, first_at, area)
                 SELECT value -> 0 ->> 0, value -> 0 ->> 1, CAST(value -> 0 ->> 2 AS INTEGER), value -> 0 ->> 3,
                        CAST(value -> 1 ->> 0 AS INTEGER), CAST(value -> 1 ->> 1 AS INTEGER),
                        CAST(value -> 1 ->> 2 AS INTEGER), CAST(value -> 1 ->> 3 AS INTEGER),
                        CAST(value -> 1 -> 4 ->> 0 AS INTEGER), CAST(value -> 1 -> 4 ->> 1 AS INTEGER),
                        value -> 1 -> 4 ->> 2,
                        CAST(value -> 1 -> 5 ->> 0 AS INTEGER), value -> 1 -> 5 ->> 1
                 FROM json_each($1) WHERE true
                 ON CONFLICT (tenant, meter, slot, dimensions) DO UPDATE SET
                     count = excluded.count, sum = excluded.sum, min = excluded.min, max = excluded.max,
                     latest = excluded.latest, latest_at = excluded.latest_at, latest_id = excluded.latest_id,
                     first_at = excluded.first_at, area = excluded.area",
                &[to_json(&full)?.as_str().into()],
            )
            .await?;
    }
    if !empty.is_empty() {
        let empty: Vec<_> = empty.iter().map(|(key, _)| key).collect();
        session
            .execute(
                "DELETE FROM aggregates WHERE (tenant, meter, slot, dimensions) IN
                     (SELECT value ->> 0, value ->> 1, CAST(value ->> 2 AS INTEGER), value ->> 3 FROM json_each($1))",
                &[to_json(&empty)?.as_str().into()],
            )
            .await?;
    }
    Ok(())
}

const INTO_AGGREGATES: Insert = Insert {
    table: "aggregates",
    columns: &[
        Column::Text("tenant"),
        Column::Text("meter"),
        Column::Int("slot"),
        Column::Text("dimensions"),
        Column::Int("count"),
        Column::Int("sum"),
        Column::Int("min"),
        Column::Int("max"),
        Column::Int("latest"),
        Column::Int("latest_at"),
        Column::Text("latest_id"),
    ],
    conflict: "ON CONFLICT (tenant, meter, slot, dimensions) DO UPDATE SET
        count = aggregates.count + excluded.count,
        sum = CASE
            WHEN excluded.sum > 0 AND aggregates.sum > 9223372036854775807 - excluded.sum THEN 9223372036854775807
            WHEN excluded.sum < 0 AND aggregates.sum < -9223372036854775807 - excluded.sum THEN -9223372036854775807
            ELSE aggregates.sum + excluded.sum END,
        min = CASE WHEN excluded.min IS NULL OR aggregates.min < excluded.min
            THEN aggregates.min ELSE excluded.min END,
        max = CASE WHEN excluded.max IS NULL OR aggregates.max > excluded.max
            THEN aggregates.max ELSE excluded.max END,
        latest = CASE WHEN excluded.latest_at IS NULL
            OR (aggregates.latest_at, aggregates.latest_id) > (excluded.latest_at, excluded.latest_id)
            THEN aggregates.latest ELSE excluded.latest END,
        latest_id = CASE WHEN excluded.latest_at IS NULL
            OR (aggregates.latest_at, aggregates.latest_id) > (excluded.latest_at, excluded.latest_id)
            THEN aggregates.latest_id ELSE excluded.latest_id END,
        latest_at = CASE WHEN excluded.latest_at IS NULL OR aggregates.latest_at > excluded.latest_at
            THEN aggregates.latest_at ELSE excluded.latest_at END",
};

/// Adds to the rows that are there. A sum stops at the largest number rather than stop everything.
async fn add(session: &mut dyn Session, added: &BTreeMap<Key<'_>, Aggregate>) -> Result<(), SqlError> {
    if added.is_empty() {
        return Ok(());
    }
    let values: Vec<_> = added
        .iter()
        .flat_map(|((tenant, meter, slot, dimensions), aggregate)| {
            let latest = aggregate.latest.as_ref();
            [
                Value::Text(tenant),
                Value::Text(meter),
                Value::Int(*slot),
                Value::Text(dimensions),
                Value::Int(aggregate.count),
                Value::Int(aggregate.sum),
                aggregate.min.into(),
                aggregate.max.into(),
                latest.map(|latest| latest.value).into(),
                latest.map(|latest| latest.at).into(),
                latest.map(|latest| &*latest.tie).into(),
            ]
        })
        .collect();
    session.insert(&INTO_AGGREGATES, &values).await?;
    Ok(())
}

/// Whoever changes these has locked the row in `aggregates` that they belong to.
async fn forget_uniques(session: &mut dyn Session, keys: &[Key<'_>]) -> Result<(), SqlError> {
    if keys.is_empty() {
        return Ok(());
    }
    session
        .execute(
            "DELETE FROM uniques WHERE (tenant, meter, slot, dimensions) IN
                 (SELECT value ->> 0, value ->> 1, CAST(value ->> 2 AS INTEGER), value ->> 3 FROM json_each($1))",
            &[to_json(&keys)?.as_str().into()],
        )
        .await?;
    Ok(())
}

async fn add_uniques<'b, 'a: 'b>(
    session: &mut dyn Session,
    aggregates: impl Iterator<Item = (&'b Key<'a>, &'b Aggregate)>,
) -> Result<(), SqlError> {
    let values: Vec<_> = aggregates
        .flat_map(|(key, aggregate)| {
            let values = aggregate.unique.iter();
            values.flat_map(|(value, count)| {
                [key.0.into(), key.1.into(), key.2.into(), key.3.into(), Value::Text(value), Value::Int(*count)]
            })
        })
        .collect();
    if !values.is_empty() {
        session.insert(&INTO_UNIQUES, &values).await?;
    }
    Ok(())
}

const INTO_UNIQUES: Insert = Insert {
    table: "uniques",
    columns: &[
        Column::Text("tenant"),
        Column::Text("meter"),
        Column::Int("slot"),
        Column::Text("dimensions"),
        Column::Text("value"),
        Column::Int("count"),
    ],
    conflict: "ON CONFLICT (tenant, meter, slot, dimensions, value) DO UPDATE SET count = uniques.count + excluded.count",
};
