//! Where the store's files are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;

use super::failure::Attempt as _;
use super::schema::corrupt;
use crate::{Error, ErrorKind};

/// What every SQLite database begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Stands beside the journals from the first opening on.
const MADE: &str = "store.made";

/// The files of one store. Journals stand beside their database, so that whoever shares the one finds the others.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    /// The journals of all processes that share the database.
    pub(crate) journals: Home,
}

impl Place {
    pub(crate) fn of(backend: &BillingBackend, home: &Home) -> Result<Self, Error> {
        match backend {
            BillingBackend::Sqlite(None) => {
                let folder = home.folder("billing").attempt("opening", &home.path().display().to_string())?;
                let journals = folder.folder("journal");
                let file = folder.path().join("billing.sqlite");
                Ok(Self { journals: journals.attempt("opening the journal of", &file.display().to_string())?, file })
            }
            BillingBackend::Sqlite(Some(file)) => {
                let mut journals = file.clone().into_os_string();
                journals.push(".journal");
                let shown = file.display().to_string();
                let journals = Home::open(journals).attempt("opening the journal of", &shown)?;
                Ok(Self { file: file.clone(), journals })
            }
            _ => {
                let message = "this billing backend is not part of this build; use sqlite:///path";
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// Makes an empty file for the database if there never was one, readable by its owner only; refuses what is no database.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        let shown = self.file.display().to_string();
        let made = self.journals.path().join(MADE).try_exists().attempt("opening", &shown)?;
        if made && fs::metadata(&self.file).map_or(0, |file| file.len()) == 0 {
            // Beginning anew would give every quota back and forget what was used.
            let marker = self.journals.path().join(MADE);
            let what = format!(
                "it is empty or gone, and a store was made here before; restore it, or remove {} to begin anew",
                marker.display()
            );
            return Err(corrupt(&shown, &what));
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.file);
        let begins_well = file.and_then(|file| begins_well(&file)).attempt("opening", &shown)?;
        if begins_well { Ok(()) } else { Err(corrupt(&shown, "it does not begin as a SQLite database does")) }
    }

    /// Notes that the database was made.
    pub(super) fn note_made(&self) -> Result<(), Error> {
        if self.journals.path().join(MADE).exists() {
            return Ok(());
        }
        self.journals.replace(MADE, b"").attempt("opening", &self.file.display().to_string())
    }
}

/// An empty file will be a database; any other must be one.
fn begins_well(file: &File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == MAGIC)
}
