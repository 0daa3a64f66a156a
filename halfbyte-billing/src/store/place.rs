//! Where the store is, and the journals of those who write to it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use secrecy::SecretString;

use super::failure::Attempt as _;
use super::schema::corrupt;
use crate::{Error, ErrorKind};

/// What every SQLite database begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Stands beside the journals from the first opening on.
const MADE: &str = "store.made";

/// One store, and the folder in which the processes on this machine keep journals of what is on its way to it.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A file, with its journals beside it, so that whoever shares the one finds the others.
    Sqlite { file: PathBuf, journals: Home },
    /// A database, with the journals in the state folder.
    Postgres { url: SecretString, journals: Home },
}

impl Place {
    /// Where `backend` says; the folder for the journals is made if it is not there.
    pub(crate) fn of(backend: &BillingBackend, home: &Home) -> Result<Self, Error> {
        match backend {
            BillingBackend::Sqlite(None) => {
                let folder = home.folder("billing").attempt("opening", &shown(home.path()))?;
                let journals = folder.folder("journal");
                let file = folder.path().join("billing.sqlite");
                Ok(Self::Sqlite { journals: journals.attempt("opening the journal of", &shown(&file))?, file })
            }
            BillingBackend::Sqlite(Some(file)) => {
                let mut journals = file.clone().into_os_string();
                journals.push(".journal");
                let journals = Home::open(journals).attempt("opening the journal of", &shown(file))?;
                Ok(Self::Sqlite { file: file.clone(), journals })
            }
            BillingBackend::Postgres(url) => Self::postgres(url, home),
            _ => Err(Error::new(ErrorKind::Invalid, "there is no such billing backend in this version")),
        }
    }

    /// What was on its way to one database must not arrive at another: each has a folder of its own.
    #[cfg(feature = "postgres")]
    fn postgres(url: &SecretString, home: &Home) -> Result<Self, Error> {
        use super::failure::Failure;

        let database = super::sql::Postgres::name_of(url)
            .map_err(|error| Failure::from(error).into_error("reading the address of", "the billing database"))?;
        let folder: String = database
            .trim_start_matches("postgres://")
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' })
            .collect();
        let journals = home.folder("billing").and_then(|billing| billing.folder(&format!("journal-{folder}")));
        Ok(Self::Postgres { url: url.clone(), journals: journals.attempt("opening the journal of", &database)? })
    }

    #[cfg(not(feature = "postgres"))]
    fn postgres(_url: &SecretString, _home: &Home) -> Result<Self, Error> {
        let message = "billing in PostgreSQL needs the feature \"postgres\" of halfbyte-billing; enable it, or use sqlite:///path";
        Err(Error::new(ErrorKind::Invalid, message))
    }

    /// Where the processes on this machine keep what is on its way to the store.
    pub(crate) fn journals(&self) -> &Home {
        match self {
            Place::Sqlite { journals, .. } | Place::Postgres { journals, .. } => journals,
        }
    }
}

/// Makes an empty file for the database if there never was one, readable by its owner only; refuses what is no database.
pub(super) fn prepare(file: &Path, journals: &Home) -> Result<(), Error> {
    let shown = shown(file);
    let made = journals.path().join(MADE).try_exists().attempt("opening", &shown)?;
    if made && fs::metadata(file).map_or(0, |file| file.len()) == 0 {
        // Beginning anew would give every quota back and forget what was used.
        let marker = journals.path().join(MADE);
        let what = format!(
            "it is empty or gone, and a store was made here before; restore it, or remove {} to begin anew",
            marker.display()
        );
        return Err(corrupt(&shown, &what));
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file);
    let begins_well = file.and_then(|file| begins_well(&file)).attempt("opening", &shown)?;
    if begins_well { Ok(()) } else { Err(corrupt(&shown, "it does not begin as a SQLite database does")) }
}

/// Notes that the database was made.
pub(super) fn note_made(file: &Path, journals: &Home) -> Result<(), Error> {
    if journals.path().join(MADE).exists() {
        return Ok(());
    }
    journals.replace(MADE, b"").attempt("opening", &shown(file))
}

/// An empty file will be a database; any other must be one.
fn begins_well(file: &File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == MAGIC)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn at(folder: &Path) -> Place {
        let home = Home::open(folder.join("home")).unwrap();
        Place::of(&BillingBackend::Sqlite(None), &home).unwrap()
    }

    fn file_of(place: &Place) -> &Path {
        let Place::Sqlite { file, .. } = place else { panic!("{place:?}") };
        file
    }

    async fn refusal(place: &Place) -> (ErrorKind, String) {
        let error = Store::open(place).await.unwrap_err();
        (error.kind(), error.to_string())
    }

    #[tokio::test]
    async fn what_is_no_database_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = at(folder.path());
        for content in
            [&b"SQLite"[..], b"hello world, this is no database at all", b"SQLite format 3\0 and then nonsense"]
        {
            fs::write(file_of(&place), content).unwrap();
            let (kind, message) = refusal(&place).await;
            assert_eq!(kind, ErrorKind::Corrupt, "{message}");
            assert!(message.contains("billing.sqlite is damaged and was left as it is"), "{message}");
            assert_eq!(fs::read(file_of(&place)).unwrap(), content);
        }
    }

    #[tokio::test]
    async fn a_store_that_is_empty_or_gone_is_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let place = at(folder.path());
        Store::open(&place).await.unwrap().close().await;
        fs::write(file_of(&place), b"").unwrap();
        assert_eq!(refusal(&place).await.0, ErrorKind::Corrupt);
        fs::remove_file(file_of(&place)).unwrap();
        assert_eq!(refusal(&place).await.0, ErrorKind::Corrupt);
        assert!(!file_of(&place).exists(), "nor is an empty one left there");
        fs::remove_file(place.journals().path().join(MADE)).unwrap();
        Store::open(&place).await.unwrap();
    }

    #[tokio::test]
    async fn a_damaged_page_is_found_when_the_store_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let place = at(folder.path());
        Store::open(&place).await.unwrap().close().await;
        let mut content = fs::read(file_of(&place)).unwrap();
        assert!(content.len() > 8192);
        content[4096..8192].fill(0xa5);
        fs::write(file_of(&place), &content).unwrap();
        assert_eq!(refusal(&place).await.0, ErrorKind::Corrupt);
        assert_eq!(fs::read(file_of(&place)).unwrap(), content);
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_while_it_is_open_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let place = at(folder.path());
        let store = Store::open(&place).await.unwrap();
        store.is_in_place().unwrap();
        fs::rename(file_of(&place), folder.path().join("elsewhere")).unwrap();
        assert!(store.is_in_place().unwrap_err().to_string().contains("is gone"));
        fs::write(file_of(&place), b"").unwrap();
        assert!(store.is_in_place().unwrap_err().to_string().contains("was replaced"));
    }

    #[test]
    fn a_file_elsewhere_has_its_journals_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path().join("home")).unwrap();
        let file = folder.path().join("b.sqlite");
        let place = Place::of(&BillingBackend::Sqlite(Some(file)), &home).unwrap();
        assert!(place.journals().path().ends_with("b.sqlite.journal"), "{place:?}");
    }

    #[cfg(feature = "postgres")]
    #[tokio::test]
    async fn a_database_that_cannot_be_reached_is_unavailable_and_its_password_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path().join("home")).unwrap();
        let of = |url: &str| Place::of(&BillingBackend::Postgres(url.into()), &home);
        let place = of("postgres://someone:hunter2@127.0.0.1:1/billing").unwrap();
        let store = Store::open(&place).await.expect("it is tried again later");
        let error = store.writer().await.err().expect("nobody is there");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("postgres://127.0.0.1:1/billing"), "{error}");
        let nonsense = of("postgres://someone:hunter2@127.0.0.1:x/billing").unwrap_err();
        for shown in [format!("{error:?}"), format!("{place:?}"), format!("{nonsense:?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn each_database_has_journals_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path().join("home")).unwrap();
        let journals = |url: &str| {
            let place = Place::of(&BillingBackend::Postgres(url.into()), &home).unwrap();
            place.journals().path().to_owned()
        };
        let one = journals("postgres://a:b@db.example/one");
        assert!(one.ends_with("billing/journal-db.example-5432-one"), "{}", one.display());
        assert_eq!(one, journals("postgres://another:password@db.example:5432/one?sslmode=require"));
        assert_ne!(one, journals("postgres://a:b@db.example/two"));
    }
}
