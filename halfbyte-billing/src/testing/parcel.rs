//! What cases of lots, charges and leases are written with.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::support::{correction, event, given, number, tenant};
use crate::ledger::{LotSpec, Rollover};
use crate::store::{Batch, Charge, Committed, Entry, Held, Holder, LeaseAsk, Release, Session, Units, commit};

pub(super) const DAY: i64 = 86_400;
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const NO_TIME: Duration = Duration::ZERO;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn process(number: u128) -> Holder {
    Holder { owner: Uuid::from_u128(number), cell: 1 }
}

pub(super) fn reservation(number: u128) -> Holder {
    Holder { owner: Uuid::from_u128(number), cell: 0 }
}

pub(super) fn lot(key: &str, amount: u64) -> LotSpec {
    LotSpec {
        key: key.into(),
        priority: 0,
        effective: at(0),
        expires: None,
        created: at(0),
        amount,
        rollover: None,
        overage: false,
    }
}

pub(super) fn grace(key: &str, amount: u64) -> LotSpec {
    LotSpec { priority: 100, overage: true, ..lot(key, amount) }
}

/// The allowance of a day, which takes over what the days before left.
pub(super) fn daily(day: i64, amount: u64) -> LotSpec {
    let one = |day: i64| LotSpec {
        effective: at(day * DAY),
        expires: Some(at((day + 1) * DAY)),
        ..lot(&format!("plan/{day}"), amount)
    };
    let previous = (0..day).rev().map(one).collect();
    LotSpec { rollover: Some(Rollover { max: 1000, previous }), ..one(day) }
}

pub(super) fn charge(units: u64, held: Option<Held>, lots: &[LotSpec]) -> Charge {
    Charge { feature: "calls".into(), units, held, lots: lots.into(), said: None }
}

/// An event that uses units, all of which `held` has if it has as many.
pub(super) fn using(id: &str, units: u64, held: Option<Holder>, lots: &[LotSpec]) -> Entry {
    let held = held.map(|by| Held { by, units });
    Entry { charges: vec![charge(units, held, lots)], ..event(id).at(at(10)) }
}

pub(super) fn void(id: &str, target: &str, second: i64) -> Entry {
    correction(id, target).at(at(second))
}

pub(super) fn give_back(holder: Holder, units: Option<u64>) -> Release {
    Release { holder, tenant: tenant("acme"), feature: "calls".into(), units }
}

pub(super) fn ask(holder: Holder, units: Units, lots: &[LotSpec]) -> LeaseAsk {
    let expires_in = (holder.cell == 0).then_some(MINUTE);
    LeaseAsk { holder, tenant: tenant("acme"), feature: "calls".into(), lots: lots.into(), units, expires_in }
}

/// What goes into one transaction.
#[derive(Clone, Default)]
pub(super) struct Parcel {
    pub(super) now: i64,
    pub(super) entries: Vec<Entry>,
    pub(super) releases: Vec<Release>,
    pub(super) leases: Vec<LeaseAsk>,
    pub(super) forget: Option<Uuid>,
    pub(super) keep: bool,
}

impl Parcel {
    /// Does it in the transaction that was begun.
    pub(super) async fn within(&self, session: &mut dyn Session) -> Committed {
        let Parcel { now, entries, releases, leases, forget, keep } = self;
        let entries = &given(entries);
        let batch =
            Batch { owner: Uuid::nil(), now: at(*now), entries, releases, leases, forget: *forget, keep: *keep };
        commit(session, &batch).await.unwrap()
    }

    pub(super) async fn commit(&self, session: &mut dyn Session) -> Committed {
        session.begin().await.unwrap();
        let committed = self.within(session).await;
        session.commit().await.unwrap();
        committed
    }
}

pub(super) fn events(entries: Vec<Entry>) -> Parcel {
    Parcel { now: 10, entries, ..Parcel::default() }
}

pub(super) fn leases(leases: Vec<LeaseAsk>) -> Parcel {
    Parcel { now: 10, leases, ..Parcel::default() }
}

pub(super) fn releases(releases: Vec<Release>) -> Parcel {
    Parcel { now: 10, releases, ..Parcel::default() }
}

/// `LOT amount+carried burned held` of each lot.
pub(super) async fn lots(session: &mut dyn Session) -> String {
    let sql = "SELECT lot, amount + carried, burned, held FROM lots ORDER BY lot";
    let rows = session.query(sql, &[]).await.unwrap();
    let int = |row: &crate::store::Row, column| row.int(column).unwrap();
    let shown =
        rows.iter().map(|row| format!("{} {} {} {}", row.text(0).unwrap(), int(row, 1), int(row, 2), int(row, 3)));
    shown.collect::<Vec<_>>().join(", ")
}

/// What must be true between any two transactions.
pub(super) async fn check(session: &mut dyn Session) {
    let held = "SELECT count(*) FROM lots WHERE held <> (SELECT coalesce(sum(units), 0) FROM holds
        WHERE holds.tenant = lots.tenant AND holds.feature = lots.feature AND holds.lot = lots.lot)";
    assert_eq!(number(session, held).await, 0, "units are held that nobody holds");
    let burned = "SELECT count(*) FROM lots WHERE burned <> (SELECT coalesce(sum(units), 0) FROM burns
        WHERE burns.tenant = lots.tenant AND burns.feature = lots.feature AND burns.lot = lots.lot)";
    assert_eq!(number(session, burned).await, 0, "units were burned that no event burned");
    let orphans = "SELECT count(*) FROM holds WHERE owner NOT IN (SELECT owner FROM owners)";
    assert_eq!(number(session, orphans).await, 0, "units are held by owners that nobody knows");
    let sums = "SELECT (SELECT coalesce(CAST(sum(units) AS INTEGER), 0) FROM overage) -
        (SELECT coalesce(CAST(sum(units) AS INTEGER), 0) FROM burns WHERE lot = '' OR lot LIKE 'grace%')";
    assert_eq!(number(session, sums).await, 0, "the sums of overage are not those of the burns");
}
