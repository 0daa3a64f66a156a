//! One transaction of the committer.

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::error_chain;
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::job::{Done, Job};
use super::refused::keep_refused;
use super::{Committer, Doubt, Ingested, Pending, Taken};
use crate::assemble;
use crate::journal::Item as _;
use crate::quota::Cell;
use crate::store::{
    self, Batch, Committed, Entry, Held, LeaseAsk, Outcome, Release, Session, SqlError, Units, is_of_data, is_passing,
    owners, processes,
};
use crate::{Error, ErrorKind};

/// So much of what waits in a journal goes into one transaction: entries, and bytes of memory that they take.
const CHUNK: (usize, usize) = (2048, 32 * 1024 * 1024);
/// So often a transaction is tried again that others were in the way of.
const ATTEMPTS: u32 = 5;
/// Who has waited for others as long as this is not kept waiting for another attempt, nor is the lease of the process.
const AT_ONCE: Duration = Duration::from_secs(4);

/// How many of what waits go into a transaction: of each the first ones, in the order in which they stand here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    /// Of what was taken from the journal.
    spooled: usize,
    given_up: usize,
    abandoned: usize,
    events: usize,
    releases: usize,
    leases: usize,
    reserves: usize,
}

impl Part {
    fn count(self) -> usize {
        let Part { spooled, given_up, abandoned, events, releases, leases, reserves } = self;
        spooled + given_up + abandoned + events + releases + leases + reserves
    }
}

/// Why a transaction did not work.
struct Failed {
    error: Error,
    /// The database refuses something of it for what it is, and may well take the rest.
    of_data: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, of_data: false }
    }
}

/// How many of the first of entries, of these sizes, go into one transaction: one at least.
pub(super) fn chunk(sizes: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0_usize;
    let fits = |(index, size): &(usize, usize)| {
        bytes = bytes.saturating_add(*size);
        *index == 0 || bytes <= CHUNK.1
    };
    sizes.take(CHUNK.0).enumerate().take_while(fits).count()
}

impl Committer {
    /// Commits all that was taken from the journal, all that was given up, and `job`: in one transaction, unless that is too
    /// much for one, or the database refuses something of it for what it is. Then it is taken apart, in halves, until that
    /// stands alone and everything else is committed.
    pub(super) async fn commit_all(&mut self, job: &Job, done: &mut Done) -> Result<(), Error> {
        let mut most = usize::MAX;
        loop {
            let part = self.part(job, done, most);
            let count = part.count();
            if count == 0 {
                return Ok(());
            }
            match self.commit(part, job, done).await {
                Ok(()) => most = most.saturating_mul(2),
                Err(Failed { error, of_data: false }) => return Err(error),
                Err(Failed { error, .. }) if count == 1 => self.refuse(part, done, error).await?,
                Err(_) => most = count / 2,
            }
        }
    }

    /// What the next transaction is of, `most` of it at most.
    fn part(&self, job: &Job, done: &Done, most: usize) -> Part {
        let spooled = chunk(self.taken.iter().map(Pending::size));
        let mut left = most;
        let mut of = |there: usize| {
            let some = there.min(left);
            left -= some;
            some
        };
        let part = Part { spooled: of(spooled), ..Part::default() };
        // Who waits for an answer is served with the last of the journal.
        if spooled < self.taken.len() {
            return part;
        }
        Part {
            given_up: of(self.given_up.len()),
            abandoned: of(self.abandoned.len()),
            events: of(job.ingests.iter().map(|(events, _)| events.len()).sum::<usize>() - done.taken.len()),
            releases: of(job.releases.len() - done.released.len()),
            leases: of(job.leases.len() - done.leased.len()),
            reserves: of(job.reserves.len() - done.reserved.len()),
            ..part
        }
    }

    async fn commit(&mut self, part: Part, job: &Job, done: &mut Done) -> Result<(), Failed> {
        let owner = self.shared.journal.owner();
        let spooled: Result<Vec<_>, _> = self.taken[..part.spooled].iter().map(|one| self.entry(one, owner)).collect();
        // So does the database: the others are found to be good without it.
        let mut entries = spooled.map_err(|error| Failed { error, of_data: true })?;
        let given_up = &self.given_up[..part.given_up];
        let mut releases: Vec<_> = given_up.iter().map(|(cell, units)| release(owner, cell, *units)).collect();
        releases.extend_from_slice(&self.abandoned[..part.abandoned]);
        for Ingested { entry, release } in job.events().skip(done.taken.len()).take(part.events) {
            entries.push(entry.clone());
            releases.extend(release.clone());
        }
        let released = &job.releases[done.released.len()..][..part.releases];
        releases.extend(released.iter().map(|(release, _)| release.clone()));
        let cells = &job.leases[done.leased.len()..][..part.leases];
        let mut leases: Vec<_> = cells.iter().map(|(cell, units, _)| lease(owner, cell, *units)).collect();
        let reserves = &job.reserves[done.reserved.len()..][..part.reserves];
        leases.extend(reserves.iter().map(|(ask, _)| ask.clone()));
        let cells: Vec<_> = cells.iter().map(|(cell, ..)| cell.clone()).collect();

        let asked = Arc::new(Asked { owner, now: self.clock.now(), entries, releases, leases });
        let committed = self.transact(&asked, part, &cells).await?;

        let entries = &asked.entries;
        for (entry, outcome) in entries.iter().zip(&committed.outcomes) {
            self.shared.note(entry, *outcome);
        }
        self.settle_cells(part, &cells, &committed);
        self.taken.drain(..part.spooled);
        self.given_up.drain(..part.given_up);
        self.abandoned.drain(..part.abandoned);
        if self.taken.is_empty() {
            self.shared.journal.committed();
        }
        if !entries.is_empty() {
            self.shared.bell.ring();
        }
        let mut leased = committed.leased.into_iter().map(Ok);
        done.taken.extend(committed.outcomes[part.spooled..].iter().copied().map(Taken::Stored));
        done.released.extend(std::iter::repeat_with(|| Ok(())).take(part.releases));
        done.leased.extend(leased.by_ref().take(part.leases));
        done.reserved.extend(leased);
        Ok(())
    }

    /// What was taken from the journal as the store wants it.
    fn entry(&self, pending: &Pending, owner: Uuid) -> Result<Arc<Entry>, Error> {
        let entry = match pending {
            Pending::Use(used) => {
                let held = (used.held > 0 && !used.cell.is_lost())
                    .then(|| Held { by: assemble::holder(owner, &used.cell), units: used.held });
                let granted = Some(&*used.cell.metered);
                assemble::of_use(&self.accounts, &used.record(), granted, held, self.clock.now())?
            }
            Pending::Event(entry) => return Ok(self.spooled(entry)),
        };
        Ok(Arc::new(entry))
    }

    /// An event that waited for the store, by what is known now: when it came, that may have been old, or nothing. What has
    /// become of the catalogue meanwhile does not keep it from being counted.
    pub(super) fn spooled(&self, entry: &Arc<Entry>) -> Arc<Entry> {
        let catalog = self.accounts.catalog();
        if entry.measurements.iter().any(|measurement| catalog.meter(&measurement.meter).is_none()) {
            return entry.clone();
        }
        let tenant = self.accounts.payer(entry.event.subject()).unwrap_or_else(|| entry.tenant.clone());
        let again = assemble::of_event(&self.accounts, entry.event.clone(), tenant, None, self.clock.now());
        again.map_or_else(|_| entry.clone(), Arc::new)
    }

    /// Runs the batch in a transaction of its own, numbered, so that it can be told later whether it was committed.
    async fn transact(&mut self, asked: &Arc<Asked>, part: Part, leases: &[Arc<Cell>]) -> Result<Committed, Failed> {
        let number = self.number + 1;
        let holds = !asked.releases.is_empty() || !asked.leases.is_empty() || has_held(&asked.entries);
        let session = self.connected().await?;
        let asked = asked.clone();
        let ran = store::run(session, move |session| {
            Box::pin(async move { attempts(session, &asked.batch(), holds.then_some(number)).await })
        });
        let (session, outcome) = match ran.await {
            Ok((session, outcome)) => (Some(session), outcome),
            Err(error) => (None, Attempted::Unknown(error)),
        };
        match outcome {
            Attempted::Committed(committed) => {
                self.number = number;
                self.session = session;
                Ok(committed)
            }
            Attempted::NoLease => {
                // Others have taken back what this process held: it begins anew.
                self.session = session;
                self.beat_soon();
                self.beat().await?;
                let message = "the lease of this process had expired; it has a new one";
                Err(Error::new(ErrorKind::Unavailable, message).into())
            }
            Attempted::Refused(error) => {
                self.session = session;
                Err(Failed { error: self.store.explain("writing", error), of_data: true })
            }
            // A session that failed is dropped, and with it the transaction.
            Attempted::Failed(error) => Err(self.store.explain("writing", error).into()),
            Attempted::Unknown(error) => {
                self.number = number;
                if holds {
                    self.doubt = Some(Doubt { number, part, leases: leases.to_vec() });
                }
                Err(self.store.explain("writing", error).into())
            }
        }
    }

    /// The cells hold what the store says.
    fn settle_cells(&self, part: Part, leases: &[Arc<Cell>], committed: &Committed) {
        for (pending, outcome) in self.taken[..part.spooled].iter().zip(&committed.outcomes) {
            if let Pending::Use(used) = pending {
                used.cell.set_held(used.cell.held().saturating_sub(used.held));
                if !matches!(outcome, Outcome::Counted { .. }) {
                    // Its units went back to where everybody can lease them.
                    used.cell.set_exhausted(None);
                }
            }
        }
        for (cell, units) in &self.given_up[..part.given_up] {
            cell.set_held(cell.held().saturating_sub(*units));
        }
        for (cell, leased) in leases.iter().zip(&committed.leased) {
            cell.set_held(cell.held() + leased.units);
            self.shared.cells.register(cell);
        }
    }

    /// What stands alone and is refused for what it is: it is told, and what was answered for is kept aside.
    async fn refuse(&mut self, part: Part, done: &mut Done, error: Error) -> Result<(), Error> {
        let what = error_chain(&error);
        if part.spooled > 0 {
            let mut record = Vec::new();
            self.taken[0].encode(&mut record);
            keep_refused(&self.adopter.folder, record, &self.taken[0].name(), &error).await?;
            self.shared.note_refused();
            if let Pending::Use(used) = self.taken.remove(0)
                && used.held > 0
                && !used.cell.is_lost()
            {
                self.given_up.push((used.cell, used.held));
            }
            if self.taken.is_empty() {
                self.shared.journal.committed();
            }
        } else if part.given_up > 0 {
            let (cell, units) = self.given_up.remove(0);
            let (tenant, feature) = (&cell.tenant, &*cell.metered.feature.name);
            tracing::error!(%tenant, feature, units, error = what, "units could not be given back; they stay leased until this process ends");
        } else if part.abandoned > 0 {
            let Release { tenant, feature, .. } = self.abandoned.remove(0);
            tracing::error!(%tenant, feature = &*feature, error = what, "a reservation that nobody took could not be given back; it expires");
        } else if part.events > 0 {
            tracing::error!(error = what, "the store refuses an event for what it is; who sent it was told");
            self.shared.note_refused();
            done.taken.push(Taken::Refused);
        } else if part.releases > 0 {
            done.released.push(Err(error));
        } else if part.leases > 0 {
            done.leased.push(Err(error));
        } else {
            done.reserved.push(Err(error));
        }
        Ok(())
    }

    /// Finds out what became of a batch whose commit was not answered.
    pub(super) async fn settle_doubt(&mut self) -> Result<(), Error> {
        let Some(mut doubt) = self.doubt.take() else { return Ok(()) };
        match self.resolve(&mut doubt).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.doubt = Some(doubt);
                Err(error)
            }
        }
    }

    fn explained<T>(&self, outcome: Result<T, SqlError>) -> Result<T, Error> {
        outcome.map_err(|error| self.store.explain("looking for a commit in", error))
    }

    async fn resolve(&mut self, doubt: &mut Doubt) -> Result<(), Error> {
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
            for pending in self.taken.iter_mut().take(doubt.part.spooled) {
                if let Pending::Use(used) = pending {
                    used.cell.set_held(used.cell.held().saturating_sub(std::mem::take(&mut used.held)));
                }
            }
            // Once: to look may fail after that, and others are given up meanwhile.
            let given_up = std::mem::take(&mut doubt.part.given_up).min(self.given_up.len());
            for (cell, units) in self.given_up.drain(..given_up) {
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

/// What a transaction is to do, as [`Batch`], for whichever thread does it.
struct Asked {
    owner: Uuid,
    now: Timestamp,
    entries: Vec<Arc<Entry>>,
    releases: Vec<Release>,
    leases: Vec<LeaseAsk>,
}

impl Asked {
    fn batch(&self) -> Batch<'_> {
        let Self { owner, now, entries, releases, leases } = self;
        Batch { owner: *owner, now: *now, entries, releases, leases, forget: None, keep: false }
    }
}

/// How it ended.
enum Attempted {
    Committed(Committed),
    /// The process has lost its lease, and nothing was done.
    NoLease,
    /// The database refuses something of it for what it is; nothing was done, and the session is as it was.
    Refused(SqlError),
    /// Nothing was done.
    Failed(SqlError),
    /// It may have been committed.
    Unknown(SqlError),
}

/// The transaction, tried again where others were in the way.
async fn attempts(session: &mut dyn Session, batch: &Batch<'_>, number: Option<i64>) -> Attempted {
    let (began, mut attempts) = (Instant::now(), 0);
    loop {
        let error = match attempt(session, batch, number).await {
            Ok(None) => return Attempted::NoLease,
            Err(error) => error,
            Ok(Some(committed)) => match session.commit().await {
                Ok(()) => return Attempted::Committed(committed),
                // Who refuses it for what it is has not committed it.
                Err(error) if is_of_data(&error) => error,
                Err(error) => return Attempted::Unknown(error),
            },
        };
        // Others were in the way, and are gone.
        let again = is_passing(&error) && attempts < ATTEMPTS && began.elapsed() < AT_ONCE;
        if !(again || is_of_data(&error)) || session.rollback().await.is_err() {
            return Attempted::Failed(error);
        }
        if !again {
            return Attempted::Refused(error);
        }
        attempts += 1;
    }
}

/// One attempt, up to its commit; `None` if the process has lost its lease.
async fn attempt(
    session: &mut dyn Session,
    batch: &Batch<'_>,
    number: Option<i64>,
) -> Result<Option<Committed>, SqlError> {
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

fn has_held(entries: &[Arc<Entry>]) -> bool {
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
