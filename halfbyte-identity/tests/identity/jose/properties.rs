use halfbyte_identity::jose::{Algorithm, JwkSet, parse_object, verify};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{NAMES, check, set_of};
use crate::support::Key;

/// Every bit of one token of each algorithm.
#[test]
fn a_token_with_any_one_bit_changed_is_refused() {
    for alg in NAMES {
        let key = Key::new(alg, "k");
        let token = key.token(&json!({"sub": "ann", "exp": 1_900_000_000}));
        let keys = set_of(&[key.jwk()]);
        assert_eq!(accepted_with_a_bit_changed(&token, &keys, &Algorithm::ASYMMETRIC), None, "{alg}");
    }
    for algorithm in Algorithm::SYMMETRIC {
        let (token, keys) = super::symmetric::token_and_key(algorithm);
        assert_eq!(accepted_with_a_bit_changed(&token, &keys, &[algorithm]), None, "{algorithm}");
    }
}

fn accepted_with_a_bit_changed(token: &str, keys: &JwkSet, allowed: &[Algorithm]) -> Option<String> {
    assert!(verify(token, keys, allowed).is_ok());
    let bits = (0..token.len()).flat_map(|position| (0..8).map(move |bit| (position, bit)));
    // What is no text is no token; HTTP would not carry it.
    let mut changed = bits.filter_map(|(position, bit)| with_bit_changed(token, position, bit));
    changed.find(|changed| verify(changed, keys, allowed).is_ok())
}

fn with_bit_changed(token: &str, position: usize, bit: u8) -> Option<String> {
    let mut bytes = token.to_owned().into_bytes();
    bytes[position] ^= 1 << bit;
    String::from_utf8(bytes).ok()
}

#[test]
fn a_token_with_any_one_character_put_in_left_out_or_replaced_is_refused() {
    let key = Key::es256("k");
    let token = key.token(&json!({"sub": "ann"}));
    let keys = set_of(&[key.jwk()]);
    for position in 0..token.len() {
        for other in "A-_=.g \u{e9}".chars() {
            let (before, after) = token.split_at(position);
            let inserted = format!("{before}{other}{after}");
            let replaced = format!("{before}{other}{}", &after[1..]);
            let removed = format!("{before}{}", &after[1..]);
            for changed in [inserted, replaced, removed] {
                assert!(changed == token || verify(&changed, &keys, &Algorithm::ASYMMETRIC).is_err(), "{changed}");
            }
        }
    }
}

pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(".{0,6}", inner, 0..6).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_any_token_any_one_bit_changed_makes_one_that_is_refused(
        alg in prop::sample::select(&["ES256", "ES384", "EdDSA", "RS256", "PS256"][..]), claims in btree_map(".{0,6}", any_json(), 0..4),
        at in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let key = Key::new(alg, "k");
        let token = key.token(&Value::Object(claims.into_iter().collect()));
        prop_assert!(check(&token, &key).is_ok());
        if let Some(changed) = with_bit_changed(&token, at.index(token.len()), bit) {
            prop_assert!(check(&changed, &key).is_err(), "{}", changed);
        }
    }

    #[test]
    fn an_object_without_duplicates_is_read_as_serde_json_reads_it(entries in btree_map(".{0,6}", any_json(), 0..6)) {
        let value = Value::Object(entries.into_iter().collect());
        for text in [value.to_string(), format!(" {:#}\n", value)] {
            let theirs: Value = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(Value::Object(parse_object(text.as_bytes()).expect("an object")), theirs);
        }
    }

    #[test]
    fn a_duplicate_is_refused_wherever_it_stands(object in btree_map("[a-z]{1,3}", any_json(), 1..5), depth in 0_usize..6) {
        let (name, value) = object.first_key_value().expect("one at least");
        let twice = format!("{{{}:{value},{}:1}}", json!(name), json!(name));
        let nested = (0..depth).fold(twice, |inner, level| match level % 2 {
            0 => format!("{{\"n\":[{inner}]}}"),
            _ => format!("{{\"n\":{inner}}}"),
        });
        prop_assert!(serde_json::from_str::<Value>(&nested).is_ok(), "else the test shows nothing");
        prop_assert!(parse_object(nested.as_bytes()).is_err());
    }

    #[test]
    fn what_serde_json_refuses_is_refused(text in ".{0,64}") {
        if serde_json::from_str::<Value>(&text).is_err() {
            prop_assert!(parse_object(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..512)) {
        let _any = parse_object(&bytes);
        let _any = JwkSet::parse(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(check(&text, &Key::es256("k")).is_err());
    }

    #[test]
    fn no_text_in_the_shape_of_a_token_makes_the_verifier_panic(header in any_json(), payload in any_json(), signature in vec(any::<u8>(), 0..80)) {
        let part = |value: &Value| crate::support::b64(value.to_string());
        let token = format!("{}.{}.{}", part(&header), part(&payload), crate::support::b64(signature));
        prop_assert!(check(&token, &Key::es256("k")).is_err());
    }

    #[test]
    fn no_members_of_a_key_make_its_reader_panic(members in btree_map("kty|crv|alg|x|y|n|e|kid|use|key_ops", any_json(), 0..8), kty in "EC|RSA|OKP", crv in "P-256|P-384|P-521|Ed25519") {
        let mut jwk: Value = Value::Object(members.into_iter().collect());
        jwk["kty"] = json!(kty);
        jwk["crv"] = json!(crv);
        let set = set_of(&[jwk]);
        prop_assert_eq!(set.keys().len() + set.rejected().len(), 1);
    }
}
