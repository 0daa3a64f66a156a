//! The verifier itself: what it accepts, and what it refuses with which kind.

mod accepted;
mod key_sets;
mod properties;
mod refused;

use halfbyte_identity::jose::{Algorithm, Error, ErrorKind, JwkSet, Verified, verify};
use serde_json::{Value, json};

use crate::support::Key;

fn set_of(jwks: &[Value]) -> JwkSet {
    JwkSet::parse(json!({ "keys": jwks }).to_string().as_bytes()).expect("a key set")
}

fn check(token: &str, key: &Key) -> Result<Verified, Error> {
    verify(token, &set_of(&[key.jwk()]), &Algorithm::ALL)
}

fn refusal(token: &str, key: &Key) -> ErrorKind {
    check(token, key).expect_err("refused").kind()
}
