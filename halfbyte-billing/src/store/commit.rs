//! The one transaction: events, what they burn, what is given back, what is leased.
//!
//! Rows are locked in one order by everybody: events, owners, holds, lots; each kind sorted. Lots that are missing are
//! made after the holds were locked and before any lot is: who waits for a lot that another process is making has none
//! that the other could wait for. What is read under these locks stays so until the transaction ends.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use halfbyte_core::TenantId;
use jiff::Timestamp;
use uuid::Uuid;

use super::burns::{self, Burn, EventKey, NO_LOT};
use super::holds::{self, Hold};
use super::lots::{self, LotKey};
use super::owners;
use super::{
    Batch, Charge, Committed, Entry, Held, Holder, LeaseAsk, Leased, Outcome, Session, SqlError, Units, events,
};
use crate::ledger::{Book, Lot, LotSpec, Parts, tranche};
use crate::period::slot_of;

/// Whose lots of which feature.
type BookKey = (TenantId, Arc<str>);

/// Does everything that a batch says, within the transaction that the caller has begun and then commits.
///
/// In this order: events are counted; each in turn burns, first what its holder holds, then out of the lots that it
/// names, and the rest is overage; or, when it does not count, gives back what was held for it. A correction takes back
/// what its target burned, first. Then the releases, then what a process that is gone still held, then the leases, each of
/// which sees what the ones before it left.
///
/// What is no longer held, because its owner was thought dead and others gave it back, is burned out of the lots that the
/// event names, like what never was held.
///
/// # Errors
///
/// The database failed: the session is to be dropped, and nothing was done.
pub(crate) async fn commit(session: &mut dyn Session, batch: &Batch<'_>) -> Result<Committed, SqlError> {
    let outcomes = events::count(session, batch.now, batch.entries).await?;
    let targets = batch.entries.iter().zip(&outcomes).filter_map(|(entry, outcome)| target(entry, outcome)).collect();
    let mut work = Work::new(batch, outcomes);
    let corrects = !BTreeSet::is_empty(&targets);
    let charges =
        batch.entries.iter().any(|entry| entry.charges.iter().any(|charge| charge.units > 0 || charge.held.is_some()));
    if !corrects && !charges && batch.releases.is_empty() && batch.leases.is_empty() && batch.forget.is_none() {
        return Ok(work.done());
    }
    if corrects {
        work.burns = burns::of(session, &targets).await?;
        work.stored = work.burns.keys().cloned().collect();
    }
    let named = work.owners();
    if !named.is_empty() {
        work.owners = owners::lock(session, &named).await?;
    }
    let mut held = Vec::new();
    if let Some(owner) = batch.forget {
        held = holds::lock_all(session, &BTreeSet::from([owner]), i64::MAX).await?;
    }
    let holders = work.holders();
    if !holders.is_empty() {
        held.extend(holds::lock(session, &holders).await?);
    }
    let found = work.open(session, &held).await?;
    work.apply();
    work.write(session, &held, &found).await?;
    Ok(work.done())
}

/// The event whose burns an entry takes back.
fn target(entry: &Entry, outcome: &Outcome) -> Option<EventKey> {
    let correction = entry.correction.as_ref().filter(|_| matches!(outcome, Outcome::Counted { .. }))?;
    Some((correction.source.clone(), correction.id.clone()))
}

struct Work<'a> {
    batch: &'a Batch<'a>,
    outcomes: Vec<Outcome>,
    leased: Vec<Leased>,
    /// Of those that have to be there, who is.
    owners: BTreeSet<Uuid>,
    books: BTreeMap<BookKey, Book>,
    /// Lots that this transaction makes.
    made: Vec<(BookKey, &'a LotSpec)>,
    /// What events burned that a correction refers to, and those of this batch.
    burns: BTreeMap<EventKey, Vec<Burn>>,
    /// Those of them that have rows.
    stored: BTreeSet<EventKey>,
    /// By how much the sums of overage change.
    overage: BTreeMap<(TenantId, Arc<str>, i64), i64>,
    /// Reservations that were made, each with the milliseconds until it expires.
    reserved: BTreeMap<String, i64>,
}

impl<'a> Work<'a> {
    fn new(batch: &'a Batch<'a>, outcomes: Vec<Outcome>) -> Self {
        Self {
            batch,
            outcomes,
            leased: Vec::new(),
            owners: BTreeSet::new(),
            books: BTreeMap::new(),
            made: Vec::new(),
            burns: BTreeMap::new(),
            stored: BTreeSet::new(),
            overage: BTreeMap::new(),
            reserved: BTreeMap::new(),
        }
    }

    fn done(self) -> Committed {
        Committed { outcomes: self.outcomes, leased: self.leased }
    }

    /// Whose rows are locked: who leases must not be given up meanwhile, and reservations that end are removed.
    fn owners(&self) -> BTreeSet<Uuid> {
        self.batch.leases.iter().map(|lease| lease.holder.owner).chain(self.ending()).collect()
    }

    /// Who is forgotten, unless it still holds something.
    fn ending(&self) -> impl Iterator<Item = Uuid> {
        let releases = self.batch.releases.iter();
        let reservations = releases.filter(|release| release.units.is_none() && release.holder.cell == 0);
        reservations.map(|release| release.holder.owner).chain(self.batch.forget)
    }

    /// Who may hold something that is burned or given back.
    fn holders(&self) -> BTreeSet<(Holder, TenantId, Arc<str>)> {
        let charges = self.batch.entries.iter().flat_map(|entry| {
            let held = entry.charges.iter().filter_map(|charge| Some((charge.held?.by, charge)));
            held.map(|(holder, charge)| (holder, entry.tenant.clone(), charge.feature.clone()))
        });
        let is_other = |holder: &Holder| Some(holder.owner) != self.batch.forget;
        let releases = self.batch.releases.iter();
        let releases = releases.map(|release| (release.holder, release.tenant.clone(), release.feature.clone()));
        charges.chain(releases).filter(|(holder, ..)| is_other(holder)).collect()
    }

    /// Reads all lots that are touched, and makes those that are missing. Answers the lots as they are stored.
    async fn open(&mut self, session: &mut dyn Session, held: &[Hold]) -> Result<BTreeMap<LotKey, Lot>, SqlError> {
        let mut wanted: BTreeMap<LotKey, (&'a LotSpec, i64)> = BTreeMap::new();
        for Need { tenant, feature, lots, at, said } in self.needs(held) {
            let as_of = said.as_microsecond();
            for spec in lots.iter().filter(|spec| spec.is_usable(at.as_microsecond())) {
                wanted.entry((tenant.clone(), feature.clone(), spec.key.clone())).or_insert((spec, as_of));
            }
        }
        let mut keys: BTreeSet<LotKey> = wanted.keys().cloned().collect();
        let mut made = BTreeSet::new();
        if !keys.is_empty() {
            let existing = lots::existing(session, &keys).await?;
            let mut missing = BTreeMap::new();
            for ((tenant, feature, _), (spec, as_of)) in wanted.iter().filter(|(key, _)| !existing.contains(*key)) {
                self.made.push(((tenant.clone(), feature.clone()), *spec));
                for lot in Lot::with_previous(spec, *as_of) {
                    missing.entry((tenant.clone(), feature.clone(), lot.key.clone())).or_insert(lot);
                }
            }
            if !missing.is_empty() {
                made = lots::make(session, &missing).await?;
                keys.extend(missing.into_keys());
            }
        }
        keys.extend(held.iter().map(|hold| hold.lot.clone()));
        let refunded = self.burns.values().flatten().filter(|burn| *burn.lot != *NO_LOT);
        keys.extend(refunded.map(|burn| (burn.tenant.clone(), burn.feature.clone(), burn.lot.clone())));
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found: BTreeMap<_, _> = lots::lock(session, &keys).await?.into_iter().collect();
        for (key, lot) in &found {
            let book = self.books.entry((key.0.clone(), key.1.clone())).or_default();
            book.add(lot.clone(), made.contains(key));
        }
        for hold in held {
            self.book(&hold.lot.0, &hold.lot.1).add_hold(hold.holder, &hold.lot.2, hold.units);
        }
        Ok(found)
    }

    /// What is taken out of lots that is not held already.
    fn needs(&self, held: &[Hold]) -> Vec<Need<'a>> {
        let mut left: BTreeMap<(Holder, &TenantId, &str), u64> = BTreeMap::new();
        for hold in held {
            *left.entry((hold.holder, &hold.lot.0, &hold.lot.1)).or_default() += hold.units;
        }
        let mut needs = Vec::new();
        for (entry, outcome) in self.batch.entries.iter().zip(&self.outcomes) {
            for charge in &entry.charges {
                let mut rest = charge.units;
                let key = |held: Held| (held.by, &entry.tenant, &*charge.feature);
                if let Some(held) = charge.held
                    && let Some(left) = left.get_mut(&key(held))
                {
                    let burned = charge.units.min(held.units).min(*left);
                    rest = charge.units - burned;
                    *left -= burned;
                }
                if rest > 0 && matches!(outcome, Outcome::Counted { .. }) {
                    let (feature, lots) = (&charge.feature, &*charge.lots);
                    let said = charge.said.unwrap_or(entry.at).min(self.batch.now);
                    needs.push(Need { tenant: &entry.tenant, feature, lots, at: entry.at, said });
                }
            }
        }
        let now = self.batch.now;
        let of_lease = |ask: &'a LeaseAsk| Need {
            tenant: &ask.tenant,
            feature: &ask.feature,
            lots: &ask.lots,
            at: now,
            said: now,
        };
        needs.extend(self.batch.leases.iter().map(of_lease));
        needs
    }

    fn apply(&mut self) {
        for (index, entry) in self.batch.entries.iter().enumerate() {
            if let Outcome::Counted { .. } = self.outcomes[index] {
                if let Some(target) = target(entry, &self.outcomes[index]) {
                    self.take_back(&target);
                }
                let overage =
                    entry.charges.iter().map(|charge| self.charge(entry, charge)).fold(0, u64::saturating_add);
                self.outcomes[index] = Outcome::Counted { overage };
            } else {
                for charge in &entry.charges {
                    if let Some(held) = charge.held.filter(|_| !self.batch.keep) {
                        self.book(&entry.tenant, &charge.feature).release(held.by, Some(held.units));
                    }
                }
            }
        }
        for release in self.batch.releases {
            self.book(&release.tenant, &release.feature).release(release.holder, release.units);
        }
        for book in self.books.values_mut() {
            let holders: BTreeSet<_> = book.holds().map(|(holder, ..)| holder).collect();
            for holder in holders.into_iter().filter(|holder| Some(holder.owner) == self.batch.forget) {
                book.release(holder, None);
            }
        }
        for ask in self.batch.leases {
            let leased = self.lease(ask);
            self.leased.push(leased);
        }
        // A lot that turned out not to be needed is made none the less, and nobody makes it again.
        for ((tenant, feature), spec) in std::mem::take(&mut self.made) {
            self.book(&tenant, &feature).take_over(spec);
        }
    }

    /// Burns what an event uses; answers how much of it is overage.
    fn charge(&mut self, entry: &Entry, charge: &Charge) -> u64 {
        // What the meters count fits; more than this could not be kept.
        let units = charge.units.min(i64::MAX.unsigned_abs());
        let at = entry.at;
        let said = charge.said.unwrap_or(at).min(self.batch.now);
        let book = self.book(&entry.tenant, &charge.feature);
        let held = charge.held.map(|held| book.settle_held(held.by, held.units, units));
        let mut parts = held.unwrap_or_default();
        let mut rest = units - sum(&parts);
        if rest > 0 {
            let more = book.burn(&charge.lots, at, said, rest);
            rest -= sum(&more);
            parts.extend(more);
        }
        let lots = book.lots();
        let grace: u64 = parts.iter().filter(|(lot, _)| lots[*lot].overage).map(|(_, units)| units).sum();
        let mut burned: Vec<(Box<str>, u64)> =
            parts.into_iter().map(|(lot, units)| (lots[lot].key.clone(), units)).collect();
        burned.extend((rest > 0).then(|| (NO_LOT.into(), rest)));
        let slot = slot_of(at);
        let of_event = self.burns.entry((entry.event.source.clone(), entry.event.id.clone())).or_default();
        for (lot, units) in burned {
            match of_event.iter_mut().find(|burn| burn.feature == charge.feature && burn.lot == lot) {
                Some(burn) => burn.units = burn.units.saturating_add(units).min(i64::MAX.unsigned_abs()),
                None => of_event.push(Burn {
                    tenant: entry.tenant.clone(),
                    feature: charge.feature.clone(),
                    lot,
                    slot,
                    units,
                }),
            }
        }
        self.count_overage(&entry.tenant, &charge.feature, slot, signed(grace + rest));
        grace + rest
    }

    /// Gives what an event burned back to exactly the lots that it is of.
    fn take_back(&mut self, event: &EventKey) {
        for burn in self.burns.remove(event).unwrap_or_default() {
            let book = self.book(&burn.tenant, &burn.feature);
            book.refund(&burn.lot, burn.units);
            let grace = book.lots().iter().any(|lot| lot.overage && lot.key == burn.lot);
            if grace || *burn.lot == *NO_LOT {
                self.count_overage(&burn.tenant, &burn.feature, burn.slot, -signed(burn.units));
            }
        }
    }

    fn lease(&mut self, ask: &LeaseAsk) -> Leased {
        let known = self.owners.contains(&ask.holder.owner) || ask.expires_in.is_some();
        let wanted = |left| match ask.units {
            _ if !known => 0,
            Units::Tranche { least, waiting } => tranche(left, least, waiting),
            Units::Exactly(units) if units <= left => units,
            Units::Exactly(_) => 0,
        };
        let now = self.batch.now;
        let (units, left) = self.book(&ask.tenant, &ask.feature).lease(ask.holder, &ask.lots, now, wanted);
        if let Some(expires_in) = ask.expires_in.filter(|_| units > 0) {
            self.reserved.insert(ask.holder.owner.to_string(), owners::millis(expires_in));
        }
        Leased { units, left }
    }

    async fn write(
        &mut self,
        session: &mut dyn Session,
        held: &[Hold],
        found: &BTreeMap<LotKey, Lot>,
    ) -> Result<(), SqlError> {
        let lots = self.books.iter().flat_map(|((tenant, feature), book)| {
            book.lots().iter().map(move |lot| ((tenant.clone(), feature.clone(), lot.key.clone()), lot))
        });
        let changed: Vec<_> = lots.filter(|(key, lot)| found.get(key) != Some(lot)).collect();
        lots::write(session, changed.iter().map(|(key, lot)| (&key.0, &*key.1, *lot))).await?;

        let changes = self.changed_holds(held);
        holds::remove(session, &changes.gone).await?;
        holds::set(session, &changes.shrunk).await?;
        holds::grow(session, &changes.grown).await?;

        let stored = std::mem::take(&mut self.stored);
        let gone = stored.iter().filter(|event| !self.burns.contains_key(*event)).cloned().collect();
        burns::remove(session, &gone).await?;
        let new = self.burns.iter().filter(|(event, _)| !stored.contains(*event));
        let new: Vec<_> = new.flat_map(|(event, burns)| burns.iter().map(move |burn| (event, burn))).collect();
        burns::add(session, &new).await?;
        burns::sum(session, &self.overage).await?;

        let ending: BTreeSet<_> = self.ending().collect();
        if !ending.is_empty() {
            owners::remove_idle(session, &ending).await?;
        }
        if !self.reserved.is_empty() {
            let now = session.now().await?;
            self.reserved.values_mut().for_each(|expires| *expires = expires.saturating_add(now));
            owners::add(session, &self.reserved).await?;
        }
        Ok(())
    }

    fn changed_holds(&self, before: &[Hold]) -> Changes {
        let mut before: BTreeMap<(Holder, LotKey), u64> =
            before.iter().map(|hold| ((hold.holder, hold.lot.clone()), hold.units)).collect();
        let mut changes = Changes::default();
        for ((tenant, feature), book) in &self.books {
            for (holder, index, units) in book.holds() {
                let key = (holder, (tenant.clone(), feature.clone(), book.lots()[index].key.clone()));
                let old = before.remove(&key).unwrap_or(0);
                let lot = key.1;
                match old.cmp(&units) {
                    Ordering::Greater => changes.shrunk.push(Hold { holder, lot, units }),
                    Ordering::Less => changes.grown.push(Hold { holder, lot, units: units - old }),
                    Ordering::Equal => {}
                }
            }
        }
        changes.gone = before.into_iter().map(|((holder, lot), units)| Hold { holder, lot, units }).collect();
        changes
    }

    fn book(&mut self, tenant: &TenantId, feature: &Arc<str>) -> &mut Book {
        self.books.entry((tenant.clone(), feature.clone())).or_default()
    }

    fn count_overage(&mut self, tenant: &TenantId, feature: &Arc<str>, slot: i64, units: i64) {
        if units != 0 {
            let sum = self.overage.entry((tenant.clone(), feature.clone(), slot)).or_default();
            *sum = sum.saturating_add(units);
        }
    }
}

/// Something that is taken out of lots, which can be used at an instant and are said for one.
struct Need<'a> {
    tenant: &'a TenantId,
    feature: &'a Arc<str>,
    lots: &'a [LotSpec],
    at: Timestamp,
    said: Timestamp,
}

/// What becomes of rows of holds.
#[derive(Default)]
struct Changes {
    gone: Vec<Hold>,
    shrunk: Vec<Hold>,
    grown: Vec<Hold>,
}

fn sum(parts: &Parts) -> u64 {
    parts.iter().map(|(_, units)| units).sum()
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
