use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use halfbyte_core::config::{ApiKeysBackend, Environment};
use halfbyte_core::{Principal, PrincipalKind};
use halfbyte_identity::tie::Ending;
use halfbyte_identity::{ApiKeySpec, ApiKeys};
use http_body_util::{BodyExt as _, StreamBody};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{NOW, Product, life};

fn caller(seconds: i64) -> Principal {
    let expires_at = Timestamp::from_second(NOW + seconds).expect("in range");
    Principal::builder("ann", "acme".parse().expect("a tenant"), expires_at)
        .kind(PrincipalKind::User)
        .issuer("https://id.example.com")
        .credential_id(Some("a"))
        .build()
}

#[tokio::test(start_paused = true)]
async fn a_tie_ends_when_the_credential_expires_and_not_before() {
    let product = Product::of(&[]).await;
    let tie = product.identity.tie(&caller(600));
    let began = Instant::now();
    assert_eq!(tie.ended().await, Ending::Expired);
    assert!((Duration::from_secs(599)..Duration::from_secs(601)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(tie.ended().now_or_never(), Some(Ending::Expired), "it stays ended");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_is_noticed_soon() {
    let product = Product::of(&[]).await;
    let tie = product.identity.tie(&caller(6_000));
    let mut ended = pin!(tie.ended());
    assert!(timeout(Duration::from_secs(1), &mut ended).await.is_err());
    product.life.clock().jump(SignedDuration::from_secs(6_000));
    assert_eq!(timeout(Duration::from_secs(31), ended).await, Ok(Ending::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_tie_ends_at_once_when_the_credential_is_revoked_and_not_when_another_is() {
    let product = Product::of(&[]).await;
    let (caller, revocations) = (caller(600), product.identity.revocations());
    let tie = product.identity.tie(&caller);
    let mut ended = pin!(tie.ended());
    assert!(timeout(Duration::from_secs(1), &mut ended).await.is_err());
    revocations.credential_by_id("https://id.example.com", "b", None);
    assert!(timeout(Duration::from_secs(1), &mut ended).await.is_err());
    revocations.credential(&caller);
    assert_eq!(timeout(Duration::from_millis(1), ended).await, Ok(Ending::Revoked));
    assert_eq!(product.identity.tie(&caller).ended().now_or_never(), Some(Ending::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_credential() {
    let product = Product::of(&[]).await;
    let ticks = stream::unfold(0, async |n| {
        sleep(Duration::from_secs(1)).await;
        Some((n, n + 1))
    });
    let seen: Vec<_> = product.identity.tie(&caller(5)).stream(ticks.boxed()).collect().await;
    assert!((4..=5).contains(&seen.len()), "{seen:?}");
}

fn endless() -> impl http_body::Body<Data = Bytes, Error = std::io::Error> {
    let frames = stream::unfold((), async |()| {
        sleep(Duration::from_secs(1)).await;
        Some((Ok(http_body::Frame::data(Bytes::from_static(b"tick\n"))), ()))
    });
    StreamBody::new(frames.boxed())
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_cut_off_does_not_look_complete() {
    let product = Product::of(&[]).await;
    let mut body = product.identity.tie(&caller(5)).body(endless(), false);
    let mut frames = 0;
    let error = loop {
        match body.frame().await.expect("it does not just end") {
            Ok(_) => frames += 1,
            Err(error) => break error,
        }
    };
    assert!((4..=5).contains(&frames));
    assert_eq!(error.to_string(), "the credential has expired");
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_grpc_stream_ends_with_the_status_unauthenticated() {
    let product = Product::of(&[]).await;
    let caller = caller(500);
    let body = product.identity.tie(&caller).body(endless(), true);
    product.identity.revocations().credential(&caller);
    let collected = body.collect().await.expect("no error");
    let trailers = collected.trailers().expect("trailers");
    assert_eq!(
        (&trailers["grpc-status"], &trailers["grpc-message"]),
        (&"16".parse().unwrap(), &"the credential was revoked".parse().unwrap())
    );
}

#[tokio::test]
async fn a_stream_ends_when_its_api_key_is_revoked_by_another_process() {
    let product = Product::embedded().await;
    let environment = Environment::Development;
    let product =
        Product::sharing_with(&product.home(), |settings| settings.api_keys(ApiKeysBackend::Embedded, environment))
            .await;
    let elsewhere = ApiKeys::open(&ApiKeysBackend::Embedded, environment, &product.home(), &life()).await;
    let elsewhere = elsewhere.expect("opened").expect("on");
    let (key, secret) = elsewhere.create(ApiKeySpec::new("acme".parse().expect("a tenant"))).await.expect("created");
    let caller = product.identity.authenticator().authenticate(secret.expose_secret()).await.expect("good");
    let mut ended = pin!(product.identity.tie(&caller).ended());
    assert!(timeout(Duration::from_millis(100), &mut ended).await.is_err());
    elsewhere.revoke(&key.id).await.expect("revoked");
    assert_eq!(timeout(Duration::from_secs(10), ended).await, Ok(Ending::Revoked));
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked_at_the_embedded_issuer() {
    let product = Product::embedded().await;
    let token = product.token(&[]).await;
    let caller = product.identity.authenticator().authenticate(&token).await.expect("good");
    let other = product.identity.authenticator().authenticate(&product.token(&[]).await).await.expect("good");
    let mut ended = pin!(product.identity.tie(&caller).ended());
    assert!(timeout(Duration::from_millis(100), &mut ended).await.is_err());
    let id = caller.credential_id().expect("it has one");
    product.issuer().revoke(id, caller.expires_at()).await.expect("revoked");
    assert_eq!(timeout(Duration::from_secs(10), ended).await, Ok(Ending::Revoked));
    assert!(timeout(Duration::from_millis(100), product.identity.tie(&other).ended()).await.is_err());
}
