use std::time::Duration;

use halfbyte_core::PrincipalKind;
use halfbyte_core::config::{ApiKeysBackend, Environment};
use halfbyte_identity::api_keys::{ApiKeySpec, ISSUER, MAX_OVERLAP};
use halfbyte_identity::{ApiKeys, ErrorKind};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::{INVALID, Kept, spec};

#[tokio::test]
async fn a_key_is_a_principal_from_the_moment_it_is_made() {
    let kept = Kept::new().await;
    let (key, secret) = kept.keys.create(spec()).await.expect("created");
    let now = kept.keys.authenticate_now(secret.expose_secret()).expect("nothing has to be asked").expect("accepted");
    for caller in [now, kept.ask(&secret).await.expect("accepted")] {
        assert_eq!((caller.subject(), caller.tenant().as_str()), (format!("key:{}", key.id).as_str(), "acme"));
        assert_eq!((caller.kind(), caller.issuer()), (PrincipalKind::Service, ISSUER));
        assert_eq!(caller.scopes().collect::<Vec<_>>(), ["labels:read", "labels:write"]);
        assert_eq!(caller.roles().collect::<Vec<_>>(), ["importer"]);
        assert_eq!(caller.credential_id(), Some(key.id.as_str()));
        assert_eq!((caller.issued_at(), caller.expires_at()), (Some(key.created_at), Timestamp::MAX));
    }
    let (_, secret) = kept.keys.create(spec().subject("importer@acme")).await.expect("created");
    assert_eq!(kept.ask(&secret).await.expect("accepted").subject(), "importer@acme");
}

#[tokio::test]
async fn keys_are_listed_to_their_tenant_in_the_order_of_their_making() {
    let kept = Kept::new().await;
    let mut made = Vec::new();
    for label in ["one", "two", "three"] {
        made.push(kept.keys.create(spec().label(label)).await.expect("created").0);
        kept.jump(1);
    }
    kept.keys.create(ApiKeySpec::new("other".parse().expect("a tenant"))).await.expect("created");
    let listed = kept.keys.list(&"acme".parse().expect("a tenant")).await.expect("listed");
    assert_eq!(listed, made);
    assert!(kept.keys.list(&"nobody".parse().expect("a tenant")).await.expect("listed").is_empty());
}

#[tokio::test]
async fn a_revoked_key_is_refused_by_the_next_request_and_stays_revoked() {
    let kept = Kept::new().await;
    for _ in 0..20 {
        let (id, secret) = kept.create().await;
        kept.ask(&secret).await.expect("accepted");
        kept.keys.revoke(&id).await.expect("revoked");
        let verdict = kept.keys.authenticate_now(secret.expose_secret());
        assert!(verdict.is_none_or(|verdict| verdict.is_err()), "it is in force here");
        assert_eq!(kept.refusal(&secret).await, INVALID);
    }
    let (id, secret) = kept.create().await;
    kept.keys.revoke(&id).await.expect("revoked");
    let tenant = "acme".parse().expect("a tenant");
    let first = kept.keys.list(&tenant).await.expect("listed");
    kept.jump(60);
    kept.keys.revoke(&id).await.expect("revoking again is fine");
    assert_eq!(kept.keys.list(&tenant).await.expect("listed"), first, "the time of the revocation stays");
    let error = kept.keys.rotate(&id, Duration::ZERO).await.expect_err("it stays revoked");
    assert!(error.kind() == ErrorKind::ApiKey && error.to_string().contains("revoked"), "{error}");
    assert_eq!(kept.refusal(&secret).await, INVALID);
}

#[tokio::test]
async fn the_secret_before_a_rotation_is_good_for_the_overlap_and_no_longer() {
    let kept = Kept::new().await;
    let (key, old) = kept.keys.create(spec()).await.expect("created");
    kept.jump(100);
    let rotated_at = kept.now();
    let new = kept.keys.rotate(&key.id, Duration::from_secs(3600)).await.expect("rotated");
    let (before, after) = (kept.ask(&old).await.expect("good"), kept.ask(&new).await.expect("good"));
    assert_eq!((before.subject(), before.credential_id()), (after.subject(), after.credential_id()));
    assert_eq!((before.issued_at(), after.expires_at()), (Some(key.created_at), Timestamp::MAX));
    assert!((before.expires_at() - rotated_at).get_seconds() <= 3601, "it ends with the overlap");
    assert!(after.issued_at().is_some_and(|at| at.as_second() >= rotated_at.as_second()));
    let listed = kept.keys.list(&key.tenant).await.expect("listed").remove(0);
    assert_eq!((listed.overlap_ends_at, listed.rotated_at), (Some(before.expires_at()), after.issued_at()));

    kept.jump(3590);
    kept.ask(&old).await.expect("good until the end");
    kept.jump(20);
    assert_eq!(kept.refusal(&old).await, INVALID);
    kept.ask(&new).await.expect("good for good");
}

#[tokio::test]
async fn rotating_again_during_the_overlap_ends_the_oldest_at_once() {
    let kept = Kept::new().await;
    let (id, first) = kept.create().await;
    let hour = Duration::from_secs(3600);
    let mut secrets: Vec<SecretString> = vec![first];
    for rotation in 1..5 {
        secrets.push(kept.keys.rotate(&id, hour).await.expect("rotated"));
        for (generation, secret) in secrets.iter().enumerate() {
            assert_eq!(kept.ask(secret).await.is_ok(), generation + 1 >= rotation, "{generation} after {rotation}");
        }
    }
    let last = kept.keys.rotate(&id, Duration::ZERO).await.expect("rotated");
    for secret in &secrets {
        assert_eq!(kept.refusal(secret).await, INVALID, "without overlap, only the new one is good");
    }
    kept.ask(&last).await.expect("good");
}

#[tokio::test]
async fn the_secret_of_one_key_is_no_good_under_the_id_of_another() {
    let kept = Kept::new().await;
    let (one, _) = kept.create().await;
    let (_, other) = kept.create().await;
    // A new secret for the first id, well-formed, and of this environment: from a store that is not this one.
    let elsewhere = Kept::new().await;
    std::fs::copy(kept.path(), elsewhere.path()).expect("copied");
    let forged = elsewhere.keys.rotate(&one, Duration::ZERO).await.expect("rotated there");
    elsewhere.ask(&forged).await.expect("good there");
    assert_eq!(kept.refusal(&forged).await, INVALID);
    kept.ask(&other).await.expect("good");
}

#[tokio::test]
async fn a_key_of_another_environment_or_with_a_typing_error_is_refused_without_asking_the_store() {
    let kept = Kept::new().await;
    let (_, secret) = kept.create().await;
    let staging = ApiKeys::open(&ApiKeysBackend::Embedded, Environment::Staging, &kept.home, &kept.life).await;
    let staging = staging.expect("opened").expect("not off");
    let refused = staging.authenticate_now(secret.expose_secret()).expect("nothing is asked").expect_err("refused");
    assert_eq!(refused.to_string(), INVALID);
    let text = secret.expose_secret();
    let mut typed = text.to_owned();
    typed.replace_range(20..21, if &text[20..21] == "x" { "y" } else { "x" });
    for bad in [typed.as_str(), &text[1..], &text[..text.len() - 1], "hb_", "", "hb_dev_"] {
        let refused = kept.keys.authenticate_now(bad).expect("nothing is asked").expect_err("refused");
        assert_eq!(refused.to_string(), INVALID);
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_is_written() {
    let kept = Kept::new().await;
    let before = std::fs::read(kept.path()).expect("read");
    let past = kept.now();
    let bad = [
        spec().subject(""),
        spec().subject("a b"),
        spec().subject("x".repeat(256)),
        spec().scopes(["two words"]),
        spec().scopes([""]),
        spec().scopes((0..101).map(|n| n.to_string())),
        spec().roles(["x".repeat(129)]),
        spec().label("line\nbreak"),
        spec().label("x".repeat(201)),
        spec().expires_at(past),
    ];
    for spec in bad {
        let error = kept.keys.create(spec.clone()).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ApiKey, "{spec:?}: {error}");
    }
    for id in ["nosuchkey000", "", "x", "hb_dev_nosuchkey000_secret", "é"] {
        let errors = [kept.keys.revoke(id).await, kept.keys.rotate(id, Duration::ZERO).await.map(drop)];
        assert!(errors.into_iter().all(|error| error.expect_err("refused").kind() == ErrorKind::ApiKey), "{id}");
    }
    assert_eq!(std::fs::read(kept.path()).expect("read"), before);

    let (id, secret) = kept.create().await;
    let error = kept.keys.rotate(&id, MAX_OVERLAP + Duration::from_secs(1)).await.expect_err("refused");
    assert!(error.to_string().contains("90 days"), "{error}");
    kept.ask(&secret).await.expect("unchanged");
    kept.keys.rotate(&id, MAX_OVERLAP).await.expect("the longest overlap");
    kept.ask(&secret).await.expect("good for it");
}

#[tokio::test]
async fn off_means_no_keys_at_all() {
    let kept = Kept::new().await;
    let keys = ApiKeys::open(&ApiKeysBackend::Off, Environment::Production, &kept.home, &kept.life).await;
    assert!(keys.expect("nothing can go wrong").is_none());
}

#[cfg(not(feature = "postgres"))]
#[tokio::test]
async fn a_database_without_the_feature_is_an_error_that_says_what_to_enable() {
    let kept = Kept::new().await;
    let backend = ApiKeysBackend::Postgres("postgres://app:hunter2@db.example/app".into());
    let error = ApiKeys::open(&backend, Environment::Production, &kept.home, &kept.life).await.expect_err("refused");
    assert!(error.to_string().contains("feature \"postgres\""), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}
