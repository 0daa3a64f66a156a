use halfbyte_identity::jose::{Algorithm, JwkSet, parse_object, verify};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{check, set_of};
use crate::support::Key;

#[test]
fn a_token_with_any_one_bit_changed_is_refused() {
    let key = Key::es256("k");
    let token = key.token(&json!({"sub": "ann", "exp": 1_900_000_000}));
    let keys = set_of(&[key.jwk()]);
    assert!(verify(&token, &keys, &Algorithm::ALL).is_ok());
    for position in 0..token.len() {
        for bit in 0..8 {
            let mut bytes = token.clone().into_bytes();
            bytes[position] ^= 1 << bit;
            // What is no text is no token; HTTP would not carry it.
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(verify(&changed, &keys, &Algorithm::ALL).is_err(), "bit {bit} of byte {position}");
        }
    }
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
                assert!(changed == token || verify(&changed, &keys, &Algorithm::ALL).is_err(), "{changed}");
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
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
    fn no_members_of_a_key_make_its_reader_panic(members in btree_map("kty|crv|alg|x|y|n|e|kid|use|key_ops", any_json(), 0..8), kty in "EC|RSA|OKP", crv in "P-256|P-384|Ed25519") {
        let mut jwk: Value = Value::Object(members.into_iter().collect());
        jwk["kty"] = json!(kty);
        jwk["crv"] = json!(crv);
        let set = set_of(&[jwk]);
        prop_assert_eq!(set.keys().len() + set.rejected().len(), 1);
    }
}
