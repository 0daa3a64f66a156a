//! What is live is masked, wherever it turns up.

use std::process::Command;
use std::time::Duration;

use halfbyte_core::config::Config;
use halfbyte_core::fingerprint::{REMEMBERED, mask, register};
use halfbyte_secrets::firewall;
use halfbyte_secrets::zeroize::Zeroize;
use halfbyte_secrets::{ExposeSecret as _, Json, SecretUrl, Secrets};
use serde::Deserialize;

use super::backend::Backend;
use super::lifecycle;

#[tokio::test(start_paused = true)]
async fn a_secret_is_known_from_when_it_is_served_and_so_is_the_one_before_it() {
    let backend = Backend::holding("the-first-of-two\n");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("token");
    assert_eq!(mask("the-first-of-two"), "the-first-of-two");
    secret.ready().await.expect("loaded");
    assert_eq!(mask("<the-first-of-two>"), "<[REDACTED]>");
    backend.set("the-second-of-two");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let second = secret.refresh(1).await.expect("refreshed");
    assert_eq!((second.generation(), second.expose_secret().as_str()), (2, "the-second-of-two"));
    assert_eq!(mask("the-first-of-two, the-second-of-two"), "[REDACTED], [REDACTED]");
    assert!(secret.previous().is_some());
    // Not only because those that are gone are remembered for a while.
    for n in 0..=REMEMBERED {
        drop(register(format!("one of many others: {n}").as_bytes()));
    }
    assert_eq!(mask("the-first-of-two, the-second-of-two"), "[REDACTED], [REDACTED]");
}

#[derive(Deserialize)]
struct Credential {
    password: String,
}

impl Zeroize for Credential {
    fn zeroize(&mut self) {
        self.password.zeroize();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_secret_within_a_secret_is_known_by_itself() {
    let url = "postgres://an-ordinary-user:pass%2Fword-1@db.example/orders?sslmode=verify-full&token=abc-123-def";
    let url = Secrets::new(Backend::holding(url), &lifecycle()).get::<SecretUrl>("url");
    let json = r#"{"username":"another-user","password":"pass-word-2","nested":["pass-word-3"]}"#;
    let json = Secrets::new(Backend::holding(json), &lifecycle()).get::<Json<Credential>>("json");
    url.ready().await.expect("loaded");
    json.ready().await.expect("loaded");
    assert_eq!(json.load().expect("loaded").expose_secret().0.password, "pass-word-2");
    let said =
        "pass%2Fword-1 pass/word-1 abc-123-def verify-full an-ordinary-user another-user pass-word-2 pass-word-3";
    let [r, rest] = ["[REDACTED]", "verify-full an-ordinary-user another-user"];
    assert_eq!(mask(said), format!("{r} {r} {r} {rest} {r} {r}"));
}

/// The role of a process of its own, since hooks are the process's: does nothing unless it was started with it.
#[test]
fn the_process_that_panics() {
    let config = Config::from_env().expect("configured");
    let Some(value) = config.other.get("PANIC_WITH") else { return };
    let _known = register(value.as_bytes());
    firewall::install_panic_hook();
    let printer = std::thread::Builder::new().name("printer".into());
    let value = value.to_owned();
    printer.spawn(move || panic!("no paper, and {value}")).expect("started").join().expect_err("it panicked");
    std::thread::spawn(|| std::panic::panic_any(7)).join().expect_err("it panicked");
}

#[test]
fn a_panic_is_printed_once_without_live_secrets() {
    for backtrace in ["0", "1"] {
        let mut process = Command::new(std::env::current_exe().expect("this one"));
        process.args(["--exact", "firewall::the_process_that_panics", "--nocapture", "--test-threads", "1"]);
        process.env_clear().env("PANIC_WITH", "hunter2-hunter2").env("RUST_BACKTRACE", backtrace);
        let output = process.output().expect("it ran");
        assert!(output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("hunter2"), "{said}");
        let [first, second] = ["no paper, and [REDACTED]\n", "(a value that is no text)\n"];
        assert!(said.contains("\nthread 'printer' panicked at halfbyte-secrets/tests/secrets/firewall.rs:"), "{said}");
        assert_eq!([said.matches(first).count(), said.matches(second).count()], [1, 1], "{said}");
        assert_eq!(said.contains("stack backtrace:\n"), backtrace == "1", "{said}");
        assert_eq!(said.contains("note: run with `RUST_BACKTRACE=1`"), backtrace == "0", "{said}");
    }
}
