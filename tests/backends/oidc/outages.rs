//! A provider that is away or slow: what waits for it, what is refused, and what does not notice.

use std::time::Duration;

use futures_util::future::join_all;
use halfbyte::problem::Kind;
use halfbyte::{Principal, Problem};
use tokio::time::{Instant, sleep};

use super::{Instance, Product};

/// Until then a product has found its provider again, with the longest back-off that these outages lead to.
const RECOVERY: Duration = Duration::from_secs(20);
/// What nobody waits for takes less, also on a machine that is busy.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Asks until the answer is a principal; until then nothing but 503 is right.
async fn eventually(product: &Product, token: &str) -> Principal {
    let begun = Instant::now();
    loop {
        match product.ask(token).await {
            Ok(principal) => return principal,
            Err(problem) => require_unavailable(&problem),
        }
        assert!(begun.elapsed() < RECOVERY, "the provider is there and is not found");
        sleep(Duration::from_millis(50)).await;
    }
}

fn require_unavailable(problem: &Problem) {
    assert_eq!(problem.kind(), Kind::Unavailable, "{problem:?}");
}

#[tokio::test]
async fn a_provider_that_is_not_there_at_boot_is_found_when_it_comes() {
    let mut instance = Instance::started().await;
    let token = instance.provider().good_token().await;
    instance.stop();

    let product = Product::opened(&instance.provider()).await;
    require_unavailable(&product.ask(&token).await.expect_err("there are no keys"));
    product.identity.ready().await.expect_err("there are no keys");
    assert!(!product.is_ready(), "ready without keys");

    instance.start().await;
    assert_eq!(eventually(&product, &token).await.subject(), "acme");
    assert!(product.is_ready(), "not ready with keys");
}

#[tokio::test]
async fn a_provider_that_goes_away_is_not_missed_as_long_as_its_keys_are_known() {
    let mut instance = Instance::started().await;
    let provider = instance.provider();
    let product = Product::trusting(&provider).await;
    let (seen, unseen) = (provider.good_token().await, provider.good_token().await);
    product.ask(&seen).await.unwrap();
    instance.stop();

    let begun = Instant::now();
    for token in [&seen, &unseen] {
        product.ask(token).await.unwrap();
    }
    let forged = format!("{}AAAA", &unseen[..unseen.len() - 4]);
    assert_eq!(product.ask(&forged).await.expect_err("forged").kind(), Kind::InvalidToken);
    assert!(begun.elapsed() < AT_ONCE, "a provider that is away is waited for");
}

#[tokio::test]
async fn a_token_of_a_new_key_is_503_while_the_provider_is_away_and_good_afterwards() {
    let instance = Instance::started().await;
    let provider = instance.provider();
    let product = Product::trusting(&provider).await;
    let old = provider.good_token().await;
    provider.tell("rotate").await;
    let new = provider.good_token().await;
    sleep(Duration::from_millis(1_200)).await;
    provider.tell("gone?ms=1500").await;

    require_unavailable(&product.ask(&new).await.expect_err("its key is not known"));
    product.ask(&old).await.unwrap();
    eventually(&product, &new).await;
}

#[tokio::test]
async fn a_slow_provider_is_asked_once_and_slows_only_those_who_need_its_keys() {
    const SLOW: Duration = Duration::from_millis(700);
    let instance = Instance::started().await;
    let provider = instance.provider();
    let (first, second) = (provider.good_token().await, provider.good_token().await);
    provider.tell(&format!("slow?ms={}", SLOW.as_millis())).await;

    let begun = Instant::now();
    let product = Product::opened(&provider).await;
    assert!(begun.elapsed() < AT_ONCE, "a slow provider delays the boot");
    for answer in join_all((0..50).map(|_| product.ask(&first))).await {
        answer.unwrap();
    }
    assert!(begun.elapsed() >= SLOW, "the keys came from elsewhere");
    assert_eq!(provider.asked("jwks").await, 1);

    provider.tell("rotate").await;
    let new = provider.good_token().await;
    sleep(Duration::from_millis(1_200)).await;
    let begun = Instant::now();
    let waits = async {
        product.ask(&new).await.unwrap();
        assert!(begun.elapsed() >= SLOW, "the new key came from elsewhere");
    };
    let does_not_wait = async {
        product.ask(&second).await.unwrap();
        assert!(begun.elapsed() < AT_ONCE, "a token of a known key waits");
    };
    tokio::join!(waits, does_not_wait);
    assert_eq!(provider.asked("jwks").await, 2);
}
