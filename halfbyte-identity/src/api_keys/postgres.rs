//! API keys in PostgreSQL, shared by every process on the database.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use halfbyte_core::lifecycle::Check;
use halfbyte_core::{Lifecycle, Principal, TenantId, error_chain};
use jiff::Timestamp;
use secrecy::SecretString;
use sqlx::Executor as _;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use super::cache::{Found, Records};
use super::database::{Database, failed, is_passing};
use super::format::{Digest, Id};
use super::record::{ISSUER, Record, Stored, Verdict, has_ended, judge};
use super::spec::ApiKey;
use crate::error::Error;

/// After this much silence the connection that tells of changes is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(2);
/// How long a request waits until it is answered that the store cannot be asked.
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How long a process is ready without a word from the database, as with every other source of its keys.
const READY_FOR: Duration = Duration::from_secs(60);
/// A secret that is not the one of a record this old may be a newer one.
const REREAD_AFTER: Duration = Duration::from_secs(1);

/// The store. A key that was seen before is looked up without I/O.
pub(super) struct Store {
    shared: Arc<Shared>,
    /// The listening ends with it.
    _alive: watch::Sender<()>,
}

struct Shared {
    database: Database,
    records: Records,
    issuer: Arc<str>,
    /// For keys that were seen before.
    seen: Lane,
    /// For those that anybody may have made up. They have a lane of their own, so that a flood of them leaves room for keys
    /// that somebody has.
    unseen: Lane,
    link: Mutex<Link>,
}

/// What is known of the database.
#[derive(Default)]
struct Link {
    prepared: bool,
    answered: Option<Instant>,
    error: Option<String>,
}

/// Bounds how much of the database requests may ask for.
struct Lane {
    /// Requests that wait; more are turned away.
    places: Semaphore,
    running: Semaphore,
    /// Requests for one id go one after the other, so that the first reads it for all.
    turns: [tokio::sync::Mutex<()>; TURNS],
}

const PLACES: usize = 256;
const RUNNING: usize = 2;
const TURNS: usize = 64;

impl Lane {
    fn new() -> Self {
        Self {
            places: Semaphore::new(PLACES),
            running: Semaphore::new(RUNNING),
            turns: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
        }
    }
}

/// The database cannot be asked; it is logged already.
pub(super) struct Unavailable;

impl Store {
    /// A database that cannot be reached just now is waited for in the background, and the process is not ready until then.
    pub(super) async fn open(url: &SecretString, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            database: Database::new(url)?,
            records: Records::new(),
            issuer: ISSUER.into(),
            seen: Lane::new(),
            unseen: Lane::new(),
            link: Mutex::default(),
        });
        if let Err(error) = Box::pin(shared.prepare()).await {
            if !is_passing(&error) {
                return Err(failed(error));
            }
            shared.failed(&error);
        }
        let (alive, mut dropped) = watch::channel(());
        let (listening, stopping) = (shared.clone(), lifecycle.stopping());
        lifecycle.spawn("api-keys", async move {
            tokio::select! {
                _never = listening.listen_on() => {}
                _closed = dropped.changed() => {}
                () = stopping => {}
            }
            listening.records.deaf();
        });
        let probed = Arc::downgrade(&shared);
        lifecycle.health().register(move || Some(probed.upgrade()?.check()));
        Ok(Self { shared, _alive: alive })
    }

    /// `None` when the database has to be asked first.
    pub(super) fn judge_now(&self, id: Id, digest: &Digest, now: Timestamp) -> Option<Verdict> {
        self.shared.judge_now(id, digest, now)
    }

    pub(super) async fn judge(&self, id: Id, digest: &Digest, now: Timestamp) -> Result<Verdict, Unavailable> {
        // From the first wait to the last: who stands behind many others is not kept longer than who stands in front.
        let looked_up = timeout(PATIENCE, self.shared.judge(id, digest, now));
        Box::pin(looked_up).await.unwrap_or_else(|_| {
            tracing::debug!("an API key cannot be looked up: its turn did not come in time");
            Err(Unavailable)
        })
    }

    pub(super) async fn has_ended(&self, id: Id, principal: &Principal, now: Timestamp) -> bool {
        let known = |found| match found {
            Found::Believed(record, _) => Some(has_ended(record.as_deref(), principal, now)),
            Found::Old | Found::Nothing => None,
        };
        match known(self.shared.records.find(id)) {
            Some(ended) => ended,
            // A look-up for nobody's secret leaves what is read where it is found.
            None => {
                let _verdict = self.judge(id, &Digest::NOBODY, now).await;
                known(self.shared.records.find(id)).unwrap_or(false)
            }
        }
    }

    pub(super) async fn create(&self, id: Id, stored: Stored, now: Timestamp) -> Result<(), Error> {
        let created = Box::pin(self.shared.database.insert(id, &stored, now)).await;
        self.shared.records.changed(id);
        created
    }

    pub(super) async fn update(
        &self,
        id: Id,
        update: impl FnOnce(&mut Stored) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        let updated = Box::pin(self.shared.database.update(id, update)).await;
        // Also after an error: whether the change was made may not be known.
        self.shared.records.changed(id);
        updated
    }

    pub(super) async fn list(&self, tenant: TenantId) -> Result<Vec<ApiKey>, Error> {
        let keys = Box::pin(self.shared.database.list(&tenant)).await.map_err(failed)?;
        Ok(keys.into_iter().map(|(id, stored)| stored.info(id)).collect())
    }
}

impl Shared {
    fn judge_now(&self, id: Id, digest: &Digest, now: Timestamp) -> Option<Verdict> {
        let Found::Believed(record, age) = self.records.find(id) else { return None };
        match judge(record.as_deref(), digest, now) {
            Verdict::Wrong if record.is_some() && age >= REREAD_AFTER => None,
            verdict => Some(verdict),
        }
    }

    async fn judge(&self, id: Id, digest: &Digest, now: Timestamp) -> Result<Verdict, Unavailable> {
        if let Some(verdict) = self.judge_now(id, digest, now) {
            return Ok(verdict);
        }
        let lane = match self.records.find(id) {
            Found::Believed(Some(_), _) | Found::Old => &self.seen,
            Found::Believed(None, _) | Found::Nothing => &self.unseen,
        };
        let Ok(_place) = lane.places.try_acquire() else {
            tracing::debug!("an API key cannot be looked up: too many are waiting");
            return Err(Unavailable);
        };
        let _turn = lane.turns[id.part_of(TURNS)].lock().await;
        // Whoever went before may have read it.
        if let Some(verdict) = self.judge_now(id, digest, now) {
            return Ok(verdict);
        }
        let _running = lane.running.acquire().await.map_err(|_| Unavailable)?;
        let read = self.records.begin(id);
        let stored = self.database.read(id).await.map_err(|error| {
            self.failed(&error);
            Unavailable
        })?;
        self.answered();
        let record = stored.map(|stored| Arc::new(Record::new(id, &stored, &self.issuer)));
        self.records.insert(id, record.clone(), read);
        Ok(judge(record.as_deref(), digest, now))
    }

    /// Makes the table unless that was done.
    async fn prepare(&self) -> Result<(), sqlx::Error> {
        if !self.link().prepared {
            self.database.prepare().await?;
            self.link().prepared = true;
            self.answered();
        }
        Ok(())
    }

    /// Hears of changes made elsewhere, on one connection after the other.
    async fn listen_on(&self) -> Infallible {
        let mut failures = 0_u32;
        loop {
            let Err(error) = self.listen(&mut failures).await;
            self.records.deaf();
            self.failed(&error);
            failures = failures.saturating_add(1);
            sleep(backoff(failures)).await;
        }
    }

    async fn listen(&self, failures: &mut u32) -> Result<Infallible, sqlx::Error> {
        Box::pin(self.prepare()).await?;
        let mut listener = Box::pin(self.database.listener()).await?;
        // What was told while nobody listened was not heard.
        self.records.all_changed();
        loop {
            self.records.heard();
            self.answered();
            *failures = 0;
            match timeout(QUIET, listener.try_recv()).await {
                Ok(Ok(Some(told))) => match Id::parse(told.payload()) {
                    Some(id) => self.records.changed(id),
                    // `notify halfbyte_api_keys`, by somebody who changed the table by hand.
                    None => self.records.all_changed(),
                },
                Ok(Ok(None)) => return Err(gone("it was closed")),
                Ok(Err(error)) => return Err(error),
                Err(_quiet) => {
                    timeout(ANSWER, listener.execute("select 1")).await.map_err(|_| gone("it does not answer"))??;
                }
            }
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self) {
        let recovered = {
            let mut link = self.link();
            link.answered = Some(Instant::now());
            link.error.take().is_some()
        };
        if recovered {
            tracing::info!("the database of the API keys is back");
        }
    }

    /// Only the first failure in a row is a warning: whoever sends keys must not be able to fill the log.
    fn failed(&self, error: &sqlx::Error) {
        let error = error_chain(error);
        if self.link().error.replace(error.clone()).is_none() {
            tracing::warn!(error, "the database of the API keys cannot be used");
        } else {
            tracing::debug!(error, "the database of the API keys cannot be used");
        }
    }

    fn check(&self) -> Check {
        let hearing = self.records.is_hearing();
        let link = self.link();
        let age = link.answered.map(|at| at.elapsed());
        Check {
            name: "identity.api-keys".into(),
            ready: age.is_some_and(|age| age < READY_FOR),
            state: match age {
                None => "cold",
                Some(_) if hearing => "fresh",
                Some(_) => "disconnected",
            },
            age,
            detail: link.error.clone(),
        }
    }
}

fn gone(how: &str) -> sqlx::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, format!("the connection that tells of changes is gone: {how}"))
        .into()
}

/// Doubles from a quarter of a second, less up to half at random, so that not all processes come back at once.
fn backoff(failures: u32) -> Duration {
    let longest = Duration::from_millis(250).saturating_mul(1 << failures.saturating_sub(1).min(10)).min(MAX_BACKOFF);
    let mut random = [0];
    // Without randomness, the longest wait will do.
    let part = rand::fill(&mut random).map_or(0, |()| u32::from(random[0]));
    longest - longest * part / 512
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("state", &self.shared.check().state).finish_non_exhaustive()
    }
}
