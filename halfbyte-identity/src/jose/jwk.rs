use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;
use serde_json::Value;

use super::material::public_key;
use super::{Algorithm, Error, ErrorKind, MAX_KEY_ID, Object};

/// A key that verifies by one algorithm; read once, used for many tokens.
pub struct Jwk {
    key_id: Option<Box<str>>,
    algorithm: Algorithm,
    issuer: Option<Box<str>>,
    material: Material,
}

enum Material {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

impl Jwk {
    /// A secret that is shared with whoever signs, for one of [`Algorithm::SYMMETRIC`]. This is the only way to have one:
    /// a JWK set never yields a symmetric key.
    ///
    /// Whoever holds the secret can sign as well as verify; with an issuer of others, use its public keys.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadKey`]: the algorithm is not symmetric, `key_id` is empty or has over 256 bytes, or the secret is
    /// weak: shorter than the output of the hash (32, 48 or 64 bytes; RFC 7518, 3.2), one byte repeated, or the text of a
    /// public key, which everybody knows.
    pub fn symmetric(key_id: Option<&str>, algorithm: Algorithm, secret: &[u8]) -> Result<Self, Error> {
        let hash = match algorithm {
            Algorithm::Hs256 => hmac::HMAC_SHA256,
            Algorithm::Hs384 => hmac::HMAC_SHA384,
            Algorithm::Hs512 => hmac::HMAC_SHA512,
            _ => return Err(ErrorKind::BadKey.because("the algorithm is not symmetric")),
        };
        if key_id.is_some_and(|id| !is_key_id(id)) {
            return Err(ErrorKind::BadKey.because("the id is empty or too long"));
        }
        if secret.len() < hash.digest_algorithm().output_len() {
            return Err(ErrorKind::BadKey.because("the secret is shorter than the output of the hash"));
        }
        if secret.iter().all(|byte| *byte == secret[0]) {
            return Err(ErrorKind::BadKey.because("the secret is one byte repeated"));
        }
        if is_text_of_a_key(secret) {
            return Err(ErrorKind::BadKey.because("the secret is the text of a key or certificate"));
        }
        let material = Material::Secret(Box::new(hmac::Key::new(hash, secret)));
        Ok(Self { key_id: key_id.map(Into::into), algorithm, issuer: None, material })
    }

    /// The id by which tokens name it.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The one algorithm it verifies by.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whose tokens it signs, where its set says so of each key (as Microsoft's does).
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    pub(super) fn is_named(&self, id: &str) -> bool {
        self.key_id.as_deref() == Some(id)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        let fits = match &self.material {
            Material::Public(key) => key.verify_sig(message, signature),
            // In constant time.
            Material::Secret(key) => hmac::verify(key, message, signature),
        };
        fits.map_err(|_| ErrorKind::BadSignature.because("the signature does not fit"))
    }

    /// Reads a public key; a symmetric or private one is an error, as is one that is not for verification.
    pub(crate) fn from_object(object: &Object) -> Result<Self, &'static str> {
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|member| object.contains_key(*member)) {
            return Err("a private or symmetric key is published");
        }
        if object.get("use").is_some_and(|usage| usage != "sig") {
            return Err("not for signatures");
        }
        if object.get("key_ops").is_some_and(|operations| !is_for_verification(operations)) {
            return Err("not for verification");
        }
        let key_id = match object.get("kid") {
            None => None,
            Some(Value::String(id)) if is_key_id(id) => Some(id.as_str().into()),
            Some(Value::String(_)) => return Err("the id is empty or too long"),
            Some(_) => return Err("the id is not a string"),
        };
        let algorithm = algorithm_of(object)?;
        let issuer = object.get("issuer").and_then(Value::as_str).map(Into::into);
        Ok(Self { key_id, algorithm, issuer, material: Material::Public(public_key(object, algorithm)?) })
    }
}

/// An opaque string of a length that nobody minds to keep.
pub(super) fn is_key_id(id: &str) -> bool {
    (1..=MAX_KEY_ID).contains(&id.len())
}

/// `key_ops` of a key that verifies (RFC 7517, 4.3): none twice, and none that is unrelated, which `use` would contradict.
fn is_for_verification(operations: &Value) -> bool {
    let Some(operations) = operations.as_array() else { return false };
    let count = |name: &str| operations.iter().filter(|operation| *operation == name).count();
    count("verify") == 1 && count("sign") <= 1 && count("verify") + count("sign") == operations.len()
}

/// PEM, OpenSSH and JWK: what a public key looks like where one is pasted as a secret.
fn is_text_of_a_key(secret: &[u8]) -> bool {
    let text = secret.trim_ascii_start();
    let has_kty = || text.windows(5).any(|window| window == b"\"kty\"");
    [&b"-----BEGIN "[..], b"ssh-", b"ecdsa-sha2-"].iter().any(|begin| text.starts_with(begin))
        || (text.starts_with(b"{") && has_kty())
}

/// The key's own algorithm: `alg` where it says so, else what its type is meant for (RSA: RS256, as OpenID Connect has it).
fn algorithm_of(object: &Object) -> Result<Algorithm, &'static str> {
    let member = |name| object.get(name).and_then(Value::as_str);
    let natural = match (member("kty"), member("crv")) {
        (Some("EC"), Some("P-256")) => Algorithm::Es256,
        (Some("EC"), Some("P-384")) => Algorithm::Es384,
        (Some("EC"), Some("P-521")) => Algorithm::Es512,
        (Some("OKP"), Some("Ed25519")) => Algorithm::EdDsa,
        (Some("RSA"), _) => Algorithm::Rs256,
        _ => return Err("not a key type of ours"),
    };
    let Some(named) = object.get("alg") else { return Ok(natural) };
    let named = named.as_str().and_then(Algorithm::from_name).ok_or("not an algorithm of ours")?;
    if named == natural || (natural.is_rsa() && named.is_rsa()) {
        Ok(named)
    } else {
        Err("the algorithm is not one of its key type")
    }
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwk").field("key_id", &self.key_id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
