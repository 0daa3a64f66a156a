//! Tokens of all kinds, asked for as clients do.

use halfbyte::core::client::Client;
use halfbyte::core::config::IdentityBackend;
use halfbyte::core::home::Home;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte::identity::embedded::ClientSpec;
use halfbyte::identity::{Embedded, Identity, Settings};
use halfbyte::problem::Kind;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::{AUDIENCE, Product, Provider};

#[tokio::test]
async fn its_tokens_are_accepted_in_both_of_its_algorithms() {
    let provider = Provider::shared();
    let product = Product::trusting(&provider).await;
    for alg in ["RS256", "ES256"] {
        assert_eq!(provider.tell(&format!("alg?alg={alg}")).await["alg"], alg);
        let principal = product.ask(&provider.token(Some(AUDIENCE), "labels:read labels:write").await).await.unwrap();
        assert_eq!((principal.tenant().as_str(), principal.issuer()), ("acme", provider.issuer.as_str()));
        assert_eq!(principal.scopes().collect::<Vec<_>>(), ["labels:read", "labels:write"]);
    }
}

#[tokio::test]
async fn tokens_for_others_of_others_and_of_other_kinds_are_refused() {
    let provider = Provider::shared();
    let product = Product::trusting(&provider).await;
    let good = provider.token(Some(AUDIENCE), "labels:read").await;
    let foreign = {
        let issuer =
            Embedded::open(&product.home, &provider.issuer.parse().unwrap(), AUDIENCE, &product.lifecycle).await;
        let client = ClientSpec::new("acme", "acme".parse().unwrap()).audiences([AUDIENCE]);
        let secret = issuer.unwrap().register(client).await.unwrap();
        forged(&provider.issuer, &product.home, secret.expose_secret()).await
    };
    let table = [
        ("for another product", provider.token(Some("urn:halfbyte:clinic"), "labels:read").await),
        ("opaque", provider.token(None, "labels:read").await),
        ("with a changed header", changed(&good, 0)),
        ("with changed claims", changed(&good, 1)),
        ("with a changed signature", changed(&good, 2)),
        ("cut short", good[..good.len() - 1].to_owned()),
        ("without its signature", good[..=good.rfind('.').unwrap()].to_owned()),
        ("in the issuer's name, signed by another", foreign),
    ];
    for (what, token) in table {
        let problem = product.ask(&token).await.err().unwrap_or_else(|| panic!("a token {what} is accepted"));
        assert_eq!(problem.kind(), Kind::InvalidToken, "a token {what}");
    }
    product.ask(&good).await.unwrap();
}

/// The token with one character in the middle of that part changed.
fn changed(token: &str, part: usize) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let middle = parts[part].len() / 2;
    let other = if parts[part].as_bytes()[middle] == b'A' { "B" } else { "A" };
    parts[part].replace_range(middle..=middle, other);
    parts.join(".")
}

/// A token of an embedded issuer that calls itself by the provider's name.
async fn forged(name: &str, home: &Home, secret: &str) -> String {
    let settings = Settings::new(vec![IdentityBackend::Embedded], AUDIENCE, name.parse().unwrap(), home.clone());
    let identity = Identity::open(settings, Client::new().unwrap(), &Lifecycle::new(Clock::system())).await.unwrap();
    let service = axum::Router::new().layer(identity.endpoints());
    let form = format!("grant_type=client_credentials&client_id=acme&client_secret={secret}");
    let request = http::Request::post("/oauth/token").body(axum::body::Body::from(form)).unwrap();
    let response = tower::ServiceExt::oneshot(service, request).await.unwrap();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
}
