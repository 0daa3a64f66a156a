use halfbyte_core::config::IdentityBackend;
use halfbyte_core::problem::Kind;

use super::Issuer;
use crate::support::{Key, Product, claims, get, send};

#[tokio::test]
async fn of_two_issuers_the_one_that_the_token_names_decides_and_the_other_cannot_sign_for_it() {
    let (key_a, key_b) = (Key::es256("k"), Key::es256("k"));
    let (a, b) = (Issuer::start(&[&key_a]).await, Issuer::start(&[&key_b]).await);
    let product = Product::of(&[a.id(), b.id()]).await;
    product.identity.ready().await.expect("ready");
    let authenticator = product.identity.authenticator();
    for (key, issuer) in [(&key_a, &a), (&key_b, &b)] {
        let principal = authenticator.authenticate(&key.token(&claims(issuer.id()))).await.expect("good");
        assert_eq!(principal.issuer(), issuer.id());
    }
    for (key, issuer) in [(&key_a, &b), (&key_b, &a)] {
        let refused = authenticator.authenticate(&key.token(&claims(issuer.id()))).await.expect_err("refused");
        assert_eq!((refused.kind(), refused.detail()), (Kind::InvalidToken, "the access token is not valid"));
    }
    let other = authenticator.authenticate(&key_a.token(&claims("https://other.example"))).await.expect_err("refused");
    assert_eq!(other.detail(), "the issuer of the access token is not accepted here");
}

#[tokio::test]
async fn an_issuer_that_is_gone_does_not_keep_the_tokens_of_another_out() {
    let key = Key::es256("k");
    let issuer = Issuer::start(&[&key]).await;
    let gone = "http://127.0.0.1:9";
    let product = Product::of(&[gone, issuer.id()]).await;
    let authenticator = product.identity.authenticator();
    authenticator.authenticate(&key.token(&claims(issuer.id()))).await.expect("good");
    let refused = authenticator.authenticate(&key.token(&claims(gone))).await.expect_err("no keys");
    assert_eq!(refused.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_subject_of_one_issuer_is_not_the_tenant_that_its_namesake_of_another_is() {
    let (key_a, key_b) = (Key::es256("k"), Key::es256("k"));
    let (a, b) = (Issuer::start(&[&key_a]).await, Issuer::start(&[&key_b]).await);
    let product = Product::of(&[a.id(), b.id()]).await;
    let mut tenants = Vec::new();
    for (key, issuer) in [(&key_a, &a), (&key_b, &b)] {
        let mut claims = claims(issuer.id());
        claims.as_object_mut().expect("an object").remove("tenant");
        let principal = product.identity.authenticator().authenticate(&key.token(&claims)).await.expect("good");
        tenants.push(principal.tenant().clone());
    }
    assert_ne!(tenants[0], tenants[1]);
}

#[tokio::test]
async fn an_embedded_issuer_and_one_elsewhere_are_both_named_in_the_metadata_of_the_resource() {
    let key = Key::es256("k");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::open(vec![IdentityBackend::Embedded, IdentityBackend::issuer(issuer.id().to_owned())]).await;
    let document = send(&product.endpoints(), get("/.well-known/oauth-protected-resource")).await.json();
    assert_eq!(document["authorization_servers"], serde_json::json!(["http://127.0.0.1:8080", issuer.id()]));
    let authenticator = product.identity.authenticator();
    authenticator.authenticate(&key.token(&claims(issuer.id()))).await.expect("good");
    authenticator.authenticate(&product.token(&[]).await).await.expect("good");
    let forged = key.token(&claims(product.issuer().issuer()));
    assert_eq!(authenticator.authenticate(&forged).await.expect_err("refused").kind(), Kind::InvalidToken);
}
