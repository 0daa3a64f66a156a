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
async fn a_tie_ends_when_the_secret_of_the_api_key_is_replaced_and_not_that_of_the_new_secret() {
    let product = with_api_keys().await;
    let (keys, (id, secret)) = (product.identity.api_keys().expect("on"), api_key(&product).await);
    let before = keys.authenticate(secret.expose_secret()).await.expect("good");
    product.jump(1);
    let secret = keys.rotate(&id, Duration::ZERO).await.expect("rotated");
    let after = keys.authenticate(secret.expose_secret()).await.expect("good");
    let (before, after) = (product.identity.tie(&before), product.identity.tie(&after));
    assert_eq!(timeout(SOON, before.ended()).await, Ok(Ending::Revoked));
    assert!(timeout(Duration::from_secs(6), after.ended()).await.is_err());
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

#[tokio::test]
async fn a_logout_whose_key_could_not_be_looked_for_is_to_be_sent_again() {
    let (known, new) = (Key::es256("1"), Key::es256("2"));
    let issuer = Issuer::start(&[&known]).await;
    let product = Product::of(&[issuer.id()]).await;
    product.identity.ready().await.expect("ready");
    let logout = |key: &Key| {
        let claims = json!({"iss": issuer.id(), "aud": AUDIENCE, "iat": NOW, "exp": NOW + 120, "jti": "l", "sid": "s",
                            "events": {"http://schemas.openid.net/event/backchannel-logout": {}}});
        let token = key
            .token_of(&json!({"alg": "ES256", "kid": key.kid, "typ": "logout+jwt"}).to_string(), &claims.to_string());
        let form = Serializer::new(String::new()).append_pair("logout_token", &token).finish();
        let request =
            Request::post("/oauth/backchannel-logout").header("content-type", "application/x-www-form-urlencoded");
        let (request, service) = (request.body(form).expect("a request"), product.endpoints());
        async move { send(&service, request).await }
    };
    let made_up: Vec<_> = (0..16).map(|id| Key::es256(&format!("made up {id}"))).collect();
    let mut flood = pin!(join_all(made_up.iter().map(&logout)));
    assert!(flood.as_mut().now_or_never().is_none(), "each waits for its key");
    issuer.publish(&[&known, &new]);
    let seen = logout(&new).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (503, "unavailable"));
    assert!(!seen.header("retry-after").is_empty());
    flood.await;
    assert_eq!(logout(&new).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_already_is_no_news() {
    let product = Product::of(&[]).await;
    let revocations = product.identity.revocations();
    let count = || format!("{revocations:?}");
    let at = Timestamp::from_second(NOW).expect("in range");
    let revoke = || {
        revocations.session("https://id.example.com", "s");
        revocations.credential_by_id("https://id.example.com", "c", Some(at));
        revocations.subject("https://id.example.com", "ann");
        revocations.issued_up_to("https://id.example.com", at);
    };
    revoke();
    let once = count();
    revoke();
    assert_eq!(count(), once, "nobody need look again");
    revocations.issued_up_to("https://id.example.com", at + SignedDuration::from_secs(1));
    assert_ne!(count(), once);
}

#[tokio::test]
async fn a_token_that_its_issuer_bound_and_does_not_say_to_what_is_refused() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    for member in ["token_type", "typ"] {
        let mut claims = claims(issuer.id());
        claims[member] = "DPoP".into();
        let refused = product.identity.authenticator().authenticate(&key.token(&claims)).await.expect_err("refused");
        assert_eq!(refused.kind(), Kind::InvalidToken, "{member}");
    }
}
