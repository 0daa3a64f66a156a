use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use halfbyte_identity::Embedded;
use tokio::task::JoinSet;

use crate::support::{AUDIENCE, Product, get, life, send, with_token};

async fn second_process(product: &Product) -> Embedded {
    let url = "http://127.0.0.1:8081".parse().expect("a URL");
    Embedded::open(&product.home(), &url, AUDIENCE, &product.life).await.expect("opened")
}

async fn published(product: &Product) -> Vec<String> {
    let jwks = send(&product.endpoints(), get("/oauth/jwks")).await.json();
    let keys = jwks["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["kid"].as_str().expect("an id").to_owned()).collect()
}

fn key_of(token: &str) -> String {
    let header = crate::support::unb64(token.split('.').next().expect("a part"));
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_rotation_signs_with_the_key_that_was_published_as_the_next_one() {
    let product = Product::embedded().await;
    let before = published(&product).await;
    let old = product.token(&[]).await;
    let signing = product.issuer().rotate_signing_key().await.expect("rotated");
    assert!(before.contains(&signing) && key_of(&old) != signing);
    let new = product.token(&[]).await;
    assert_eq!(key_of(&new), signing, "from now on");
    for token in [&old, &new] {
        assert_eq!(send(&product.greeter(), with_token(token)).await.status, 200);
    }
    let after = published(&product).await;
    assert_eq!(after.len(), 3);
    assert!(before.iter().all(|key| after.contains(key)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_rotate_at_once_fail_no_request() {
    let product = Arc::new(Product::embedded().await);
    let other = second_process(&product).await;
    let secret = product.register("acme-app").await;
    let done = Arc::new(AtomicBool::new(false));
    let first = product.token(&[]).await;

    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (product, done, first, secret) = (product.clone(), done.clone(), first.clone(), secret.clone());
        load.spawn(async move {
            let (service, mut served) = (product.greeter(), 0);
            let mut tokens = vec![first];
            while !done.load(Ordering::Relaxed) {
                let answer = product.ask_token("acme-app", &secret, &[]).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                tokens.push(answer.json()["access_token"].as_str().expect("a token").to_owned());
                // The first, one from some time ago, and the newest.
                for token in [&tokens[0], &tokens[tokens.len() / 2], &tokens[tokens.len() - 1]] {
                    let seen = send(&service, with_token(token)).await;
                    assert_eq!(seen.status, 200, "{}", seen.body);
                    served += 1;
                }
                // As a server does when it waits for its next request.
                tokio::task::yield_now().await;
            }
            let mut keys: Vec<_> = tokens.iter().map(|token| key_of(token)).collect();
            keys.dedup();
            (served, keys.len())
        });
    }
    for round in 0..20 {
        let turn = if round % 2 == 0 { product.issuer() } else { &other };
        let signing = turn.rotate_signing_key().await.expect("rotated");
        // A token of the process that rotated, at once at the one that did not.
        let token = product.token(&[]).await;
        assert!(round % 2 == 1 || key_of(&token) == signing);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    done.store(true, Ordering::Relaxed);
    for (served, keys) in load.join_all().await {
        assert!(served > 20, "{served} requests are no load");
        assert!(keys >= 3, "only {keys} keys were seen");
    }
}

/// The other process signs with a key that this one has never read: the file was changed twice in a moment.
#[tokio::test]
async fn a_token_by_a_key_of_a_moment_ago_is_good_at_a_process_that_has_not_seen_it() {
    let product = Product::embedded().await;
    let folder_of = product.home();
    let elsewhere = Product::sharing(&folder_of, "http://127.0.0.1:8081").await;
    elsewhere.register("acme-app").await;
    for round in 0..10 {
        elsewhere.issuer().rotate_signing_key().await.expect("rotated");
        elsewhere.issuer().rotate_signing_key().await.expect("rotated");
        let token = elsewhere.token(&[]).await;
        let seen = send(&product.greeter(), with_token(&token)).await;
        assert_eq!(seen.status, 200, "round {round}: {}", seen.body);
    }
}

#[tokio::test]
async fn a_retired_key_is_dropped_once_its_last_token_has_expired_whether_or_not_there_is_a_rotation() {
    let product = Product::embedded().await;
    let old = published(&product).await.remove(0);
    product.issuer().rotate_signing_key().await.expect("rotated");
    // To the end of the last token that a process which was late may have signed, and its leeway.
    product.jump(900 + 30 + 60);
    product.register("any-change").await;
    assert!(published(&product).await.contains(&old), "still needed");
    product.jump(60);
    let dropped = async {
        while published(&product).await.contains(&old) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), dropped).await.expect("dropped by itself");
    assert_eq!(published(&product).await.len(), 2);
    product.issuer().rotate_signing_key().await.expect("rotated");
    assert_eq!(published(&product).await.len(), 3);
    let file = std::fs::read_to_string(product.home().path().join("identity/issuer.json")).expect("read");
    assert!(!file.contains(&old), "its private half is gone from the file too");
}

#[tokio::test]
async fn rotations_without_end_are_refused_before_the_keys_are_more_than_others_read() {
    let product = Product::embedded().await;
    let old = product.token(&[]).await;
    let mut rotations = 0;
    let error = loop {
        match product.issuer().rotate_signing_key().await {
            Ok(_) => rotations += 1,
            Err(error) => break error,
        }
        assert!(rotations <= 62, "the set is then over its bound");
    };
    assert_eq!(rotations, 62);
    assert!(error.to_string().contains("too often"), "{error}");
    assert_eq!(published(&product).await.len(), 64);
    assert_eq!(send(&product.greeter(), with_token(&old)).await.status, 200, "all of them are still in use");
    assert_eq!(send(&product.greeter(), with_token(&product.token(&[]).await)).await.status, 200);
    drop(Product::sharing(&product.home(), "http://127.0.0.1:8081").await);
    product.jump(2_000);
    product.issuer().rotate_signing_key().await.expect("rotated");
}

#[tokio::test]
async fn many_processes_that_open_one_home_at_once_make_one_issuer() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = halfbyte_core::home::Home::open(folder.path().join("home")).expect("a home");
    let mut opening = JoinSet::new();
    for port in 8001..8009 {
        let home = home.clone();
        opening.spawn(async move {
            let url = format!("http://127.0.0.1:{port}").parse().expect("a URL");
            Embedded::open(&home, &url, AUDIENCE, &life()).await.expect("opened").issuer().to_owned()
        });
    }
    let mut names = opening.join_all().await;
    names.dedup();
    assert_eq!(names.len(), 1);
}
