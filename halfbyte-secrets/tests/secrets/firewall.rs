//! What is live is masked, wherever it turns up.

use std::time::Duration;

use halfbyte_core::fingerprint::mask;
use halfbyte_secrets::zeroize::Zeroize;
use halfbyte_secrets::{ExposeSecret as _, Json, SecretUrl, Secrets};
use serde::Deserialize;

use super::backend::Backend;
use super::lifecycle;

#[tokio::test(start_paused = true)]
async fn a_secret_is_known_from_when_it_is_served_and_so_is_the_one_before_it() {
    let backend = Backend::holding("the-first-of-two\n");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("token");
    assert_eq!(mask("the-first-of-two"), "the-first-of-two");
    secret.ready().await.expect("loaded");
    assert_eq!(mask("<the-first-of-two>"), "<[REDACTED]>");
    backend.set("the-second-of-two");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let second = secret.refresh(1).await.expect("refreshed");
    assert_eq!((second.generation(), second.expose_secret().as_str()), (2, "the-second-of-two"));
    assert_eq!(mask("the-first-of-two, the-second-of-two"), "[REDACTED], [REDACTED]");
    assert!(secret.previous().is_some());
}

#[derive(Deserialize)]
struct Credential {
    password: String,
}

impl Zeroize for Credential {
    fn zeroize(&mut self) {
        self.password.zeroize();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_secret_within_a_secret_is_known_by_itself() {
    let url = "postgres://an-ordinary-user:pass%2Fword-1@db.example/orders?sslmode=verify-full&token=abc-123-def";
    let url = Secrets::new(Backend::holding(url), &lifecycle()).get::<SecretUrl>("url");
    let json = r#"{"username":"another-user","password":"pass-word-2","nested":["pass-word-3"]}"#;
    let json = Secrets::new(Backend::holding(json), &lifecycle()).get::<Json<Credential>>("json");
    url.ready().await.expect("loaded");
    json.ready().await.expect("loaded");
    assert_eq!(json.load().expect("loaded").expose_secret().0.password, "pass-word-2");
    let said = "pass%2Fword-1 pass/word-1 abc-123-def verify-full an-ordinary-user another-user pass-word-2 pass-word-3";
    let [r, rest] = ["[REDACTED]", "verify-full an-ordinary-user another-user"];
    assert_eq!(mask(said), format!("{r} {r} {r} {rest} {r} {r}"));
}
