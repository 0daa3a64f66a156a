//! The issuer's state as it is kept: one file, changed as a whole under a lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{digest, hmac, rand, signature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halfbyte_core::home::Home;
use halfbyte_core::live::{Fetched, Source};
use halfbyte_core::{BoxError, Clock};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::clients::ClientSpec;
use super::state::{State, key_id};
use crate::claims::LEEWAY;
use crate::error::{Error, ErrorKind};
use crate::jose::MAX_KEYS;

const FILE: &str = "issuer.json";
const LOCK: &str = "issuer.lock";
const VERSION: u32 = 1;

/// What the file holds. It has private keys in it, and so no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    version: u32,
    issuer: String,
    /// Client secrets are derived from it, so that none is kept.
    client_secret_key: String,
    pub(super) keys: Vec<StoredKey>,
    pub(super) clients: BTreeMap<String, StoredClient>,
    /// The ids of revoked tokens, with when each expires. Left out while there are none, as it was before there was
    /// revocation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) revoked: BTreeMap<String, Timestamp>,
}

/// As much of the file as is read before the rest is understood.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredKey {
    pub(super) key_id: String,
    pub(super) role: Role,
    pub(super) pkcs8: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Next,
    Signing,
    Retired { since: Timestamp },
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredClient {
    pub(super) spec: ClientSpec,
    /// Counts the rotations of its secret.
    pub(super) generation: u32,
    /// Counts how often all its tokens were revoked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) revocations: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Stored {
    pub(super) fn new(issuer: &str) -> Result<Self, Error> {
        let mut secret_key = [0; 32];
        rand::fill(&mut secret_key).map_err(|_| no_entropy())?;
        Ok(Self {
            version: VERSION,
            issuer: issuer.to_owned(),
            client_secret_key: URL_SAFE_NO_PAD.encode(secret_key),
            keys: vec![StoredKey::generate(Role::Signing)?, StoredKey::generate(Role::Next)?],
            clients: BTreeMap::new(),
            revoked: BTreeMap::new(),
        })
    }

    pub(super) fn put_client(&mut self, spec: ClientSpec) {
        let (generation, revocations) =
            self.clients.get(&spec.id).map_or((1, 0), |known| (known.generation, known.revocations));
        self.clients.insert(spec.id.clone(), StoredClient { spec, generation, revocations });
    }

    pub(super) fn rotate_client_secret(&mut self, id: &str) -> Result<(), Error> {
        let generation = &mut self.clients.get_mut(id).ok_or_else(|| no_such_client(id))?.generation;
        *generation = generation.checked_add(1).ok_or_else(|| corrupt("the count of a client's rotations"))?;
        Ok(())
    }

    pub(super) fn client_secret(&self, id: &str) -> Result<SecretString, Error> {
        let client = self.clients.get(id).ok_or_else(|| no_such_client(id))?;
        let key = self.secret_key().ok_or_else(|| corrupt("the client secret key"))?;
        Ok(derive_secret(&key, id, client.generation).into())
    }

    pub(super) fn secret_key(&self) -> Option<hmac::Key> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.client_secret_key).ok()?;
        (bytes.len() == 32).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }

    pub(super) fn rotate_signing_key(&mut self, now: Timestamp) -> Result<String, Error> {
        self.keys.retain(|key| key.ends().is_none_or(|end| end > now));
        if self.keys.len() >= MAX_KEYS {
            let message =
                "the signing key was rotated too often: the keys before are all still in use; rotate it later";
            return Err(Error::new(ErrorKind::Storage, message));
        }
        for key in &mut self.keys {
            key.role = match key.role {
                Role::Signing => Role::Retired { since: now },
                Role::Next => Role::Signing,
                retired @ Role::Retired { .. } => retired,
            };
        }
        self.keys.push(StoredKey::generate(Role::Next)?);
        let signing = self.keys.iter().find(|key| key.role == Role::Signing);
        signing.map(|key| key.key_id.clone()).ok_or_else(|| corrupt("there is no next key"))
    }
}

/// How long a retired key stays published: as long as its tokens are good. A process that has not seen the rotation yet
/// signs with the old key for a moment more.
const RETIRED_FOR: SignedDuration =
    SignedDuration::from_secs(super::TOKEN_LIFETIME.as_secs().cast_signed() + LEEWAY + 90);

impl StoredKey {
    /// From when on the key verifies nothing any more.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        match self.role {
            Role::Retired { since } => Some(since.checked_add(RETIRED_FOR).unwrap_or(Timestamp::MAX)),
            Role::Next | Role::Signing => None,
        }
    }

    fn generate(role: Role) -> Result<Self, Error> {
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = signature::EcdsaKeyPair::generate(algorithm).map_err(|_| no_entropy())?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| no_entropy())?;
        Ok(Self { key_id: key_id(&pair), role, pkcs8: URL_SAFE_NO_PAD.encode(pkcs8) })
    }
}

/// The secret of a client in one generation, in a form that secret scanners can be taught.
pub(super) fn derive_secret(key: &hmac::Key, id: &str, generation: u32) -> String {
    let tag = hmac::sign(key, format!("client-secret:{generation}:{id}").as_bytes());
    format!("hbcs_{}", URL_SAFE_NO_PAD.encode(tag))
}

pub(super) fn no_such_client(id: &str) -> Error {
    Error::new(ErrorKind::Client, format!("the embedded issuer has no client {id:?}; register it first"))
}

fn no_entropy() -> Error {
    Error::new(ErrorKind::Storage, "this machine gives no random numbers")
}

pub(super) fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the state of the embedded issuer is corrupt ({what}); it is left as it is"))
}

/// The file, and how it is read and changed.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    folder: Home,
    clock: Clock,
    /// The content that was read last, as a digest, and how long the state that was made of it is good. Neither the time of
    /// a file nor its number tells it from one that it replaced a moment ago.
    seen: Arc<Mutex<Option<Seen>>>,
}

#[derive(Debug)]
struct Seen {
    content: Box<[u8]>,
    good_until: Option<Timestamp>,
}

impl StateFile {
    pub(super) fn new(folder: Home, clock: Clock) -> Self {
        Self { folder, clock, seen: Arc::default() }
    }

    /// Answers the issuer's name; makes the state when there is none.
    pub(super) fn make_or_read(&self, name: &str) -> Result<String, Error> {
        let _lock = self.lock()?;
        if let Some(content) = self.read()? {
            return Ok(self.parse(&content)?.0.issuer);
        }
        self.write(&self.json(&Stored::new(name)?)?)?;
        tracing::info!(issuer = name, "the embedded issuer is made");
        Ok(name.to_owned())
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Stored) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = self.lock()?;
        let before = self.read()?.ok_or_else(|| self.gone())?;
        let (mut stored, _) = self.parse(&before)?;
        let outcome = change(&mut stored)?;
        let json = self.json(&stored)?;
        // What is the same already costs no fsync, and nobody a cache.
        if json != before {
            self.write(&json)?;
        }
        Ok(outcome)
    }

    fn lock(&self) -> Result<std::fs::File, Error> {
        self.folder.lock(LOCK).map_err(|error| self.failed("cannot be locked", Some(error.into())))
    }

    fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        self.folder.read_private(FILE).map_err(|error| self.failed("cannot be read", Some(error.into())))
    }

    /// What the file holds and what comes of it; all of it is checked before any of it is used.
    fn parse(&self, content: &[u8]) -> Result<(Stored, State), Error> {
        // Where the fault is, and never what stands there: it may be a key.
        let unreadable = |error: serde_json::Error| {
            self.corrupt(&format!("is corrupt at line {} column {}", error.line(), error.column()))
        };
        let Version { version } = serde_json::from_slice(content).map_err(unreadable)?;
        if version != VERSION {
            return Err(self.corrupt(&format!("is of version {version}, which this program does not know")));
        }
        let stored: Stored = serde_json::from_slice(content).map_err(unreadable)?;
        let state = State::from_stored(&stored, self.clock.now())
            .map_err(|what| self.corrupt(&format!("is corrupt ({what})")))?;
        Ok((stored, state))
    }

    fn json(&self, stored: &Stored) -> Result<Vec<u8>, Error> {
        serde_json::to_vec_pretty(stored).map_err(|error| self.failed("cannot be written", Some(error.into())))
    }

    fn write(&self, json: &[u8]) -> Result<(), Error> {
        self.folder.replace(FILE, json).map_err(|error| self.failed("cannot be written", Some(error.into())))
    }

    fn corrupt(&self, what: &str) -> Error {
        let path = self.folder.path().join(FILE);
        Error::new(ErrorKind::Corrupt, format!("{} {what}; it is left as it is", path.display()))
    }

    fn gone(&self) -> Error {
        self.failed("is gone", None)
    }

    fn failed(&self, what: &str, source: Option<BoxError>) -> Error {
        let error = Error::new(ErrorKind::Storage, format!("{} {what}", self.folder.path().join(FILE).display()));
        match source {
            Some(source) => error.caused_by(source),
            None => error,
        }
    }

    /// The state with what it was made of; `None` when that is what was seen before.
    fn look(&self) -> Result<Option<(State, Seen)>, Error> {
        let content = self.read()?.ok_or_else(|| self.gone())?;
        let digest: Box<[u8]> = digest::digest(&digest::SHA256, &content).as_ref().into();
        if let Some(seen) = &*self.seen.lock().unwrap_or_else(PoisonError::into_inner)
            && seen.content == digest
            && seen.good_until.is_none_or(|until| self.clock.now() < until)
        {
            return Ok(None);
        }
        let (_, state) = self.parse(&content)?;
        let seen = Seen { content: digest, good_until: state.good_until() };
        Ok(Some((state, seen)))
    }
}

impl Source<State> for StateFile {
    async fn fetch(&self) -> Result<Fetched<State>, BoxError> {
        let file = self.clone();
        Ok(match super::blocking(move || file.look()).await? {
            None => Fetched::unchanged(),
            Some((state, seen)) => {
                // Not before the state is handed over: what is given up on the way was not seen.
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
                Fetched::new(state)
            }
        })
    }
}
