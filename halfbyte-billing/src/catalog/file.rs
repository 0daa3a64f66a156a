//! A catalogue in a file that people change while the program runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use halfbyte_core::{BoxError, Clock, error_chain};

use super::Catalog;
use crate::store::Store;

/// Which content a file has, as far as that shows without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    /// Also set when a program puts the time of modification back.
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            device: file.dev(),
            inode: file.ino(),
            length: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

/// What earlier looks found.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// What is in force.
    current: Option<Catalog>,
    /// The file that it is of; `None` until the file has been at rest.
    taken: Option<Stamp>,
    /// The file at the last look.
    last: Option<Stamp>,
    /// Why the last look gave nothing.
    fault: Option<String>,
}

/// What one look found.
#[derive(Debug)]
enum Found {
    /// Nothing new.
    Same,
    /// The file is being changed, perhaps at this moment: half a file can be a whole catalogue with half of the plans.
    Unrest,
    /// A catalogue, and the file if it had been at rest.
    New(Catalog, Option<Stamp>),
}

/// A file and what was seen of it.
pub(super) struct Watched {
    path: PathBuf,
    store: Store,
    clock: Clock,
    seen: Mutex<Seen>,
}

impl Watched {
    pub(super) fn new(path: PathBuf, store: Store, clock: Clock) -> Self {
        Self { path, store, clock, seen: Mutex::default() }
    }

    /// The catalogue, if it is another than at the last look. Its plan versions are in the store by then.
    pub(super) async fn look(&self) -> Result<Option<Catalog>, BoxError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (path, before) = (self.path.clone(), seen.clone());
        let (stamp, found) = tokio::task::spawn_blocking(move || look(&path, &before)).await?;
        let found = self.accept(&mut seen, found).await;
        seen.last = stamp;
        if let Err(error) = &found {
            seen.fault = Some(error_chain(&**error));
        }
        // Only now, with nothing left to wait for: a look that was given up has not seen anything.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        found
    }

    async fn accept(&self, seen: &mut Seen, found: Result<Found, BoxError>) -> Result<Option<Catalog>, BoxError> {
        match found? {
            Found::Same => {
                seen.fault = None;
                Ok(None)
            }
            Found::Unrest => match seen.fault.clone() {
                Some(fault) => Err(fault.into()),
                None => Ok(None),
            },
            Found::New(catalog, taken) => {
                let is_new = seen.current.as_ref().is_none_or(|current| current.text() != catalog.text());
                if is_new {
                    self.store.register(&catalog, self.clock.now()).await?;
                }
                *seen = Seen { current: Some(catalog.clone()), taken, last: None, fault: None };
                Ok(is_new.then_some(catalog))
            }
        }
    }
}

/// Looks at the file; also answers how it was when the look began.
fn look(path: &Path, seen: &Seen) -> (Option<Stamp>, Result<Found, BoxError>) {
    let stamp = match Stamp::of(path) {
        Ok(stamp) => stamp,
        Err(error) => return (None, Err(format!("{}: the catalogue cannot be read: {error}", path.display()).into())),
    };
    (Some(stamp), look_at(path, stamp, seen))
}

fn look_at(path: &Path, stamp: Stamp, seen: &Seen) -> Result<Found, BoxError> {
    if seen.taken == Some(stamp) {
        return Ok(Found::Same);
    }
    let was_at_rest = seen.last == Some(stamp);
    if !was_at_rest && seen.current.is_some() {
        return Ok(Found::Unrest);
    }
    let catalog = Catalog::read(path);
    let is_at_rest = was_at_rest && Stamp::of(path).is_ok_and(|now| now == stamp);
    if was_at_rest && !is_at_rest && seen.current.is_some() {
        return Ok(Found::Unrest);
    }
    Ok(Found::New(catalog?, is_at_rest.then_some(stamp)))
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::testing::store_in;

    const PRODUCT: &str = "[products.p]\n[features.f]\nproduct = \"p\"\n";

    /// A file, and what looks at it.
    struct Fixture {
        folder: TempDir,
        watched: Watched,
    }

    impl Fixture {
        async fn new(plans: &str) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("plans.toml");
            let store = store_in(folder.path()).await;
            let fixture = Self { watched: Watched::new(path, store, Clock::system()), folder };
            fixture.write(plans);
            fixture
        }

        fn write(&self, plans: &str) {
            fs::write(&self.watched.path, format!("{PRODUCT}{plans}")).expect("written");
        }

        /// The plans of a catalogue that is new, or why there is none.
        async fn look(&self) -> Result<Option<String>, String> {
            match self.watched.look().await {
                Ok(catalog) => {
                    Ok(catalog.map(|catalog| catalog.plans().map(|plan| &*plan.name).collect::<Vec<_>>().join(" ")))
                }
                Err(error) => {
                    let folder = format!("{}/", self.folder.path().display());
                    Err(error_chain(&*error).replace(&folder, ""))
                }
            }
        }

        /// Looks until the file has been at rest.
        async fn settle(&self) -> Result<Option<String>, String> {
            assert_eq!(self.look().await, Ok(None), "it is taken only when it was at rest");
            self.look().await
        }
    }

    fn new(plans: &str) -> Result<Option<String>, String> {
        Ok(Some(plans.to_owned()))
    }

    #[tokio::test]
    async fn a_file_is_taken_at_once_and_a_change_of_it_when_it_is_at_rest() {
        let file = Fixture::new("[plans.a]\n").await;
        assert_eq!(file.look().await, new("a"));
        assert_eq!(file.look().await, Ok(None));
        assert_eq!(file.look().await, Ok(None));
        file.write("[plans.a]\n[plans.b]\n");
        assert_eq!(file.look().await, Ok(None));
        file.write("[plans.a]\n[plans.b]\n[plans.c]\n");
        assert_eq!(file.look().await, Ok(None));
        assert_eq!(file.look().await, new("a b c"));
        assert_eq!(file.look().await, Ok(None));
    }

    #[tokio::test]
    async fn a_change_is_seen_when_its_time_is_put_back() {
        let file = Fixture::new("[plans.a]\n").await;
        assert_eq!(file.look().await, new("a"));
        assert_eq!(file.look().await, Ok(None));
        let modified = fs::metadata(&file.watched.path).and_then(|file| file.modified()).expect("a time");
        let other = file.folder.path().join("other.toml");
        fs::write(&other, format!("{PRODUCT}[plans.b]\n")).expect("written");
        fs::File::open(&other).and_then(|file| file.set_modified(modified)).expect("put back");
        fs::rename(&other, &file.watched.path).expect("replaced");
        assert_eq!(file.settle().await, new("b"));
    }

    #[tokio::test]
    async fn the_same_text_again_is_no_new_catalogue() {
        let file = Fixture::new("[plans.a]\n").await;
        assert_eq!(file.look().await, new("a"));
        let other = file.folder.path().join("other.toml");
        fs::copy(&file.watched.path, &other).expect("copied");
        fs::rename(&other, &file.watched.path).expect("replaced");
        assert_eq!(file.settle().await, Ok(None));
        assert_eq!(file.look().await, Ok(None));
    }

    #[tokio::test]
    async fn a_file_that_becomes_wrong_is_told_until_it_is_good_again() {
        let file = Fixture::new("[plans.a]\n").await;
        assert_eq!(file.look().await, new("a"));
        file.write("[plans.a]\nfeatures.g = true\n");
        let fault = "plans.toml:5: plans.a.features.g: there is no feature \"g\"; did you mean \"f\"?";
        assert_eq!(file.settle().await, Err(fault.to_owned()));
        assert_eq!(file.look().await, Err(fault.to_owned()));
        file.write("[plans.a]\n[plans.b]\n");
        assert_eq!(file.look().await, Err(fault.to_owned()), "still what is known");
        assert_eq!(file.look().await, new("a b"));
    }

    #[tokio::test]
    async fn a_file_that_is_wrong_from_the_start_is_taken_as_soon_as_it_is_good() {
        let file = Fixture::new("[plans.A]\n").await;
        assert!(file.look().await.is_err());
        file.write("[plans.a]\n");
        assert_eq!(file.look().await, new("a"));
    }

    #[tokio::test]
    async fn a_file_that_is_gone_for_a_while_is_told_so() {
        let file = Fixture::new("[plans.a]\n").await;
        assert_eq!(file.look().await, new("a"));
        fs::remove_file(&file.watched.path).expect("removed");
        let fault = file.look().await.expect_err("it is gone");
        assert!(fault.starts_with("plans.toml: the catalogue cannot be read: "), "{fault}");
        file.write("[plans.b]\n");
        assert_eq!(file.look().await, Err(fault));
        assert_eq!(file.look().await, new("b"));
    }

    #[tokio::test]
    async fn what_changes_a_plan_version_that_was_sold_is_refused() {
        let file = Fixture::new("[plans.a]\n").await;
        assert_eq!(file.look().await, new("a"));
        file.write("[plans.a]\nfeatures.f = true\n");
        let fault = "version 1 of a was published with other content (f); put back what it held and add version 2";
        assert_eq!(file.settle().await, Err(fault.to_owned()));
        assert_eq!(file.look().await, Err(fault.to_owned()));
        file.write("[plans.a.versions.1]\n[plans.a.versions.2]\nfeatures.f = true\n");
        assert_eq!(file.look().await, Err(fault.to_owned()));
        assert_eq!(file.look().await, new("a"));
        let version = file.watched.store.plan_version("a", 2).await.expect("readable").expect("registered");
        assert!(version.entitlements.contains_key("f"));
    }

    #[tokio::test]
    async fn what_cannot_be_registered_yet_is_tried_again() {
        let file = Fixture::new("[plans.a]\n").await;
        let mut session = file.watched.store.writer().await.expect("a session");
        session.script("ALTER TABLE plan_versions RENAME TO away").await.expect("renamed");
        assert!(file.look().await.is_err());
        session.script("ALTER TABLE away RENAME TO plan_versions").await.expect("renamed");
        assert_eq!(file.look().await, new("a"));
        assert!(file.watched.store.plan_version("a", 1).await.expect("readable").is_some());
    }
}
