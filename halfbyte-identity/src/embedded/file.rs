//! The issuer's state as it is kept: one file, changed as a whole under a lock.

use std::collections::BTreeMap;

use aws_lc_rs::{hmac, rand, signature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::clients::ClientSpec;
use super::state::{State, key_id};
use crate::claims::LEEWAY;
use crate::error::{Error, ErrorKind};
use crate::jose::MAX_KEYS;
use crate::state_file;

/// What the file holds. It has private keys in it, and so no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    version: u32,
    pub(super) issuer: String,
    /// Client secrets are derived from it, so that none is kept.
    client_secret_key: String,
    pub(super) keys: Vec<StoredKey>,
    pub(super) clients: BTreeMap<String, StoredClient>,
    /// The ids of revoked tokens, with when each expires. Left out while there are none, as it was before there was
    /// revocation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) revoked: BTreeMap<String, Timestamp>,
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

impl state_file::State for Stored {
    const VERSION: u32 = 1;
    const FILE: &'static str = "issuer.json";
    type View = State;

    fn view(&self, now: Timestamp) -> Result<State, &'static str> {
        State::from_stored(self, now)
    }

    fn good_until(view: &State) -> Option<Timestamp> {
        view.good_until()
    }
}

impl Stored {
    pub(super) fn new(issuer: &str) -> Result<Self, Error> {
        let mut secret_key = [0; 32];
        rand::fill(&mut secret_key).map_err(|_| no_entropy())?;
        Ok(Self {
            version: <Self as state_file::State>::VERSION,
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
