//! Events come in: each counts once, in its own slot, or is told why it does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::aggregates::{Changes, tie};
use super::closing::{self, Closed};
use super::corrections::{self, Identity, Target};
use super::measured::{keep, to_json};
use super::{Column, Dialect, Entry, Insert, Outcome, Session, SqlError, Value};
use crate::period::slot_of_micros;

/// It counts.
pub(super) const COUNTS: i64 = 0;
/// Its period was closed when it came.
pub(super) const LATE: i64 = 1;
/// It was voided or amended.
pub(super) const VOID: i64 = 2;

/// Counts `entries`, in their order, within the caller's transaction; answers one outcome for each. What the entries
/// charge is left to the caller: a correction that has [`Outcome::Counted`] took effect on the event that it names.
///
/// The number of statements does not depend on how many entries there are.
pub(crate) async fn count(
    session: &mut dyn Session,
    now: Timestamp,
    entries: &[Arc<Entry>],
) -> Result<Vec<Outcome>, SqlError> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let closed = closing::closed(session, entries).await?;
    let targets = corrections::targets(session, entries).await?;
    // As if nothing of it were there, which is how it is unless it is sent again. What was corrected before shows only by the
    // correction that did it.
    let looks_first = entries.iter().any(|entry| entry.correction.is_some());
    let known = if looks_first { existing(session, entries).await? } else { HashMap::new() };
    let mut plan = Plan::of(entries, &known, &closed, &targets);
    while !insert(session, now, &plan).await? {
        plan = Plan::of(entries, &existing(session, entries).await?, &closed, &targets);
    }
    corrections::mark(session, &plan.voided).await?;
    let mut changes = Changes::default();
    for target in plan.voided.iter().map(|identity| &targets[identity]) {
        for part in target.kept.parts() {
            changes.recompute((&target.tenant, &part.0, slot_of_micros(target.at), &part.1));
        }
    }
    for new in plan.new.values().filter(|new| new.state == COUNTS) {
        let tie = tie(&new.entry.event.source, &new.entry.event.id);
        for one in &new.entry.measurements {
            let key = (new.entry.tenant.as_str(), &*one.meter, slot_of_micros(new.at), &*one.dimensions);
            changes.add(key, new.at, &tie, &one.value);
        }
    }
    changes.write(session).await?;
    Ok(plan.outcomes)
}

/// An event that goes in.
struct New<'a> {
    entry: &'a Entry,
    /// When it counts: its own time, or that of what it corrects.
    at: i64,
    state: i64,
}

impl New<'_> {
    fn measured(&self) -> Result<String, SqlError> {
        keep(&self.entry.measurements, self.entry.correction.as_ref().map(|_| self.at))
    }
}

/// What is to be done with a batch, as far as is known before it is done.
struct Plan<'a> {
    outcomes: Vec<Outcome>,
    new: BTreeMap<Identity<'a>, New<'a>>,
    /// What was there before and does not count any more.
    voided: BTreeSet<Identity<'a>>,
}

impl<'a> Plan<'a> {
    fn of(
        entries: &'a [Arc<Entry>],
        existing: &HashMap<usize, String>,
        closed: &Closed,
        targets: &HashMap<Identity<'a>, Target>,
    ) -> Self {
        let mut plan =
            Self { outcomes: Vec::with_capacity(entries.len()), new: BTreeMap::new(), voided: BTreeSet::new() };
        for (index, entry) in entries.iter().enumerate() {
            let outcome = plan.decide(entry, existing.get(&index), closed, targets);
            plan.outcomes.push(outcome);
        }
        plan
    }

    fn decide(
        &mut self,
        entry: &'a Entry,
        existing: Option<&String>,
        closed: &Closed,
        targets: &HashMap<Identity<'a>, Target>,
    ) -> Outcome {
        let identity = (&*entry.event.source, &*entry.event.id);
        if let Some(first) = existing.map(|first| &**first).or(self.new.get(&identity).map(|new| &*new.entry.digest)) {
            return if *first == *entry.digest { Outcome::Duplicate } else { Outcome::Conflict };
        }
        let mut at = entry.event.time.as_microsecond();
        if let Some(correction) = &entry.correction {
            let identity = (&*correction.source, &*correction.id);
            let target = match (self.new.get(&identity), targets.get(&identity)) {
                (Some(new), _) => Some((new.state, new.at, new.entry.tenant.as_str())),
                (None, Some(target)) if !self.voided.contains(&identity) => {
                    Some((target.state, target.at, &*target.tenant))
                }
                _ => None,
            };
            match target {
                Some((state, counts_at, tenant)) if state != VOID && tenant == entry.tenant.as_str() => {
                    at = counts_at;
                }
                _ => return Outcome::NothingToCorrect,
            }
        }
        // So is what corrects a late event, for watermarks never move back.
        let is_late = at < closed.until(&entry.tenant);
        if let (false, Some(correction)) = (is_late, &entry.correction) {
            let identity = (&*correction.source, &*correction.id);
            match self.new.get_mut(&identity) {
                Some(new) => new.state = VOID,
                None => _ = self.voided.insert(identity),
            }
        }
        self.new.insert(identity, New { entry, at, state: if is_late { LATE } else { COUNTS } });
        if is_late { Outcome::Late } else { Outcome::Counted { overage: 0 } }
    }
}

/// The digests of those entries whose source and id are there, by their place in the batch.
async fn existing(session: &mut dyn Session, entries: &[Arc<Entry>]) -> Result<HashMap<usize, String>, SqlError> {
    let names: Vec<_> =
        entries.iter().enumerate().map(|(index, entry)| (index, &entry.event.source, &entry.event.id)).collect();
    let found = session
        .query(
            "SELECT CAST(value ->> 0 AS INTEGER), digest
             FROM json_each($1) CROSS JOIN events WHERE source = value ->> 1 AND events.id = value ->> 2",
            &[to_json(&names)?.as_str().into()],
        )
        .await?;
    found.iter().map(|row| Ok((usize::try_from(row.int(0)?).unwrap_or(usize::MAX), row.text(1)?.to_owned()))).collect()
}

const INTO_EVENTS: Insert = Insert {
    table: "events",
    columns: &[
        Column::Text("source"),
        Column::Text("id"),
        Column::Text("digest"),
        Column::Text("tenant"),
        Column::Text("kind"),
        Column::Text("subject"),
        Column::Int("time"),
        Column::Int("slot"),
        Column::Text("data"),
        Column::Text("measured"),
        Column::Int("state"),
        Column::Int("received"),
    ],
    conflict: "ON CONFLICT (source, id) DO NOTHING",
};

/// Inserts what is new. False, with nothing inserted, if some of it is there.
async fn insert(session: &mut dyn Session, now: Timestamp, plan: &Plan<'_>) -> Result<bool, SqlError> {
    if plan.new.is_empty() {
        return Ok(true);
    }
    let last = match session.dialect() {
        Dialect::Sqlite => session.query("SELECT coalesce(max(seq), 0) FROM events", &[]).await?[0].int(0)?,
        Dialect::Postgres => 0,
    };
    let kept = plan.new.values().map(New::measured).collect::<Result<Vec<_>, _>>()?;
    let mut values = Vec::with_capacity(plan.new.len() * INTO_EVENTS.columns.len());
    for (New { entry, at, state }, measured) in plan.new.values().zip(&kept) {
        let event = &entry.event;
        values.extend([
            Value::Text(&event.source),
            Value::Text(&event.id),
            Value::Text(&entry.digest),
            Value::Text(entry.tenant.as_str()),
            Value::Text(&event.kind),
            Value::Text(&event.subject),
            Value::Int(event.time.as_microsecond()),
            Value::Int(slot_of_micros(*at)),
            Value::Text(&event.data),
            Value::Text(measured),
            Value::Int(*state),
            Value::Int(now.as_microsecond()),
        ]);
    }
    if session.insert(&INTO_EVENTS, &values).await? == plan.new.len() as u64 {
        return Ok(true);
    }
    match session.dialect() {
        // Nobody else writes meanwhile.
        Dialect::Sqlite => session.execute("DELETE FROM events WHERE seq > $1", &[last.into()]).await?,
        Dialect::Postgres => {
            let names: Vec<_> = plan.new.keys().collect();
            session
                .execute(
                    "DELETE FROM events WHERE tx = CAST(CAST(pg_current_xact_id() AS text) AS INTEGER)
                     AND (source, id) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))",
                    &[to_json(&names)?.as_str().into()],
                )
                .await?
        }
    };
    Ok(false)
}
