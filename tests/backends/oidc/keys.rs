//! Keys that change while products run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halfbyte::problem::Kind;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Instance, Product};

/// A fetch that a token causes has a second between it and the one before.
const BUDGET: Duration = Duration::from_millis(1_200);

#[tokio::test]
async fn its_keys_rotate_under_load_without_a_failed_request() {
    const ROTATIONS: u64 = 4;
    let instance = Instance::started().await;
    let provider = instance.provider();
    let product = Arc::new(Product::trusting(&provider).await);
    let tokens = Arc::new(Mutex::new(vec![provider.good_token().await]));
    let done = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..16 {
        let (product, tokens, done) = (product.clone(), tokens.clone(), done.clone());
        clients.spawn(async move {
            let mut asked = 0;
            while !done.load(Ordering::SeqCst) {
                // In turns all that were ever given out; the newest are met by several clients at once.
                let token = {
                    let tokens = tokens.lock().unwrap();
                    tokens[(asked + client) % tokens.len()].clone()
                };
                product.ask(&token).await.unwrap_or_else(|problem| panic!("refused under load: {problem:?}"));
                asked += 1;
                sleep(Duration::from_millis(1)).await;
            }
            asked
        });
    }
    for _ in 0..ROTATIONS {
        sleep(BUDGET).await;
        provider.tell("rotate").await;
        let mut new = Vec::new();
        for _ in 0..8 {
            new.push(provider.good_token().await);
        }
        tokens.lock().unwrap().extend(new);
    }
    sleep(BUDGET).await;
    done.store(true, Ordering::SeqCst);
    let asked: usize = clients.join_all().await.into_iter().sum();
    assert!(asked > 1_000, "{asked} requests are no load");
    // One at boot, and one for each rotation however many waited for it.
    let fetches = provider.asked("jwks").await;
    assert!(fetches <= 1 + ROTATIONS, "{fetches} fetches");
}

#[tokio::test]
async fn a_provider_that_is_restarted_with_its_keys_is_trusted_on() {
    let mut instance = Instance::started().await;
    let provider = instance.provider();
    let product = Product::trusting(&provider).await;
    let (seen, unseen) = (provider.good_token().await, provider.good_token().await);
    product.ask(&seen).await.unwrap();
    instance.stop();
    instance.start().await;
    for token in [seen, unseen, instance.provider().good_token().await] {
        product.ask(&token).await.unwrap();
    }
    assert_eq!(instance.provider().asked("jwks").await, 0, "known keys are fetched again");
}

#[tokio::test]
async fn a_provider_that_is_restarted_with_other_keys_is_followed_and_its_old_tokens_are_refused() {
    let mut instance = Instance::started().await;
    let provider = instance.provider();
    let product = Product::trusting(&provider).await;
    let old = provider.good_token().await;
    product.ask(&old).await.unwrap();
    instance.stop();
    instance.lose_keys();
    instance.start().await;
    let new = instance.provider().good_token().await;
    sleep(BUDGET).await;
    // At the first try: the request that meets the new key is the one that has the keys fetched.
    product.ask(&new).await.unwrap();
    let problem = product.ask(&old).await.expect_err("its key is gone");
    assert_eq!(problem.kind(), Kind::InvalidToken);
    product.ask(&new).await.unwrap();
}
