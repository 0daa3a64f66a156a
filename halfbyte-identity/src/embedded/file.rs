//! The issuer's state as it is kept: one file, changed as a whole under a lock.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{hmac, rand, signature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halfbyte_core::BoxError;
use halfbyte_core::home::Home;
use halfbyte_core::live::{Fetched, Source};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::clients::ClientSpec;
use super::state::{State, key_id};
use crate::claims::LEEWAY;
use crate::error::{Error, ErrorKind};

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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredClient {
    pub(super) spec: ClientSpec,
    /// Counts the rotations of its secret.
    pub(super) generation: u32,
}

impl Stored {
    fn new(issuer: &str) -> Result<Self, Error> {
        let mut secret_key = [0; 32];
        rand::fill(&mut secret_key).map_err(|_| no_entropy())?;
        Ok(Self {
            version: VERSION,
            issuer: issuer.to_owned(),
            client_secret_key: URL_SAFE_NO_PAD.encode(secret_key),
            keys: vec![StoredKey::generate(Role::Signing)?, StoredKey::generate(Role::Next)?],
            clients: BTreeMap::new(),
        })
    }

    pub(super) fn put_client(&mut self, spec: ClientSpec) {
        let generation = self.clients.get(&spec.id).map_or(1, |known| known.generation);
        self.clients.insert(spec.id.clone(), StoredClient { spec, generation });
    }

    pub(super) fn rotate_client_secret(&mut self, id: &str) -> Result<(), Error> {
        self.clients.get_mut(id).ok_or_else(|| no_such_client(id))?.generation += 1;
        Ok(())
    }

    pub(super) fn client_secret(&self, id: &str) -> Result<SecretString, Error> {
        let client = self.clients.get(id).ok_or_else(|| no_such_client(id))?;
        Ok(derive_secret(&self.secret_key()?, id, client.generation).into())
    }

    pub(super) fn secret_key(&self) -> Result<hmac::Key, Error> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.client_secret_key).map_err(|_| corrupt("the client secret key"))?;
        if bytes.len() == 32 {
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        } else {
            Err(corrupt("the client secret key"))
        }
    }

    pub(super) fn rotate_signing_key(&mut self, now: Timestamp) -> Result<String, Error> {
        // A process that has not seen the rotation yet signs with the old key for a moment more.
        let lasts = SignedDuration::try_from(super::TOKEN_LIFETIME).unwrap_or_default()
            + SignedDuration::from_secs(LEEWAY + 60);
        self.keys.retain(|key| !matches!(key.role, Role::Retired { since } if now.duration_since(since) > lasts));
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

impl StoredKey {
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

fn no_such_client(id: &str) -> Error {
    Error::new(ErrorKind::Client, format!("the embedded issuer has no client {id:?}; register it first"))
}

fn no_entropy() -> Error {
    Error::new(ErrorKind::Storage, "this machine gives no random numbers")
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the state of the embedded issuer is corrupt ({what}); it is left as it is"))
}

/// The file, and how it is read and changed.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    folder: Home,
    /// Which file was read last: an unchanged one is not read again.
    seen: Arc<Mutex<Option<FileId>>>,
}

/// Changes with every replacement: each is a new file.
type FileId = (u64, i64, i64, u64);

impl StateFile {
    pub(super) fn new(folder: Home) -> Self {
        Self { folder, seen: Arc::default() }
    }

    /// Answers the issuer's name; makes the state when there is none.
    pub(super) fn make_or_read(&self, name: &str) -> Result<String, Error> {
        let _lock = self.lock()?;
        if let Some(stored) = self.read()? {
            State::from_stored(&stored)?;
            return Ok(stored.issuer);
        }
        self.write(&Stored::new(name)?)?;
        tracing::info!(issuer = name, "the embedded issuer is made");
        Ok(name.to_owned())
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Stored) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = self.lock()?;
        let mut stored = self.read()?.ok_or_else(|| self.failed("is gone", None))?;
        let outcome = change(&mut stored)?;
        self.write(&stored)?;
        Ok(outcome)
    }

    fn lock(&self) -> Result<std::fs::File, Error> {
        self.folder.lock(LOCK).map_err(|error| self.failed("cannot be locked", Some(error.into())))
    }

    fn read(&self) -> Result<Option<Stored>, Error> {
        let bytes =
            self.folder.read_private(FILE).map_err(|error| self.failed("cannot be read", Some(error.into())))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| {
            // Where the fault is, and never what stands there: it may be a key.
            let place = format!("line {} column {}", error.line(), error.column());
            let path = self.folder.path().join(FILE);
            Error::new(ErrorKind::Corrupt, format!("{} is corrupt at {place}; it is left as it is", path.display()))
        })?;
        if stored.version == VERSION { Ok(Some(stored)) } else { Err(self.failed("is of another version", None)) }
    }

    fn write(&self, stored: &Stored) -> Result<(), Error> {
        let json =
            serde_json::to_vec_pretty(stored).map_err(|error| self.failed("cannot be written", Some(error.into())))?;
        self.folder.replace(FILE, &json).map_err(|error| self.failed("cannot be written", Some(error.into())))
    }

    fn failed(&self, what: &str, source: Option<BoxError>) -> Error {
        let error = Error::new(ErrorKind::Storage, format!("{} {what}", self.folder.path().join(FILE).display()));
        match source {
            Some(source) => error.caused_by(source),
            None => error,
        }
    }

    fn file_id(&self) -> std::io::Result<FileId> {
        let metadata = std::fs::metadata(self.folder.path().join(FILE))?;
        Ok((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
    }

    fn fetch_blocking(&self) -> Result<Fetched<State>, Error> {
        let id = self.file_id().map_err(|error| self.failed("cannot be read", Some(error.into())))?;
        if *self.seen.lock().unwrap_or_else(PoisonError::into_inner) == Some(id) {
            return Ok(Fetched::unchanged());
        }
        let stored = self.read()?.ok_or_else(|| self.failed("is gone", None))?;
        let state = State::from_stored(&stored)?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        Ok(Fetched::new(state))
    }
}

impl Source<State> for StateFile {
    async fn fetch(&self) -> Result<Fetched<State>, BoxError> {
        let file = self.clone();
        Ok(super::blocking(move || file.fetch_blocking()).await?)
    }
}
