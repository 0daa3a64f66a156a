use std::time::Duration;

use halfbyte_core::TenantId;
use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};

use super::{EXPIRED, INVALID, Kept, spec};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: i64 = 86_400;

#[tokio::test]
async fn an_expired_key_says_so_to_whoever_has_its_secret_and_to_nobody_else() {
    let kept = Kept::new().await;
    let expires_at = kept.now() + HOUR;
    let (key, old) = kept.keys.create(spec().expires_at(expires_at)).await.expect("created");
    let new = kept.keys.rotate(&key.id, Duration::from_secs(7200)).await.expect("rotated");
    for secret in [&old, &new] {
        let caller = kept.ask(secret).await.expect("accepted");
        assert_eq!(Some(caller.expires_at()), key.expires_at, "an overlap does not outlive the key");
    }
    let stranger = stranger(&kept, &key.id).await;
    kept.jump(3601);
    assert_eq!((kept.refusal(&old).await.as_str(), kept.refusal(&new).await.as_str()), (EXPIRED, EXPIRED));
    assert_eq!(kept.refusal(&stranger).await, INVALID);
    let error = kept.keys.rotate(&key.id, Duration::ZERO).await.expect_err("refused");
    assert!(error.to_string().contains("expired"), "{error}");
    kept.keys.revoke(&key.id).await.expect("an expired key can be revoked");
    assert_eq!(kept.refusal(&new).await, INVALID, "revoked goes before expired");
}

/// A key of that id which is not the right one.
async fn stranger(kept: &Kept, id: &str) -> SecretString {
    let elsewhere = Kept::new().await;
    std::fs::copy(kept.path(), elsewhere.path()).expect("copied");
    elsewhere.keys.rotate(id, Duration::ZERO).await.expect("rotated there")
}

#[tokio::test]
async fn a_key_expires_while_nothing_is_asked_of_the_store() {
    let kept = Kept::new().await;
    let (_, secret) = kept.keys.create(spec().expires_at(kept.now() + HOUR)).await.expect("created");
    let ask = || kept.keys.authenticate_now(secret.expose_secret()).expect("nothing is asked");
    kept.jump(3590);
    ask().expect("good");
    kept.jump(20);
    assert_eq!(ask().expect_err("expired").to_string(), EXPIRED);
}

#[tokio::test]
async fn keys_that_ended_more_than_30_days_ago_are_forgotten() {
    let kept = Kept::new().await;
    let tenant: TenantId = "acme".parse().expect("a tenant");
    let (revoked, revoked_secret) = kept.create().await;
    let expiring = spec().expires_at(kept.now() + HOUR);
    let (expired, expired_secret) = kept.keys.create(expiring).await.expect("created");
    let expired = expired.id;
    let (kept_on, secret) = kept.create().await;
    kept.keys.revoke(&revoked).await.expect("revoked");
    let ids = async || {
        let listed = kept.keys.list(&tenant).await.expect("listed");
        listed.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    kept.jump(30 * DAY - 60);
    kept.create().await;
    let before = ids().await;
    assert!([&revoked, &expired, &kept_on].into_iter().all(|id| before.contains(id)), "{before:?}");
    assert_eq!(kept.refusal(&expired_secret).await, EXPIRED);
    kept.jump(2 * 3600);
    let (last, _) = kept.create().await;
    let left = ids().await;
    assert!(left.contains(&kept_on) && left.contains(&last) && left.len() == 3, "{left:?}");
    for secret in [&revoked_secret, &expired_secret] {
        assert_eq!(kept.refusal(secret).await, INVALID);
    }
    kept.ask(&secret).await.expect("a key without an end goes on");
}
