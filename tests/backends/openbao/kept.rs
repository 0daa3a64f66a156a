//! Key-value secrets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use halfbyte::secrets::openbao::OpenBao;
use halfbyte::secrets::{ErrorKind, ExposeSecret as _, Secret, Secrets, Stage};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Url;

use super::{Bao, lifecycle, quick, read, value};

const ROTATIONS: usize = 50;

/// A value that shows when it is torn.
fn whole(number: usize) -> String {
    format!("{number:04}").repeat(1024)
}

fn number(value: &str) -> usize {
    let number = value[..4].parse().unwrap();
    assert!(value == whole(number), "a torn value");
    number
}

/// Uses the secret without pause, and once more when told to stop; answers how often.
async fn user(secret: Secret<String>, rotated: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> usize {
    let (mut uses, mut generation) = (0, 0);
    loop {
        let stopped = stop.load(Ordering::SeqCst);
        // Those who use it may not see what was replaced before they looked.
        let least = rotated.load(Ordering::SeqCst);
        let snapshot = secret.load().unwrap();
        assert!(snapshot.generation() >= generation, "an older generation came back");
        generation = snapshot.generation();
        let used = number(snapshot.expose_secret());
        assert!(used >= least, "{used} was used after {least} was current");
        uses += 1;
        if stopped {
            assert_eq!(used, ROTATIONS, "a user was left behind");
            return uses;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_tasks_use_each_of_fifty_rotations_whole_and_none_uses_what_was_replaced() {
    let bao = Bao::shared();
    let auth = bao.role("rotation", &["secret/data/rotation/*"], 600, 600).await;
    bao.put("secret/data/rotation/key", json!({ "value": whole(0) })).await;
    let life = lifecycle();
    let openbao = OpenBao::new(bao.settings("secret", auth).path("rotation").unwrap()).unwrap();
    let secret = Secrets::builder(openbao).policy(quick()).build(&life).get::<String>("key");
    secret.ready().await.unwrap();
    let (rotated, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut users = JoinSet::new();
    for _ in 0..8 {
        users.spawn(user(secret.clone(), rotated.clone(), stop.clone()));
    }
    for next in 1..=ROTATIONS {
        let seen = secret.generation();
        bao.put("secret/data/rotation/key", json!({ "value": whole(next) })).await;
        timeout(Duration::from_secs(10), secret.changed(seen)).await.expect("each rotation is seen");
        assert_eq!(number(secret.load().unwrap().expose_secret()), next);
        rotated.store(next, Ordering::SeqCst);
    }
    stop.store(true, Ordering::SeqCst);
    for uses in users.join_all().await {
        assert!(uses > ROTATIONS, "a task did not use it while it was rotated");
    }
    let previous = secret.previous().unwrap();
    assert_eq!(number(previous.expose_secret()), ROTATIONS - 1);
}

#[tokio::test]
async fn versions_stages_and_deletion_are_as_the_server_has_them() {
    let bao = Bao::shared();
    let auth = bao.role("stages", &["secret/data/stages/*"], 600, 600).await;
    let url = format!("openbao+http://{}/secret/stages", bao.url.trim_start_matches("http://"));
    let openbao = OpenBao::from_url(&Url::parse(&url).unwrap(), auth).unwrap();
    let kind = async |name: &str, stage| read(&openbao, name, stage).await.map(drop).map_err(|error| error.kind());
    let previous = async || {
        let reading = read(&openbao, "x", Stage::Previous).await.map_err(|error| error.kind())?;
        Ok::<_, ErrorKind>(String::from_utf8(reading.value().unwrap().to_vec()).unwrap())
    };

    bao.ask(Method::DELETE, "secret/metadata/stages/x", json!({})).await;
    assert_eq!(kind("none", Stage::Current).await, Err(ErrorKind::NotFound));
    bao.put("secret/data/stages/x", json!({ "value": "one" })).await;
    assert_eq!(previous().await, Err(ErrorKind::NotFound));
    bao.put("secret/data/stages/x", json!({ "value": "two \"<&>\" €" })).await;
    assert_eq!(value(&openbao, "x").await.unwrap(), "two \"<&>\" €");
    assert_eq!(previous().await.as_deref(), Ok("one"));
    bao.put("secret/data/stages/x", json!({ "user": "u", "password": "p" })).await;
    assert_eq!(value(&openbao, "x").await.unwrap(), r#"{"password":"p","user":"u"}"#);
    assert_eq!(kind("x", Stage::Pending).await, Err(ErrorKind::NotFound));

    bao.post("secret/delete/stages/x", json!({ "versions": [2] })).await;
    assert_eq!(previous().await, Err(ErrorKind::NotFound), "deleted");
    bao.post("secret/undelete/stages/x", json!({ "versions": [2] })).await;
    assert!(previous().await.is_ok());
    bao.post("secret/destroy/stages/x", json!({ "versions": [2] })).await;
    assert_eq!(previous().await, Err(ErrorKind::NotFound), "destroyed");
    bao.delete("secret/data/stages/x").await;
    let error = value(&openbao, "x").await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("version 3"), "{error}");
}

#[tokio::test]
async fn a_secret_that_was_removed_and_made_anew_is_not_taken_for_the_old_one() {
    let bao = Bao::shared();
    let auth = bao.role("anew", &["secret/data/anew/*"], 600, 600).await;
    let life = lifecycle();
    let openbao = OpenBao::new(bao.settings("secret", auth).path("anew").unwrap()).unwrap();
    bao.put("secret/data/anew/x", json!({ "value": "old" })).await;
    let secret = Secrets::builder(openbao).policy(quick()).build(&life).get::<String>("x");
    secret.ready().await.unwrap();
    bao.delete("secret/metadata/anew/x").await;
    assert_eq!(bao.put("secret/data/anew/x", json!({ "value": "new" })).await, 1, "the same number");
    timeout(Duration::from_secs(10), secret.changed(1)).await.expect("it is seen");
    assert_eq!(secret.load().unwrap().expose_secret(), "new");
}

#[tokio::test]
async fn what_is_somewhere_else_or_forbidden_is_told_apart() {
    let bao = Bao::shared();
    let auth = bao.role("elsewhere", &["secret/data/elsewhere/*", "nowhere/*", "database/*"], 600, 600).await;
    for (mount, path, kind, says) in [
        ("secret", "other", ErrorKind::Denied, "policies"),
        ("nowhere", "x", ErrorKind::Denied, "mount it"),
        ("database", "x", ErrorKind::Malformed, "no such path"),
    ] {
        let openbao = OpenBao::new(bao.settings(mount, auth.clone()).path(path).unwrap()).unwrap();
        let error = value(&openbao, "x").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{mount}/{path}: {error}");
        assert!(error.to_string().contains(says), "{mount}/{path}: {error}");
    }
}
