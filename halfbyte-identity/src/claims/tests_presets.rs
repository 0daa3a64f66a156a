//! Each preset with tokens of the shape that its make documents.

use halfbyte_core::config::Preset;
use serde_json::{Value, json};

use super::Fault;
use super::fixtures::{NOW, Token, is_service, seen};

const TENANT: &str = "5f1c2a3e-0b4d-4c6e-8f70-9a1b2c3d4e5f";
const OTHER_TENANT: &str = "0d9e8f7a-6b5c-4d3e-9f2a-1b0c9d8e7f6a";
const PERSONAL: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
const API: &str = "c7a1f0de-52b4-4be5-9d3f-0a6b7c8d9e1f";

fn keycloak() -> Token {
    let issuer = "https://id.example/realms/parcel";
    Token::new(
        Preset::Keycloak,
        issuer,
        "parcel-api",
        Some("jwt"),
        json!({
            "exp": NOW + 300, "iat": NOW - 5, "auth_time": NOW - 60, "jti": "onrtac:4c1f", "iss": issuer,
            "aud": ["parcel-api", "account"], "sub": "f81d4fae-7dec", "typ": "Bearer", "azp": "web", "sid": "9a7b-22",
            "acr": "1", "allowed-origins": ["https://parcel.example"], "nonce": "of-an-older-version",
            "realm_access": {"roles": ["clerk", "offline_access"]},
            "resource_access": {"parcel-api": {"roles": ["printer"]}, "account": {"roles": ["manage-account"]}},
            "scope": "openid labels:read profile", "email_verified": true, "name": "Ann Li", "preferred_username": "ann",
            "organization": {"acme": {}}, "email": "ann@acme.example",
        }),
    )
}

fn keycloak_service() -> Token {
    let mut token =
        keycloak().with("azp", json!("Nightly")).with("preferred_username", json!("service-account-nightly"));
    for (name, value) in [("clientHost", "10.0.0.7"), ("clientAddress", "10.0.0.7"), ("client_id", "Nightly")] {
        token = token.with(name, json!(value));
    }
    token.without("sid").without("auth_time").without("nonce")
}

fn entra_v2() -> Token {
    let issuer = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let claims = json!({
        "aud": API, "iss": issuer, "iat": NOW - 5, "nbf": NOW - 5, "exp": NOW + 4000, "aio": "ATQAy/8T", "azp": "web-id",
        "azpacr": "0", "name": "Ann Li", "oid": "6467882c", "preferred_username": "ann@acme.example", "rh": "0.AQ",
        "scp": "Labels.Read Labels.Write", "sub": "aPairwiseOne", "tid": TENANT, "uti": "uT1", "ver": "2.0",
        "roles": ["Clerk"], "sid": "00471c2d",
    });
    Token::new(Preset::Entra, &issuer, API, Some("jwt"), claims)
}

fn entra_v1() -> Token {
    let issuer = format!("https://sts.windows.net/{TENANT}/");
    let claims = json!({
        "aud": "api://parcel", "iss": issuer, "iat": NOW - 5, "nbf": NOW - 5, "exp": NOW + 4000, "acr": "1",
        "amr": ["pwd", "mfa"], "appid": "web-id", "appidacr": "0", "family_name": "Li", "given_name": "Ann",
        "ipaddr": "192.0.2.1", "oid": "6467882c", "scp": "Labels.Read", "sub": "aPairwiseOne", "tid": TENANT,
        "unique_name": "ann@acme.example", "upn": "ann@acme.example", "uti": "uT1", "ver": "1.0",
    });
    Token::new(Preset::Entra, &issuer, "api://parcel", Some("jwt"), claims)
}

fn entra_service() -> Token {
    let token = entra_v2().without("scp").without("name").without("preferred_username").without("sid");
    token.with("sub", json!("6467882c"))
}

fn auth0() -> Token {
    Token::new(
        Preset::Auth0,
        "https://acme.eu.auth0.com/",
        "https://parcel.example",
        Some("jwt"),
        json!({
            "iss": "https://acme.eu.auth0.com/", "sub": "auth0|64c1", "iat": NOW - 5, "exp": NOW + 86400, "azp": "web-id",
            "aud": ["https://parcel.example", "https://acme.eu.auth0.com/userinfo"], "scope": "openid labels:read",
            "org_id": "org_9ybs", "permissions": ["print:labels"],
        }),
    )
}

fn auth0_service() -> Token {
    let token = auth0().with("sub", json!("nightlyId@clients")).with("azp", json!("nightlyId"));
    token.with("gty", json!("client-credentials")).with("aud", json!("https://parcel.example"))
}

fn cognito() -> Token {
    let issuer = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab1";
    Token::new(
        Preset::Cognito,
        issuer,
        "6k4t",
        None,
        json!({
            "sub": "aaaa-bbbb", "device_key": "eu-central-1_dddd", "cognito:groups": ["clerks"], "iss": issuer, "version": 2,
            "client_id": "6k4t", "origin_jti": "0r1g", "event_id": "e-1", "token_use": "access",
            "scope": "openid parcel/labels.read", "auth_time": NOW - 60, "exp": NOW + 3600, "iat": NOW - 5, "jti": "j-1",
            "username": "ann", "custom:tenant": "acme",
        }),
    )
}

fn cognito_service() -> Token {
    let token = cognito().without("username").without("device_key").without("origin_jti").without("event_id");
    token.without("cognito:groups").with("sub", json!("6k4t"))
}

fn okta() -> Token {
    let issuer = "https://acme.okta.com/oauth2/default";
    Token::new(
        Preset::Okta,
        issuer,
        "api://parcel",
        None,
        json!({
            "ver": 1, "jti": "AT.0mP4", "iss": issuer, "aud": "api://parcel", "iat": NOW - 5, "exp": NOW + 3600,
            "cid": "0oa1web", "uid": "00u1ann", "scp": ["openid", "labels:read"], "auth_time": NOW - 60,
            "sub": "ann@acme.example", "groups": ["Clerks"], "tenant": "acme",
        }),
    )
}

fn okta_service() -> Token {
    let token = okta().without("uid").without("auth_time").without("groups").with("sub", json!("0oa1job"));
    token.with("cid", json!("0oa1job"))
}

fn zitadel() -> Token {
    let issuer = "https://acme.zitadel.cloud";
    Token::new(
        Preset::Zitadel,
        issuer,
        "2401",
        Some("jwt"),
        json!({
            "aud": ["2398@parcel", "2401"], "client_id": "2398@parcel", "exp": NOW + 43200, "iat": NOW - 5, "nbf": NOW - 5,
            "iss": issuer, "jti": "V2_26-at_27", "sub": "2277",
            "urn:zitadel:iam:user:resourceowner:id": "1001",
            "urn:zitadel:iam:org:project:2401:roles": {
                "clerk": {"1001": "acme.example", "1002": "umbrella.example"}, "boss": {"1002": "umbrella.example"},
            },
            "urn:zitadel:iam:org:project:roles": {"root": {"1001": "acme.example"}},
        }),
    )
}

fn kanidm() -> Token {
    let issuer = "https://idm.example/oauth2/openid/parcel";
    Token::new(
        Preset::Kanidm,
        issuer,
        "parcel",
        Some("at+jwt"),
        json!({
            "iss": issuer, "sub": "b8f0a3c2", "aud": "parcel", "exp": NOW + 900, "nbf": NOW - 5, "iat": NOW - 5,
            "jti": "5e55", "client_id": "parcel", "scope": "labels:read openid", "nonce": "of-the-sign-in",
            "session_id": "5e55", "parent_session_id": "9a9a",
        }),
    )
}

fn rfc9068() -> Token {
    let issuer = "https://as.example/";
    Token::new(
        Preset::Rfc9068,
        issuer,
        "https://parcel.example",
        Some("at+jwt"),
        json!({
            "iss": issuer, "sub": "5ba552d67", "aud": "https://parcel.example", "exp": NOW + 600, "iat": NOW - 5,
            "jti": "dbe39bf3", "client_id": "s6BhdRkqt3", "scope": "openid labels:read", "auth_time": NOW - 60, "acr": "gold",
            "amr": ["pwd", "otp"], "roles": ["clerk"], "tenant": "acme",
        }),
    )
}

/// An ID token as OpenID Connect has it, for our audience, with what `token`'s make adds.
fn id_token(token: &Token, more: &Value) -> Token {
    let mut claims = json!({"iss": token.claims["iss"], "sub": token.claims["sub"], "aud": token.audience,
        "exp": NOW + 600, "iat": NOW - 5});
    claims.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    Token { claims, typ: Some("jwt"), ..token.clone() }
}

#[test]
fn a_token_of_each_make_says_who_calls() {
    let entra = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let table = [
        (
            keycloak(),
            json!({
                "subject": "f81d4fae-7dec", "tenant": "acme", "kind": "user", "client": "web",
                "scopes": ["openid", "labels:read", "profile"], "roles": ["clerk", "offline_access", "printer"],
                "issuer": "https://id.example/realms/parcel", "credential": "onrtac:4c1f", "session": "9a7b-22",
                "acr": "1", "amr": [], "times": [300, -5, -60],
            }),
        ),
        (
            entra_v2(),
            json!({
                "subject": "aPairwiseOne", "tenant": TENANT, "kind": "user", "client": "web-id",
                "scopes": ["Labels.Read", "Labels.Write"], "roles": ["Clerk"], "issuer": entra, "credential": "uT1",
                "session": "00471c2d", "acr": null, "amr": [], "times": [4000, -5, null],
            }),
        ),
        (
            entra_v1(),
            json!({
                "subject": "aPairwiseOne", "tenant": TENANT, "kind": "user", "client": "web-id", "scopes": ["Labels.Read"],
                "roles": [], "issuer": format!("https://sts.windows.net/{TENANT}/"), "credential": "uT1", "session": null,
                "acr": "1", "amr": ["pwd", "mfa"], "times": [4000, -5, null],
            }),
        ),
        (
            auth0(),
            json!({
                "subject": "auth0|64c1", "tenant": "org_9ybs", "kind": "user", "client": "web-id",
                "scopes": ["openid", "labels:read"], "roles": ["print:labels"], "issuer": "https://acme.eu.auth0.com/",
                "credential": null, "session": null, "acr": null, "amr": [], "times": [86400, -5, null],
            }),
        ),
        (
            cognito(),
            json!({
                "subject": "aaaa-bbbb", "tenant": "acme", "kind": "user", "client": "6k4t",
                "scopes": ["openid", "parcel/labels.read"], "roles": ["clerks"],
                "issuer": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab1", "credential": "j-1",
                "session": "0r1g", "acr": null, "amr": [], "times": [3600, -5, -60],
            }),
        ),
        (
            okta(),
            json!({
                "subject": "ann@acme.example", "tenant": "acme", "kind": "user", "client": "0oa1web",
                "scopes": ["openid", "labels:read"], "roles": ["Clerks"], "issuer": "https://acme.okta.com/oauth2/default",
                "credential": "AT.0mP4", "session": null, "acr": null, "amr": [], "times": [3600, -5, -60],
            }),
        ),
        (
            zitadel(),
            json!({
                "subject": "2277", "tenant": "1001", "kind": "user", "client": "2398@parcel", "scopes": [],
                "roles": ["clerk"], "issuer": "https://acme.zitadel.cloud", "credential": "V2_26-at_27", "session": null,
                "acr": null, "amr": [], "times": [43200, -5, null],
            }),
        ),
        (
            kanidm(),
            json!({
                "subject": "b8f0a3c2", "tenant": "subject:idm.example/oauth2/openid/parcel#b8f0a3c2", "kind": "user",
                "client": "parcel", "scopes": ["labels:read", "openid"], "roles": [],
                "issuer": "https://idm.example/oauth2/openid/parcel", "credential": "5e55", "session": "5e55", "acr": null,
                "amr": [], "times": [900, -5, null],
            }),
        ),
        (
            rfc9068(),
            json!({
                "subject": "5ba552d67", "tenant": "acme", "kind": "user", "client": "s6BhdRkqt3",
                "scopes": ["openid", "labels:read"], "roles": ["clerk"], "issuer": "https://as.example/",
                "credential": "dbe39bf3", "session": null, "acr": "gold", "amr": ["pwd", "otp"], "times": [600, -5, -60],
            }),
        ),
    ];
    for (token, expected) in table {
        assert_eq!(seen(&token.accepted()), expected, "{:?}", token.preset);
        assert_eq!(token.with("aud", json!("clinic")).fault(), Fault::Audience, "{:?}", token.preset);
        assert_eq!(token.with("iss", json!("https://evil.example")).fault(), Fault::Issuer, "{:?}", token.preset);
        for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", "id_token", ""] {
            assert_eq!(token.typed(Some(typ)).fault(), Fault::NotAnAccessToken, "{:?} {typ}", token.preset);
        }
    }
}

#[test]
fn a_program_that_acts_for_itself_is_a_service_where_its_issuer_says_so() {
    for token in [keycloak_service(), entra_service(), auth0_service(), cognito_service(), okta_service()] {
        assert!(is_service(&token), "{:?}", token.preset);
    }
    assert!(is_service(&auth0_service().without("gty").without("azp").with("client_id", json!("nightlyId"))));
    assert!(is_service(&entra_service().with("idtyp", json!("app")).without("oid")));
    assert!(is_service(&rfc9068().with("sub", json!("s6BhdRkqt3"))));
}

#[test]
fn nobody_becomes_a_service_by_a_name_that_he_chooses() {
    let table = [
        ("a user of Keycloak who took the name", keycloak().with("preferred_username", json!("service-account-web"))),
        (
            "the same, with the client that answers of introspection name",
            keycloak().with("preferred_username", json!("service-account-web")).with("client_id", json!("web")),
        ),
        ("a name of another client", keycloak_service().with("preferred_username", json!("service-account-web"))),
        ("a name without the prefix", keycloak_service().with("preferred_username", json!("nightly"))),
        ("scopes of Entra", entra_service().with("scp", json!("Labels.Read"))),
        ("scopes of Entra with a type", entra_service().with("scp", json!("Labels.Read")).with("idtyp", json!("app"))),
        ("a subject that is not the object", entra_service().with("sub", json!("aPairwiseOne"))),
        ("an object that is missing", entra_service().without("oid")),
        ("a type of Entra", entra_service().with("idtyp", json!("user"))),
        ("a type of Entra that is no text", entra_service().with("idtyp", json!(7))),
        ("another client of Auth0", auth0_service().with("azp", json!("web-id"))),
        ("a subject of Auth0 without the suffix", auth0_service().with("sub", json!("nightlyId"))),
        ("a user of Cognito", cognito_service().with("username", json!("6k4t"))),
        ("another client of Cognito", cognito_service().with("sub", json!("7x5u"))),
        ("a user of Okta", okta_service().with("uid", json!("00u1"))),
        ("a user of Okta, not as text", okta_service().with("uid", json!(1))),
        ("another client of Okta", okta_service().with("sub", json!("0oa1web"))),
        ("the authorized party alone", rfc9068().with("sub", json!("web")).with("azp", json!("web"))),
    ];
    for (what, token) in table {
        assert!(!is_service(&token), "{what}");
    }
}

#[test]
fn an_id_token_of_each_make_is_no_access_token_even_for_our_audience() {
    let entra = json!({"name": "Ann", "oid": "6467882c", "preferred_username": "a", "rh": "0", "tid": TENANT,
        "uti": "u", "ver": "2.0", "roles": ["Clerk"]});
    let mut tokens = vec![
        id_token(
            &keycloak(),
            &json!({"typ": "ID", "azp": "web", "sid": "s", "jti": "j", "auth_time": NOW, "acr": "1"}),
        ),
        id_token(&keycloak(), &json!({"azp": "web", "sid": "s", "jti": "j", "scope": "openid"})),
        id_token(&entra_v2(), &entra),
        id_token(&auth0(), &json!({"sid": "s", "auth_time": NOW, "nickname": "ann", "org_id": "org_9ybs"})),
        id_token(&cognito(), &json!({"token_use": "id", "auth_time": NOW, "cognito:username": "ann", "jti": "j"})),
        id_token(&cognito(), &json!({"client_id": "6k4t", "scope": "openid"})),
        id_token(&okta(), &json!({"ver": 1, "jti": "ID.1", "amr": ["pwd"], "idp": "00o1", "auth_time": NOW})),
        id_token(
            &zitadel(),
            &json!({"azp": "2398@parcel", "client_id": "2398@parcel", "auth_time": NOW, "amr": ["pwd"]}),
        ),
        id_token(&zitadel(), &json!({"client_id": "2398@parcel", "jti": "j", "auth_time": NOW})),
        id_token(&zitadel(), &json!({"client_id": "2398@parcel"})),
        id_token(&kanidm(), &json!({"azp": "parcel", "jti": "j", "scopes": ["openid"]})),
        id_token(&kanidm(), &json!({"azp": "parcel", "jti": "j", "scopes": ["openid"]})).typed(Some("at+jwt")),
        id_token(&kanidm(), &json!({"session_id": "5e55"})).typed(Some("at+jwt")),
        id_token(&kanidm(), &json!({"client_id": "parcel"})).typed(Some("at+jwt")),
        id_token(&rfc9068(), &json!({"jti": "j", "client_id": "s6BhdRkqt3"})),
        id_token(&Token { preset: Preset::Generic, ..rfc9068() }, &json!({"azp": "web", "auth_time": NOW, "jti": "j"})),
    ];
    for token in [keycloak(), entra_v2(), auth0(), cognito(), okta(), zitadel(), kanidm(), rfc9068()] {
        for mark in ["at_hash", "c_hash", "s_hash", "events"] {
            tokens.push(token.with(mark, json!("x")));
        }
        if !matches!(token.preset, Preset::Keycloak | Preset::Kanidm) {
            tokens.push(token.with("nonce", json!("n")));
        }
    }
    for token in tokens {
        for typ in [token.typ, None] {
            assert_eq!(token.typed(typ).fault(), Fault::NotAnAccessToken, "{:?} {}", token.preset, token.claims);
        }
    }
}

#[test]
fn refresh_and_other_tokens_of_keycloak_are_no_access_tokens() {
    for typ in ["Refresh", "Offline", "Logout", "ID", "bearer", "RegistrationAccessToken", "verify-email", ""] {
        assert_eq!(keycloak().with("typ", json!(typ)).fault(), Fault::NotAnAccessToken, "{typ}");
    }
    assert_eq!(keycloak().without("typ").fault(), Fault::NotAnAccessToken);
    assert_eq!(keycloak().with("typ", json!(["Bearer"])).fault(), Fault::NotAnAccessToken);
    let bound = keycloak().with("typ", json!("DPoP")).with("cnf", json!({"jkt": "0".repeat(42) + "A"}));
    assert!(bound.check().expect("good").binding.is_some());
    for (name, kind) in [
        ("token_use", "refresh_token"),
        ("token_use", "id"),
        ("token_type", "Refresh_Token"),
        ("token_type", "refresh"),
        ("typ", "Refresh"),
        ("typ", "Offline"),
    ] {
        assert_eq!(rfc9068().with(name, json!(kind)).fault(), Fault::NotAnAccessToken, "{name} {kind}");
    }
}

#[test]
fn a_generic_token_that_is_not_typed_has_to_look_like_an_access_token() {
    let typed = Token { preset: Preset::Generic, ..rfc9068() };
    let plain = typed.typed(Some("jwt"));
    assert!(plain.without("scope").check().is_ok() && plain.without("client_id").check().is_ok());
    assert!(typed.without("scope").without("client_id").check().is_ok());
    assert_eq!(plain.without("scope").without("client_id").fault(), Fault::NotAnAccessToken);
}

#[test]
fn only_the_tenant_that_entras_issuer_names_speaks_by_it() {
    let v2 = entra_v2();
    assert_eq!(v2.with("tid", json!(OTHER_TENANT)).fault(), Fault::Issuer);
    assert_eq!(v2.without("tid").fault(), Fault::Malformed);
    assert_eq!(entra_v1().with("tid", json!(OTHER_TENANT)).fault(), Fault::Issuer);

    let any = v2.at_issuer("https://login.microsoftonline.com/{tenantid}/v2.0");
    let principal = any.accepted();
    assert_eq!((principal.tenant().as_str(), principal.issuer()), (TENANT, v2.issuer.as_str()));
    assert_eq!(any.with("tid", json!(OTHER_TENANT)).fault(), Fault::Issuer);
    let v1_issuer = format!("https://sts.windows.net/{TENANT}/");
    assert_eq!(any.with("iss", json!(v1_issuer)).fault(), Fault::Issuer);
    assert_eq!(v2.with("iss", json!(v1_issuer)).fault(), Fault::Issuer);
}

#[test]
fn people_with_personal_accounts_of_microsoft_do_not_share_a_tenant() {
    let iss = json!(format!("https://login.microsoftonline.com/{PERSONAL}/v2.0"));
    let any = entra_v2().at_issuer("https://login.microsoftonline.com/common/v2.0");
    let ann = any.with("iss", iss).with("tid", json!(PERSONAL));
    let tenant = format!("subject:login.microsoftonline.com/{PERSONAL}/v2.0#");
    assert_eq!(ann.accepted().tenant().as_str(), format!("{tenant}aPairwiseOne"));
    assert_eq!(ann.with("sub", json!("b")).accepted().tenant().as_str(), format!("{tenant}b"));
    assert_eq!(ann.at_issuer("https://login.microsoftonline.com/organizations/v2.0").fault(), Fault::Issuer);
}

#[test]
fn a_member_of_several_organizations_of_keycloak_is_in_none_of_them() {
    let own = "subject:id.example/realms/parcel#f81d4fae-7dec";
    for (organization, tenant) in [
        (json!(["acme"]), "acme"),
        (json!("acme"), "acme"),
        (json!({"acme": {"id": "1"}}), "acme"),
        (json!({"acme": {}, "umbrella": {}}), own),
        (json!(["acme", "umbrella"]), own),
        (json!({}), own),
    ] {
        let token = keycloak().with("organization", organization);
        assert_eq!(token.accepted().tenant().as_str(), tenant, "{}", token.claims["organization"]);
        assert_eq!(token.with("tenant", json!("initech")).accepted().tenant().as_str(), "initech");
    }
}

#[test]
fn no_claim_of_any_make_names_the_tenant_of_a_subject() {
    let name = json!("subject:id.example#ann");
    for (token, claim) in [
        (keycloak(), "tenant"),
        (keycloak(), "organization"),
        (auth0(), "org_id"),
        (okta(), "tenant"),
        (cognito(), "custom:tenant"),
        (zitadel(), "urn:zitadel:iam:user:resourceowner:id"),
        (kanidm(), "tenant"),
        (rfc9068(), "tenant"),
    ] {
        assert_eq!(token.with(claim, name.clone()).fault(), Fault::Malformed, "{claim}");
    }
}

#[test]
fn roles_of_zitadel_are_those_of_our_project_in_the_tenants_organization() {
    let roles = |token: &Token| token.accepted().roles().map(String::from).collect::<Vec<_>>();
    let elsewhere = zitadel().without("urn:zitadel:iam:org:project:2401:roles");
    assert!(roles(&elsewhere).is_empty(), "the project of some client says nothing about ours");
    let listed =
        zitadel().with("urn:zitadel:iam:org:project:2401:roles", json!([{"a": {"1001": "x"}}, {"b": ["1002"]}]));
    assert_eq!(roles(&listed), ["a"]);
    assert!(roles(&zitadel().without("urn:zitadel:iam:user:resourceowner:id")).is_empty());
}

#[test]
fn roles_of_keycloak_for_other_clients_are_not_ours() {
    let only_others = keycloak().with("resource_access", json!({"other": {"roles": ["boss"]}})).without("realm_access");
    assert_eq!(only_others.accepted().roles().count(), 0);
}

#[test]
fn cognito_names_the_client_or_an_audience_that_is_ours() {
    assert_eq!(cognito().with("client_id", json!("7x5u")).fault(), Fault::Audience);
    assert_eq!(cognito().without("client_id").fault(), Fault::Audience);
    assert_eq!(cognito().with("aud", json!("https://other.example")).fault(), Fault::Audience);
    assert!(cognito().with("client_id", json!("7x5u")).with("aud", json!("6k4t")).check().is_ok());
    assert_eq!(Token { preset: Preset::Generic, ..cognito() }.fault(), Fault::Audience);
}

#[test]
fn rfc9068_asks_for_its_type_and_for_each_required_claim() {
    for typ in [None, Some("jwt")] {
        assert_eq!(rfc9068().typed(typ).fault(), Fault::NotAnAccessToken, "{typ:?}");
        assert_eq!(kanidm().typed(typ).fault(), Fault::NotAnAccessToken, "{typ:?}");
    }
    for claim in ["iss", "exp", "sub", "client_id", "iat", "jti"] {
        assert_eq!(rfc9068().without(claim).fault(), Fault::Malformed, "{claim}");
    }
    assert_eq!(rfc9068().without("aud").fault(), Fault::Audience);
}
