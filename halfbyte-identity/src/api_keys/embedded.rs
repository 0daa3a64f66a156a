//! API keys in one file of the home folder, shared by every process on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::home::Home;
use halfbyte_core::live::{self, Live};
use halfbyte_core::{Lifecycle, Principal, TenantId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::format::{Digest, Id};
use super::record::{ISSUER, Record, Stored, Verdict, has_ended, judge};
use super::spec::{ApiKey, refused};
use super::{MAX_OF_TENANT, no_such_key};
use crate::error::{Error, ErrorKind};
use crate::state_file::{State, StateFile, blocking, reread};

/// The most keys that the file holds; a read of it takes longer with each.
const MAX_KEYS: usize = 100_000;
/// The shortest time between two reads that keys which are not known here cause: whoever makes them up must not keep a
/// disk busy.
const DEMAND_GAP: Duration = Duration::from_millis(250);

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    version: u32,
    keys: BTreeMap<String, Stored>,
}

type Records = HashMap<Id, Record>;

impl State for Keys {
    const VERSION: u32 = 1;
    const FILE: &'static str = "api-keys.json";
    type View = Records;

    fn view(&self, _now: Timestamp) -> Result<Records, &'static str> {
        if self.keys.len() > MAX_KEYS {
            return Err("too many keys");
        }
        let issuer = ISSUER.into();
        let record = |(id, stored): (&String, &Stored)| {
            let id = Id::parse(id).ok_or("the id of a key")?;
            stored.fault().map_or_else(|| Ok((id, Record::new(id, stored, &issuer))), Err)
        };
        self.keys.iter().map(record).collect()
    }
}

/// The store. Authentication is a lock-free look into what was read last.
pub(super) struct Store {
    file: StateFile<Keys>,
    records: Live<Records>,
    /// When a key that is not known here last had the file read.
    demanded: Mutex<Option<Instant>>,
}

impl Store {
    pub(super) async fn open(home: &Home, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let file = StateFile::in_home(home, lifecycle.clock())?;
        let opened = file.clone();
        blocking(move || opened.read_or_make(|| Ok(Keys { version: Keys::VERSION, keys: BTreeMap::new() }))).await?;
        let records = file.watch("identity.api-keys", lifecycle).await?;
        Ok(Self { file, records, demanded: Mutex::new(None) })
    }

    /// `None` when the file may have to be read first.
    pub(super) fn judge_now(&self, id: Id, digest: &Digest, now: Timestamp) -> Option<Verdict> {
        let records = self.records.load().ok()?;
        match judge(records.get(&id), digest, now) {
            Verdict::Wrong if self.may_demand() => None,
            verdict => Some(verdict),
        }
    }

    pub(super) fn has_ended(&self, id: Id, principal: &Principal, now: Timestamp) -> bool {
        self.records.load().is_ok_and(|records| has_ended(records.get(&id), principal, now))
    }

    /// A key that is not known may have been made by another process just now: the file is read first.
    pub(super) async fn judge(&self, id: Id, digest: &Digest, now: Timestamp) -> Result<Verdict, live::Error> {
        let known = judge(self.records.get().await?.get(&id), digest, now);
        if !matches!(known, Verdict::Wrong) || !self.demand() {
            return Ok(known);
        }
        reread(&self.records).await?;
        Ok(judge(self.records.get().await?.get(&id), digest, now))
    }

    fn may_demand(&self) -> bool {
        let demanded = self.demanded.lock().unwrap_or_else(PoisonError::into_inner);
        demanded.is_none_or(|at| at.elapsed() >= DEMAND_GAP)
    }

    fn demand(&self) -> bool {
        let mut demanded = self.demanded.lock().unwrap_or_else(PoisonError::into_inner);
        let may = demanded.is_none_or(|at| at.elapsed() >= DEMAND_GAP);
        if may {
            *demanded = Some(Instant::now());
        }
        may
    }

    pub(super) async fn create(&self, id: Id, stored: Stored, now: Timestamp) -> Result<(), Error> {
        self.change(move |keys| {
            keys.retain(|_, known| !known.is_forgotten(now));
            if keys.len() >= MAX_KEYS {
                return Err(refused("the file holds 100,000 API keys, which is the most; keep them in PostgreSQL"));
            }
            if keys.values().filter(|known| known.tenant == stored.tenant).count() >= MAX_OF_TENANT {
                return Err(super::too_many());
            }
            keys.insert(id.as_str().to_owned(), stored);
            Ok(())
        })
        .await
    }

    pub(super) async fn update(
        &self,
        id: Id,
        update: impl FnOnce(&mut Stored) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.change(move |keys| update(keys.get_mut(id.as_str()).ok_or_else(|| no_such_key(id.as_str()))?)).await
    }

    pub(super) async fn list(&self, tenant: TenantId) -> Result<Vec<ApiKey>, Error> {
        let file = self.file.clone();
        blocking(move || {
            let keys = file.read()?.keys;
            let of_tenant = keys.iter().filter(|(_, stored)| stored.tenant == tenant);
            Ok(of_tenant.filter_map(|(id, stored)| Some(stored.info(Id::parse(id)?))).collect())
        })
        .await
    }

    /// Changes the file under its lock, and has the change in force here before it answers.
    async fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Stored>) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let file = self.file.clone();
        blocking(move || file.change(|state| change(&mut state.keys))).await?;
        reread(&self.records).await.map_err(|error| {
            let message = "the change to the API keys is written, but cannot be read back and is not in force yet";
            Error::new(ErrorKind::Storage, message).caused_by(error)
        })
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("records", &self.records).finish_non_exhaustive()
    }
}
