use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use halfbyte_core::error_chain;
use halfbyte_identity::ErrorKind;
use secrecy::ExposeSecret as _;

use super::{Kept, open, spec};
use crate::support::life;

/// Ways in which the file can be wrong.
fn corruptions(good: &str, id: &str) -> Vec<(&'static str, Vec<u8>)> {
    let json: serde_json::Value = serde_json::from_str(good).expect("JSON");
    let with = |pointer: &str, value: serde_json::Value| {
        let mut json = json.clone();
        *json.pointer_mut(pointer).expect("there") = value;
        json.to_string().into_bytes()
    };
    let key = |member: &str| format!("/keys/{id}/{member}");
    vec![
        ("truncated", good.as_bytes()[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("garbage", b"\x00\xff\x00 garbage".to_vec()),
        ("another document", b"{}".to_vec()),
        ("with something behind it", format!("{good}x").into_bytes()),
        ("of another version", with("/version", 2.into())),
        ("with a member of a later version", good.replacen("\"keys\"", "\"later\": 1, \"keys\"", 1).into_bytes()),
        ("with a key of a later version", good.replacen("\"tenant\"", "\"later\": 1, \"tenant\"", 1).into_bytes()),
        ("with an id that is none", good.replacen(id, "no id", 1).into_bytes()),
        ("with a digest that is too short", with(&key("digest"), "AAAA".into())),
        ("with a digest that is no base64url", with(&key("digest"), "not base64!".into())),
        ("with a key of no tenant", with(&key("tenant"), "".into())),
        ("with a scope that is two", with(&key("scopes/0"), "a b".into())),
        ("with no role", with(&key("roles/0"), "".into())),
        ("with a subject that is none", with(&key("subject"), "".into())),
        ("with a time that is none", with(&key("created_at"), "yesterday".into())),
        ("with a label of several lines", with(&key("label"), "a\nb".into())),
    ]
}

#[tokio::test]
async fn a_corrupt_file_is_an_error_that_names_it_and_is_left_byte_for_byte() {
    let kept = Kept::new().await;
    let (id, secret) = kept.create().await;
    let good = fs::read_to_string(kept.path()).expect("read");
    for (what, bad) in corruptions(&good, &id) {
        fs::write(kept.path(), &bad).expect("written");
        let outcomes = [
            open(&kept.home, &life()).await.map(drop),
            kept.keys.create(spec()).await.map(drop),
            kept.keys.rotate(&id, Duration::ZERO).await.map(drop),
            kept.keys.revoke(&id).await,
            kept.keys.list(&"acme".parse().expect("a tenant")).await.map(drop),
        ];
        for outcome in outcomes {
            let error = outcome.expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            assert!(error.to_string().contains(kept.path().to_str().expect("text")), "{what}: {error}");
        }
        assert_eq!(fs::read(kept.path()).expect("read"), bad, "{what}");
        kept.ask(&secret).await.expect("what is known goes on");
    }
    fs::write(kept.path(), &good).expect("written");
    open(&kept.home, &life()).await.expect("restored");
}

#[tokio::test]
async fn while_the_file_is_corrupt_a_key_that_is_not_known_is_answered_503_and_then_it_recovers() {
    let (kept, elsewhere) = (Kept::new().await, Kept::new().await);
    let (_, secret) = kept.create().await;
    let (_, unknown) = elsewhere.create().await;
    let good = fs::read(kept.path()).expect("read");
    fs::write(kept.path(), "garbage").expect("written");
    let problem = kept.ask(&unknown).await.expect_err("it may have been made since");
    assert_eq!(problem.kind().status(), 503);
    kept.ask(&secret).await.expect("what is known goes on");
    fs::write(kept.path(), good).expect("written");
    let back = async {
        while kept.ask(&unknown).await.expect_err("refused").kind().status() != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), back).await.expect("it recovers");
}

#[tokio::test]
async fn a_file_that_is_gone_is_not_begun_anew() {
    let kept = Kept::new().await;
    let (id, _) = kept.create().await;
    fs::remove_file(kept.path()).expect("removed");
    let error = kept.keys.revoke(&id).await.expect_err("it is gone");
    assert!(error.kind() == ErrorKind::Storage && error.to_string().contains("is gone"), "{error}");
    assert!(kept.keys.create(spec()).await.is_err());
    assert!(!kept.path().exists());
}

#[tokio::test]
async fn a_file_that_others_may_read_is_refused_with_the_command_that_mends_it() {
    let kept = Kept::new().await;
    fs::set_permissions(kept.path(), Permissions::from_mode(0o644)).expect("set");
    let error = open(&kept.home, &life()).await.expect_err("open to others");
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error_chain(&error).contains("chmod 600"), "{}", error_chain(&error));
}

#[tokio::test]
async fn what_is_kept_is_private_and_holds_no_key() {
    let kept = Kept::new().await;
    let (id, first) = kept.create().await;
    let second = kept.keys.rotate(&id, Duration::from_secs(60)).await.expect("rotated");
    let mode = fs::metadata(kept.path()).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = fs::read_to_string(kept.path()).expect("read");
    assert!(text.contains(&id));
    for secret in [&first, &second] {
        let secret = secret.expose_secret().rsplit('_').next().expect("a last part");
        assert!(!text.contains(&secret[..43]) && !text.contains(secret));
    }
    let folder = kept.home.path().join("identity");
    let mut names: Vec<_> =
        fs::read_dir(folder).expect("listed").map(|entry| entry.expect("read").file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["api-keys.json", "api-keys.lock"], "no drafts are left");
}

#[tokio::test]
async fn what_was_made_is_found_again() {
    let kept = Kept::new().await;
    let (_, secret) = kept.create().await;
    let before = fs::read(kept.path()).expect("read");
    let again = Kept::on(&kept.home).await;
    again.ask(&secret).await.expect("good");
    assert_eq!(fs::read(kept.path()).expect("read"), before, "opening writes nothing");
}
