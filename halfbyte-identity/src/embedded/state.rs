//! The issuer's state as it is used: keys that are parsed, documents that are written.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::clients::ClientSpec;
use super::file::{Role, Stored, StoredClient, StoredKey, derive_secret};
use super::revocation::Revoked;
use crate::error::{Error, ErrorKind};
use crate::jose::{Compact, JwkSet, Object};

/// A snapshot of the issuer.
pub(crate) struct State {
    signing: (String, EcdsaKeyPair),
    public_keys: JwkSet,
    jwks: Bytes,
    clients: BTreeMap<String, StoredClient>,
    revoked: Revoked,
    client_secret_key: hmac::Key,
    good_until: Option<Timestamp>,
}

impl State {
    /// Checks all of `stored`, and says what of it is corrupt.
    pub(super) fn from_stored(stored: &Stored, now: Timestamp) -> Result<Self, &'static str> {
        let mut signing = None;
        let mut published = Vec::new();
        for key in &stored.keys {
            let pkcs8 = URL_SAFE_NO_PAD.decode(&key.pkcs8).map_err(|_| "a signing key")?;
            let pair =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).map_err(|_| "a signing key")?;
            if key_id(&pair) != key.key_id {
                return Err("the id of a signing key");
            }
            if key.ends().is_none_or(|end| end > now) {
                published.push(public_jwk(&pair));
            }
            if key.role == Role::Signing && signing.replace((key.key_id.clone(), pair)).is_some() {
                return Err("two signing keys");
            }
        }
        if stored.keys.iter().filter(|key| key.role == Role::Next).count() != 1 {
            return Err("not one next key");
        }
        if stored.clients.iter().any(|(id, client)| client.spec.validate().is_err() || *id != client.spec.id) {
            return Err("a client");
        }
        let jwks = serde_json::to_vec(&json!({ "keys": published })).map_err(|_| "the keys")?;
        Ok(Self {
            signing: signing.ok_or("no signing key")?,
            public_keys: JwkSet::parse(&jwks).map_err(|_| "the keys")?,
            jwks: jwks.into(),
            clients: stored.clients.clone(),
            revoked: Revoked::of(stored),
            client_secret_key: stored.secret_key().ok_or("the client secret key")?,
            good_until: stored.keys.iter().filter_map(StoredKey::ends).filter(|end| *end > now).min(),
        })
    }

    /// When the first of the retired keys ends, and the state has to be made anew.
    pub(super) fn good_until(&self) -> Option<Timestamp> {
        self.good_until
    }

    pub(crate) fn public_keys(&self) -> &JwkSet {
        &self.public_keys
    }

    /// The JWK set as it is published.
    pub(crate) fn jwks(&self) -> Bytes {
        self.jwks.clone()
    }

    /// The client of that id and secret. The secret of the generation before is good too.
    pub(super) fn client(&self, id: &str, secret: &str) -> Option<&ClientSpec> {
        let known = self.clients.get(id);
        // The same work whether or not there is such a client, and whichever secret it is: time tells neither.
        let generation = known.map_or(1, |client| client.generation);
        let fits = |generation| {
            let good = derive_secret(&self.client_secret_key, id, generation);
            constant_time::verify_slices_are_equal(good.as_bytes(), secret.as_bytes()).is_ok()
        };
        let (current, before) = (fits(generation), fits(generation.saturating_sub(1)));
        // Before the first secret there was none that anybody was given.
        known.filter(|_| current || before).map(|client| &client.spec)
    }

    /// Whether `token` names a key that is not published, as far as is known here.
    pub(super) fn lacks_key_of(&self, token: &str) -> bool {
        let named = Compact::parse(token).ok().and_then(|token| token.header.key_id);
        named.is_some_and(|id| self.public_keys.keys().iter().all(|key| key.key_id() != Some(&id)))
    }

    /// Whether the token of these claims, whose signature was verified, is revoked: by its id, with all others of its
    /// client, or with a token that it was exchanged for. A few look-ups in memory.
    pub(crate) fn is_revoked(&self, claims: &Object) -> bool {
        self.revoked.holds(claims)
    }

    /// How often all tokens of a client were revoked.
    pub(super) fn revocations(&self, client_id: &str) -> u32 {
        self.clients.get(client_id).map_or(0, |client| client.revocations)
    }

    /// Signs `claims` as an access token (RFC 9068).
    pub(super) fn sign(&self, claims: &Value) -> Result<String, Error> {
        let (key_id, pair) = &self.signing;
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": key_id });
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let mut token = format!("{}.{}", part(&header), part(claims));
        let signature = pair
            .sign(&rand::SystemRandom::new(), token.as_bytes())
            .map_err(|_| Error::new(ErrorKind::Token, "a token could not be signed"))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

/// The two coordinates of a point in SEC 1 uncompressed form.
fn coordinates(pair: &EcdsaKeyPair) -> (String, String) {
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

fn public_jwk(pair: &EcdsaKeyPair) -> Value {
    let (x, y) = coordinates(pair);
    json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": key_id(pair), "x": x, "y": y })
}

/// The thumbprint of the public key (RFC 7638).
pub(super) fn key_id(pair: &EcdsaKeyPair) -> String {
    let (x, y) = coordinates(pair);
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("signing", &self.signing.0).finish_non_exhaustive()
    }
}
