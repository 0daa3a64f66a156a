use std::time::Duration;

use halfbyte_core::problem::Kind;
use halfbyte_core::{Principal, Problem};
use tokio::task::JoinSet;

use super::Issuer;
use crate::support::{Key, NOW, Product, claims};

/// A little over the time in which one fetch is made at most.
const BUDGET_WINDOW: Duration = Duration::from_millis(1_050);

async fn all_at_once(product: &Product, tokens: impl IntoIterator<Item = String>) -> Vec<Result<Principal, Problem>> {
    let mut waiting = JoinSet::new();
    for token in tokens {
        let authenticator = product.identity.authenticator().clone();
        waiting.spawn(async move { authenticator.authenticate(&token).await });
    }
    waiting.join_all().await
}

#[tokio::test]
async fn an_unknown_key_is_fetched_once_for_all_who_wait_and_they_are_answered_with_it() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let issuer = Issuer::start(&[&old]).await;
    let product = Product::of(&[issuer.id()]).await;
    product.identity.ready().await.expect("ready");
    assert_eq!(issuer.fetches(), 1);
    issuer.publish(&[&old, &new]);
    tokio::time::sleep(BUDGET_WINDOW).await;

    let token = |serial: i64| {
        let mut claims = claims(issuer.id());
        claims["exp"] = (NOW + 600 + serial).into();
        new.token(&claims)
    };
    let answers = all_at_once(&product, (0..200).map(token)).await;
    assert_eq!(answers.len(), 200);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn a_flood_of_keys_that_nobody_has_costs_the_issuer_one_fetch_a_window_and_the_good_tokens_nothing() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    product.identity.ready().await.expect("ready");
    let good = key.token(&claims(issuer.id()));
    let authenticator = product.identity.authenticator();
    authenticator.authenticate(&good).await.expect("good");
    tokio::time::sleep(BUDGET_WINDOW).await;

    let began = tokio::time::Instant::now();
    let stranger = Key::es256("x");
    for round in 0..3 {
        let flood = (0..500).map(|serial| {
            let header = format!(r#"{{"alg":"ES256","kid":"{round}-{serial}"}}"#);
            stranger.token_of(&header, &claims(issuer.id()).to_string())
        });
        for answer in all_at_once(&product, flood).await {
            assert_eq!(answer.expect_err("refused").kind(), Kind::InvalidToken);
        }
        assert!(authenticator.authenticate_now(&good).expect("still known").is_ok());
    }
    let windows = usize::try_from(began.elapsed().as_secs()).expect("few") + 1;
    assert!(issuer.fetches() <= 1 + windows, "{} fetches in {windows} windows", issuer.fetches());
    assert!(issuer.fetches() > 1, "else no fetch was asked for");
}

#[tokio::test]
async fn a_token_that_could_not_be_good_with_any_key_makes_the_issuer_do_nothing() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    product.identity.ready().await.expect("ready");
    tokio::time::sleep(BUDGET_WINDOW).await;
    let stranger = Key::es256("x");
    for (member, value) in [("iss", "https://other.example"), ("aud", "clinic"), ("cnf", "x"), ("exp", "soon")] {
        let mut claims = claims(issuer.id());
        claims[member] = value.into();
        let answer = product.identity.authenticator().authenticate(&stranger.token(&claims)).await;
        assert_eq!(answer.expect_err("refused").kind(), Kind::InvalidToken);
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_key_that_is_removed_takes_the_tokens_that_were_known_by_it_along() {
    let (removed, kept) = (Key::es256("removed"), Key::es256("kept"));
    let issuer = Issuer::start(&[&removed, &kept]).await;
    let product = Product::of(&[issuer.id()]).await;
    let authenticator = product.identity.authenticator();
    let (bad, good) = (removed.token(&claims(issuer.id())), kept.token(&claims(issuer.id())));
    for token in [&bad, &good] {
        authenticator.authenticate(token).await.expect("good");
    }
    issuer.publish(&[&kept]);
    tokio::time::sleep(BUDGET_WINDOW).await;
    // Anything that makes the keys be looked at again.
    let _unknown = authenticator.authenticate(&Key::es256("x").token(&claims(issuer.id()))).await;
    assert_eq!(authenticator.authenticate(&bad).await.expect_err("refused").kind(), Kind::InvalidToken);
    authenticator.authenticate(&good).await.expect("still good");
}

#[tokio::test]
async fn a_known_token_is_forgotten_when_it_expires() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    let token = key.token(&claims(issuer.id()));
    let authenticator = product.identity.authenticator();
    authenticator.authenticate(&token).await.expect("good");
    assert!(authenticator.authenticate_now(&token).expect("known").is_ok());
    product.jump(600 + 30);
    let refused = authenticator.authenticate_now(&token).expect("needs no keys").expect_err("expired");
    assert_eq!(refused.detail(), "the access token has expired");
}

#[tokio::test]
async fn a_token_is_good_from_its_nbf_on_and_not_before() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    let mut claims = claims(issuer.id());
    claims["nbf"] = (NOW + 90).into();
    let token = key.token(&claims);
    let authenticator = product.identity.authenticator();
    let refused = authenticator.authenticate(&token).await.expect_err("too early");
    assert_eq!(refused.detail(), "the access token is not valid yet");
    product.jump(60);
    authenticator.authenticate(&token).await.expect("good");
}

#[tokio::test]
async fn a_token_by_a_key_that_was_published_just_now_is_accepted_although_the_keys_were_fetched_just_before() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let issuer = Issuer::start(&[&old]).await;
    let product = Product::of(&[issuer.id()]).await;
    product.identity.ready().await.expect("ready");
    issuer.publish(&[&old, &new]);
    let authenticator = product.identity.authenticator();
    authenticator.authenticate(&new.token(&claims(issuer.id()))).await.expect("it waits for the next fetch");
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn a_key_that_the_issuer_does_not_have_is_looked_for_once_and_then_remembered() {
    let key = Key::es256("1");
    let issuer = Issuer::start(&[&key]).await;
    let product = Product::of(&[issuer.id()]).await;
    product.identity.ready().await.expect("ready");
    let stranger = Key::es256("x");
    let token = |serial: i64| {
        let mut claims = claims(issuer.id());
        claims["exp"] = (NOW + 600 + serial).into();
        stranger.token(&claims)
    };
    for answer in all_at_once(&product, (0..100).map(token)).await {
        assert_eq!(answer.expect_err("refused").kind(), Kind::InvalidToken);
    }
    assert_eq!(issuer.fetches(), 2);
    tokio::time::sleep(BUDGET_WINDOW).await;
    let began = tokio::time::Instant::now();
    for answer in all_at_once(&product, (100..200).map(token)).await {
        assert_eq!(answer.expect_err("refused").kind(), Kind::InvalidToken);
    }
    assert_eq!(issuer.fetches(), 2, "after {:?}", began.elapsed());
    // Once its keys change, it is looked for again: the issuer may have been late.
    issuer.publish(&[&key, &Key::es256("y")]);
    let _other = product.identity.authenticator().authenticate(&Key::es256("z").token(&claims(issuer.id()))).await;
    issuer.publish(&[&key, &stranger]);
    product.identity.authenticator().authenticate(&token(0)).await.expect("it is there now");
}
