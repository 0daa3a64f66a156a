use std::time::Duration;

use halfbyte_core::Principal;
use halfbyte_identity::layers::RequireLayer;
use http::Request;
use jiff::{SignedDuration, Timestamp};
use tower::{ServiceBuilder, service_fn};

use crate::support::{NOW, Product, Seen, get, greet, send};

fn signed_in(seconds_ago: i64, acr: Option<&str>, roles: &[&str]) -> Principal {
    let now = Timestamp::from_second(NOW).expect("in range");
    Principal::builder("ann", "acme".parse().expect("a tenant"), now + SignedDuration::from_secs(900))
        .scopes(["labels:read"])
        .roles(roles.iter().copied())
        .authenticated_at(Some(now - SignedDuration::from_secs(seconds_ago)))
        .acr(acr)
        .build()
}

async fn ask(layer: RequireLayer, path: &str, principal: Option<Principal>) -> Seen {
    let mut request: Request<String> = get(path);
    if let Some(principal) = principal {
        request.extensions_mut().insert(principal);
    }
    send(&ServiceBuilder::new().layer(layer).service(service_fn(greet)), request).await
}

async fn product() -> Product {
    Product::of(&[]).await
}

const METADATA: &str = r#"resource_metadata="http://127.0.0.1:8080/.well-known/oauth-protected-resource""#;

#[tokio::test]
async fn a_role_that_is_missing_is_forbidden_with_its_name() {
    let product = product().await;
    let layer = || product.identity.require(&[]).role("clerk").role("treasurer");
    let seen = ask(layer(), "/", Some(signed_in(0, None, &["clerk"]))).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (403, "forbidden"));
    assert_eq!(seen.json()["detail"], "this needs the role: treasurer");
    assert_eq!(seen.header("www-authenticate"), "");
    assert_eq!(ask(layer(), "/", Some(signed_in(0, None, &["treasurer", "clerk"]))).await.status, 200);
    assert_eq!(ask(layer(), "/", Some(signed_in(0, None, &["Treasurer", "clerk"]))).await.status, 403);
}

#[tokio::test]
async fn a_sign_in_that_is_too_weak_is_to_be_stepped_up() {
    let product = product().await;
    let layer = || product.identity.require(&[]).acr(&["urn:loa:3", "urn:loa:2"]);
    for acr in [None, Some("urn:loa:1"), Some("")] {
        let seen = ask(layer(), "/", Some(signed_in(0, acr, &[]))).await;
        assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (401, "step-up-required"));
        let description = "this needs a stronger or more recent sign-in";
        assert_eq!(
            seen.header("www-authenticate"),
            format!(
                r#"Bearer error="insufficient_user_authentication",error_description="{description}",acr_values="urn:loa:3 urn:loa:2",{METADATA}"#
            )
        );
    }
    assert_eq!(ask(layer(), "/", Some(signed_in(0, Some("urn:loa:2"), &[]))).await.status, 200);
}

#[tokio::test]
async fn a_sign_in_that_is_too_long_ago_is_to_be_repeated() {
    let product = product().await;
    let layer = || product.identity.require(&[]).max_age(Duration::from_secs(300));
    assert_eq!(ask(layer(), "/", Some(signed_in(299, None, &[]))).await.status, 200);
    let seen = ask(layer(), "/", Some(signed_in(302, None, &[]))).await;
    assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (401, "step-up-required"));
    let challenge = seen.header("www-authenticate");
    assert!(challenge.contains(r#",max_age="300","#) && !challenge.contains("acr_values"), "{challenge}");
    let nobody_signed_in = Principal::builder("app", "acme".parse().expect("a tenant"), Timestamp::MAX).build();
    assert_eq!(ask(layer(), "/", Some(nobody_signed_in)).await.problem(), "step-up-required");
}

#[tokio::test]
async fn a_tenant_reaches_its_own_paths_only() {
    let product = product().await;
    let layer = || product.identity.require(&[]).tenant_in_path("/tenants/{tenant}");
    assert_eq!(ask(layer(), "/tenants/acme/labels", Some(signed_in(0, None, &[]))).await.status, 200);
    for path in ["/tenants/globex/labels", "/tenants/acme/../globex", "/labels", "/tenants"] {
        let seen = ask(layer(), path, Some(signed_in(0, None, &[]))).await;
        assert_eq!((seen.status.as_u16(), seen.problem().as_str()), (403, "forbidden"), "{path}");
        assert_eq!(seen.json()["detail"], "this is of another tenant");
    }
}

#[tokio::test]
async fn what_is_missing_is_named_in_one_order() {
    let product = product().await;
    let layer = || {
        product
            .identity
            .require(&["labels:read", "labels:write"])
            .role("clerk")
            .acr(&["high"])
            .tenant_in_path("/{tenant}")
    };
    assert_eq!(ask(layer(), "/globex", None).await.problem(), "unauthenticated");
    assert_eq!(ask(layer(), "/globex", Some(signed_in(0, None, &[]))).await.problem(), "insufficient-scope");
    let layer = || product.identity.require(&[]).role("clerk").acr(&["high"]).tenant_in_path("/{tenant}");
    assert_eq!(ask(layer(), "/globex", Some(signed_in(0, None, &[]))).await.problem(), "forbidden");
    assert_eq!(ask(layer(), "/globex", Some(signed_in(0, None, &["clerk"]))).await.problem(), "forbidden");
    assert_eq!(ask(layer(), "/acme", Some(signed_in(0, None, &["clerk"]))).await.problem(), "step-up-required");
    assert_eq!(ask(layer(), "/acme", Some(signed_in(0, Some("high"), &["clerk"]))).await.status, 200);
}
