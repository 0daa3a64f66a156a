//! `JwkSet::parse`: no input makes it panic, and what it makes of each key does not depend on the others.

#![no_main]

use halfbyte_identity::jose::{Algorithm, Jwk, JwkSet, verify};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct RawSet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

fn name(key: &Jwk) -> (Option<String>, Algorithm) {
    (key.key_id().map(str::to_owned), key.algorithm())
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(set) = JwkSet::parse(bytes) else { return };
    let raw: RawSet<'_> = serde_json::from_slice(bytes).expect("a set for serde_json too");
    assert_eq!(set.keys().len() + set.rejected().len(), raw.keys.len());

    let mut expected: Vec<(Option<String>, Algorithm)> = Vec::new();
    for key in raw.keys {
        let alone = JwkSet::parse(format!("{{\"keys\":[{key}]}}").as_bytes()).expect("a set of one");
        let Some(name) = alone.keys().first().map(name) else { continue };
        // Of two with one id and one algorithm the first counts.
        if name.0.is_none() || !expected.contains(&name) {
            expected.push(name);
        }
    }
    assert_eq!(set.keys().iter().map(name).collect::<Vec<_>>(), expected);

    for key in set.keys() {
        assert!(Algorithm::ASYMMETRIC.contains(&key.algorithm()), "no set has a symmetric key");
        assert!(key.key_id().is_none_or(|id| (1..=256).contains(&id.len())));
    }
    // {"alg":"EdDSA"} and {"alg":"RS256"}, signed with zeros.
    for header in ["eyJhbGciOiJFZERTQSJ9", "eyJhbGciOiJSUzI1NiJ9"] {
        assert!(verify(&format!("{header}.e30.{}", "A".repeat(86)), &set, &Algorithm::ASYMMETRIC).is_err());
    }
});
