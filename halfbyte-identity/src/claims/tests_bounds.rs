//! Bounds, edges of time, bindings and actors.

use halfbyte_core::config::Preset;
use serde_json::{Value, json};

use super::Fault;
use super::fixtures::{NOW, Token};
use crate::binding::Binding;

fn good() -> Token {
    let claims = json!({"iss": "https://issuer", "aud": "parcel", "exp": NOW + 60, "sub": "ann", "tenant": "acme"});
    Token::new(Preset::Generic, "https://issuer", "parcel", Some("at+jwt"), claims)
}

fn check(name: &str, value: Value) -> Result<(), Fault> {
    good().with(name, value).check().map(|_| ())
}

fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("n{number}")).collect()
}

#[test]
fn what_a_principal_keeps_is_bounded() {
    let too_long = |bytes: usize| json!("x".repeat(bytes));
    for (name, most) in
        [("sub", 512), ("jti", 256), ("sid", 256), ("acr", 256), ("client_id", 256), ("azp", 256), ("tenant", 255)]
    {
        assert_eq!(check(name, too_long(most)), Ok(()), "{name}");
        assert_eq!(check(name, too_long(most + 1)), Err(Fault::Malformed), "{name}");
    }
    for name in ["roles", "amr"] {
        assert_eq!(check(name, json!(many(256))), Ok(()), "{name}");
        assert_eq!(check(name, json!(many(257))), Err(Fault::Malformed), "{name}");
        assert_eq!(check(name, json!(["x".repeat(256)])), Ok(()), "{name}");
        assert_eq!(check(name, json!(["x".repeat(257)])), Err(Fault::Malformed), "{name}");
        assert_eq!(check(name, json!("one")), Err(Fault::Malformed), "{name}");
    }
    assert_eq!(check("scope", json!(many(256).join(" "))), Ok(()));
    assert_eq!(check("scope", json!(many(257).join(" "))), Err(Fault::Malformed));
    assert_eq!(check("scope", too_long(256)), Ok(()));
    assert_eq!(check("scope", too_long(257)), Err(Fault::Malformed));
    assert_eq!(check("scope", json!(" ".repeat(1000))), Ok(()));
}

#[test]
fn lists_of_the_makes_are_bounded_as_well() {
    let okta = Token { preset: Preset::Okta, ..good() }.with("cid", json!("web"));
    let keycloak = Token { preset: Preset::Keycloak, ..good() }.with("typ", json!("Bearer"));
    let roles = "urn:zitadel:iam:org:project:parcel:roles";
    let zitadel = Token { preset: Preset::Zitadel, ..good() }.with("jti", json!("j"));
    let granted = |count| many(count).into_iter().map(|role| (role, json!({"1": "x"}))).collect::<Value>();
    for (token, name, most, more) in [
        (&okta, "scp", json!(many(256)), json!(many(257))),
        (&okta, "groups", json!(many(256)), json!(many(257))),
        (&keycloak, "realm_access", json!({"roles": many(256)}), json!({"roles": many(257)})),
        (
            &keycloak,
            "resource_access",
            json!({"parcel": {"roles": many(256)}}),
            json!({"parcel": {"roles": many(257)}}),
        ),
        (&keycloak, "organization", json!(many(256)), json!(many(257))),
        (&keycloak, "organization", granted(256), granted(257)),
        (&zitadel, roles, granted(256), granted(257)),
    ] {
        assert!(token.with(name, most).check().is_ok(), "{name}");
        assert_eq!(token.with(name, more).fault(), Fault::Malformed, "{name}");
    }
    assert_eq!(okta.with("scp", json!(["a b"])).fault(), Fault::Malformed);
    assert_eq!(okta.with("scp", json!([""])).fault(), Fault::Malformed);
}

#[test]
fn times_are_good_up_to_the_second() {
    for (name, value, expected) in [
        ("exp", json!(NOW - 29), Ok(())),
        ("exp", json!(NOW - 30), Err(Fault::Expired)),
        ("exp", json!(0), Err(Fault::Expired)),
        ("exp", json!(-1), Err(Fault::Expired)),
        ("exp", json!(253_402_200_000_i64), Ok(())),
        ("exp", json!(i64::MAX), Err(Fault::Malformed)),
        ("exp", json!(u64::MAX), Err(Fault::Malformed)),
        ("exp", json!(i64::MIN), Err(Fault::Malformed)),
        ("exp", json!(null), Err(Fault::Malformed)),
        ("nbf", json!(NOW + 30), Ok(())),
        ("nbf", json!(NOW + 31), Err(Fault::NotYet)),
        ("iat", json!(NOW + 30), Ok(())),
        ("iat", json!(NOW + 31), Err(Fault::NotYet)),
        ("auth_time", json!(NOW + 30), Ok(())),
        ("auth_time", json!(NOW + 31), Err(Fault::NotYet)),
        ("auth_time", json!("0"), Err(Fault::Malformed)),
    ] {
        assert_eq!(check(name, value.clone()), expected, "{name} {value}");
    }
}

#[test]
fn a_binding_is_read_in_its_one_spelling_and_anything_else_cannot_be_checked() {
    let digest = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA";
    let bytes = std::array::from_fn(|at| u8::try_from(at + 1).expect("small"));
    let binding = |cnf: Value| good().with("cnf", cnf).check().map(|accepted| accepted.binding);
    assert_eq!(binding(json!({"jkt": digest})), Ok(Some(Binding::Key(bytes))));
    assert_eq!(binding(json!({"x5t#S256": digest})), Ok(Some(Binding::Certificate(bytes))));
    for cnf in [
        json!({"jkt": digest, "x5t#S256": digest}),
        json!({"jkt": digest, "kid": "k"}),
        json!({"kid": "k", "jkt": digest}),
        json!({"jkt": format!("{digest}=")}),
        json!({"jkt": digest.replace("HyA", "HyB")}),
        json!({"jkt": &digest[1..]}),
        json!({"jkt": [digest]}),
        json!({"jkt": null}),
        json!({"JKT": digest}),
        json!({"jwk": {"kty": "OKP"}}),
        json!({}),
        json!([]),
        json!(null),
        json!(true),
        json!(1),
        json!(-1),
        json!(0.5),
        json!(digest),
    ] {
        assert_eq!(binding(cnf.clone()), Err(Fault::Bound), "{cnf}");
    }
}

#[test]
fn actors_are_listed_from_the_one_who_calls() {
    let act = json!({"act": {"sub": "first", "act": {}}, "sub": "second", "iss": "https://other", "extra": [1]});
    assert_eq!(check("act", act), Err(Fault::Malformed), "the innermost has no name");
    let act = json!({"act": {"sub": "first"}, "sub": "second", "iss": "https://other", "extra": [1]});
    let principal = good().with("act", act).accepted();
    let actors: Vec<_> = principal.actors().iter().map(|actor| (&*actor.subject, actor.issuer.as_deref())).collect();
    assert_eq!(actors, [("second", Some("https://other")), ("first", None)]);
}

#[test]
fn actors_are_few_and_well_formed() {
    let chain = |length: usize| {
        (0..length).fold(Value::Null, |inner, _| match inner {
            Value::Null => json!({"sub": "a"}),
            inner => json!({"sub": "a", "act": inner}),
        })
    };
    assert_eq!(check("act", chain(8)), Ok(()));
    assert_eq!(check("act", chain(9)), Err(Fault::Malformed));
    let long = "x".repeat(512);
    assert_eq!(check("act", json!({"sub": long, "iss": long})), Ok(()));
    for act in [
        json!({"sub": format!("{long}x")}),
        json!({"sub": "a", "iss": format!("{long}x")}),
        json!({"sub": "a", "iss": ""}),
        json!({"sub": ""}),
        json!({"sub": ["a"]}),
        json!({"iss": "https://other"}),
        json!({"sub": "a", "act": null}),
        json!({}),
        json!("a"),
        json!([{"sub": "a"}]),
        json!(null),
    ] {
        assert_eq!(check("act", act.clone()), Err(Fault::Malformed), "{act}");
    }
}

#[test]
fn a_subject_that_cannot_be_in_the_name_of_a_tenant_needs_one() {
    let nameless = good().without("tenant");
    for sub in ["Ann Li", "änn", "a\u{0}", &"x".repeat(255)] {
        assert!(good().with("sub", json!(sub)).check().is_ok(), "{sub:?}");
        assert_eq!(nameless.with("sub", json!(sub)).fault(), Fault::Malformed, "{sub:?}");
    }
}
