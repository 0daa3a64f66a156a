//! What is on the disk, and what is made of what is there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use halfbyte_core::config::Config;
use halfbyte_core::{Clock, Lifecycle, live};
use halfbyte_secrets::{
    Ask, BootSnapshot, Error, ExposeSecret as _, Lease, Policy, Provider, Reading, SecretString, Secrets, Stage,
};

use super::setup::{CANARY, FILE, Setup, URL, contains, down, refused, value, written};
use crate::backend::Backend;
use crate::chain;

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_used_and_then_replaced() {
    type Harm = fn(&Setup);
    let harms: [Harm; 8] = [
        |setup| fs::write(setup.path(FILE), "").expect("written"),
        |setup| fs::write(setup.path(FILE), vec![0; 2 * 1024 * 1024]).expect("written"),
        |setup| {
            let mut sealed = fs::read(setup.path(FILE)).expect("read");
            sealed.pop();
            fs::write(setup.path(FILE), sealed).expect("written");
        },
        |setup| {
            let mut sealed = fs::read(setup.path(FILE)).expect("read");
            let last = sealed.len() - 20;
            sealed[last] ^= 1;
            fs::write(setup.path(FILE), sealed).expect("written");
        },
        |setup| {
            let key = fs::read_to_string(setup.path("boot.key")).expect("read");
            let key: age::x25519::Identity = key.lines().last().expect("a line").parse().expect("a key");
            let other = age::encrypt(&key.to_public(), b"something else").expect("encrypted");
            fs::write(setup.path(FILE), other).expect("written");
        },
        |setup| fs::remove_file(setup.path("boot.key")).expect("removed"),
        |setup| {
            fs::remove_file(setup.path("boot.key")).expect("removed");
            let text = format!("{}\n", key().expose_secret());
            setup.home().folder("secrets").and_then(|folder| folder.replace("boot.key", text.as_bytes())).expect("set");
        },
        |setup| fs::set_permissions(setup.path(FILE), fs::Permissions::from_mode(0o644)).expect("set"),
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let setup = Setup::kept().await;
        harm(&setup);
        let error = refused(&setup.start_without_backend()).await;
        assert!(error.is_unavailable() && !chain(&error).contains(CANARY), "{number}: {error:?}");
        setup.keep("hunter3").await;
        let token = setup.start_without_backend();
        token.ready().await.expect("replaced");
        assert_eq!(value(&token), "hunter3", "{number}");
    }
}

fn key() -> SecretString {
    SecretString::from(age::x25519::Identity::generate().to_string().expose_secret().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_key_from_elsewhere_is_used_and_none_is_written() {
    let (setup, mine) = (Setup::new(), key());
    let with = |key: &SecretString| setup.snapshot().key(key).expect("a key");
    setup.start(Backend::holding(CANARY), with(&mine)).ready().await.expect("read");
    written().await;
    assert!(setup.path(FILE).exists() && !setup.path("boot.key").exists());
    setup.start(down(), with(&mine)).ready().await.expect("restored");
    assert!(refused(&setup.start(down(), with(&key()))).await.is_unavailable());
    assert!(refused(&setup.start_without_backend()).await.is_unavailable());
    let error = setup.snapshot().key(&CANARY.into()).expect_err("no key");
    assert!(error.is_malformed() && !chain(&error).contains(CANARY), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_others_may_read_is_not_used_nor_replaced() {
    let setup = Setup::kept().await;
    fs::set_permissions(setup.path("boot.key"), fs::Permissions::from_mode(0o644)).expect("set");
    let before = fs::read(setup.path("boot.key")).expect("read");
    assert!(refused(&setup.start_without_backend()).await.is_unavailable());
    setup.keep("hunter3").await;
    assert_eq!(fs::read(setup.path("boot.key")).expect("read"), before);
}

#[tokio::test(start_paused = true)]
async fn the_values_of_another_backend_are_not_used() {
    let setup = Setup::kept().await;
    let other = BootSnapshot::open(&setup.home(), "https://vault.example.com/v1/other").expect("opened");
    assert!(refused(&setup.start(down(), other)).await.is_unavailable());
    setup.start_without_backend().ready().await.expect("and stay for their own");
}

#[tokio::test(start_paused = true)]
async fn two_backends_in_one_home_do_not_replace_the_values_of_each_other() {
    let setup = Setup::kept().await;
    let other = || BootSnapshot::open(&setup.home(), "https://vault.example.com/v1/other").expect("opened");
    setup.start(Backend::holding("hunter3"), other()).ready().await.expect("read");
    written().await;
    for (snapshot, expected) in [(setup.snapshot(), CANARY), (other(), "hunter3")] {
        let token = setup.start(down(), snapshot);
        token.ready().await.expect("restored");
        assert_eq!(value(&token), expected);
    }
}

/// Lends its values.
struct Lender;

impl Provider for Lender {
    const NAME: &'static str = "lender";

    async fn read(&self, _ask: Ask<'_>) -> Result<Reading, Error> {
        Ok(Reading::new(CANARY).lease(Lease::new("lease-1", Duration::from_secs(600))))
    }
}

/// Has a value that is about to be current.
struct Rotating;

impl Provider for Rotating {
    const NAME: &'static str = "rotating";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        Ok(Reading::new(if ask.stage() == Stage::Current { "current" } else { "pending" }))
    }
}

#[tokio::test(start_paused = true)]
async fn leased_values_and_those_that_must_not_be_on_disk_are_never_written() {
    let setup = Setup::new();
    setup.start(Lender, setup.snapshot()).ready().await.expect("read");
    written().await;
    assert!(!setup.path(FILE).exists() && !setup.path("boot.key").exists());

    let never = Policy::from(live::Policy::default()).never_on_disk();
    let secrets = Secrets::builder(Backend::holding(CANARY))
        .policy_for("token", never.clone())
        .snapshot(setup.snapshot())
        .build(&Lifecycle::new(setup.clock.clone()));
    secrets.get::<String>("token").ready().await.expect("read");
    written().await;
    assert!(!setup.path(FILE).exists());

    let token = setup.start(Rotating, setup.snapshot());
    token.ready().await.expect("read");
    assert_eq!(token.reject(1).await.expect("another").expose_secret(), "pending");
    written().await;
    assert!(setup.holds("current") && !setup.holds("pending"));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_has_become_one_never_to_write_is_removed() {
    let setup = Setup::kept().await;
    setup.start(Lender, setup.snapshot()).ready().await.expect("read");
    written().await;
    assert!(!setup.holds(CANARY));

    setup.keep(CANARY).await;
    assert!(setup.holds(CANARY));
    let start = |backend| {
        let never = Policy::from(backend_policy()).never_on_disk();
        Secrets::builder(backend).policy(never).snapshot(setup.snapshot()).build(&Lifecycle::new(setup.clock.clone()))
    };
    assert!(refused(&start(down()).get("token")).await.is_unavailable());
    start(Backend::holding(CANARY)).get::<String>("token").ready().await.expect("read");
    written().await;
    assert!(!setup.holds(CANARY));
}

fn backend_policy() -> live::Policy {
    Backend::default().policy()
}

#[tokio::test(start_paused = true)]
async fn nothing_on_the_disk_is_in_clear_or_open_to_others() {
    let setup = Setup::kept().await;
    let mut names = Vec::new();
    for entry in fs::read_dir(setup.path("")).expect("listed") {
        let path = entry.expect("an entry").path();
        let content = fs::read(&path).expect("read");
        for text in [CANARY, "token", "vault.example.com"] {
            assert!(!contains(&content, text), "{text} in {}", path.display());
        }
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600, "{}", path.display());
        names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, [FILE, "boot.key", "boot.lock"]);
    assert!(!format!("{:?}", setup.snapshot()).contains(CANARY));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_be_written_is_no_matter_to_who_reads() {
    let setup = Setup::new();
    let snapshot = setup.snapshot();
    fs::remove_dir(setup.path("")).expect("removed");
    let token = setup.start(Backend::holding(CANARY), snapshot);
    token.ready().await.expect("read all the same");
    written().await;
    assert_eq!(value(&token), CANARY);
}

#[test]
fn a_home_that_cannot_be_used_means_no_snapshot() {
    let setup = Setup { folder: tempfile::tempdir().expect("a folder"), clock: Clock::system() };
    let of = |home: PathBuf| Config::parse([("HALFBYTE_HOME", home.to_str().expect("text"))]).expect("configured");
    assert!(BootSnapshot::for_backend(&of(setup.folder.path().join("home")), URL).is_some());
    fs::write(setup.folder.path().join("file"), "").expect("written");
    assert!(BootSnapshot::for_backend(&of(setup.folder.path().join("file")), URL).is_none());
}
