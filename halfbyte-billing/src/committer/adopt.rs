//! Taking over what processes left that are gone.

use std::io;

use halfbyte_core::error_chain;
use sqlx::{Connection as _, SqliteConnection};
use uuid::Uuid;

use crate::journal::{Contents, Folder, Orphan};
use crate::store::{Counted, Store, count, release_of, tranche_owners};
use crate::{Error, ErrorKind};

/// Counts what is in the journals of processes that are gone, gives back what they had leased, and removes the journals.
pub(crate) async fn adopt(
    folder: &Folder,
    store: &Store,
    connection: &mut SqliteConnection,
    own: Option<Uuid>,
) -> Result<(), Error> {
    let orphans = {
        let folder = folder.clone();
        blocking(move || folder.orphans()).await
    };
    for orphan in orphans.map_err(|error| unreadable(store, error))? {
        let journal = orphan.path().display().to_string();
        // One that cannot be adopted must not keep the others from it, nor a product from starting.
        if let Err(error) = adopt_one(orphan, store, connection).await {
            tracing::error!(journal, error = error_chain(&error), "a journal could not be adopted; it is tried again");
        }
    }
    // In this order: whoever leases had a journal before, so one that has none now is gone.
    let owners = tranche_owners(connection).await.map_err(|error| store.explain("reading", error))?;
    let present = folder.owners().map_err(|error| unreadable(store, error))?;
    for owner in owners.difference(&present).filter(|owner| own != Some(**owner)) {
        let released = release_of(connection, *owner).await.map_err(|error| store.explain("writing", error))?;
        tracing::warn!(%owner, released, "units were leased by a process that is gone and left no journal");
    }
    Ok(())
}

async fn adopt_one(orphan: Orphan, store: &Store, connection: &mut SqliteConnection) -> Result<(), Error> {
    let (orphan, files) =
        blocking(move || orphan.read().map(|files| (orphan, files))).await.map_err(|error| unreadable(store, error))?;
    let contents = files.each_ref().map(|bytes| Contents::read(bytes));
    let torn: usize = contents.iter().map(|contents| contents.torn).sum();
    let damaged: usize = contents.iter().map(|contents| contents.damaged).sum();
    let mut records: Vec<_> = contents.into_iter().flat_map(|contents| contents.records).collect();
    // Which of the two files was the older is not known, and which use of a key came first must be.
    records.sort_by_key(|record| record.at);

    let outcome = async {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let counted = count(&mut transaction, &records).await?;
        // In the same transaction: units that were used must not be free before they are counted.
        let released = release_of(&mut transaction, orphan.owner).await?;
        transaction.commit().await?;
        Ok((counted, released))
    };
    let (counted, released) = outcome.await.map_err(|error| store.explain("writing", error))?;
    let counted = counted.iter().filter(|counted| **counted == Counted::New).count();
    tracing::info!(owner = %orphan.owner, records = records.len(), counted, released, torn, "a journal was adopted");

    let shown = orphan.path().display().to_string();
    let put_away = if damaged == 0 {
        orphan.remove()
    } else {
        orphan.keep_aside().map(|aside| {
            tracing::error!(
                journal = shown, kept = %aside.display(), damaged, readable = records.len(),
                "a journal is damaged; what could be read of it was counted, and it is kept for you to look at"
            );
        })
    };
    put_away.map_err(|error| unreadable(store, error))
}

/// Locks wait and files are large; they have threads of their own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn unreadable(store: &Store, error: io::Error) -> Error {
    Error::because(ErrorKind::Unavailable, format!("the journals of {} cannot be read", store.file()), error)
}
