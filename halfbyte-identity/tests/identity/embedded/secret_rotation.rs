use halfbyte_identity::Embedded;
use secrecy::ExposeSecret as _;

use crate::support::{AUDIENCE, Product, client, life};

#[tokio::test]
async fn the_secret_before_is_good_until_the_next_rotation_and_no_longer() {
    let product = Product::embedded().await;
    let mut secrets = vec![product.register("acme-app").await];
    for rotation in 1..5 {
        secrets.push(product.issuer().rotate_client_secret("acme-app").await.expect("rotated"));
        for (generation, secret) in secrets.iter().enumerate() {
            let status = product.ask_token("acme-app", secret, &[]).await.status;
            let good = generation + 1 >= rotation;
            assert_eq!(status == 200, good, "secret {generation} after rotation {rotation}");
            assert!(good || status == 401);
        }
    }
    let mut texts: Vec<_> = secrets.iter().map(|secret| secret.expose_secret()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 5, "each rotation gives another");
    assert!(texts.iter().all(|text| text.starts_with("hbcs_") && text.len() == 48));
}

#[tokio::test]
async fn the_secret_of_one_client_is_no_good_for_another() {
    let product = Product::embedded().await;
    let (one, two) = (product.register("one").await, product.register("two").await);
    assert_ne!(one.expose_secret(), two.expose_secret());
    assert_eq!(product.ask_token("two", &one, &[]).await.status, 401);
}

/// Two handles on one home stand for two processes: they share nothing but the file.
#[tokio::test]
async fn a_secret_rotated_in_one_process_is_good_in_the_other_from_the_first_request_on() {
    let product = Product::embedded().await;
    let life = life();
    let url = "http://127.0.0.1:8081".parse().expect("a URL");
    let other = Embedded::open(&product.home(), &url, AUDIENCE, &life).await.expect("opened");
    assert_eq!(other.issuer(), "http://127.0.0.1:8080", "it is the same issuer");

    let secret = other.register(client("late")).await.expect("registered");
    assert_eq!(product.ask_token("late", &secret, &[]).await.status, 200);
    for _ in 0..20 {
        let secret = other.rotate_client_secret("late").await.expect("rotated");
        assert_eq!(product.ask_token("late", &secret, &[]).await.status, 200);
    }
}
