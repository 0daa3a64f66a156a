//! What holds for any payload.

use halfbyte_core::config::Preset;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::fixtures::{NOW, header, now};
use super::{Rules, unverified_issuer};

const NAMES: [&str; 24] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "sid",
    "act",
    "cnf",
    "scope",
    "scp",
    "roles",
    "groups",
    "tenant",
    "tid",
    "organization",
    "realm_access",
    "resource_access",
    "urn:zitadel:iam:org:project:parcel:roles",
    "client_id",
    "amr",
    "active",
    "x",
];

fn rules(preset: Preset) -> Rules {
    Rules::new("https://issuer", "parcel", preset)
}

fn preset() -> impl Strategy<Value = Preset> {
    proptest::sample::select(Preset::ALL.to_vec())
}

fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![proptest::sample::select(NAMES.to_vec()).prop_map(String::from), ".{0,4}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!("parcel")),
        Just(json!("https://issuer")),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Claims that are good, or nearly.
fn claims() -> impl Strategy<Value = Map<String, Value>> {
    let change = (proptest::sample::select(NAMES.to_vec()), any_json());
    (".{1,12}", -60_i64..600, proptest::collection::vec(change, 0..3)).prop_map(|(sub, exp, changes)| {
        let claims = json!({"iss": "https://issuer", "aud": ["parcel"], "exp": NOW + exp, "sub": sub, "iat": NOW,
            "jti": "j", "client_id": "web", "cid": "web", "azp": "web", "typ": "Bearer", "token_use": "access",
            "token_type": "Bearer", "session_id": "s", "tenant": "acme", "active": true});
        let Value::Object(mut claims) = claims else { unreachable!("an object") };
        claims.extend(changes.into_iter().map(|(name, value)| (name.to_owned(), value)));
        claims
    })
}

/// Writes `value` with one of its names twice: the one at `place`, counted in the order of writing.
fn write_doubled(value: &Value, place: &mut usize, out: &mut String) {
    match value {
        Value::Object(map) => {
            out.push('{');
            for (at, (name, value)) in map.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                let name = Value::from(name.as_str());
                let doubled = *place == 0;
                *place = place.wrapping_sub(1);
                if doubled {
                    out.push_str(&format!("{comma}{name}:{value},{name}:{value}"));
                } else {
                    out.push_str(&format!("{comma}{name}:"));
                    write_doubled(value, place, out);
                }
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write_doubled(item, place, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn names_in(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len() + map.values().map(names_in).sum::<usize>(),
        Value::Array(items) => items.iter().map(names_in).sum(),
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(preset in preset(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = unverified_issuer(&bytes);
        prop_assert!(rules(preset).accept(&header(Some("at+jwt")), &bytes, now()).is_err());
        prop_assert!(rules(preset).accept_introspected(&bytes, now()).is_err());
    }

    #[test]
    fn no_json_panics(preset in preset(), value in any_json()) {
        let text = value.to_string();
        let _ = unverified_issuer(text.as_bytes());
        let _ = rules(preset).accept(&header(None), text.as_bytes(), now());
        let _ = rules(preset).accept_introspected(text.as_bytes(), now());
    }

    #[test]
    fn what_is_accepted_reads_the_same_elsewhere(preset in preset(), claims in claims()) {
        let text = Value::Object(claims).to_string();
        for accepted in [
            rules(preset).accept(&header(Some("at+jwt")), text.as_bytes(), now()),
            rules(preset).accept_introspected(text.as_bytes(), now()),
        ].into_iter().flatten() {
            let again: Value = serde_json::from_str(&text).expect("JSON");
            let principal = accepted.principal;
            prop_assert_eq!(&again["iss"], principal.issuer());
            prop_assert_eq!(&again["sub"], principal.subject());
            let exp = again["exp"].as_f64().expect("a number");
            prop_assert!((exp.trunc() - principal.expires_at().as_second() as f64).abs() < 1.0);
            prop_assert!(principal.expires_at().as_second() > NOW - 30);
            prop_assert_eq!(principal.claims::<Value>().expect("JSON"), again);
        }
    }

    #[test]
    fn a_name_that_stands_twice_at_any_depth_is_refused(
        preset in preset(), mut claims in claims(), extra in any_json(), place in any::<prop::sample::Index>(),
    ) {
        claims.insert("deep".to_owned(), json!([{"a": {"b": 1}}, extra]));
        let value = Value::Object(claims);
        let mut text = String::new();
        write_doubled(&value, &mut place.index(names_in(&value)), &mut text);
        prop_assert!(rules(preset).accept(&header(Some("at+jwt")), text.as_bytes(), now()).is_err());
        prop_assert!(rules(preset).accept_introspected(text.as_bytes(), now()).is_err());
    }
}

#[test]
fn nearly_good_claims_are_mostly_good() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let accepted = (0..200).filter(|_| {
        let claims = Value::Object(claims().new_tree(&mut runner).expect("a value").current()).to_string();
        rules(Preset::Generic).accept(&header(Some("at+jwt")), claims.as_bytes(), now()).is_ok()
    });
    assert!(accepted.count() > 40, "or the properties say little");
}
