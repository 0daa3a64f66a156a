//! A second, independent verifier: what we accept, `jsonwebtoken` accepts, with the same payload.
//!
//! Where it is right: it has no ES512, and reads only payloads that are JSON objects.

use std::fmt;
use std::sync::LazyLock;

use halfbyte_identity::jose::{Algorithm, JwkSet, Verified, parse_object, verify};
use jsonwebtoken::{DecodingKey, Validation};
use proptest::collection::btree_map;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::properties::any_json;
use super::{NAMES, set_of};
use crate::support::Key;

/// One key of each algorithm that both know.
static KEYS: LazyLock<Vec<Both>> = LazyLock::new(|| {
    NAMES.into_iter().filter(|alg| *alg != "ES512").map(|alg| Both::new(Key::new(alg, "k"))).collect()
});

struct Both {
    key: Key,
    ours: JwkSet,
    theirs: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for Both {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key.alg)
    }
}

impl Both {
    fn new(key: Key) -> Self {
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.jwk()).expect("a key");
        let mut validation = Validation::new(key.alg.parse().expect("an algorithm of theirs"));
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud, validation.validate_nbf) = (false, false, false);
        Self { ours: set_of(&[key.jwk()]), theirs: DecodingKey::from_jwk(&jwk).expect("a key"), validation, key }
    }

    fn they_read(&self, token: &str) -> Result<Value, jsonwebtoken::errors::Error> {
        jsonwebtoken::decode(token, &self.theirs, &self.validation).map(|token| token.claims)
    }

    /// Fails when we accept what they refuse, or read it differently. The token, if we accept it.
    fn compare(&self, token: &str) -> Result<Option<Verified>, TestCaseError> {
        let Ok(verified) = verify(token, &self.ours, &Algorithm::ASYMMETRIC) else { return Ok(None) };
        let Ok(ours) = parse_object(&verified.payload) else { return Ok(Some(verified)) };
        match self.they_read(token) {
            Ok(theirs) => prop_assert_eq!(Value::Object(ours), theirs, "{}", token),
            Err(error) => prop_assert!(false, "we accept what they do not ({}): {}", error, token),
        }
        Ok(Some(verified))
    }
}

fn any_key() -> impl Strategy<Value = &'static Both> {
    (0..KEYS.len()).prop_map(|index| &KEYS[index])
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    btree_map(".{0,6}", any_json(), 0..5).prop_map(|members| members.into_iter().collect())
}

/// Names that mean something in a header, and some that do not.
fn any_header() -> impl Strategy<Value = Map<String, Value>> {
    let name = "alg|kid|typ|cty|crit|b64|jwk|jku|x5u|x5c|x5t|x5t#S256|enc|zip|nonce|url|epk|iss|[a-z]{1,4}";
    let value = prop_oneof![3 => Just(json!("JWT")), 1 => Just(json!("k")), 2 => any_json()];
    btree_map(name, value, 0..4).prop_map(|members| members.into_iter().collect())
}

#[test]
fn both_accept_what_a_good_issuer_signs() {
    for both in KEYS.iter() {
        let token = both.key.token(&json!({"sub": "ann", "exp": 1_900_000_000}));
        assert!(both.compare(&token).expect("the same").is_some(), "{}", both.key.alg);
        assert!(both.they_read(&token).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_header_of_any_members_that_we_accept_with_a_good_signature_they_accept(
        both in any_key(), others in any_header(), claims in any_object(),
    ) {
        let mut header = json!({"alg": both.key.alg, "kid": "k"});
        header.as_object_mut().expect("an object").extend(others.clone());
        let token = both.key.token_of(&header.to_string(), &Value::Object(claims).to_string());
        let verified = both.compare(&token)?;
        let harmless = |name: &str| name.len() <= 4 && !["alg", "kid", "typ", "cty", "crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "enc", "zip", "url"].contains(&name);
        prop_assert!(verified.is_some() || !others.keys().all(|name| harmless(name)), "refused for nothing: {}", header);
    }

    #[test]
    fn a_header_or_payload_with_any_text_put_in_before_it_is_signed_is_read_by_both_alike_or_refused(
        both in any_key(), claims in any_object(), at in any::<prop::sample::Index>(), cut in 0_usize..3,
        put in prop_oneof![".{0,2}", r#"["{}\[\],:\\0-9eE+\- \t\n]{0,3}"#, r#"(,"[a-z]":[0-9]|"x":\{\}|\\u006[0-9a-f])"#],
        in_header: bool,
    ) {
        let mut parts = [both.key.header().to_string(), Value::Object(claims).to_string()];
        let part = &mut parts[usize::from(!in_header)];
        let mut characters: Vec<char> = part.chars().collect();
        let at = at.index(characters.len());
        let end = (at + cut).min(characters.len());
        characters.splice(at..end, put.chars());
        *part = characters.into_iter().collect();
        both.compare(&both.key.token_of(&parts[0], &parts[1]))?;
    }

    #[test]
    fn a_token_with_any_bytes_changed_after_it_was_signed_is_refused_by_us_whatever_they_say(
        both in any_key(), claims in any_object(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[A-Za-z0-9_.=-]"), 1..4),
    ) {
        let good = both.key.token(&Value::Object(claims));
        let mut changed = good.clone();
        for (at, with) in changes {
            let at = at.index(changed.len());
            changed.replace_range(at..=at, &with);
        }
        prop_assert!(changed == good || verify(&changed, &both.ours, &Algorithm::ASYMMETRIC).is_err());
    }
}
