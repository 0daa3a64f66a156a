//! Answers to introspection (RFC 7662), which may leave out much.

use halfbyte_core::PrincipalKind;
use halfbyte_core::config::Preset;
use serde_json::{Value, json};

use super::Fault;
use super::fixtures::{NOW, Token, seen};

const ISSUER: &str = "https://server.example";

fn answer(preset: Preset, claims: Value) -> Token {
    Token::new(preset, ISSUER, "https://parcel.example", None, claims)
}

/// As RFC 7662, 2.2 shows one.
fn rfc7662() -> Token {
    answer(
        Preset::Generic,
        json!({
            "active": true, "client_id": "l238j323ds", "username": "jdoe", "scope": "read write", "sub": "Z5O3upPC",
            "aud": "https://parcel.example", "iss": ISSUER, "exp": NOW + 600, "iat": NOW - 5, "extension_field": "twenty-seven",
        }),
    )
}

/// As oidc-provider answers for an opaque token that was asked for with a resource.
fn oidc_provider() -> Token {
    answer(
        Preset::Generic,
        json!({
            "active": true, "sub": "ann", "client_id": "web", "exp": NOW + 600, "iat": NOW - 5, "sid": "s-1", "iss": ISSUER,
            "jti": "j-1", "scope": "openid labels:read", "token_type": "Bearer", "aud": "https://parcel.example",
        }),
    )
}

fn keycloak() -> Token {
    answer(
        Preset::Keycloak,
        json!({
            "exp": NOW + 300, "iat": NOW - 5, "jti": "onrtac:4c1f", "iss": ISSUER, "aud": "https://parcel.example",
            "sub": "f81d", "typ": "Bearer", "azp": "web", "sid": "9a7b", "acr": "1", "realm_access": {"roles": ["clerk"]},
            "scope": "openid", "preferred_username": "ann", "client_id": "web", "username": "ann", "token_type": "Bearer",
            "active": true,
        }),
    )
}

fn fault(token: &Token) -> Fault {
    match token.introspected() {
        Err(fault) => fault,
        Ok(accepted) => panic!("accepted: {:?} {}", accepted.principal, token.claims),
    }
}

#[test]
fn answers_of_each_make_say_who_calls() {
    let table = [
        (rfc7662(), json!(["Z5O3upPC", "subject:server.example#Z5O3upPC", "l238j323ds", ["read", "write"], [], null])),
        (oidc_provider(), json!(["ann", "subject:server.example#ann", "web", ["openid", "labels:read"], [], "s-1"])),
        (keycloak(), json!(["f81d", "subject:server.example#f81d", "web", ["openid"], ["clerk"], "9a7b"])),
    ];
    for (token, expected) in table {
        let all = seen(&token.introspected().expect("good").principal);
        let some: Vec<_> =
            ["subject", "tenant", "client", "scopes", "roles", "session"].map(|name| all[name].clone()).into();
        assert_eq!(json!(some), expected);
        assert_eq!((&all["kind"], &all["issuer"]), (&json!("user"), &json!(ISSUER)));
    }
}

#[test]
fn what_is_not_active_beyond_doubt_is_refused() {
    for active in [json!(false), json!("true"), json!(1), json!(null), json!([true])] {
        assert_eq!(fault(&rfc7662().with("active", active)), Fault::NotAnAccessToken);
    }
    assert_eq!(fault(&rfc7662().without("active")), Fault::NotAnAccessToken);
}

#[test]
fn a_refresh_token_is_no_access_token_though_it_is_active() {
    // oidc-provider leaves the type out for them, and they have no audience.
    assert_eq!(fault(&oidc_provider().without("token_type").without("aud")), Fault::NotAnAccessToken);
    assert_eq!(fault(&rfc7662().without("aud")), Fault::NotAnAccessToken);
    for kind in
        [json!("refresh_token"), json!("Refresh"), json!("N_A"), json!("mac"), json!(""), json!(null), json!(true)]
    {
        assert_eq!(fault(&rfc7662().with("token_type", kind)), Fault::NotAnAccessToken);
    }
    for typ in ["Refresh", "Offline", "ID", "Logout"] {
        assert_eq!(fault(&keycloak().with("typ", json!(typ))), Fault::NotAnAccessToken, "{typ}");
        assert_eq!(fault(&rfc7662().with("typ", json!(typ))), Fault::NotAnAccessToken, "{typ}");
    }
    assert_eq!(fault(&keycloak().with("typ", json!("Initial"))), Fault::NotAnAccessToken);
    assert_eq!(fault(&rfc7662().with("token_use", json!("refresh_token"))), Fault::NotAnAccessToken);
    assert_eq!(fault(&rfc7662().with("nonce", json!("n"))), Fault::NotAnAccessToken);
    assert_eq!(fault(&rfc7662().with("at_hash", json!("n"))), Fault::NotAnAccessToken);
}

#[test]
fn each_type_of_an_access_token_is_one() {
    for kind in ["Bearer", "bearer", "access_token"] {
        assert!(oidc_provider().with("token_type", json!(kind)).introspected().is_ok(), "{kind}");
    }
    let bound = oidc_provider().with("token_type", json!("DPoP"));
    assert_eq!(fault(&bound), Fault::Bound, "and not said to what");
    assert!(bound.with("cnf", json!({"jkt": "A".repeat(43)})).introspected().is_ok());
    assert!(keycloak().without("typ").introspected().is_ok());
}

#[test]
fn what_is_left_out_is_known_or_is_assumed_for_a_minute() {
    let few = oidc_provider().without("iss").without("exp").without("iat").without("jti").without("scope");
    let principal = few.introspected().expect("good").principal;
    assert_eq!((principal.issuer(), principal.expires_at().as_second()), (ISSUER, NOW + 60));
    assert_eq!(principal.scopes().count(), 0);
}

#[test]
fn an_issuer_that_is_not_named_is_known_only_where_there_is_one() {
    let tenant = "5f1c2a3e-0b4d-4c6e-8f70-9a1b2c3d4e5f";
    let mut token = answer(Preset::Entra, oidc_provider().claims).without("iss").with("tid", json!(tenant));
    token.issuer = "https://login.microsoftonline.com/common/v2.0".into();
    assert_eq!(fault(&token), Fault::Issuer);
    let named = token.with("iss", json!(format!("https://login.microsoftonline.com/{tenant}/v2.0")));
    assert_eq!(named.introspected().expect("good").principal.tenant().as_str(), tenant);
}

#[test]
fn a_client_without_a_subject_is_a_service_and_never_stands_in_for_a_user() {
    let client = oidc_provider().without("sub");
    let principal = client.introspected().expect("good").principal;
    assert_eq!((principal.subject(), principal.kind()), ("web", PrincipalKind::Service));
    assert_eq!(fault(&client.with("username", json!("ann"))), Fault::Malformed);
    assert_eq!(fault(&client.without("client_id")), Fault::Malformed);
}

#[test]
fn a_token_of_no_audience_is_everybodys_and_not_ours() {
    assert_eq!(fault(&oidc_provider().without("aud")), Fault::Audience);
    assert_eq!(fault(&keycloak().without("aud")), Fault::Audience);
}

#[test]
fn what_is_said_has_to_be_right() {
    for (name, value, expected) in [
        ("iss", json!("https://evil.example"), Fault::Issuer),
        ("aud", json!("https://clinic.example"), Fault::Audience),
        ("aud", json!([]), Fault::Audience),
        ("exp", json!(NOW - 30), Fault::Expired),
        ("exp", json!("2000000000"), Fault::Malformed),
        ("nbf", json!(NOW + 31), Fault::NotYet),
        ("cnf", json!({"kid": "x"}), Fault::Bound),
        ("sub", json!(""), Fault::Malformed),
    ] {
        assert_eq!(fault(&oidc_provider().with(name, value)), expected, "{name}");
    }
    let bound = oidc_provider().with("cnf", json!({"x5t#S256": "A".repeat(43)})).introspected().expect("good");
    assert!(bound.binding.is_some());
}
