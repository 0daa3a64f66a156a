//! Tokens that only the provider can read: what it says of them, for how long its word counts, and when it says nothing.

use futures_util::future::join_all;
use halfbyte::core::{Clock, PrincipalKind};
use halfbyte::identity::Settings;
use halfbyte::identity::outbound::TokenHint;
use halfbyte::problem::Kind;
use jiff::SignedDuration;

use super::provider::{secret, secret_text};
use super::{Instance, OPAQUE, Product, Provider, Served, refusal, settings};

/// The longest that the word of the provider counts, and a moment.
const OVER: SignedDuration = SignedDuration::from_secs(31);

fn asking(settings: Settings) -> Settings {
    settings.introspect("parcel", || Ok(secret_text("parcel").into()))
}

/// On a clock that stands still.
async fn product(provider: &Provider) -> Product {
    Product::with(Clock::manual(Clock::system().now()), |home| asking(settings(provider, OPAQUE, home))).await
}

async fn opaque(provider: &Provider) -> String {
    provider.token(Some(OPAQUE), "labels:read").await
}

async fn refused(product: &Product, token: &str) -> Kind {
    product.ask(token).await.expect_err("refused").kind()
}

#[tokio::test]
async fn an_opaque_token_says_of_its_caller_what_a_jwt_would() {
    let provider = Provider::shared();
    let product = product(&provider).await;
    let program = product.ask(&provider.token(Some(OPAQUE), "labels:read labels:write").await).await.unwrap();
    assert_eq!((program.subject(), program.tenant().as_str()), ("acme", "acme"));
    assert_eq!((program.kind(), program.client_id()), (PrincipalKind::Service, Some("acme")));
    assert_eq!(program.scopes().collect::<Vec<_>>(), ["labels:read", "labels:write"]);
    assert_eq!(program.issuer(), provider.issuer);
    let lasts = program.expires_at().duration_since(program.issued_at().unwrap());
    assert_eq!(lasts, SignedDuration::from_mins(10));

    let query =
        format!("client=console&sub=ann&tenant=globex&scope=openid+labels:read&resource={OPAQUE}&acr=gold&amr=pwd+otp");
    let person = product.ask(&provider.sign_in(&query).await.access_token).await.unwrap();
    assert_eq!((person.subject(), person.tenant().as_str()), ("ann", "globex"));
    assert_eq!((person.kind(), person.client_id()), (PrincipalKind::User, Some("console")));
    assert_eq!((person.acr(), person.amr().collect::<Vec<_>>()), (Some("gold"), vec!["pwd", "otp"]));
    assert!(person.authenticated_at().is_some());
}

#[tokio::test]
async fn tokens_for_others_and_refresh_tokens_are_refused_though_they_are_active() {
    let provider = Provider::shared();
    let product = product(&provider).await;
    let other = provider.token(Some("urn:opaque:clinic"), "labels:read").await;
    let query = format!("client=console&sub=ann&scope=openid+labels:read&resource={OPAQUE}");
    let ann = provider.sign_in(&query).await;
    let acme = product.identity.client("acme", secret("acme"));
    for (what, token) in [("for another product", other), ("that refreshes", ann.refresh_token)] {
        assert!(acme.introspect(&token.clone().into()).await.unwrap().is_active(), "a token {what} is not active");
        assert_eq!(refused(&product, &token).await, Kind::InvalidToken, "a token {what}");
    }
    product.ask(&ann.access_token).await.unwrap();
}

#[tokio::test]
async fn the_provider_is_asked_once_about_a_token_however_many_send_it() {
    let instance = Instance::started().await;
    let provider = instance.provider();
    let product = product(&provider).await;
    let token = opaque(&provider).await;
    provider.tell("slow?ms=200").await;
    for answer in join_all((0..50).map(|_| product.ask(&token))).await {
        answer.unwrap();
    }
    product.ask(&token).await.unwrap();
    assert_eq!(provider.asked("introspection").await, 1);
    // None is a JWT, and all are made up.
    for answer in join_all((0..50).map(|_| product.ask("made-up"))).await {
        assert_eq!(answer.expect_err("nobody's").kind(), Kind::InvalidToken);
    }
    assert_eq!(refused(&product, "made-up").await, Kind::InvalidToken);
    assert_eq!(provider.asked("introspection").await, 2);
}

#[tokio::test]
async fn a_token_that_is_revoked_at_the_provider_is_refused_within_30_seconds() {
    let instance = Instance::started().await;
    let provider = instance.provider();
    let product = product(&provider).await;
    let (kept, revoked) = (opaque(&provider).await, opaque(&provider).await);
    product.ask(&kept).await.unwrap();
    product.ask(&revoked).await.unwrap();
    let acme = product.identity.client("acme", secret("acme"));
    acme.revoke(&revoked.clone().into(), Some(TokenHint::AccessToken)).await.unwrap();
    product.ask(&revoked).await.unwrap();
    assert_eq!(provider.asked("introspection").await, 2, "its word is not used");

    product.lifecycle.clock().jump(OVER);
    assert_eq!(refused(&product, &revoked).await, Kind::InvalidToken);
    product.ask(&kept).await.unwrap();
    assert_eq!(provider.asked("introspection").await, 4);
}

#[tokio::test]
async fn a_token_of_nobody_is_401_and_without_the_provider_503_while_known_ones_are_good() {
    let instance = Instance::started().await;
    let provider = instance.provider();
    let served = Served::start(&provider, OPAQUE, Clock::manual(Clock::system().now()), asking).await;
    let (known, unknown) = (opaque(&provider).await, opaque(&provider).await);
    assert_eq!(served.status(&known).await, 200);
    let bearer = |token: &str| format!("Bearer {token}");
    let (status, kind, challenge) = refusal(served.get("/labels", &[("authorization", "Bearer made-up")]).await).await;
    assert_eq!((status, kind.as_str()), (401, "invalid-token"));
    assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");

    provider.tell("gone?ms=60000").await;
    assert_eq!(served.status(&known).await, 200);
    let answer = served.get("/labels", &[("authorization", &bearer(&unknown))]).await;
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let (status, kind, challenge) = refusal(answer).await;
    assert_eq!((status, kind.as_str(), challenge.as_str()), (503, "unavailable", ""));
    // Nobody's word is taken beyond its time.
    served.product.lifecycle.clock().jump(OVER);
    assert_eq!(served.status(&known).await, 503);

    provider.tell("gone?ms=0").await;
    assert_eq!((served.status(&known).await, served.status(&unknown).await), (200, 200));
}
