//! The keys that requests to AWS are signed with are masked as secrets are.

use std::process::Command;

use halfbyte_core::fingerprint::{REMEMBERED, mask, register};
use halfbyte_secrets::{Ask, Aws, Name, Provider as _};

use super::fake_aws::{Answer, FakeAws};

const ALONE: &str = "HB_TEST_AWS_KEYS_ALONE";
const SECRET: &str = "wJalrXUtnFEMI-a-key-that-is-found";
const TOKEN: &str = "FwoGZXIvYXdzEJr-a-session-that-is-found";

async fn read(aws: &Aws) {
    aws.read(Ask::current(&Name::new("token").unwrap())).await.unwrap();
    // Not only because those that are gone are remembered for a while.
    for n in 0..=REMEMBERED {
        drop(register(format!("one of many other AWS keys: {n}").as_bytes()));
    }
}

#[tokio::test]
async fn a_key_that_is_given_is_masked_from_then_on() {
    let server = FakeAws::start(Answer::text("v1", "x")).await;
    let aws = Aws::new("eu-central-1", "prod").unwrap().endpoint(&server.endpoint);
    let aws = aws.access_key("AKIDOFTHISTEST", &"a-key-that-is-given".into());
    assert_eq!(mask("a-key-that-is-given"), "[REDACTED]");
    read(&aws).await;
    assert!(server.asked().concat().contains("Credential=AKIDOFTHISTEST/"), "it is used");
    assert_eq!(mask("a-key-that-is-given AKIDOFTHISTEST"), "[REDACTED] AKIDOFTHISTEST");
}

/// The environment is one for the whole process: this has a process of its own.
#[test]
fn keys_that_the_sdk_finds_are_masked_once_they_are_used() {
    let variables = [
        (ALONE, "1"),
        ("AWS_ACCESS_KEY_ID", "AKIDFOUND"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_SESSION_TOKEN", TOKEN),
    ];
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let output = alone.args(["--exact", "aws_keys::alone", "--nocapture"]).envs(variables).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complained}");
}

/// What the test does, in its process; nothing in another.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test is told by the environment that it is alone")]
async fn alone() {
    if std::env::var(ALONE).is_err() {
        return;
    }
    let server = FakeAws::start(Answer::text("v1", "x")).await;
    let aws = Aws::new("eu-central-1", "prod").unwrap().endpoint(&server.endpoint);
    read(&aws).await;
    let asked = server.asked().concat();
    assert!(asked.contains("Credential=AKIDFOUND/") && asked.contains(TOKEN), "they are used: {asked}");
    assert_eq!(mask(SECRET), "[REDACTED]");
    assert_eq!(mask(TOKEN), "[REDACTED]");
}
