//! What cases are written with.

use std::sync::Arc;

use halfbyte_core::TenantId;
use jiff::Timestamp;

use super::fresh::Fresh;
use crate::event::{Correction, Event};
use crate::metering::{Aggregate, Measured, Measurement};
use crate::store::{Entry, Outcome, Session, Slots, Standing, count};

pub(super) const COUNTED: Outcome = Outcome::Counted { overage: 0 };

/// All the slots there are.
pub(super) const EVER: Slots = i64::MIN..i64::MAX;

/// `minutes` after noon of a day.
pub(super) fn noon(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_793_620_800 + minutes * 60).unwrap()
}

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// An event of `acme` at noon, which measures nothing.
pub(super) fn event(id: &str) -> Entry {
    let event = Event {
        source: "/tests".into(),
        id: id.into(),
        kind: "parcel.label".into(),
        subject: "acme".into(),
        time: noon(0),
        data: "{}".into(),
    };
    Entry {
        at: event.time,
        event,
        tenant: tenant("acme"),
        digest: Box::default(),
        measurements: Vec::new(),
        charges: Vec::new(),
        correction: None,
    }
}

/// One that takes away what `target` was, and counts anew if it measures something.
pub(super) fn correction(id: &str, target: &str) -> Entry {
    let correction = Correction { source: "/tests".into(), id: target.into(), data: None };
    Entry { correction: Some(correction), ..event(id) }
}

impl Entry {
    pub(super) fn at(mut self, time: Timestamp) -> Self {
        self.event.time = time;
        self.at = time;
        self
    }

    pub(super) fn of(mut self, name: &str) -> Self {
        self.tenant = tenant(name);
        self
    }

    pub(super) fn data(mut self, json: &str) -> Self {
        self.event.data = json.into();
        self
    }

    pub(super) fn measures(mut self, meter: &str, dimensions: &str, value: Measured) -> Self {
        self.measurements.push(Measurement { meter: meter.into(), dimensions: dimensions.into(), value });
        self
    }

    /// So many labels.
    pub(super) fn labels(self, amount: i64) -> Self {
        self.measures("labels", "", Measured::Amount(amount))
    }
}

impl Fresh {
    /// Counts `entries` in a transaction of its own.
    pub(super) async fn count(&self, entries: &[Entry]) -> Vec<Outcome> {
        let mut session = self.session().await;
        let outcomes = commit(&mut *session, entries).await;
        session.close().await.unwrap();
        outcomes
    }

    /// Everything that `meter` measured for `acme`, in one.
    pub(super) async fn total(&self, meter: &str) -> (i64, i128) {
        let totals = self.store.totals("acme", meter, &[EVER]).await.unwrap();
        totals.iter().fold((0, 0), |sum, total| (sum.0 + total.count, sum.1 + total.sum))
    }

    /// What `meter` measured for `acme`, by slot and dimensions.
    pub(super) async fn rows(&self, meter: &str) -> Vec<(i64, Box<str>, Aggregate)> {
        let rows = self.store.usage_rows("acme", meter, EVER, true, i64::MAX).await.unwrap();
        rows.into_iter().map(|row| (row.slot, row.dimensions, row.aggregate)).collect()
    }

    /// What became of an event, if it is there.
    pub(super) async fn standing(&self, id: &str) -> Option<Standing> {
        self.store.event("/tests", id).await.unwrap().map(|event| event.standing)
    }
}

/// Entries as the store is given them: those that say nothing else are the same if all of their event is.
pub(super) fn given(entries: &[Entry]) -> Vec<Arc<Entry>> {
    let given = entries.iter().cloned().map(|mut entry| {
        if entry.digest.is_empty() {
            entry.digest = entry.event.digest().into();
        }
        Arc::new(entry)
    });
    given.collect()
}

/// Counts `entries` in one transaction.
pub(super) async fn commit(session: &mut dyn Session, entries: &[Entry]) -> Vec<Outcome> {
    session.begin().await.unwrap();
    let outcomes = count(session, noon(60), &given(entries)).await.unwrap();
    session.commit().await.unwrap();
    outcomes
}

/// The one number that a query answers.
pub(super) async fn number(session: &mut dyn Session, sql: &'static str) -> i64 {
    session.query(sql, &[]).await.unwrap()[0].int(0).unwrap()
}

/// Numbers that look random and are the same in each run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Less than `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % bound
    }
}
