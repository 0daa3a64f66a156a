//! What every preset has in common.

use halfbyte_core::PrincipalKind;
use halfbyte_core::config::Preset;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::jose::{Algorithm, Header};

const NOW: i64 = 1_900_000_000;

fn check(claims: &Value) -> Result<Principal, Fault> {
    check_typed(claims, Some("at+jwt"))
}

fn check_typed(claims: &Value, typ: Option<&str>) -> Result<Principal, Fault> {
    let header = Header { algorithm: Algorithm::Es256, key_id: None, media_type: typ.map(Into::into) };
    let now = Timestamp::from_second(NOW).expect("in range");
    let rules = Rules::new("https://issuer", "parcel", Preset::Generic);
    rules.accept(&header, claims.to_string().as_bytes(), now).map(|accepted| accepted.principal)
}

fn good() -> Value {
    json!({"iss": "https://issuer", "aud": "parcel", "exp": NOW + 60, "sub": "ann", "tenant": "acme",
           "scope": "labels:read  labels:write"})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

#[test]
fn good_claims_become_a_principal() {
    let principal = check(&good()).expect("good");
    assert_eq!((principal.subject(), principal.tenant().as_str()), ("ann", "acme"));
    assert_eq!(principal.scopes().collect::<Vec<_>>(), ["labels:read", "labels:write"]);
    assert_eq!(principal.kind(), PrincipalKind::User);
}

#[test]
fn a_client_that_acts_for_itself_is_a_service() {
    assert_eq!(check(&with("client_id", json!("ann"))).expect("good").kind(), PrincipalKind::Service);
}

#[test]
fn a_subject_without_a_tenant_is_its_own_and_never_a_tenant_of_that_name() {
    assert_eq!(check(&without("tenant")).expect("good").tenant().as_str(), "subject:issuer#ann");
}

#[test]
fn each_claim_that_is_wrong_is_refused() {
    let table = [
        (with("iss", json!("https://issuer/")), Fault::Issuer),
        (with("iss", json!(["https://issuer"])), Fault::Malformed),
        (without("iss"), Fault::Malformed),
        (with("aud", json!("clinic")), Fault::Audience),
        (with("aud", json!(["clinic", "parcel-2"])), Fault::Audience),
        (with("aud", json!([["parcel"]])), Fault::Malformed),
        (with("aud", json!({"parcel": 1})), Fault::Malformed),
        (without("aud"), Fault::Audience),
        (with("exp", json!(NOW - LEEWAY)), Fault::Expired),
        (with("exp", json!("2100000000")), Fault::Malformed),
        (with("exp", json!(1e300)), Fault::Malformed),
        (without("exp"), Fault::Malformed),
        (with("nbf", json!(NOW + LEEWAY + 1)), Fault::NotYet),
        (with("nbf", json!(true)), Fault::Malformed),
        (with("iat", json!(NOW + LEEWAY + 1)), Fault::NotYet),
        (with("typ", json!("ID")), Fault::NotAnAccessToken),
        (with("token_use", json!("id")), Fault::NotAnAccessToken),
        (with("iat", json!("x")), Fault::Malformed),
        (without("sub"), Fault::Malformed),
        (with("sub", json!("")), Fault::Malformed),
        (with("sub", json!(7)), Fault::Malformed),
        (with("scope", json!(["labels:write"])), Fault::Malformed),
        (with("tenant", json!("a b")), Fault::Malformed),
        (with("tenant", json!("subject:issuer#ann")), Fault::Malformed),
        (with("cnf", json!({"jkt": "x"})), Fault::Bound),
        (with("cnf", json!({"kid": "x"})), Fault::Bound),
        (with("cnf", json!({"x5t#S256": "x"})), Fault::Bound),
        (with("cnf", Value::Null), Fault::Bound),
        (with("nonce", json!("x")), Fault::NotAnAccessToken),
        (with("at_hash", json!("x")), Fault::NotAnAccessToken),
        (with("events", json!({})), Fault::NotAnAccessToken),
    ];
    for (claims, fault) in table {
        assert_eq!(check(&claims).expect_err("refused"), fault, "{claims}");
    }
}

#[test]
fn the_edges_of_time_and_audience_are_accepted() {
    for claims in [
        with("exp", json!(NOW - LEEWAY + 1)),
        with("nbf", json!(NOW + LEEWAY)),
        with("exp", json!(NOW as f64 + 60.5)),
        with("aud", json!(["clinic", "parcel"])),
    ] {
        assert!(check(&claims).is_ok(), "{claims}");
    }
}

#[test]
fn tokens_of_another_kind_are_not_access_tokens() {
    for typ in ["logout+jwt", "dpop+jwt", "id_token", "secevent+jwt", ""] {
        assert_eq!(check_typed(&good(), Some(typ)).expect_err("refused"), Fault::NotAnAccessToken, "{typ}");
    }
    assert!(check_typed(&good(), None).is_ok());
}
