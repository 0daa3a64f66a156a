use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use halfbyte_core::client::Client;
use halfbyte_core::problem::Kind;
use halfbyte_identity::jose::{Algorithm, JwkSet};
use halfbyte_identity::testing::{Issuer, Outage};
use http::StatusCode;
use http::header::AUTHORIZATION;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{ann, fetched, issuer, with_product};
use crate::support::{AUDIENCE, Product, b64};

async fn keys(issuer: &Issuer) -> Vec<String> {
    let set = JwkSet::parse(fetched(issuer, "/jwks").await.as_bytes()).expect("keys");
    assert!(set.rejected().is_empty(), "{:?}", set.rejected());
    set.keys().iter().map(|key| format!("{} {}", key.key_id().expect("an id"), key.algorithm())).collect()
}

#[tokio::test]
async fn a_rotation_publishes_a_new_key_beside_the_old_ones_until_they_are_forgotten() {
    let issuer = issuer().await;
    assert_eq!(keys(&issuer).await, ["key-1 ES256"]);
    issuer.rotate();
    assert_eq!(keys(&issuer).await, ["key-1 ES256", "key-2 ES256"]);
    issuer.rotate_unpublished();
    assert_eq!(keys(&issuer).await, ["key-1 ES256", "key-2 ES256"]);
    issuer.publish();
    issuer.publish();
    assert_eq!(keys(&issuer).await, ["key-1 ES256", "key-2 ES256", "key-3 ES256"]);
    issuer.algorithm(Algorithm::EdDsa);
    issuer.forget_old_keys();
    assert_eq!(keys(&issuer).await, ["key-4 EdDSA"]);
    assert_eq!(issuer.fetches(), 5);
}

#[tokio::test]
async fn a_product_accepts_tokens_of_a_new_key_as_soon_as_it_is_published_and_old_ones_until_they_are_forgotten() {
    let (issuer, product) = with_product().await;
    let accepted = async |token: &str| product.identity.authenticator().authenticate(token).await.is_ok();
    let old = issuer.token(&ann(), AUDIENCE);
    assert!(accepted(&old).await);
    issuer.rotate_unpublished();
    let new = issuer.token(&ann(), AUDIENCE);
    issuer.publish();
    assert!(accepted(&new).await && accepted(&old).await);
    issuer.forget_old_keys();
    issuer.rotate();
    assert!(accepted(&issuer.token(&ann(), AUDIENCE)).await, "which makes the keys be fetched");
    assert!(!accepted(&old).await);
}

#[tokio::test]
async fn each_outage_is_one_and_ends() {
    let issuer = issuer().await;
    let client = Client::with_limits(halfbyte_core::client::Limits { attempts: 1, ..Default::default() });
    let client = client.expect("a client");
    let ask = async || client.get(format!("{}/jwks", issuer.id()).parse().expect("a URL")).send().await;
    for round in 0..2 {
        assert_eq!(ask().await.expect("answered").status(), 200, "{round}");
        issuer.outage(Outage::Refuse);
        assert!(ask().await.is_err(), "{round}");
        issuer.outage(Outage::Error(StatusCode::BAD_GATEWAY));
        assert_eq!(ask().await.expect("answered").status(), 502, "{round}");
        issuer.outage(Outage::Garbage);
        let garbage = ask().await.expect("answered");
        assert_eq!(garbage.status(), 200, "{round}");
        assert!(JwkSet::parse(garbage.body()).is_err());
        issuer.outage(Outage::Hang);
        let hanging = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            issuer.outage(Outage::None);
            Instant::now()
        };
        let (answer, ended) = tokio::join!(async { (ask().await, Instant::now()) }, hanging);
        assert_eq!(answer.0.expect("answered at last").status(), 200, "{round}");
        assert!(answer.1 >= ended, "not before the outage ended");
    }
    assert_eq!(issuer.fetches(), 8, "all but those that were refused");
}

#[tokio::test]
async fn a_product_without_keys_answers_unavailable_during_an_outage_and_accepts_tokens_after_it() {
    let issuer = issuer().await;
    issuer.outage(Outage::Error(StatusCode::SERVICE_UNAVAILABLE));
    let product = Product::of(&[issuer.id()]).await;
    let token = issuer.token(&ann(), AUDIENCE);
    let refused = product.identity.authenticator().authenticate(&token).await.expect_err("no keys");
    assert_eq!(refused.kind(), Kind::Unavailable);
    issuer.outage(Outage::None);
    let patience = Instant::now() + Duration::from_secs(20);
    while product.identity.authenticator().authenticate(&token).await.is_err() {
        assert!(Instant::now() < patience, "the outage is over");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_slow_issuer_takes_as_long_as_it_is_told() {
    let issuer = issuer().await;
    issuer.slow(Duration::from_millis(300));
    let begin = Instant::now();
    keys(&issuer).await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    issuer.slow(Duration::ZERO);
    let begin = Instant::now();
    keys(&issuer).await;
    assert!(begin.elapsed() < Duration::from_millis(300));
}

#[tokio::test]
async fn tokens_of_an_issuer_whose_clock_is_off_are_accepted_within_the_leeway_and_not_beyond() {
    let (issuer, product) = with_product().await;
    let short = ann().expires_in(SignedDuration::from_secs(60));
    for (skew, accepted) in [(0, true), (20, true), (-70, true), (40, false), (-100, false), (0, true)] {
        issuer.skew(SignedDuration::from_secs(skew));
        let token = issuer.token(&short, AUDIENCE);
        assert_eq!(product.identity.authenticator().authenticate(&token).await.is_ok(), accepted, "{skew}");
    }
}

#[tokio::test]
async fn fetches_are_counted_by_path() {
    let (issuer, product) = with_product().await;
    product.identity.ready().await.expect("keys");
    assert_eq!((issuer.fetches(), issuer.fetches_of("/.well-known/openid-configuration")), (1, 1));
    assert_eq!((issuer.fetches_of("/token"), issuer.fetches_of("/nothing")), (0, 0));
}

#[tokio::test]
async fn dropping_an_issuer_closes_its_port() {
    let issuer = issuer().await;
    let address = issuer.id().strip_prefix("http://").expect("plain http").to_owned();
    assert_eq!(issuer.config_url(), issuer.id());
    assert!(TcpStream::connect(&address).await.is_ok());
    drop(issuer);
    let patience = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(&address).await.is_ok() {
        assert!(Instant::now() < patience, "the port is closed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A form posted to an endpoint, with the client in the form or in `Authorization: Basic`.
async fn post(issuer: &Issuer, path: &str, basic: Option<&str>, fields: &[(&str, &str)]) -> (u16, Value) {
    let url = format!("{}{path}", issuer.id()).parse().expect("a URL");
    let mut request = Client::new().expect("a client").post(url).form(fields.iter().copied());
    if let Some(credentials) = basic {
        request = request.header(AUTHORIZATION, &format!("Basic {}", BASE64_STANDARD.encode(credentials)));
    }
    let answer = request.send().await;
    let answer = answer.expect("answered");
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or_default())
}

const PARCEL: (&str, &str) = ("client_id", "parcel");
const SECRET: (&str, &str) = ("client_secret", "s3cret");

#[tokio::test]
async fn the_token_endpoint_grants_client_credentials_to_registered_clients_only() {
    let (issuer, product) = with_product().await;
    issuer.client("parcel", "s3cret");
    let grant = ("grant_type", "client_credentials");
    let wanted = [grant, PARCEL, SECRET, ("audience", AUDIENCE), ("scope", "labels:read")];
    let (status, answer) = post(&issuer, "/token", None, &wanted).await;
    assert_eq!((status, &answer["token_type"], &answer["expires_in"]), (200, &json!("Bearer"), &json!(600)));
    let token = answer["access_token"].as_str().expect("a token");
    let caller = product.identity.authenticator().authenticate(token).await.expect("accepted");
    assert!(caller.subject() == "parcel" && caller.has_scope("labels:read"));

    let basic = [grant, ("resource", AUDIENCE)];
    assert_eq!(post(&issuer, "/token", Some("parcel:s3cret"), &basic).await.0, 200);
    issuer.client("a b", "c:d");
    assert_eq!(post(&issuer, "/token", Some("a+b:c%3Ad"), &basic).await.0, 200, "RFC 6749, 2.3.1");
    for (credentials, fields, status, error) in [
        (Some("parcel:wrong"), &basic[..], 401, "invalid_client"),
        (Some("other:s3cret"), &basic, 401, "invalid_client"),
        (None, &basic, 401, "invalid_client"),
        (None, &[grant, PARCEL, ("client_secret", "")], 401, "invalid_client"),
        (Some("parcel:s3cret"), &[("grant_type", "password")], 400, "unsupported_grant_type"),
        (Some("parcel:s3cret"), &[grant], 400, "invalid_target"),
    ] {
        assert_eq!(post(&issuer, "/token", credentials, fields).await, (status, json!({ "error": error })));
    }
    assert_eq!(issuer.fetches_of("/token"), 9);
}

#[tokio::test]
async fn introspection_knows_opaque_and_signed_tokens_until_they_expire_or_are_revoked() {
    let issuer = issuer().await;
    issuer.client("parcel", "s3cret");
    let ask = async |token: &str| {
        let (status, answer) = post(&issuer, "/introspect", None, &[PARCEL, SECRET, ("token", token)]).await;
        assert_eq!(status, 200);
        answer
    };
    let inactive = json!({"active": false});
    let opaque = || issuer.opaque_token(&ann(), AUDIENCE);
    for token in [opaque(), issuer.token(&ann(), AUDIENCE)] {
        let answer = ask(&token).await;
        assert_eq!(
            (&answer["active"], &answer["sub"], &answer["aud"]),
            (&json!(true), &json!("ann"), &json!(AUDIENCE))
        );
        assert_eq!(answer["token_type"], "Bearer");
        issuer.revoke(&token);
        assert_eq!(ask(&token).await, inactive);
    }
    let (one, other) = (opaque(), issuer.token(&ann(), AUDIENCE));
    assert!(!one.contains('.') && one != opaque());
    for token in [&one, &other] {
        assert_eq!(post(&issuer, "/revoke", None, &[PARCEL, ("client_secret", "x"), ("token", token)]).await.0, 401);
        assert_eq!(ask(token).await["active"], true);
        assert_eq!(post(&issuer, "/revoke", None, &[PARCEL, SECRET, ("token", token)]).await.0, 200);
        assert_eq!(ask(token).await, inactive);
    }
    let expired = ann().expires_in(SignedDuration::from_secs(-1));
    for token in [issuer.opaque_token(&expired, AUDIENCE), issuer.token(&expired, AUDIENCE), "x".into(), "a.b.c".into()]
    {
        assert_eq!(ask(&token).await, inactive);
    }
    assert_eq!(post(&issuer, "/introspect", None, &[("token", &one)]).await.0, 401);
    assert_eq!(post(&issuer, "/introspect", Some(&format!("parcel:{}", b64("x"))), &[]).await.0, 401);
    assert_eq!(post(&issuer, "/introspect", Some("parcel:s3cret"), &[]).await.1, json!({"error": "invalid_request"}));
}
