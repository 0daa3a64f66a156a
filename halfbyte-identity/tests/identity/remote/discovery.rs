use halfbyte_core::error_chain;
use halfbyte_core::problem::Kind;
use halfbyte_identity::{ErrorKind, Identity, Settings};

use super::Issuer;
use crate::support::{Key, Product, claims, life};

/// What the product answers to a good token, and what it says of its issuer.
async fn outcome(issuer: &Issuer, key: &Key) -> (Option<Kind>, String) {
    let product = Product::of(&[issuer.id()]).await;
    let ready = product.identity.ready().await.err().map(|error| error_chain(&error)).unwrap_or_default();
    let answer = product.identity.authenticator().authenticate(&key.token(&claims(issuer.id()))).await;
    (answer.err().map(|problem| problem.kind()), ready)
}

#[tokio::test]
async fn a_token_of_the_issuer_that_discovery_finds_is_accepted() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    assert_eq!(outcome(&issuer, &key).await, (None, String::new()));
}

#[tokio::test]
async fn metadata_that_names_another_issuer_is_refused_to_the_byte() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    for other in ["https://issuer.example".to_owned(), format!("{}/", issuer.id()), issuer.id().to_uppercase()] {
        issuer.set_metadata("issuer", &other);
        let (kind, ready) = outcome(&issuer, &key).await;
        assert_eq!(kind, Some(Kind::Unavailable));
        assert!(ready.contains("the metadata is of the issuer"), "{ready}");
    }
}

#[tokio::test]
async fn metadata_that_leads_to_plain_http_on_another_host_is_refused() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let good = [("jwks_uri", format!("{}/keys", issuer.id())), ("token_endpoint", format!("{}/token", issuer.id()))];
    for (member, good) in &good {
        for bad in ["http://keys.example/keys", "http://localhost/keys", "file:///etc/passwd", "ftp://127.0.0.1/keys"] {
            issuer.set_metadata(member, bad);
            let (kind, ready) = outcome(&issuer, &key).await;
            assert_eq!(kind, Some(Kind::Unavailable), "{member} {bad}");
            assert!(ready.contains("which is not https"), "{ready}");
        }
        issuer.set_metadata(member, good);
        assert_eq!(outcome(&issuer, &key).await.0, None);
    }
}

#[tokio::test]
async fn an_issuer_name_that_cannot_be_trusted_is_refused_before_anything_is_fetched() {
    for id in [
        "http://issuer.example",
        "ftp://127.0.0.1",
        "https://user:password@issuer.example",
        "https://issuer.example?a=b",
        "https://issuer.example#a",
        "issuer.example",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let home = halfbyte_core::home::Home::open(folder.path().join("home")).expect("a home");
        let issuer = halfbyte_core::config::IdentityBackend::issuer(id);
        let settings = Settings::new(vec![issuer], "parcel", "http://127.0.0.1:8080".parse().expect("a URL"), home);
        let client = halfbyte_core::client::Client::new().expect("a client");
        let error = Identity::open(settings, client, &life()).await.expect_err(id);
        assert_eq!(error.kind(), ErrorKind::Issuer);
        assert!(!error.to_string().contains("password"), "{error}");
    }
}

#[tokio::test]
async fn an_issuer_without_a_key_that_can_be_used_is_not_ready() {
    let issuer = Issuer::start(&[]).await;
    let (kind, ready) = outcome(&issuer, &Key::es256("1")).await;
    assert_eq!(kind, Some(Kind::Unavailable));
    assert!(ready.contains("no key that can be used"), "{ready}");
}
