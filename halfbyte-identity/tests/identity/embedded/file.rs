use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use halfbyte_core::error_chain;
use halfbyte_core::home::Home;
use halfbyte_identity::{Embedded, Error, ErrorKind};
use tempfile::TempDir;

use crate::support::{AUDIENCE, Product, client, life, send, with_token};

/// A home with an issuer and a client in it.
struct Kept {
    _folder: TempDir,
    home: Home,
    path: PathBuf,
}

impl Kept {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path().join("home")).expect("a home");
        let path = home.path().join("identity/issuer.json");
        let kept = Self { _folder: folder, home, path };
        kept.open().await.expect("made").register(client("acme-app")).await.expect("registered");
        kept
    }

    async fn open(&self) -> Result<Embedded, Error> {
        let url = "http://127.0.0.1:8080".parse().expect("a URL");
        Embedded::open(&self.home, &url, AUDIENCE, &life()).await
    }
}

/// Ways in which the file can be wrong.
fn corruptions(good: &str) -> Vec<(&'static str, Vec<u8>)> {
    let json: serde_json::Value = serde_json::from_str(good).expect("JSON");
    let with = |pointer: &str, value: serde_json::Value| {
        let mut json = json.clone();
        *json.pointer_mut(pointer).expect("there") = value;
        json.to_string().into_bytes()
    };
    vec![
        ("truncated", good.as_bytes()[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("garbage", b"\x00\xff\x00 garbage".to_vec()),
        ("another document", b"{}".to_vec()),
        ("with something behind it", format!("{good}x").into_bytes()),
        ("of another version", with("/version", 2.into())),
        ("of no version", with("/version", "1".into())),
        ("with a member of a later version", good.replacen("\"issuer\"", "\"later\": 1, \"issuer\"", 1).into_bytes()),
        ("with the id of another key", with("/keys/0/key_id", json["keys"][1]["key_id"].clone())),
        ("with a key that is none", with("/keys/0/pkcs8", "AAAA".into())),
        ("with a key that is no base64url", with("/keys/1/pkcs8", "not base64!".into())),
        ("with two keys that sign", with("/keys/1/role", "signing".into())),
        ("with no key that signs", with("/keys/0/role", "next".into())),
        ("without keys", with("/keys", serde_json::json!([]))),
        ("with a client secret key that is too short", with("/client_secret_key", "AAAA".into())),
        ("with a client under another name", with("/clients/acme-app/spec/id", "other".into())),
        (
            "with a revoked token of no time",
            good.replacen("\"issuer\"", r#""revoked": {"x": "soon"}, "issuer""#, 1).into(),
        ),
        ("with a client of no tenant", with("/clients/acme-app/spec/tenant", "".into())),
    ]
}

#[tokio::test]
async fn a_corrupt_file_is_an_error_that_names_it_and_is_left_byte_for_byte() {
    let kept = Kept::new().await;
    let good = fs::read_to_string(&kept.path).expect("read");
    for (what, bad) in corruptions(&good) {
        fs::write(&kept.path, &bad).expect("written");
        let error = kept.open().await.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        assert!(error.to_string().contains(kept.path.to_str().expect("text")), "{what}: {error}");
        assert_eq!(fs::read(&kept.path).expect("read"), bad, "{what}");
    }
    fs::write(&kept.path, &good).expect("written");
    kept.open().await.expect("restored");
}

#[tokio::test]
async fn a_file_that_is_corrupted_while_it_is_in_use_is_not_changed_by_anything_that_is_asked_for() {
    let kept = Kept::new().await;
    let issuer = kept.open().await.expect("opened");
    let good = fs::read_to_string(&kept.path).expect("read");
    for (what, bad) in corruptions(&good) {
        fs::write(&kept.path, &bad).expect("written");
        let errors = [
            issuer.register(client("new")).await.map(drop),
            issuer.rotate_client_secret("acme-app").await.map(drop),
            issuer.rotate_signing_key().await.map(drop),
            issuer.revoke("some-token", jiff::Timestamp::MAX).await,
            issuer.revoke_client("acme-app").await,
        ];
        for error in errors {
            let error = error.expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            assert!(error.to_string().contains("issuer.json"), "{what}: {error}");
        }
        assert_eq!(fs::read(&kept.path).expect("read"), bad, "{what}");
    }
    fs::write(&kept.path, &good).expect("written");
    issuer.register(client("new")).await.expect("restored");
}

#[tokio::test]
async fn while_the_file_is_corrupt_the_issuer_goes_on_with_what_it_knows_and_says_503_to_whom_it_does_not() {
    let product = Product::embedded().await;
    let secret = product.register("acme-app").await;
    let token = product.token(&[]).await;
    let path = product.home().path().join("identity/issuer.json");
    let good = fs::read(&path).expect("read");
    fs::write(&path, "garbage").expect("written");
    assert_eq!(product.ask_token("acme-app", &secret, &[]).await.status, 200);
    assert_eq!(product.ask_token("somebody", &secret, &[]).await.status, 503, "he may have been registered since");
    assert_eq!(send(&product.greeter(), with_token(&token)).await.status, 200);
    fs::write(&path, good).expect("written");
    let back = async {
        while product.ask_token("somebody", &secret, &[]).await.status != 401 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), back).await.expect("it recovers");
}

#[tokio::test]
async fn a_file_or_a_folder_that_others_may_read_is_refused_with_the_command_that_mends_it() {
    for (name, mode) in [("identity/issuer.json", 0o644), ("identity/issuer.json", 0o640), ("identity", 0o755)] {
        let kept = Kept::new().await;
        let path = kept.home.path().join(name);
        let before = fs::metadata(&path).expect("there").permissions();
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
        let error = kept.open().await.expect_err("open to others");
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(error_chain(&error).contains("chmod"), "{}", error_chain(&error));
        fs::set_permissions(&path, before).expect("set");
        kept.open().await.expect("mended");
    }
}

#[tokio::test]
async fn what_is_kept_is_private_and_no_drafts_are_left() {
    let kept = Kept::new().await;
    let mode = |path: &PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&kept.path), 0o600);
    let folder = kept.home.path().join("identity");
    assert_eq!(mode(&folder), 0o700);
    let mut names: Vec<_> =
        fs::read_dir(&folder).expect("listed").map(|entry| entry.expect("read").file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["issuer.json", "issuer.lock"]);
    let secret = kept.open().await.expect("opened").register(client("acme-app")).await.expect("registered");
    let file = fs::read_to_string(&kept.path).expect("read");
    assert!(!file.contains(secrecy::ExposeSecret::expose_secret(&secret)), "no client secret is kept");
}

#[tokio::test]
async fn what_was_made_is_found_again() {
    let kept = Kept::new().await;
    let before = fs::read(&kept.path).expect("read");
    let url = "http://127.0.0.1:9999".parse().expect("a URL");
    let again = Embedded::open(&kept.home, &url, AUDIENCE, &life()).await.expect("opened");
    assert_eq!(again.issuer(), "http://127.0.0.1:8080", "its name is for good");
    assert_eq!(fs::read(&kept.path).expect("read"), before, "opening writes nothing");
}

#[tokio::test]
async fn a_change_that_changes_nothing_is_not_written() {
    let kept = Kept::new().await;
    let file = || fs::metadata(&kept.path).expect("there").ino();
    let (issuer, before) = (kept.open().await.expect("opened"), file());
    issuer.register(client("acme-app")).await.expect("registered as it is");
    assert_eq!(file(), before, "the file is the same one");
    issuer.register(client("globex-app")).await.expect("registered");
    assert_ne!(file(), before);
}
