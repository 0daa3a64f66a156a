//! Where a catalogue comes from, and how it is kept current.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use halfbyte_core::live::{self, Fetched, Live, Policy};
use halfbyte_core::{BoxError, Lifecycle};

use super::Catalog;
use super::file::Watched;
use crate::store::Store;
use crate::{Error, ErrorKind};

const NAME: &str = "billing.catalogue";

/// Where the catalogue comes from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CatalogSource {
    /// This one, for as long as the process runs.
    Fixed(Catalog),
    /// A file, which is looked at every second. A change counts once the file has been at rest for one look; one that
    /// cannot be read, or that changes a plan version that was published, is reported and what was there before stays.
    File(PathBuf),
    /// What was last published to the store, which is looked at every second.
    Store,
}

impl From<Catalog> for CatalogSource {
    fn from(catalog: Catalog) -> Self {
        CatalogSource::Fixed(catalog)
    }
}

/// Keeps the catalogue. A fixed one has to be [registered](Store::register) by whoever opens the store with it.
pub(crate) fn live(source: CatalogSource, store: Store, lifecycle: &Lifecycle) -> Live<Catalog> {
    let policy = Policy {
        fresh_for: Duration::from_secs(1),
        // What is sold does not expire because nobody can be asked.
        max_stale: Duration::MAX,
        demand_gap: Duration::from_millis(20),
        max_backoff: Duration::from_secs(5),
        ..Policy::default()
    };
    match source {
        CatalogSource::Fixed(catalog) => Live::fixed(NAME, catalog),
        CatalogSource::File(path) => {
            let watched = Arc::new(Watched::new(path, store, lifecycle.clock().clone()));
            let fetch = move || {
                let watched = watched.clone();
                async move { watched.look().await.map(fetched) }
            };
            Live::start(NAME, Policy { max_backoff: Duration::from_secs(1), ..policy }, fetch, lifecycle)
        }
        CatalogSource::Store => {
            let seen = Arc::new(Seen { state: AtomicI64::new(i64::MIN), catalogue: AtomicI64::new(i64::MIN) });
            let fetch = move || {
                let (store, seen) = (store.clone(), seen.clone());
                async move { seen.look(&store).await.map(fetched) }
            };
            Live::start(NAME, policy, fetch, lifecycle)
        }
    }
}

/// That there is no catalogue to begin with. A file has to be mended; what is in the store has to come.
pub(crate) fn unusable(source: &CatalogSource, error: live::Error) -> Error {
    let kind = match source {
        CatalogSource::Store => ErrorKind::Unavailable,
        CatalogSource::Fixed(_) | CatalogSource::File(_) => ErrorKind::Catalog,
    };
    Error::because(kind, "the catalogue cannot be used", error)
}

fn fetched(catalog: Option<Catalog>) -> Fetched<Catalog> {
    catalog.map_or_else(Fetched::unchanged, Fetched::new)
}

/// The revisions of the store and of the catalogue in it that were read last.
struct Seen {
    state: AtomicI64,
    catalogue: AtomicI64,
}

impl Seen {
    /// The newest catalogue of the store, unless it was seen before.
    async fn look(&self, store: &Store) -> Result<Option<Catalog>, BoxError> {
        let state = store.state_revision().await?;
        if state == self.state.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let Some(newest) = store.newest_catalogue().await? else {
            return Err(format!("{} has no catalogue yet; publish one", store.name()).into());
        };
        let known = newest.revision == self.catalogue.load(Ordering::Relaxed);
        let catalog = if known { None } else { Some(Catalog::parse(&newest.file, &newest.text)?) };
        // Only now, with nothing left to wait for: a look that was given up has not seen anything.
        self.catalogue.store(newest.revision, Ordering::Relaxed);
        self.state.store(state, Ordering::Relaxed);
        Ok(catalog)
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use halfbyte_core::{Clock, error_chain};

    use super::*;
    use crate::testing::store_in;

    fn catalog(plans: &str) -> Catalog {
        Catalog::parse("c.toml", &format!("[products.p]\n{plans}")).unwrap_or_else(|error| panic!("{error}"))
    }

    async fn publish(store: &Store, plans: &str) {
        store.publish(&catalog(plans), Clock::system().now()).await.expect("published");
    }

    async fn plans(live: &Live<Catalog>, seen: u64) -> (u64, String) {
        let catalog = live.refetch(seen).await.expect("a catalogue");
        (catalog.generation(), catalog.plans().map(|plan| &*plan.name).collect::<Vec<_>>().join(" "))
    }

    #[tokio::test]
    async fn a_fixed_catalogue_is_there_at_once_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store_in(folder.path()).await;
        let live = live(catalog("[plans.a]\n").into(), store, &Lifecycle::new(Clock::system()));
        assert!(live.load().expect("it is there").plan("a").is_some());
    }

    #[tokio::test]
    async fn every_process_reads_what_was_published_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store_in(folder.path()).await;
        publish(&store, "[plans.a]\n").await;
        let live = live(CatalogSource::Store, store.clone(), &Lifecycle::new(Clock::system()));
        assert_eq!(plans(&live, 0).await, (1, "a".into()));
        publish(&store, "[plans.b]\n").await;
        assert_eq!(plans(&live, 1).await, (2, "b".into()));

        // Something else changed: the catalogue is the same one as before.
        let mut session = store.writer().await.expect("a session");
        session.script("UPDATE state SET revision = revision + 1").await.expect("raised");
        assert_eq!(plans(&live, 2).await, (2, "b".into()));
        assert_eq!(live.status().failures, 0);
    }

    #[tokio::test]
    async fn a_store_without_a_catalogue_says_so_until_one_is_published() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store_in(folder.path()).await;
        let seen = Seen { state: AtomicI64::new(i64::MIN), catalogue: AtomicI64::new(i64::MIN) };
        let error = seen.look(&store).await.expect_err("there is none").to_string();
        assert!(error.ends_with("billing.sqlite has no catalogue yet; publish one"), "{error}");
        publish(&store, "[plans.a]\n").await;
        assert!(seen.look(&store).await.expect("readable").is_some());
        assert!(seen.look(&store).await.expect("readable").is_none());
    }

    #[tokio::test]
    async fn a_catalogue_in_the_store_that_is_wrong_leaves_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store_in(folder.path()).await;
        publish(&store, "[plans.a]\n").await;
        let live = live(CatalogSource::Store, store.clone(), &Lifecycle::new(Clock::system()));
        assert_eq!(plans(&live, 0).await, (1, "a".into()));
        let mut session = store.writer().await.expect("a session");
        let wrong = "UPDATE state SET revision = 9; INSERT INTO catalogues VALUES (9, 'later.toml', 'oops = 1', 0)";
        session.script(wrong).await.expect("written");
        let error = live.refetch(1).await.map(|catalog| catalog.generation()).expect_err("it is wrong");
        let expected = "billing.catalogue could not be refreshed: later.toml:1: oops: there is no such key";
        assert!(error_chain(&error).starts_with(expected), "{}", error_chain(&error));
        assert!(live.load().expect("the one before").plan("a").is_some());
    }

    #[tokio::test]
    async fn a_file_is_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store_in(folder.path()).await;
        let path = folder.path().join("plans.toml");
        std::fs::write(&path, "[products.p]\n[plans.a]\n").expect("written");
        let live = live(CatalogSource::File(path.clone()), store, &Lifecycle::new(Clock::system()));
        assert_eq!(plans(&live, 0).await, (1, "a".into()));
        std::fs::write(&path, "[products.p]\n[plans.a]\n[plans.b]\n").expect("written");
        let changed = tokio::time::timeout(Duration::from_secs(30), live.changed(1)).await;
        assert_eq!(changed, Ok(2));
        assert!(live.load().expect("it is there").plan("b").is_some());
    }
}
