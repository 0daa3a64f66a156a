//! The keys that requests to AWS are signed with are masked as secrets are.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use halfbyte_core::fingerprint::{REMEMBERED, mask, register};
use halfbyte_secrets::{Ask, Aws, Name, Provider as _};
use tokio::time::Instant;

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

/// Runs the test `name` of this file with these variables and no others. The environment is one for the whole process: this
/// has a process of its own.
fn run(name: &str, variables: &[(&str, &str)]) {
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", &format!("aws_keys::{name}"), "--nocapture"]);
    let output = alone.env_clear().env(ALONE, "1").envs(variables.iter().copied()).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complained}");
}

#[expect(clippy::disallowed_methods, reason = "a test is told by the environment that it is alone")]
fn is_alone() -> bool {
    std::env::var(ALONE).is_ok()
}

#[test]
fn keys_that_the_sdk_finds_are_masked_once_they_are_used() {
    let variables =
        [("AWS_ACCESS_KEY_ID", "AKIDFOUND"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_SESSION_TOKEN", TOKEN)];
    run("finds", &variables);
}

/// What the test does, in its process; nothing in another.
#[tokio::test]
async fn finds() {
    if !is_alone() {
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

/// It accepts connections, as the kernel does for it, and says nothing.
#[test]
fn a_metadata_service_that_says_nothing_is_not_waited_for_long() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    run("waits", &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &address)]);
}

/// What the test does, in its process; nothing in another.
#[tokio::test(start_paused = true)]
async fn waits() {
    if !is_alone() {
        return;
    }
    let (aws, name, begun) = (Aws::new("eu-central-1", "prod").unwrap(), Name::new("token").unwrap(), Instant::now());
    let error = aws.read(Ask::current(&name)).await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("there are no AWS credentials"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}
