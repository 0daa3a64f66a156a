//! Products as clients of the provider: tokens of their own and on behalf of others, and what else it answers them.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use halfbyte::Principal;
use halfbyte::core::client::Client;
use halfbyte::core::{Clock, PrincipalKind};
use halfbyte::identity::outbound::{ErrorKind, PrivateKeyJwt, TokenHint};
use halfbyte::identity::{ClientAuthentication, OAuthClient, TokenSource};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::provider::{SignedIn, secret};
use super::{AUDIENCE, Instance, Product, Provider, Served, settings};

/// Another product, which takes the tokens of the one that calls it.
const CLINIC: &str = "urn:halfbyte:clinic";

async fn clinic(provider: &Provider) -> Product {
    let product = Product::with(Clock::system(), |home| settings(provider, CLINIC, home)).await;
    product.identity.ready().await.unwrap();
    product
}

async fn token(source: &TokenSource) -> String {
    source.token().await.unwrap().secret().expose_secret().to_owned()
}

/// Ann, whose tokens are for userinfo.
async fn ann(provider: &Provider) -> SignedIn {
    provider.sign_in("client=console&sub=ann&tenant=acme&scope=openid+email+labels:read").await
}

/// As the client of the provider that people sign in to.
async fn console(provider: &Provider) -> OAuthClient {
    Product::trusting(provider).await.identity.client("console", secret("console"))
}

#[tokio::test]
async fn a_product_calls_another_with_tokens_of_its_own() {
    let provider = Provider::shared();
    let parcel = Product::trusting(&provider).await;
    let clinic = Served::start(&provider, CLINIC, Clock::system(), |settings| settings).await;
    let tokens = parcel.identity.client("globex", secret("globex")).tokens(CLINIC, &["labels:read"]);
    let request = || Client::new().unwrap().get(format!("{}/labels", clinic.url).parse().unwrap());
    let answer = tokens.authorize(request()).await.unwrap().send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"hello, globex"[..]));
    let caller = clinic.product.ask(&token(&tokens).await).await.unwrap();
    assert_eq!((caller.tenant().as_str(), caller.kind()), ("globex", PrincipalKind::Service));
    assert_eq!(caller.scopes().collect::<Vec<_>>(), ["labels:read"]);

    let unscoped = parcel.identity.client("globex", secret("globex")).tokens(CLINIC, &["labels:write"]);
    let answer = unscoped.authorize(request()).await.unwrap().send().await.unwrap();
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn its_own_token_is_fetched_once_and_renewed_before_it_expires() {
    let instance = Instance::started().await;
    let provider = instance.provider();
    let product = Product::trusting(&provider).await;
    provider.tell("lifetime?seconds=4").await;
    let tokens = product.identity.client("acme", secret("acme")).tokens(AUDIENCE, &["labels:read"]);
    let (first, again) = tokio::join!(token(&tokens), token(&tokens));
    assert_eq!((&first, provider.asked("token").await), (&again, 1));
    let mut latest = first.clone();
    for _ in 0..30 {
        sleep(Duration::from_millis(200)).await;
        latest = token(&tokens).await;
        product.ask(&latest).await.unwrap();
    }
    assert_ne!(latest, first);
    let fetches = provider.asked("token").await;
    assert!((2..=6).contains(&fetches), "{fetches} fetches in 6 seconds");
}

#[tokio::test]
async fn a_client_proves_by_its_key_who_it_is() {
    let provider = Provider::shared();
    let product = Product::trusting(&provider).await;
    let (key, public) = key_pair("1");
    let metadata = json!({
        "client_id": "keyed",
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": { "keys": [public] },
    });
    provider.register(&metadata).await;
    let client = |key: SecretString| {
        let key = PrivateKeyJwt::new(move || Ok(key.clone())).key_id("1");
        product.identity.client("keyed", ClientAuthentication::private_key_jwt(key))
    };
    let good = client(key);
    let caller = product.ask(&token(&good.tokens(AUDIENCE, &["labels:read"])).await).await.unwrap();
    assert_eq!((caller.subject(), caller.tenant().as_str()), ("keyed", "keyed"));
    // Each call has an assertion of its own: the provider takes none twice.
    for _ in 0..3 {
        let said = good.introspect(&provider.token(None, "labels:read").await.into()).await.unwrap();
        assert!(said.is_active());
    }
    let error = client(key_pair("1").0).introspect(&"made-up".to_owned().into()).await.expect_err("another's key");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Rejected, Some("invalid_client")));
}

/// A P-256 key as PKCS #8 in base64, and its public half as a JWK.
fn key_pair(id: &str) -> (SecretString, Value) {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    // The point uncompressed: 4, x, y.
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let public = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id, "alg": "ES256", "use": "sig" });
    (BASE64_STANDARD.encode(pkcs8.as_ref()).into(), public)
}

#[tokio::test]
async fn a_client_with_a_wrong_secret_is_told_so() {
    let product = Product::trusting(&Provider::shared()).await;
    let client = product.identity.client("acme", ClientAuthentication::secret(|| Ok("guessed".into())));
    let error = client.introspect(&"made-up".to_owned().into()).await.expect_err("a wrong secret");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Rejected, Some("invalid_client")));
    client.tokens(AUDIENCE, &["labels:read"]).token().await.expect_err("a wrong secret");
}

#[tokio::test]
async fn a_refresh_token_is_good_for_one_refresh_and_its_theft_ends_them_all() {
    let provider = Provider::shared();
    let console = console(&provider).await;
    let first: SecretString = ann(&provider).await.refresh_token.into();
    let refreshed = console.refresh(&first).await.unwrap();
    let second = refreshed.refresh_token.expect("rotated");
    assert_ne!(first.expose_secret(), second.expose_secret());
    let userinfo = console.userinfo(refreshed.access_token.secret(), Some("ann")).await.unwrap();
    assert_eq!(userinfo.subject(), "ann");
    let third = console.refresh(&second).await.unwrap().refresh_token.expect("rotated");
    for token in [&second, &third] {
        let error = console.refresh(token).await.expect_err("used twice");
        assert_eq!((error.kind(), error.code()), (ErrorKind::Rejected, Some("invalid_grant")));
    }
    console.userinfo(refreshed.access_token.secret(), None).await.expect_err("the grant has ended");
}

#[tokio::test]
async fn userinfo_is_about_the_subject_that_was_asked_for_or_an_error() {
    #[derive(Deserialize)]
    struct Claims {
        email: String,
        tenant: String,
    }
    let provider = Provider::shared();
    let console = console(&provider).await;
    let access = ann(&provider).await.access_token.into();
    let Claims { email, tenant } = console.userinfo(&access, Some("ann")).await.unwrap().claims().unwrap();
    assert_eq!((email.as_str(), tenant.as_str()), ("ann@example.com", "acme"));
    let error = console.userinfo(&access, Some("ben")).await.expect_err("about ann");
    assert_eq!(error.kind(), ErrorKind::WrongSubject);
    let error = console.userinfo(&"made-up".to_owned().into(), Some("ann")).await.expect_err("nobody's");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Rejected, Some("invalid_token")));
}

#[tokio::test]
async fn what_is_revoked_is_not_active_and_cannot_be_refreshed() {
    #[derive(Deserialize)]
    struct Claims {
        client_id: String,
        sub: String,
        scope: String,
    }
    let provider = Provider::shared();
    let console = console(&provider).await;
    let SignedIn { access_token, refresh_token, .. } = ann(&provider).await;
    let (access, refresh) = (SecretString::from(access_token), SecretString::from(refresh_token));
    let said = console.introspect(&access).await.unwrap();
    assert!(said.is_active());
    let Claims { client_id, sub, scope } = said.claims().unwrap();
    assert_eq!((client_id.as_str(), sub.as_str(), scope.contains("openid")), ("console", "ann", true));

    console.revoke(&access, Some(TokenHint::AccessToken)).await.unwrap();
    assert!(!console.introspect(&access).await.unwrap().is_active());
    console.revoke(&access, None).await.expect("it is not good already");
    console.refresh(&refresh).await.expect_err("its grant was revoked with the access token");

    let SignedIn { access_token, refresh_token, .. } = ann(&provider).await;
    let refresh = SecretString::from(refresh_token);
    console.revoke(&refresh, Some(TokenHint::RefreshToken)).await.unwrap();
    let error = console.refresh(&refresh).await.expect_err("revoked");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Rejected, Some("invalid_grant")));
    assert!(!console.introspect(&access_token.into()).await.unwrap().is_active());
}

#[tokio::test]
async fn a_product_calls_another_on_behalf_of_its_caller() {
    let instance = Instance::started().await;
    let provider = instance.provider();
    let (parcel, clinic) = (Product::trusting(&provider).await, clinic(&provider).await);
    let query =
        format!("client=console&sub=ann&tenant=globex&scope=openid+labels:read+labels:write&resource={AUDIENCE}");
    let subject_token: SecretString = provider.sign_in(&query).await.access_token.into();
    let ann: Principal = parcel.ask(subject_token.expose_secret()).await.unwrap();
    assert!(ann.actors().is_empty());
    let asked_before = provider.asked("token").await;

    let client = parcel.identity.client("parcel", secret("parcel"));
    let exchange =
        |scopes: &'static [&'static str]| client.exchange(&subject_token, Some(ann.expires_at()), CLINIC, scopes);
    let exchanged = exchange(&["labels:read"]).await.unwrap();
    let caller = clinic.ask(exchanged.secret().expose_secret()).await.unwrap();
    assert_eq!((caller.subject(), caller.tenant().as_str()), ("ann", "globex"));
    assert_eq!(caller.kind(), PrincipalKind::User);
    assert_eq!(caller.scopes().collect::<Vec<_>>(), ["labels:read"]);
    assert_eq!(caller.actors().iter().map(|actor| &*actor.subject).collect::<Vec<_>>(), ["parcel"]);
    assert!(caller.expires_at() <= ann.expires_at());
    parcel.ask(exchanged.secret().expose_secret()).await.expect_err("it is for the clinic");

    let again = exchange(&["labels:read"]).await.unwrap();
    assert_eq!(again.secret().expose_secret(), exchanged.secret().expose_secret());
    assert_eq!(provider.asked("token").await, asked_before + 1);
    let error = exchange(&["appointments:read"]).await.expect_err("more than ann's token allows");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Rejected, Some("invalid_scope")));
    // A token that came into the wrong hands is exchanged for nobody.
    let for_clinic = exchanged.secret();
    let error = client.exchange(for_clinic, None, AUDIENCE, &["labels:read"]).await.expect_err("not parcel's");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Rejected, Some("invalid_request")));
}

#[tokio::test]
async fn a_provider_that_is_gone_is_unavailable_and_uses_up_no_refresh_token() {
    let instance = Instance::started().await;
    let provider = instance.provider();
    let console = console(&provider).await;
    let refresh: SecretString = ann(&provider).await.refresh_token.into();
    provider.tell("gone?ms=60000").await;
    let error = console.refresh(&refresh).await.expect_err("gone");
    assert!(error.is_unavailable(), "{error:?}");
    let error = console.introspect(&"made-up".to_owned().into()).await.expect_err("gone");
    assert!(error.is_unavailable(), "{error:?}");
    provider.tell("gone?ms=0").await;
    console.refresh(&refresh).await.expect("it was not used up: nothing arrived");
}
