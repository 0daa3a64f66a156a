use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use halfbyte_core::{Principal, PrincipalKind};
use halfbyte_identity::jose::{self, Algorithm, JwkSet};
use halfbyte_identity::testing::{Holder, Persona};
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{ann, fetched, issuer, with_product};
use crate::support::{AUDIENCE, NOW, b64, unb64};

fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&unb64(token.split('.').nth(index).expect("a part"))).expect("JSON")
}

#[tokio::test]
async fn a_token_for_a_persona_makes_it_the_caller_of_a_product() {
    let (issuer, product) = with_product().await;
    let caller = async |persona: &Persona| -> Principal {
        product.identity.authenticator().authenticate(&issuer.token(persona, AUDIENCE)).await.expect("accepted")
    };
    let user = caller(&ann()).await;
    assert_eq!((user.subject(), user.tenant().as_str(), user.kind()), ("ann", "acme", PrincipalKind::User));
    assert_eq!(user.scopes().collect::<Vec<_>>(), ["labels:read"]);
    assert_eq!(user.expires_at().as_second(), NOW + 600);
    let service = caller(&Persona::service("billing-job").expires_in(SignedDuration::from_secs(60))).await;
    assert_eq!((service.kind(), service.expires_at().as_second()), (PrincipalKind::Service, NOW + 60));
}

#[tokio::test]
async fn a_token_that_is_issued_expired_or_for_another_audience_is_refused() {
    let (issuer, product) = with_product().await;
    let authenticator = product.identity.authenticator();
    let expired = ann().expires_in(SignedDuration::from_secs(-60));
    for token in [issuer.token(&expired, AUDIENCE), issuer.token(&ann(), "clinic")] {
        assert!(authenticator.authenticate(&token).await.is_err());
    }
    assert!(authenticator.authenticate(&issuer.token(&ann(), AUDIENCE)).await.is_ok());
}

#[tokio::test]
async fn a_token_of_the_tests_own_making_has_a_good_signature() {
    let (issuer, product) = with_product().await;
    let claims = json!({"iss": issuer.id(), "aud": AUDIENCE, "exp": NOW + 5, "sub": "bob"}).to_string();
    let token = issuer.sign(&issuer.header(), &claims);
    let caller = product.identity.authenticator().authenticate(&token).await.expect("accepted");
    assert_eq!((caller.subject(), caller.expires_at().as_second()), ("bob", NOW + 5));
}

#[tokio::test]
async fn a_proof_is_made_for_one_request_with_one_token_by_the_key_that_the_token_is_bound_to() {
    let issuer = issuer().await;
    let holder = Holder::with_clock(crate::support::life().clock().clone());
    let token = issuer.token(&holder.bind(ann()), AUDIENCE);
    assert_eq!(part(&token, 1)["cnf"], json!({"jkt": holder.thumbprint()}));

    let proof = holder.proof_with_nonce(&Method::POST, "https://parcel.example/labels?x=1#y", &token, "n-1");
    let (header, mut claims) = (part(&proof, 0), part(&proof, 1));
    assert_eq!((&header["typ"], &header["alg"]), (&json!("dpop+jwt"), &json!("ES256")));
    let id = claims.as_object_mut().expect("an object").remove("jti").expect("an id");
    assert_ne!(Some(&id), part(&holder.proof(&Method::GET, "https://x/", &token), 1).get("jti"));
    let hash = digest(&SHA256, token.as_bytes());
    let asked =
        json!({"htm": "POST", "htu": "https://parcel.example/labels", "iat": NOW, "ath": b64(hash), "nonce": "n-1"});
    assert_eq!(claims, asked);

    let coordinate = |name: &str| unb64(header["jwk"][name].as_str().expect("text"));
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).expect("a key");
    let (signed, signature) = proof.rsplit_once('.').expect("parts");
    assert!(key.verify_sig(signed.as_bytes(), &unb64(signature)).is_ok());
    // In any order: a build in which another crate asks for it keeps that of the text.
    let members: BTreeSet<_> = header["jwk"].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["crv", "kty", "x", "y"]), "no private part");
    let bare = holder.proof_without_token(&Method::POST, &format!("{}/token", issuer.id()), None);
    assert!(part(&bare, 1).get("ath").is_none() && part(&bare, 1).get("nonce").is_none());
}

#[tokio::test]
async fn a_logout_token_says_who_is_out_and_is_no_access_token() {
    let (issuer, product) = with_product().await;
    let token = issuer.logout_token(Some("ann"), Some("s-1"), AUDIENCE);
    assert_eq!(part(&token, 0)["typ"], "logout+jwt");
    let claims = part(&token, 1);
    assert_eq!((&claims["sub"], &claims["sid"], &claims["aud"]), (&json!("ann"), &json!("s-1"), &json!(AUDIENCE)));
    let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    assert_eq!((&claims["iss"], &claims["iat"], &claims["events"]), (&json!(issuer.id()), &json!(NOW), &events));
    assert!(claims["jti"].is_string() && claims.get("nonce").is_none());
    let keys = JwkSet::parse(fetched(&issuer, "/jwks").await.as_bytes()).expect("keys");
    assert!(jose::verify(&token, &keys, &[Algorithm::Es256]).is_ok());
    assert!(product.identity.authenticator().authenticate(&token).await.is_err());
    assert!(part(&issuer.logout_token(None, Some("s-1"), AUDIENCE), 1).get("sub").is_none());
}

#[tokio::test]
async fn what_is_shown_of_the_kit_holds_no_keys_and_no_secrets() {
    let issuer = issuer().await;
    issuer.client("parcel", "a secret that nobody may see");
    let shown = format!("{issuer:?} {:?}", Holder::new());
    assert!(shown.contains(issuer.id()) && shown.len() < 200, "{shown}");
    assert!(!shown.contains("nobody may see"));
}
