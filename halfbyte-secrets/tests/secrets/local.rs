use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use halfbyte_core::config::Config;
use halfbyte_core::home::Home;
use halfbyte_secrets::{Error, ErrorKind, ExposeSecret as _, Local, Secret, Secrets};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{chain, lifecycle};

struct Setup {
    folder: TempDir,
    local: Local,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let local = Local::open(&Home::open(folder.path().join("home")).expect("opened")).expect("opened");
        Self { folder, local }
    }

    fn with_a_secret() -> Self {
        let setup = Self::new();
        setup.local.set("token", &"hunter2".into()).expect("set");
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("home/secrets").join(name)
    }

    /// As another process opens it.
    fn open(&self) -> Secrets {
        let home = self.folder.path().join("home");
        let config = Config::parse([("HALFBYTE_HOME", home.to_str().expect("text"))]).expect("configured");
        Secrets::open(&config, &lifecycle()).expect("opened")
    }

    fn files(&self) -> Vec<(String, Vec<u8>, u32)> {
        let mut files: Vec<_> = fs::read_dir(self.path(""))
            .expect("listed")
            .map(|entry| {
                let path = entry.expect("an entry").path();
                let mode = fs::metadata(&path).expect("there").mode();
                let name = path.file_name().expect("named").to_string_lossy().into_owned();
                (name, fs::read(&path).expect("read"), mode)
            })
            .collect();
        files.sort();
        files
    }

    /// Every operation fails alike, says which file and what to do, and leaves each byte as it was.
    async fn refuses_all(&self, kind: ErrorKind, names: &str, advice: &str) {
        let before = self.files();
        let handle = self.open().get::<String>("token");
        let failures = [
            handle.ready().await.err(),
            self.local.set("other", &"x".into()).err(),
            self.local.set("token", &"x".into()).err(),
            self.local.remove("token").err(),
            self.local.names().err(),
        ];
        for error in failures {
            let error: Error = error.expect("refused");
            let said = chain(&error);
            assert_eq!(error.kind(), kind, "{said}");
            assert!(said.contains(&*self.path(names).to_string_lossy()), "names the file: {said}");
            assert!(said.contains(advice), "says what to do: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        let known = |(name, _, _): &(String, Vec<u8>, u32)| name != "secrets.lock";
        assert!(self.files().iter().filter(|file| known(file)).eq(before.iter().filter(|file| known(file))));
    }
}

fn value(secret: &Secret<String>) -> String {
    secret.load().expect("loaded").expose_secret().clone()
}

#[tokio::test]
async fn what_is_set_is_read_by_another_process_and_survives() {
    let setup = Setup::with_a_secret();
    let odd = "two\nlines, \"quotes\", \0 and ü";
    setup.local.set("odd", &odd.into()).expect("set");
    let secrets = setup.open();
    for (name, expected) in [("token", "hunter2"), ("odd", odd)] {
        let secret = secrets.get::<String>(name);
        secret.ready().await.expect("loaded");
        assert_eq!(value(&secret), expected);
    }
    assert_eq!(setup.local.names().expect("read"), ["odd", "token"]);
    assert!(setup.local.remove("odd").expect("removed"));
    assert!(!setup.local.remove("odd").expect("nothing to remove"));
    assert_eq!(setup.local.names().expect("read"), ["token"]);
}

#[tokio::test]
async fn a_home_without_secrets_answers_not_found_and_makes_no_key() {
    let setup = Setup::new();
    let error = setup.open().get::<String>("token").ready().await.expect_err("nothing is there");
    assert!(error.is_not_found(), "{error:?}");
    assert!(setup.local.names().expect("none").is_empty());
    assert!(!setup.local.remove("token").expect("none"));
    assert!(!setup.path("secrets.key").exists() && !setup.path("secrets.age").exists());
}

#[test]
fn key_and_file_are_private_and_are_what_age_reads() {
    let setup = Setup::with_a_secret();
    for name in ["secrets.key", "secrets.age"] {
        let mode = fs::metadata(setup.path(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let key = fs::read_to_string(setup.path("secrets.key")).expect("read");
    let identity: age::x25519::Identity = key.lines().last().expect("a line").parse().expect("a key");
    let plain = age::decrypt(&identity, &fs::read(setup.path("secrets.age")).expect("read")).expect("decrypted");
    assert_eq!(plain, br#"{"token":"hunter2"}"#);
}

#[tokio::test]
async fn a_change_by_another_process_shows_within_a_second_or_so() {
    let setup = Setup::with_a_secret();
    let secrets = setup.open();
    let (token, other) = (secrets.get::<String>("token"), secrets.get::<Option<String>>("other"));
    token.ready().await.expect("loaded");
    other.ready().await.expect("absent");
    let elsewhere = setup.local.clone();
    tokio::task::spawn_blocking(move || elsewhere.set("token", &"hunter3".into()).expect("set")).await.expect("done");
    timeout(Duration::from_secs(3), token.changed(1)).await.expect("seen in time");
    assert_eq!(value(&token), "hunter3");
    assert_eq!(other.generation(), 1, "the file changed, this secret did not");
}

#[tokio::test]
async fn a_secret_that_is_set_after_it_was_asked_for_shows_within_a_second_or_so() {
    let setup = Setup::new();
    let token = setup.open().get::<String>("token");
    token.ready().await.expect_err("not there yet");
    setup.local.set("token", &"hunter2".into()).expect("set");
    timeout(Duration::from_secs(3), token.changed(0)).await.expect("seen in time");
    assert_eq!(value(&token), "hunter2");
}

#[tokio::test]
async fn a_file_cut_short_anywhere_is_reported_and_left_alone() {
    let setup = Setup::with_a_secret();
    let whole = fs::read(setup.path("secrets.age")).expect("read");
    for length in [0, 1, 20, 100, whole.len() / 2, whole.len() - 17, whole.len() - 1] {
        fs::write(setup.path("secrets.age"), &whole[..length]).expect("cut");
        setup.refuses_all(ErrorKind::Malformed, "secrets.age", "restore it from a backup").await;
    }
    fs::write(setup.path("secrets.age"), &whole).expect("restored");
    assert_eq!(setup.local.names().expect("whole again"), ["token"]);
}

#[tokio::test]
async fn garbage_and_a_flipped_bit_are_reported_and_left_alone() {
    let setup = Setup::with_a_secret();
    let whole = fs::read(setup.path("secrets.age")).expect("read");
    for at in [3, 60, whole.len() - 30, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(setup.path("secrets.age"), &flipped).expect("written");
        let failed = setup.local.names().expect_err("it does not open");
        let kind = failed.kind();
        assert!(failed.is_malformed() || failed.is_denied(), "{failed:?}");
        setup.refuses_all(kind, "secrets.age", ":").await;
    }
    fs::write(setup.path("secrets.age"), b"not encrypted at all").expect("written");
    setup.refuses_all(ErrorKind::Malformed, "secrets.age", "restore it from a backup").await;
}

#[tokio::test]
async fn a_file_of_other_content_is_reported_without_its_content() {
    let setup = Setup::with_a_secret();
    let key = fs::read_to_string(setup.path("secrets.key")).expect("read");
    let identity: age::x25519::Identity = key.lines().last().expect("a line").parse().expect("a key");
    for content in ["[\"hunter2\"]", "{\"token\": {\"hunter2\": 1}}", "hunter2"] {
        let sealed = age::encrypt(&identity.to_public(), content.as_bytes()).expect("encrypted");
        fs::write(setup.path("secrets.age"), sealed).expect("written");
        setup.refuses_all(ErrorKind::Malformed, "secrets.age", "names and texts").await;
    }
}

#[tokio::test]
async fn another_key_is_reported_and_left_alone() {
    let (setup, other) = (Setup::with_a_secret(), Setup::with_a_secret());
    fs::copy(other.path("secrets.key"), setup.path("secrets.key")).expect("copied");
    setup.refuses_all(ErrorKind::Denied, "secrets.age", "put back the key").await;
    setup.refuses_all(ErrorKind::Denied, "secrets.key", "put back the key").await;
}

#[tokio::test]
async fn a_file_without_its_key_is_reported_and_gets_no_new_key() {
    let setup = Setup::with_a_secret();
    fs::remove_file(setup.path("secrets.key")).expect("removed");
    setup.refuses_all(ErrorKind::Denied, "secrets.key", "put the key back").await;
    assert!(!setup.path("secrets.key").exists());
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused_with_the_command_that_mends_it() {
    let setup = Setup::with_a_secret();
    fs::set_permissions(setup.path("secrets.key"), fs::Permissions::from_mode(0o644)).expect("set");
    setup.refuses_all(ErrorKind::Denied, "secrets.key", "chmod 600").await;
}

#[tokio::test]
async fn a_broken_key_is_reported_and_left_alone_also_without_a_file() {
    let setup = Setup::with_a_secret();
    let key = fs::read(setup.path("secrets.key")).expect("read");
    for broken in [&key[..key.len() - 5], b"", b"AGE-SECRET-KEY-1", &[key.as_slice(), key.as_slice()].concat()] {
        fs::write(setup.path("secrets.key"), broken).expect("written");
        setup.refuses_all(ErrorKind::Malformed, "secrets.key", "restore it from a backup").await;
    }
    fs::remove_file(setup.path("secrets.age")).expect("removed");
    let error = setup.local.set("token", &"x".into()).expect_err("the key is broken");
    assert!(error.is_malformed(), "{error:?}");
    assert!(!setup.path("secrets.age").exists());
}

#[test]
fn values_and_names_have_bounds() {
    let setup = Setup::with_a_secret();
    for value in [String::new(), "x".repeat(64 * 1024 + 1)] {
        let error = setup.local.set("token", &value.into()).expect_err("out of bounds");
        assert!(error.is_malformed(), "{error:?}");
    }
    setup.local.set("token", &"x".repeat(64 * 1024).into()).expect("just fits");
    for name in ["", "../x", "a b"] {
        assert_eq!(setup.local.set(name, &"x".into()).expect_err(name).kind(), ErrorKind::InvalidName);
        assert_eq!(setup.local.remove(name).expect_err(name).kind(), ErrorKind::InvalidName);
    }
}

#[test]
fn a_home_that_others_may_enter_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    fs::create_dir(&home).expect("made");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).expect("set");
    let config = Config::parse([("HALFBYTE_HOME", home.to_str().expect("text"))]).expect("configured");
    let error = Secrets::open(&config, &lifecycle()).expect_err("open to others");
    assert!(error.is_denied(), "{error:?}");
    assert!(chain(&error).contains("chmod 700"), "{}", chain(&error));
}
