//! The verifier itself: what it accepts, and what it refuses with which kind.

mod accepted;
mod cookbook;
mod key_sets;
mod oracle;
mod properties;
mod refused;
mod symmetric;

use halfbyte_identity::jose::{Algorithm, Error, ErrorKind, JwkSet, Verified, verify};
use serde_json::{Value, json};

use crate::support::Key;

/// The asymmetric algorithms.
const NAMES: [&str; 10] = ["ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];

fn set_of(jwks: &[Value]) -> JwkSet {
    JwkSet::parse(json!({ "keys": jwks }).to_string().as_bytes()).expect("a key set")
}

fn check(token: &str, key: &Key) -> Result<Verified, Error> {
    verify(token, &set_of(&[key.jwk()]), &Algorithm::ASYMMETRIC)
}

fn refusal(token: &str, key: &Key) -> ErrorKind {
    check(token, key).expect_err("refused").kind()
}
