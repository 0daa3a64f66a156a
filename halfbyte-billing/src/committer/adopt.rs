//! Taking over what processes left that are gone.

use std::io;
use std::sync::Arc;

use halfbyte_core::error_chain;
use jiff::Timestamp;
use uuid::Uuid;

use crate::accounts::Accounts;
use crate::event::Event;
use crate::journal::{Contents, Folder, Orphan, Record};
use crate::store::{Batch, Entry, Held, Holder, Outcome, Session, Store, owners, processes};
use crate::{Error, ErrorKind, assemble};

/// So many records go into one transaction.
const CHUNK: usize = 4096;

/// Counts what is in the journals of processes that are gone, gives back what they had leased, and removes the journals.
pub(crate) async fn adopt(
    folder: &Folder,
    store: &Store,
    accounts: &Accounts,
    now: Timestamp,
    session: &mut dyn Session,
    own: Option<Uuid>,
) -> Result<(), Error> {
    let orphans = {
        let folder = folder.clone();
        blocking(move || folder.orphans()).await
    };
    for orphan in orphans.map_err(|error| unreadable(store, error))? {
        let journal = orphan.path().display().to_string();
        // One that cannot be adopted must not keep the others from it, nor a product from starting.
        if let Err(error) = adopt_one(orphan, store, accounts, now, session).await {
            tracing::error!(journal, error = error_chain(&error), "a journal could not be adopted; it is tried again");
        }
    }
    if !store.is_shared_by_machines() {
        forget_unknown(folder, store, session, own).await?;
    }
    Ok(())
}

/// Where all processes keep their journals in one folder, one that holds something and has no journal is gone.
async fn forget_unknown(
    folder: &Folder,
    store: &Store,
    session: &mut dyn Session,
    own: Option<Uuid>,
) -> Result<(), Error> {
    // In this order: whoever leases had a journal before.
    let holders = processes::holders(session).await.map_err(|error| store.explain("reading", error))?;
    let present = folder.owners().map_err(|error| unreadable(store, error))?;
    for owner in holders.difference(&present).filter(|owner| own != Some(**owner)) {
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

async fn adopt_one(
    orphan: Orphan,
    store: &Store,
    accounts: &Accounts,
    now: Timestamp,
    session: &mut dyn Session,
) -> Result<(), Error> {
    let (orphan, files) =
        blocking(move || orphan.read().map(|files| (orphan, files))).await.map_err(|error| unreadable(store, error))?;
    let contents = files.each_ref().map(|bytes| Contents::read(bytes));
    let torn: usize = contents.iter().map(|contents| contents.torn).sum();
    let damaged: usize = contents.iter().map(|contents| contents.damaged).sum();
    let mut records: Vec<_> = contents.into_iter().flat_map(|contents| contents.records).collect();
    // Which of the two files was the older is not known, and which use of a key came first must be.
    records.sort_by_key(|record| match record {
        Record::Use(used) => used.at,
        Record::Event(_) => Timestamp::MAX,
    });
    // What cannot be understood keeps nothing else from being counted, and is kept itself.
    let mut unclear = None;
    let understood = records.iter().filter_map(|record| {
        entry(accounts, orphan.owner, record, now)
            .map_err(|error| unclear = Some(error_chain(&error)))
            .ok()
            .map(Arc::new)
    });
    let entries: Vec<_> = understood.collect();

    let mut counted = 0;
    let mut chunks = entries.chunks(CHUNK).peekable();
    loop {
        let chunk = chunks.next().unwrap_or_default();
        let last = chunks.peek().is_none();
        // With the last of them: units that were used must not be free before they are counted.
        let forget = last.then_some(orphan.owner);
        let batch = Batch { owner: orphan.owner, now, entries: chunk, releases: &[], leases: &[], forget, keep: true };
        let work = async {
            session.begin().await?;
            let committed = crate::store::commit(session, &batch).await?;
            session.commit().await?;
            Ok(committed)
        };
        let committed = match work.await {
            Ok(done) => done,
            Err(error) => {
                // If that fails, too, the session is of no use to anybody.
                _ = session.rollback().await;
                return Err(store.explain("writing", error));
            }
        };
        counted += committed.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Counted { .. })).count();
        if last {
            break;
        }
    }
    tracing::info!(owner = %orphan.owner, records = records.len(), counted, torn, "a journal was adopted");

    let shown = orphan.path().display().to_string();
    let put_away = if damaged == 0 && unclear.is_none() {
        orphan.remove()
    } else {
        orphan.keep_aside().map(|aside| {
            tracing::error!(
                journal = shown, kept = %aside.display(), damaged, unclear, readable = entries.len(),
                "not all of a journal could be read; the rest was counted, and it is kept for you to look at"
            );
        })
    };
    put_away.map_err(|error| unreadable(store, error))
}

/// A record as the store wants it, with what its process held for it.
fn entry(accounts: &Accounts, owner: Uuid, record: &Record<'_>, now: Timestamp) -> Result<Entry, Error> {
    match record {
        Record::Use(used) => {
            let held = (used.held > 0).then_some(Held { by: Holder { owner, cell: used.cell }, units: used.held });
            assemble::of_use(accounts, used, held, now)
        }
        Record::Event(json) => {
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
