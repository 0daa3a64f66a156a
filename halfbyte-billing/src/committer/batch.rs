//! One transaction of the committer.

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::error_chain;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Committer, Doubt, Ingested, Pending, Taken};
use crate::assemble;
use crate::quota::{Cell, Hold};
use crate::store::{
    self, Batch, Committed, Entry, Held, LeaseAsk, Leased, Outcome, Release, Session, Units, is_passing, owners,
    processes,
};
use crate::{Error, ErrorKind};

pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// So much of what waits in the journal goes into one transaction.
pub(super) const CHUNK: usize = 2048;
/// So often a transaction is tried again that others were in the way of.
const ATTEMPTS: u32 = 5;
/// Who has waited for others as long as this is not kept waiting for another attempt, nor is the lease of the process.
const AT_ONCE: Duration = Duration::from_secs(4);

/// Events, and who waits for what became of them.
pub(super) type Ingest = (Vec<Ingested>, Answer<Vec<Taken>>);

/// What somebody waits for.
#[derive(Default)]
pub(super) struct Job {
    pub(super) leases: Vec<(Arc<Cell>, u64, Answer<Option<Hold>>)>,
    pub(super) ingests: Vec<Ingest>,
    pub(super) reserves: Vec<(LeaseAsk, Answer<Leased>)>,
    pub(super) releases: Vec<(Release, Answer<()>)>,
}

/// What a transaction did for a [`Job`].
#[derive(Default)]
pub(super) struct Done {
    /// One for each event of the ingests, in their order.
    outcomes: Vec<Outcome>,
    leased: Vec<Leased>,
    reserved: Vec<Leased>,
}

impl Job {
    fn is_empty(&self) -> bool {
        self.leases.is_empty() && self.ingests.is_empty() && self.reserves.is_empty() && self.releases.is_empty()
    }

    /// Tells all who wait what was done. Answers reservations that nobody waits for any more.
    pub(super) fn answer(self, done: Done) -> Vec<Release> {
        let mut abandoned = Vec::new();
        let mut outcomes = done.outcomes.into_iter();
        for (events, answer) in self.ingests {
            _ = answer.send(Ok(outcomes.by_ref().take(events.len()).map(Taken::Stored).collect()));
        }
        for ((cell, units, answer), leased) in self.leases.into_iter().zip(done.leased) {
            cell.set_left(leased.left);
            // What it did not get all of helps it no further, but may be enough for others.
            let hold = (leased.units >= units).then(|| Hold::of_lease(cell.clone(), units));
            cell.deposit(if hold.is_some() { leased.units - units } else { leased.units });
            // A hold that nobody takes puts its units back.
            _ = answer.send(Ok(hold));
        }
        for ((ask, answer), leased) in self.reserves.into_iter().zip(done.reserved) {
            if answer.send(Ok(leased)).is_err() {
                let LeaseAsk { holder, tenant, feature, .. } = ask;
                abandoned.push(Release { holder, tenant, feature, units: None });
            }
        }
        self.releases.into_iter().for_each(|(_, answer)| _ = answer.send(Ok(())));
        abandoned
    }

    /// Tells those who wait that it did not work, but for the events: they can wait on the disk.
    pub(super) fn refuse(self, error: &Error) -> Vec<Ingest> {
        let again = || Error::new(error.kind(), error_chain(error));
        self.leases.into_iter().for_each(|(_, _, answer)| _ = answer.send(Err(again())));
        self.reserves.into_iter().for_each(|(_, answer)| _ = answer.send(Err(again())));
        self.releases.into_iter().for_each(|(_, answer)| _ = answer.send(Err(again())));
        self.ingests
    }
}

impl Committer {
    /// One transaction with the first of what was taken from the journal, what was given up, and `job`.
    pub(super) async fn commit(&mut self, job: &Job) -> Result<Done, Error> {
        if self.taken.is_empty() && self.given_up.is_empty() && self.abandoned.is_empty() && job.is_empty() {
            return Ok(Done::default());
        }
        let chunk = self.taken.len().min(CHUNK);
        let owner = self.shared.journal.owner();
        let (mut entries, places, left_out) = self.entries(owner);
        let spooled = entries.len();
        let given_up = self.given_up.iter().chain(&left_out);
        let mut releases: Vec<_> = given_up.map(|(cell, units)| release(owner, cell, *units)).collect();
        releases.extend(self.abandoned.iter().cloned());
        for ingested in job.ingests.iter().flat_map(|(events, _)| events) {
            entries.push(ingested.entry.clone());
            releases.extend(ingested.release.clone());
        }
        releases.extend(job.releases.iter().map(|(release, _)| release.clone()));
        let mut leases: Vec<_> = job.leases.iter().map(|(cell, units, _)| lease(owner, cell, *units)).collect();
        leases.extend(job.reserves.iter().map(|(ask, _)| ask.clone()));

        let batch = Batch {
            owner,
            now: self.clock.now(),
            entries: &entries,
            releases: &releases,
            leases: &leases,
            forget: None,
            keep: false,
        };
        let committed = self.transact(&batch, job).await?;

        for (entry, outcome) in entries.iter().zip(&committed.outcomes) {
            self.shared.note(entry, *outcome);
        }
        self.settle_cells(&entries[..spooled], &places, &committed, job);
        for (cell, units) in left_out {
            cell.set_held(cell.held().saturating_sub(units));
        }
        self.taken.drain(..chunk);
        self.given_up.clear();
        self.abandoned.clear();
        if self.taken.is_empty() {
            self.shared.journal.committed();
        }
        if !entries.is_empty() {
            self.shared.bell.ring();
        }
        let mut leased = committed.leased;
        let reserved = leased.split_off(job.leases.len());
        Ok(Done { outcomes: committed.outcomes[spooled..].to_vec(), leased, reserved })
    }

    /// What was taken from the journal as the store wants it, with the place of each in `taken`. What cannot be understood is
    /// told and left out: it would keep everything else from being counted.
    #[expect(clippy::type_complexity, reason = "three lists that belong together here only")]
    fn entries(&self, owner: Uuid) -> (Vec<Entry>, Vec<usize>, Vec<(Arc<Cell>, u64)>) {
        let mut left_out = Vec::new();
        let mut entries = Vec::with_capacity(self.taken.len());
        let mut places = Vec::with_capacity(self.taken.len());
        for (place, pending) in self.taken.iter().take(CHUNK).enumerate() {
            let entry = match pending {
                Pending::Use(used) => {
                    let held = (used.held > 0 && !used.cell.is_lost())
                        .then(|| Held { by: assemble::holder(owner, &used.cell), units: used.held });
                    assemble::of_use(&self.accounts, &used.record(), held, self.clock.now())
                }
                Pending::Event { entry, .. } => Ok(self.spooled(entry)),
            };
            match entry {
                Ok(entry) => {
                    entries.push(entry);
                    places.push(place);
                }
                Err(error) => {
                    tracing::error!(
                        error = error_chain(&error),
                        what = pending.name(),
                        "a use cannot be counted as the catalogue is now; it is left out"
                    );
                    if let Pending::Use(used) = pending {
                        left_out.push((used.cell.clone(), used.held));
                    }
                }
            }
        }
        (entries, places, left_out)
    }

    /// An event that waited for the store, by what is known now: when it came, that may have been old, or nothing. What has
    /// become of the catalogue meanwhile does not keep it from being counted.
    fn spooled(&self, entry: &Entry) -> Entry {
        let tenant = self.accounts.payer(entry.event.subject()).unwrap_or_else(|| entry.tenant.clone());
        let again = assemble::of_event(&self.accounts, entry.event.clone(), tenant, None, self.clock.now());
        again.unwrap_or_else(|_| entry.clone())
    }

    /// Runs the batch in a transaction of its own, numbered, so that it can be told later whether it was committed.
    async fn transact(&mut self, batch: &Batch<'_>, job: &Job) -> Result<Committed, Error> {
        let number = self.number + 1;
        let holds = !batch.releases.is_empty() || !batch.leases.is_empty() || has_held(batch.entries);
        let mut session = self.connected().await?;
        let (began, mut attempts) = (Instant::now(), 0);
        let outcome = loop {
            let outcome = attempt(session.as_mut(), batch, holds.then_some(number)).await;
            match outcome {
                // Others were in the way, and are gone.
                Err(error) if is_passing(&error) && attempts < ATTEMPTS && began.elapsed() < AT_ONCE => {
                    attempts += 1;
                    if session.rollback().await.is_err() {
                        break Err(error);
                    }
                }
                outcome => break outcome,
            }
        };
        let committed = match outcome {
            Ok(Some(committed)) => committed,
            Ok(None) => {
                // Others have taken back what this process held: it begins anew.
                self.session = Some(session);
                self.beat_soon();
                self.beat().await?;
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "the lease of this process had expired; it has a new one",
                ));
            }
            // A session that failed is dropped, and with it the transaction.
            Err(error) => return Err(self.store.explain("writing", error)),
        };
        self.number = number;
        if let Err(error) = session.commit().await {
            if holds {
                let leases = job.leases.iter().map(|(cell, _, _)| cell.clone()).collect();
                self.doubt = Some(Doubt { number, leases });
            }
            return Err(self.store.explain("writing", error));
        }
        self.session = Some(session);
        Ok(committed)
    }

    /// The cells hold what the store says.
    fn settle_cells(&self, spooled: &[Entry], places: &[usize], committed: &Committed, job: &Job) {
        for ((place, _), outcome) in places.iter().zip(spooled).zip(&committed.outcomes) {
            if let Pending::Use(used) = &self.taken[*place] {
                used.cell.set_held(used.cell.held().saturating_sub(used.held));
                if !matches!(outcome, Outcome::Counted { .. }) {
                    // Its units went back to where everybody can lease them.
                    used.cell.set_exhausted(None);
                }
            }
        }
        for (cell, units) in &self.given_up {
            cell.set_held(cell.held().saturating_sub(*units));
        }
        for ((cell, _, _), leased) in job.leases.iter().zip(&committed.leased) {
            cell.set_held(cell.held() + leased.units);
            self.shared.cells.register(cell);
        }
    }

    /// Finds out what became of a batch whose commit was not answered.
    pub(super) async fn settle_doubt(&mut self) -> Result<(), Error> {
        let Some(doubt) = self.doubt.take() else { return Ok(()) };
        match self.resolve(&doubt).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.doubt = Some(doubt);
                Err(error)
            }
        }
    }

    fn explained<T>(&self, outcome: Result<T, sqlx::Error>) -> Result<T, Error> {
        outcome.map_err(|error| self.store.explain("looking for a commit in", error))
    }

    async fn resolve(&mut self, doubt: &Doubt) -> Result<(), Error> {
        let owner = self.shared.journal.owner();
        let mut session = self.connected().await?;
        let look = async {
            session.begin().await?;
            let last = processes::last_number(session.as_mut(), owner).await?;
            session.commit().await?;
            Ok(last)
        };
        let last = look.await;
        let happened = self.explained(last)? == Some(doubt.number);
        if happened {
            // What it counted is counted: the uses are tried again without what was held for them, and found to be there.
            for pending in self.taken.iter_mut().take(CHUNK) {
                if let Pending::Use(used) = pending {
                    used.cell.set_held(used.cell.held().saturating_sub(std::mem::take(&mut used.held)));
                }
            }
            for (cell, units) in self.given_up.drain(..) {
                cell.set_held(cell.held().saturating_sub(units));
            }
            for cell in &doubt.leases {
                let there = owners::held_of(session.as_mut(), assemble::holder(owner, cell)).await;
                let there = self.explained(there)?;
                // What it leased nobody was told of; whoever comes next may have it.
                cell.deposit(there.saturating_sub(cell.held()));
                cell.set_held(there);
                self.shared.cells.register(cell);
            }
        }
        self.session = Some(session);
        Ok(())
    }
}

/// One attempt at the transaction, up to its commit; `None` if the process has lost its lease.
async fn attempt(
    session: &mut dyn Session,
    batch: &Batch<'_>,
    number: Option<i64>,
) -> Result<Option<Committed>, sqlx::Error> {
    session.begin().await?;
    let committed = store::commit(session, batch).await?;
    if let Some(number) = number
        && !processes::number(session, batch.owner, number).await?
    {
        session.rollback().await?;
        return Ok(None);
    }
    Ok(Some(committed))
}

fn has_held(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.charges.iter().any(|charge| charge.held.is_some()))
}

fn release(owner: Uuid, cell: &Cell, units: u64) -> Release {
    Release {
        holder: assemble::holder(owner, cell),
        tenant: cell.tenant.clone(),
        feature: cell.metered.feature.name.clone(),
        units: Some(units),
    }
}

fn lease(owner: Uuid, cell: &Cell, units: u64) -> LeaseAsk {
    LeaseAsk {
        holder: assemble::holder(owner, cell),
        tenant: cell.tenant.clone(),
        feature: cell.metered.feature.name.clone(),
        lots: cell.right.lots.clone(),
        units: Units::Tranche { least: units, waiting: cell.waiting() },
        expires_in: None,
    }
}
