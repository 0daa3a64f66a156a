//! Events come in: each counts once, in its own slot, or is told why it does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::aggregates::{Changes, tie};
use super::closing::{self, Closed};
use super::corrections::{self, Identity, Target};
use super::measured::{keep, to_json};
use super::{Entry, Outcome, Session};
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
    entries: &[Entry],
) -> Result<Vec<Outcome>, sqlx::Error> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let closed = closing::closed(session, entries).await?;
    let targets = corrections::targets(session, entries).await?;
    let plan = loop {
        let existing = existing(session, entries).await?;
        let plan = Plan::of(entries, &existing, &closed, &targets);
        if insert(session, now, &plan).await? {
            break plan;
        }
    };
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
    digest: String,
    /// When it counts: its own time, or that of what it corrects.
    at: i64,
    state: i64,
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
        entries: &'a [Entry],
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
        let digest = entry.digest.clone().map_or_else(|| entry.event.digest(), String::from);
        if let Some(first) = existing.or(self.new.get(&identity).map(|new| &new.digest)) {
            return if *first == digest { Outcome::Duplicate } else { Outcome::Conflict };
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
        self.new.insert(identity, New { entry, digest, at, state: if is_late { LATE } else { COUNTS } });
        if is_late { Outcome::Late } else { Outcome::Counted { overage: 0 } }
    }
}

/// The digests of those entries whose source and id are there, by their place in the batch.
async fn existing(session: &mut dyn Session, entries: &[Entry]) -> Result<HashMap<usize, String>, sqlx::Error> {
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

/// Inserts what is new. False, with nothing inserted, if another process was faster with some of it since it was looked
/// for: PostgreSQL only, SQLite lets one write at a time.
async fn insert(session: &mut dyn Session, now: Timestamp, plan: &Plan<'_>) -> Result<bool, sqlx::Error> {
    if plan.new.is_empty() {
        return Ok(true);
    }
    let rows = plan.new.values().map(row).collect::<Result<Vec<_>, _>>()?;
    let inserted = session
        .execute(
            "INSERT INTO events (source, id, digest, tenant, kind, subject, time, slot, data, measured, state, received)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
                    CAST(value ->> 6 AS INTEGER), CAST(value ->> 7 AS INTEGER), value ->> 8, value ->> 9,
                    CAST(value ->> 10 AS INTEGER), $2
             FROM json_each($1) WHERE true
             ON CONFLICT (source, id) DO NOTHING",
            &[to_json(&rows)?.as_str().into(), now.as_microsecond().into()],
        )
        .await?;
    if inserted == rows.len() as u64 {
        return Ok(true);
    }
    let names: Vec<_> = plan.new.keys().collect();
    session
        .execute(
            "DELETE FROM events WHERE tx = CAST(CAST(pg_current_xact_id() AS text) AS INTEGER)
             AND (source, id) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))",
            &[to_json(&names)?.as_str().into()],
        )
        .await?;
    Ok(false)
}

type Inserted<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str, i64, i64, &'a str, String, i64);

fn row<'a>(new: &'a New<'_>) -> Result<Inserted<'a>, sqlx::Error> {
    let New { entry, digest, at, state } = new;
    let event = &entry.event;
    let measured = keep(&entry.measurements, entry.correction.as_ref().map(|_| *at))?;
    let (tenant, time) = (entry.tenant.as_str(), event.time.as_microsecond());
    let (slot, data) = (slot_of_micros(*at), &event.data);
    Ok((&event.source, &event.id, digest, tenant, &event.kind, &event.subject, time, slot, data, measured, *state))
}
