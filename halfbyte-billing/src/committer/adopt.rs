//! Taking over what processes left that are gone.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use halfbyte_core::error_chain;
use jiff::Timestamp;
use uuid::Uuid;

use super::Shared;
use super::batch::chunk;
use super::pending::size;
use super::refused::keep_refused;
use crate::accounts::Accounts;
use crate::event::Event;
use crate::journal::{Contents, Folder, Orphan, Record};
use crate::store::{Batch, Entry, Held, Holder, Outcome, Session, Store, is_of_data, owners, processes};
use crate::{Catalog, Error, ErrorKind, assemble};

/// Takes over the journals of processes that are gone.
#[derive(Debug)]
pub(crate) struct Adopter {
    pub(super) folder: Folder,
    /// Whose journals hold what `catalog` does not know: they are not looked at again as long as that is in force.
    left: BTreeSet<Uuid>,
    catalog: Option<Catalog>,
}

/// What a journal is, by the catalogue of this process.
#[derive(Default)]
struct Understood<'a> {
    entries: Vec<(Arc<Entry>, Record<'a>)>,
    /// Why something is not known here; another process may know it.
    unknown: Option<String>,
    /// The records of that.
    left: Vec<u8>,
    /// Of what is not known here something is held.
    keeps_holds: bool,
    /// Why something is no use to anybody.
    unclear: Option<String>,
}

impl Adopter {
    pub(crate) fn new(folder: Folder) -> Self {
        Self { folder, left: BTreeSet::new(), catalog: None }
    }

    /// Counts what is in the journals of processes that are gone, gives back what they had leased, and removes the journals.
    ///
    /// Of one that holds what this catalogue does not know, that which it knows is counted, and the journal stays where it is
    /// for a process that knows the rest: what that counts again counts once.
    pub(crate) async fn adopt(
        &mut self,
        store: &Store,
        accounts: &Accounts,
        shared: &Shared,
        now: Timestamp,
        session: &mut dyn Session,
    ) -> Result<(), Error> {
        let catalog = accounts.catalog();
        if !self.catalog.as_ref().is_some_and(|known| known.is_same(&catalog)) {
            self.left.clear();
            self.catalog = Some(catalog);
        }
        let orphans = {
            let (folder, left) = (self.folder.clone(), self.left.clone());
            blocking(move || folder.orphans(&left)).await
        };
        for orphan in orphans.map_err(|error| unreadable(store, error))? {
            let (owner, journal) = (orphan.owner, orphan.path().display().to_string());
            // One that cannot be adopted must not keep the others from it, nor a product from starting.
            match adopt_one(&self.folder, orphan, store, accounts, shared, (now, session)).await {
                Ok(true) => {}
                Ok(false) => _ = self.left.insert(owner),
                Err(error) => {
                    tracing::error!(
                        journal,
                        error = error_chain(&error),
                        "a journal could not be adopted; it is tried again"
                    );
                }
            }
        }
        if !store.is_shared_by_machines() {
            forget_unknown(&self.folder, store, session, shared.journal.owner()).await?;
        }
        Ok(())
    }
}

/// Where all processes keep their journals in one folder, one that holds something and has no journal is gone.
async fn forget_unknown(folder: &Folder, store: &Store, session: &mut dyn Session, own: Uuid) -> Result<(), Error> {
    // In this order: whoever leases had a journal before.
    let holders = processes::holders(session).await.map_err(|error| store.explain("reading", error))?;
    let present = folder.owners().map_err(|error| unreadable(store, error))?;
    for owner in holders.difference(&present).filter(|owner| own != **owner) {
        let released = forget(store, session, *owner).await?;
        tracing::warn!(%owner, released, "units were leased by a process that is gone and left no journal");
    }
    Ok(())
}

/// Gives back what `owner` holds, in a transaction of its own.
pub(super) async fn forget(store: &Store, session: &mut dyn Session, owner: Uuid) -> Result<u64, Error> {
    let work = async {
        session.begin().await?;
        let released = owners::forget(session, owner).await?;
        session.commit().await?;
        Ok(released)
    };
    work.await.map_err(|error| store.explain("writing", error))
}

/// Answers whether nothing is left of it for others.
async fn adopt_one(
    folder: &Folder,
    orphan: Orphan,
    store: &Store,
    accounts: &Accounts,
    shared: &Shared,
    (now, session): (Timestamp, &mut dyn Session),
) -> Result<bool, Error> {
    let (orphan, files) =
        blocking(move || orphan.read().map(|files| (orphan, files))).await.map_err(|error| unreadable(store, error))?;
    let contents = files.each_ref().map(|bytes| Contents::read(bytes));
    let torn: usize = contents.iter().map(|contents| contents.torn).sum();
    let damaged: usize = contents.iter().map(|contents| contents.damaged).sum();
    let mut records: Vec<_> = contents.into_iter().flat_map(|contents| contents.records).collect();
    // Which of the two files was the older is not known, and which use of a key came first must be.
    records.sort_by_key(|record| match record {
        Record::Use(used) => used.at,
        Record::Event { .. } => Timestamp::MAX,
    });
    let known = understand(accounts, orphan.owner, &records, now);
    let forget = (!known.keeps_holds).then_some(orphan.owner);
    let counted = count(folder, store, shared, (orphan.owner, forget), &known.entries, (now, session)).await?;
    tracing::info!(owner = %orphan.owner, records = records.len(), counted, torn, "a journal was adopted");

    let (journal, unclear) = (orphan.path().display().to_string(), known.unclear);
    if let Some(unknown) = known.unknown {
        tracing::warn!(
            journal,
            unknown,
            damaged,
            unclear,
            "a journal holds usage that the catalogue of this process does not know; what it knows was counted, and the \
             journal is left for another process: start the product whose usage it is, or give this one its catalogue"
        );
        if damaged == 0 && unclear.is_none() {
            // What was counted by this catalogue is not to be counted by another one once more.
            let left = known.left;
            blocking(move || orphan.leave(&left)).await.map_err(|error| unreadable(store, error))?;
        }
        return Ok(false);
    }
    let put_away = if damaged == 0 && unclear.is_none() {
        orphan.remove()
    } else {
        orphan.keep_aside().map(|aside| {
            tracing::error!(
                journal, kept = %aside.display(), damaged, unclear, readable = known.entries.len(),
                "not all of a journal could be read; the rest was counted, and it is kept for you to look at"
            );
        })
    };
    put_away.map(|()| true).map_err(|error| unreadable(store, error))
}

/// What cannot be understood keeps nothing else from being counted.
fn understand<'a>(accounts: &Accounts, owner: Uuid, records: &[Record<'a>], now: Timestamp) -> Understood<'a> {
    let mut known = Understood::default();
    for record in records {
        match entry(accounts, owner, record, now) {
            Ok(entry) => known.entries.push((Arc::new(entry), *record)),
            Err(error) if error.kind() == ErrorKind::Catalog => {
                known.unknown = Some(error_chain(&error));
                record.encode(&mut known.left);
                known.keeps_holds |= matches!(record, Record::Use(used) if used.held > 0);
            }
            Err(error) => known.unclear = Some(error_chain(&error)),
        }
    }
    known
}

/// Counts what a process left, in as few transactions as can be, and with the last of them gives back what `forget` holds:
/// units that were used must not be free before they are counted. Answers how much was counted.
async fn count(
    folder: &Folder,
    store: &Store,
    shared: &Shared,
    (owner, forget): (Uuid, Option<Uuid>),
    mut entries: &[(Arc<Entry>, Record<'_>)],
    (now, session): (Timestamp, &mut dyn Session),
) -> Result<usize, Error> {
    let (mut counted, mut most) = (0, usize::MAX);
    loop {
        let first = chunk(entries.iter().map(|(entry, _)| size(entry))).min(most);
        let (part, rest) = entries.split_at(first);
        let all: Vec<_> = part.iter().map(|(entry, _)| entry.clone()).collect();
        // By itself where things are taken apart: it must not be taken for the fault of the last entry.
        let forget_now = forget.filter(|_| rest.is_empty() && (most > 1 || part.is_empty()));
        let batch = Batch { owner, now, entries: &all, releases: &[], leases: &[], forget: forget_now, keep: true };
        let work = async {
            session.begin().await?;
            let committed = crate::store::commit(session, &batch).await?;
            session.commit().await?;
            Ok(committed)
        };
        match work.await {
            Ok(committed) => {
                let outcomes = committed.outcomes.iter();
                counted += outcomes.filter(|outcome| matches!(outcome, Outcome::Counted { .. })).count();
                if rest.is_empty() && forget == forget_now {
                    return Ok(counted);
                }
                (entries, most) = (rest, most.saturating_mul(2));
            }
            Err(error) => {
                let of_data = is_of_data(&error) && first > 0;
                // If that fails, too, the session is of no use to anybody.
                _ = session.rollback().await;
                let error = store.explain("writing", error);
                match part {
                    [(entry, record)] if of_data && forget_now.is_none() => {
                        let mut bytes = Vec::new();
                        record.encode(&mut bytes);
                        let what = format!("{} of {}", entry.event.kind, entry.tenant);
                        keep_refused(folder, bytes, &what, &error).await?;
                        shared.note_refused();
                        (entries, most) = (rest, 1);
                    }
                    _ if of_data => most = (first / 2).max(1),
                    _ => return Err(error),
                }
            }
        }
    }
}

/// A record as the store wants it, with what its process held for it. [`ErrorKind::Catalog`] says that it is not known here.
fn entry(accounts: &Accounts, owner: Uuid, record: &Record<'_>, now: Timestamp) -> Result<Entry, Error> {
    match record {
        Record::Use(used) => {
            let held = (used.held > 0).then_some(Held { by: Holder { owner, cell: used.cell }, units: used.held });
            assemble::of_use(accounts, used, None, held, now)
        }
        Record::Event { meters, json } => {
            let catalog = accounts.catalog();
            if let Some(unknown) = meters.split_terminator(' ').find(|name| catalog.meter(name).is_none()) {
                return Err(Error::new(ErrorKind::Catalog, format!("the catalogue has no meter \"{unknown}\"")));
            }
            let event = Event::from_json(json.as_bytes())
                .map_err(|error| Error::because(ErrorKind::Invalid, "an event in a journal", error))?;
            let tenant = accounts.payer(event.subject()).ok_or_else(|| {
                Error::new(ErrorKind::Invalid, format!("nobody is known who pays for {}", event.subject()))
            })?;
            assemble::of_event(accounts, event, tenant, None, now)
        }
    }
}

/// Locks wait and files are large; they have threads of their own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn unreadable(store: &Store, error: io::Error) -> Error {
    Error::because(ErrorKind::Unavailable, format!("the journals of {} cannot be read", store.name()), error)
}
