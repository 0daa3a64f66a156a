use serde_json::json;

use super::{INTROSPECT, Registered, SigningKey, assert_refused, claims_of};
use crate::support::{Key, Product, claims};

#[tokio::test]
async fn the_client_and_the_audience_of_a_token_are_told_what_it_says_and_others_are_told_nothing() {
    let product = Product::embedded().await;
    let client = Registered::at(&product, "acme-app").await;
    let token = client.token(&product).await;
    let mut all = claims_of(&token);
    all["active"] = json!(true);
    all["token_type"] = json!("Bearer");
    assert_eq!(client.introspect(&product, &token).await, all);
    let audience = Registered::at(&product, "parcel").await;
    assert_eq!(audience.introspect(&product, &token).await, all);
    let other = Registered::at(&product, "clinic").await;
    assert_eq!(other.introspect(&product, &token).await, json!({"active": false}));
    let hinted = [("token", token.as_str()), ("token_type_hint", "refresh_token")];
    assert_eq!(client.post(&product, INTROSPECT, &hinted).await.json(), all, "the hint is no more than that");
}

#[tokio::test]
async fn what_is_not_a_good_token_of_this_issuer_is_inactive() {
    let product = Product::embedded().await;
    let client = Registered::at(&product, "acme-app").await;
    let token = client.token(&product).await;
    let forge = SigningKey::of(&product);
    let elsewhere = Product::embedded().await;
    let other_issuer = Registered::at(&elsewhere, "acme-app").await.token(&elsewhere).await;
    let unsigned = token.rsplit_once('.').expect("parts").0;
    for bad in [
        "x",
        "a.b.c",
        unsigned,
        &format!("{unsigned}.{}", "A".repeat(86)),
        &other_issuer,
        &Key::es256("k1").token(&claims("http://127.0.0.1:8080")),
        &forge.token_of_type("JWT", &claims_of(&token)),
        &forge.token_of_type("logout+jwt", &claims_of(&token)),
        &forge.token_like(&token, &json!({"iss": "http://127.0.0.1:8081"})),
        &forge.token_like(&token, &json!({"exp": null})),
        &forge.token_like(&token, &json!({"exp": "1900000900"})),
        &forge.token_like(&token, &json!({"aud": ["acme-app"], "client_id": ["acme-app"]})),
    ] {
        assert_eq!(client.introspect(&product, bad).await, json!({"active": false}), "{bad}");
    }
    let same = forge.token_like(&token, &json!({}));
    assert_eq!(client.introspect(&product, &same).await["active"], true, "the forge is as good as the issuer");
    assert_refused(&client.post(&product, INTROSPECT, &[]).await, 400, "invalid_request");
    assert_refused(&client.post(&product, INTROSPECT, &[("token", "")]).await, 400, "invalid_request");
}

#[tokio::test]
async fn a_token_is_inactive_once_it_has_expired_or_is_revoked() {
    let product = Product::embedded().await;
    let client = Registered::at(&product, "acme-app").await;
    let (old, revoked) = (client.token(&product).await, client.token(&product).await);
    assert_eq!(client.revoke(&product, &revoked).await.status, 200);
    assert_eq!(client.introspect(&product, &revoked).await, json!({"active": false}));
    product.jump(890);
    assert_eq!(client.introspect(&product, &old).await["active"], true);
    product.jump(10);
    assert_eq!(client.introspect(&product, &old).await, json!({"active": false}), "without leeway");
}
