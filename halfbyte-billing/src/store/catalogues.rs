//! Catalogues that were published, and the plan versions that never change again.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use super::{Session, SqlError, Store};
use crate::{Catalog, Error, ErrorKind, Plan, PlanVersion};

/// What became of a catalogue that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The revision of the store that has it.
    pub revision: i64,
    /// Whether it is another than the one before.
    pub is_new: bool,
}

/// The catalogue that was published last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) revision: i64,
    pub(crate) file: String,
    pub(crate) text: String,
}

const STATE: &str = "SELECT revision FROM state /*lock*/";

const NEWEST: &str = "SELECT revision, file, content FROM catalogues ORDER BY revision DESC LIMIT 1";

const PUBLISH: &str = "INSERT INTO catalogues (revision, file, content, published) VALUES ($1, $2, $3, $4)";

const VERSION: &str = "SELECT content FROM plan_versions WHERE plan = $1 AND version = $2";

/// Those of `[plan, version, ...]` that are there.
const KNOWN: &str = "SELECT p.plan, p.version, p.content FROM json_each($1) \
    JOIN plan_versions p ON p.plan = value ->> 0 AND p.version = CAST(value ->> 1 AS INTEGER)";

/// Adds `[plan, version, content]`; what is there stays as it is.
const ADD: &str = "INSERT INTO plan_versions (plan, version, content, published) \
    SELECT value ->> 0, CAST(value ->> 1 AS INTEGER), value ->> 2, CAST($2 AS INTEGER) FROM json_each($1) \
    WHERE true ON CONFLICT DO NOTHING";

impl Store {
    /// Makes `catalog` the one that every process on this store reads, and registers its plan versions. The same text
    /// again is no new catalogue. In one transaction; two that publish at once do so one after the other.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Catalog`] as for [`register`](Self::register), or the store cannot be written; then nothing changed.
    pub(crate) async fn publish(&self, catalog: &Catalog, now: Timestamp) -> Result<Published, Error> {
        let versions = Versions::of(catalog);
        let mut session = self.writer().await?;
        let published = publish(&mut *session, catalog, &versions, now).await;
        published.map_err(|refusal| refusal.into_error("publishing a catalogue to", self))
    }

    /// Keeps what each plan version of `catalog` holds, for as long as the store is there. Writes nothing when all are
    /// known. In one transaction; several processes may do it at once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Catalog`] when versions are known with other content, all of them by name, or the store cannot be
    /// read or written; then nothing changed.
    pub(crate) async fn register(&self, catalog: &Catalog, now: Timestamp) -> Result<(), Error> {
        let versions = Versions::of(catalog);
        let mut reader = self.reader().await?;
        let missing = versions.missing(&mut *reader).await;
        let doing = "registering plans in";
        drop(reader);
        if missing.map_err(|refusal| refusal.into_error(doing, self))? {
            let mut session = self.writer().await?;
            let registered = register(&mut *session, &versions, now).await;
            registered.map_err(|refusal| refusal.into_error(doing, self))?;
        }
        Ok(())
    }

    /// What a version of a plan holds, also one that no catalogue has any more.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or is of a later version of this program.
    pub(crate) async fn plan_version(&self, plan: &str, number: u32) -> Result<Option<PlanVersion>, Error> {
        let explain = |error| self.explain("reading a plan in", error);
        let mut reader = self.reader().await?;
        let rows = reader.query(VERSION, &[plan.into(), i64::from(number).into()]).await.map_err(explain)?;
        let Some(row) = rows.first() else { return Ok(None) };
        match serde_json::from_str(row.text(0).map_err(explain)?) {
            Ok(version) => Ok(Some(version)),
            Err(error) => {
                let message = format!(
                    "version {number} of the plan {plan} in {} cannot be understood; was it written by a later version \
                     of this program?",
                    self.name()
                );
                Err(Error::because(ErrorKind::Foreign, message, error))
            }
        }
    }

    /// The catalogue that was published last.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub(crate) async fn newest_catalogue(&self) -> Result<Option<Newest>, Error> {
        let mut reader = self.reader().await?;
        newest(&mut *reader).await.map_err(|error| self.explain("reading the catalogue in", error))
    }

    /// Counts the changes of accounts, catalogues and watermarks.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub(crate) async fn state_revision(&self) -> Result<i64, Error> {
        let mut reader = self.reader().await?;
        let rows = reader.query("SELECT revision FROM state", &[]).await;
        rows.and_then(|rows| rows[0].int(0)).map_err(|error| self.explain("reading", error))
    }
}

// Whatever fails leaves the transaction open, and the session is dropped, which takes everything back.

async fn publish(
    session: &mut dyn Session,
    catalog: &Catalog,
    versions: &Versions<'_>,
    now: Timestamp,
) -> Result<Published, Refusal> {
    session.begin().await?;
    // Whoever else publishes waits here.
    let revision = session.query(STATE, &[]).await?[0].int(0)? + 1;
    let added = versions.add(session, now).await?;
    if let Some(newest) = newest(session).await?.filter(|newest| newest.text == catalog.text()) {
        if added > 0 {
            session.commit().await?
        } else {
            session.rollback().await?
        }
        return Ok(Published { revision: newest.revision, is_new: false });
    }
    session.execute("UPDATE state SET revision = $1", &[revision.into()]).await?;
    let values = [revision.into(), catalog.file().into(), catalog.text().into(), now.as_microsecond().into()];
    session.execute(PUBLISH, &values).await?;
    session.commit().await?;
    Ok(Published { revision, is_new: true })
}

async fn register(session: &mut dyn Session, versions: &Versions<'_>, now: Timestamp) -> Result<(), Refusal> {
    session.begin().await?;
    versions.add(session, now).await?;
    session.commit().await?;
    Ok(())
}

async fn newest(session: &mut dyn Session) -> Result<Option<Newest>, SqlError> {
    let rows = session.query(NEWEST, &[]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Newest { revision: row.int(0)?, file: row.text(1)?.to_owned(), text: row.text(2)?.to_owned() }))
}

/// The plan versions of a catalogue.
struct Versions<'c> {
    catalog: &'c Catalog,
    count: usize,
    /// `[[plan, number, content], ...]`, sorted, so that no two processes wait for each other crosswise.
    json: String,
}

impl<'c> Versions<'c> {
    fn of(catalog: &'c Catalog) -> Self {
        let versions = catalog.plans().flat_map(|plan| plan.versions());
        let rows: Vec<_> = versions
            .map(|version| {
                let content = serde_json::to_string(&**version).expect("names and numbers can be written as JSON");
                (&*version.plan, version.number, content)
            })
            .collect();
        let json = serde_json::to_string(&rows).expect("texts and numbers can be written as JSON");
        Self { catalog, count: rows.len(), json }
    }

    /// Whether the store lacks some; refused when it has some with other content.
    async fn missing(&self, session: &mut dyn Session) -> Result<bool, Refusal> {
        let rows = session.query(KNOWN, &[(&*self.json).into()]).await?;
        let mut changed = Vec::new();
        for row in &rows {
            let (name, number) = (row.text(0)?, u32::try_from(row.int(1)?).unwrap_or(0));
            let known: Option<PlanVersion> = serde_json::from_str(row.text(2)?).ok();
            let Some(plan) = self.catalog.plan(name) else { continue };
            let Some(ours) = plan.version(number) else { continue };
            if known.as_ref() != Some(&**ours) {
                changed.push(Changed::of(plan, ours, known.as_ref()));
            }
        }
        if changed.is_empty() { Ok(rows.len() < self.count) } else { Err(Refusal::Changed(changed)) }
    }

    /// Adds those that the store lacks, and answers how many; refused when it has some with other content.
    async fn add(&self, session: &mut dyn Session, now: Timestamp) -> Result<u64, Refusal> {
        let added = session.execute(ADD, &[(&*self.json).into(), now.as_microsecond().into()]).await?;
        // Looked at afterwards: by now also those are there that another process added meanwhile.
        self.missing(session).await?;
        Ok(added)
    }
}

/// Why nothing was changed.
enum Refusal {
    Failed(SqlError),
    Changed(Vec<Changed>),
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        Refusal::Failed(error)
    }
}

impl Refusal {
    fn into_error(self, doing: &str, store: &Store) -> Error {
        match self {
            Refusal::Failed(error) => store.explain(doing, error),
            Refusal::Changed(mut changed) => {
                changed.sort();
                let lines: Vec<_> = changed.iter().map(Changed::to_string).collect();
                Error::new(ErrorKind::Catalog, lines.join("\n"))
            }
        }
    }
}

/// A plan version that is not what it was.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Changed {
    plan: Box<str>,
    number: u32,
    /// What the plan's next version is.
    next: u32,
    /// On which features they differ; nothing when what was published is not understood.
    features: Vec<Box<str>>,
}

impl Changed {
    fn of(plan: &Plan, ours: &PlanVersion, known: Option<&PlanVersion>) -> Self {
        let known = known.map(|known| &known.entitlements);
        let features = known.map_or_else(Vec::new, |known| {
            let names: BTreeSet<_> = known.keys().chain(ours.entitlements.keys()).collect();
            names.into_iter().filter(|name| known.get(*name) != ours.entitlements.get(*name)).cloned().collect()
        });
        Self { plan: ours.plan.clone(), number: ours.number, next: plan.newest().number + 1, features }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, number, next, features } = self;
        write!(f, "version {number} of {plan} was published with other content")?;
        if !features.is_empty() {
            write!(f, " ({})", features.join(", "))?;
        }
        write!(f, "; put back what it held and add version {next}")
    }
}
