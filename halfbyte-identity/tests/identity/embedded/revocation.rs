use std::sync::Arc;
use std::time::Duration;

use halfbyte_identity::ErrorKind;
use halfbyte_identity::embedded::ClientSpec;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{REVOKE, Registered, SigningKey, assert_refused, claims_of, id_of, path_of, status_of, stored};
use crate::support::{Key, NOW, Product, claims, client};

async fn product_and_client() -> (Product, Registered) {
    let product = Product::embedded().await;
    let client = Registered::at(&product, "acme-app").await;
    (product, client)
}

fn kept(product: &Product) -> Vec<String> {
    stored(product)["revoked"].as_object().into_iter().flatten().map(|(id, _)| id.clone()).collect()
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).expect("in range")
}

async fn eventually_refused(product: &Product, token: &str) {
    let refused = async {
        while status_of(product, token).await != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("it is refused in the end");
}

#[tokio::test]
async fn a_revoked_token_is_refused_from_the_next_request_on_and_no_other_is() {
    let (product, client) = product_and_client().await;
    let (token, other) = (client.token(&product).await, client.token(&product).await);
    let elsewhere = Product::sharing(&product.home(), "http://127.0.0.1:8081").await;
    assert_eq!(status_of(&product, &token).await, 200, "and it is remembered as good");
    assert_eq!(status_of(&elsewhere, &token).await, 200, "there as well");

    let seen = client.revoke(&product, &token).await;
    assert_eq!((seen.status.as_u16(), seen.header("cache-control"), seen.body.as_str()), (200, "no-store", "{}"));
    assert_eq!(status_of(&product, &token).await, 401);
    eventually_refused(&elsewhere, &token).await;
    for product in [&product, &elsewhere] {
        assert_eq!(status_of(product, &other).await, 200);
    }
    let reopened = Product::sharing(&product.home(), "http://127.0.0.1:8082").await;
    assert_eq!(status_of(&reopened, &token).await, 401, "it is kept");
    assert_eq!(status_of(&reopened, &other).await, 200);
}

#[tokio::test]
async fn revoking_again_is_no_error_and_changes_nothing() {
    let (product, client) = product_and_client().await;
    let token = client.token(&product).await;
    assert_eq!(client.revoke(&product, &token).await.status, 200);
    let before = std::fs::read(path_of(&product)).expect("read");
    assert_eq!(client.revoke(&product, &token).await.status, 200);
    product.issuer().revoke(&id_of(&token), after(900)).await.expect("no error");
    assert_eq!(std::fs::read(path_of(&product)).expect("read").len(), before.len());
    assert_eq!(kept(&product), [id_of(&token)]);
}

#[tokio::test]
async fn what_is_not_a_token_of_this_issuer_or_has_expired_is_answered_with_200_and_is_not_kept() {
    let (product, client) = product_and_client().await;
    let token = client.token(&product).await;
    let elsewhere = Product::embedded().await;
    let foreign = Registered::at(&elsewhere, "acme-app").await.token(&elsewhere).await;
    let forge = SigningKey::of(&product);
    let unsigned = token.rsplit_once('.').expect("parts").0;
    for not_ours in [
        "x",
        "a.b.c",
        unsigned,
        &format!("{unsigned}.{}", "A".repeat(86)),
        &foreign,
        &Key::es256("k1").token(&claims("http://127.0.0.1:8080")),
        &forge.token_like(&token, &json!({"exp": NOW - 31})),
        &forge.token_like(&token, &json!({"iss": "http://127.0.0.1:8081"})),
        &forge.token_of_type("JWT", &claims_of(&token)),
    ] {
        assert_eq!(client.revoke(&product, not_ours).await.status, 200, "{not_ours}");
        assert!(kept(&product).is_empty(), "{not_ours}");
    }
    let other = Registered::at(&product, "other").await;
    let expired = forge.token_like(&token, &json!({"exp": NOW - 31}));
    assert_eq!(other.revoke(&product, &expired).await.status, 200, "it is no longer anybody's");
    assert_eq!(status_of(&product, &token).await, 200);
    assert_refused(&client.post(&product, REVOKE, &[]).await, 400, "invalid_request");
    let hinted = [("token", token.as_str()), ("token_type_hint", "refresh_token")];
    assert_eq!(client.post(&product, REVOKE, &hinted).await.status, 200);
    assert_eq!(status_of(&product, &token).await, 401, "the hint is no more than that");
}

#[tokio::test]
async fn the_token_of_another_client_is_not_revoked() {
    let (product, client) = product_and_client().await;
    let token = client.token(&product).await;
    // Not even by the product that it is meant for, which has seen it.
    for id in ["other", "parcel"] {
        let other = Registered::at(&product, id).await;
        assert_refused(&other.revoke(&product, &token).await, 400, "invalid_grant");
    }
    assert_eq!(status_of(&product, &token).await, 200);
    assert!(kept(&product).is_empty());
}

#[tokio::test]
async fn a_client_may_revoke_a_token_by_which_another_speaks_in_its_name() {
    let (product, client) = product_and_client().await;
    let forge = SigningKey::of(&product);
    let token = forge.token_like(&client.token(&product).await, &json!({"client_id": "parcel"}));
    assert_eq!(client.revoke(&product, &token).await.status, 200);
    assert_eq!(status_of(&product, &token).await, 401);
}

#[tokio::test]
async fn a_revocation_is_kept_as_long_as_the_token_could_be_good_and_then_forgotten() {
    let (product, client) = product_and_client().await;
    let (token, late) = (client.token(&product).await, client.token(&product).await);
    assert_eq!(client.revoke(&product, &token).await.status, 200);
    product.jump(915);
    // Expired, and within what clocks may be apart: it is accepted, and can be revoked.
    assert_eq!(status_of(&product, &late).await, 200);
    assert_eq!(client.revoke(&product, &late).await.status, 200);
    assert_eq!((status_of(&product, &late).await, status_of(&product, &token).await), (401, 401));
    assert_eq!(kept(&product).len(), 2);
    product.jump(20);
    Registered::at(&product, "any-change").await;
    assert!(kept(&product).is_empty());
    product.issuer().revoke(&id_of(&token), after(900)).await.expect("nothing to do");
    assert!(kept(&product).is_empty());
}

#[tokio::test]
async fn more_revocations_than_are_kept_are_refused_until_some_have_expired() {
    let (product, client) = product_and_client().await;
    let token = client.token(&product).await;
    let mut full = stored(&product);
    let ids = (0..100_000).map(|serial| (format!("id-{serial}"), json!(after(600)))).collect();
    full["revoked"] = Value::Object(ids);
    std::fs::write(path_of(&product), full.to_string()).expect("written");

    let error = product.issuer().revoke("one-more", after(900)).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().starts_with("100000 tokens are revoked"), "{error}");
    product.issuer().revoke("id-5", after(900)).await.expect("that one is there already");
    let seen = client.revoke(&product, &token).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (503, "unavailable"));
    assert_eq!(status_of(&product, &token).await, 200);
    product.issuer().revoke_client("acme-app").await.expect("there is room for that");
    assert_eq!(status_of(&product, &token).await, 401);
    product.jump(630);
    product.issuer().revoke("one-more", after(900)).await.expect("there is room again");
    assert_eq!(kept(&product), ["id-5", "one-more"]);
}

#[tokio::test]
async fn an_id_that_no_token_has_is_not_kept() {
    let (product, _) = product_and_client().await;
    for bad in ["", "a b", "a\nb", "\u{e9}", &"x".repeat(129)] {
        let error = product.issuer().revoke(bad, after(900)).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Client, "{bad:?}");
    }
    product.issuer().revoke(&"x".repeat(128), after(900)).await.expect("kept");
}

#[tokio::test]
async fn all_tokens_of_a_client_are_revoked_and_the_next_one_is_good_at_once() {
    let (product, client) = product_and_client().await;
    let other = Registered::at(&product, "other").await;
    let elsewhere = Product::sharing(&product.home(), "http://127.0.0.1:8081").await;
    let untouched = other.token(&product).await;
    let mut refused = Vec::new();
    for _ in 0..3 {
        let token = client.token(&product).await;
        assert_eq!((status_of(&product, &token).await, status_of(&elsewhere, &token).await), (200, 200));
        product.issuer().revoke_client("acme-app").await.expect("revoked");
        refused.push(token);
        for token in &refused {
            assert_eq!(status_of(&product, token).await, 401);
        }
    }
    // In the same second.
    let next = client.token(&product).await;
    assert_eq!(claims_of(&next)["revocations"], 3);
    assert_eq!((status_of(&product, &next).await, status_of(&product, &untouched).await), (200, 200));
    eventually_refused(&elsewhere, &refused[2]).await;
    assert_eq!((status_of(&elsewhere, &next).await, status_of(&elsewhere, &untouched).await), (200, 200));

    product.issuer().register(self::client("acme-app")).await.expect("registered again");
    assert_eq!(status_of(&product, &refused[0]).await, 401, "that forgets nothing");
    let error = product.issuer().revoke_client("nobody").await.expect_err("there is none");
    assert_eq!(error.kind(), ErrorKind::Client);
}

/// The other process signs with a key that this one has never read.
#[tokio::test]
async fn a_token_by_a_key_of_a_moment_ago_can_be_revoked_and_introspected_where_the_key_was_not_seen() {
    let (product, client) = product_and_client().await;
    let elsewhere = Product::sharing(&product.home(), "http://127.0.0.1:8081").await;
    for round in 0..5 {
        for path in ["/oauth/introspect", REVOKE] {
            elsewhere.issuer().rotate_signing_key().await.expect("rotated");
            elsewhere.issuer().rotate_signing_key().await.expect("rotated");
            let token = client.token(&elsewhere).await;
            let seen = client.post(&product, path, &[("token", &token)]).await;
            match path {
                REVOKE => assert_eq!(status_of(&product, &token).await, 401, "round {round}"),
                _ => assert_eq!(seen.json()["active"], true, "round {round}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_at_once_in_two_processes_are_all_kept() {
    let (product, client) = product_and_client().await;
    let elsewhere = Arc::new(Product::sharing(&product.home(), "http://127.0.0.1:8081").await);
    let (product, client) = (Arc::new(product), Arc::new(client));
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(client.token(&product).await);
    }
    let mut revoking = JoinSet::new();
    for (serial, token) in tokens.clone().into_iter().enumerate() {
        let at = if serial % 2 == 0 { product.clone() } else { elsewhere.clone() };
        let client = client.clone();
        revoking.spawn(async move { client.revoke(&at, &token).await.status.as_u16() });
    }
    assert!(revoking.join_all().await.into_iter().all(|status| status == 200));
    let mut expected: Vec<_> = tokens.iter().map(|token| id_of(token)).collect();
    expected.sort_unstable();
    assert_eq!(kept(&product), expected);
}

#[tokio::test]
async fn a_file_has_nothing_new_in_it_until_something_new_is_used() {
    let (product, client) = product_and_client().await;
    let names = |value: &Value| {
        let mut names: Vec<_> = value.as_object().expect("an object").keys().cloned().collect();
        names.sort_unstable();
        names
    };
    let before = stored(&product);
    assert_eq!(names(&before), ["client_secret_key", "clients", "issuer", "keys", "version"]);
    assert_eq!(names(&before["clients"]["acme-app"]), ["generation", "spec"]);
    assert_eq!(names(&before["clients"]["acme-app"]["spec"]), ["audiences", "id", "scopes", "tenant"]);

    client.revoke(&product, &client.token(&product).await).await;
    product.issuer().revoke_client("acme-app").await.expect("revoked");
    let may = ClientSpec::new("acme-app", "acme".parse().expect("a tenant")).may_exchange();
    product.issuer().register(may).await.expect("registered");
    let after = stored(&product);
    assert_eq!(after["clients"]["acme-app"]["spec"]["may_exchange"], true);
    assert!(after["clients"]["acme-app"]["revocations"] == 1 && after["revoked"].is_object());
    Product::sharing(&product.home(), "http://127.0.0.1:8081").await;
}
