//! What an attack found once, so that it finds it no more.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use halfbyte_core::config::{ApiKeysBackend, Environment};
use halfbyte_core::problem::Kind;
use halfbyte_identity::api_keys::ApiKeySpec;
use halfbyte_identity::tie::Ending;
use http::{HeaderValue, Request};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::time::timeout;
use url::form_urlencoded::Serializer;

use crate::remote::Issuer;
use crate::support::{AUDIENCE, Key, NOW, Product, claims, get, send};

/// Longer than anything is looked at again after.
const SOON: Duration = Duration::from_secs(31);

fn dpop(token: &str) -> Request<String> {
    let mut request = get("/labels");
    let value = HeaderValue::from_str(&format!("DPoP {token}")).expect("a value");
    request.headers_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn a_dpop_caller_is_challenged_by_dpop_also_when_keys_were_looked_for_first() {
    let (known, unknown) = (Key::es256("1"), Key::es256("2"));
    let issuer = Issuer::start(&[&known]).await;
    let product = Product::of(&[issuer.id()]).await;
    let seen = send(&product.greeter(), dpop(&unknown.token(&claims(issuer.id())))).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (401, "invalid-token"));
    let challenge = seen.header("www-authenticate");
    assert!(challenge.starts_with(r#"DPoP error="invalid_token","#) && challenge.contains("algs="), "{challenge}");
}

#[tokio::test]
async fn a_dpop_caller_is_challenged_by_dpop_also_when_his_header_is_malformed() {
    let product = Product::embedded().await;
    for bad in ["", "a b", "\"x\""] {
        let seen = send(&product.greeter(), dpop(bad)).await;
        let challenge = seen.header("www-authenticate");
        assert_eq!(seen.status, 401, "{bad}");
        assert!(challenge.starts_with(r#"DPoP error="invalid_token","#) && challenge.contains("algs="), "{challenge}");
    }
}

async fn with_api_keys() -> Product {
    Product::set(&[], |settings| settings.api_keys(ApiKeysBackend::Embedded, Environment::Development)).await
}

async fn api_key(product: &Product) -> (String, SecretString) {
    let keys = product.identity.api_keys().expect("they are on");
    let (key, secret) = keys.create(ApiKeySpec::new("acme".parse().expect("a tenant"))).await.expect("created");
    (key.id, secret)
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_lengthen_the_life_of_a_verified_token() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    let mut claims = claims(issuer.id());
    claims["nbf"] = NOW.into();
    let token = key.token(&claims);
    let authenticator = product.identity.authenticator();
    authenticator.authenticate(&token).await.expect("good");
    product.jump(-3_600);
    let refused = authenticator.authenticate(&token).await.expect_err("it is not valid yet, and was not verified yet");
    assert_eq!(refused.kind(), Kind::InvalidToken);
}
