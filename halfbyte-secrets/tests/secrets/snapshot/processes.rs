//! Real processes that share a snapshot, end and are killed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use halfbyte_core::Clock;
use halfbyte_core::config::Config;
use halfbyte_core::home::Home;
use halfbyte_secrets::{BootSnapshot, Secret};
use tokio::time::sleep;

use super::setup::{CANARY, FILE, Setup, URL, down, value};
use crate::backend::Backend;

const EACH: usize = 12;

/// One process of the test below, with a home of its own when it runs by itself.
#[tokio::test]
async fn a_process_keeps_what_it_reads() {
    let config = Config::from_env().expect("configured");
    let setup = Setup { folder: tempfile::tempdir().expect("a folder"), clock: Clock::system() };
    let shared = config.other.get("SNAPSHOT_TEST_HOME").map(PathBuf::from);
    let number = config.other.get("SNAPSHOT_TEST_NUMBER").unwrap_or("0").to_owned();
    let home = Home::open(shared.unwrap_or_else(|| setup.folder.path().join("home"))).expect("opened");
    let snapshot = BootSnapshot::open(&home, URL).expect("opened");
    let secrets = setup.secrets(Backend::holding(format!("{CANARY}-{number}")), snapshot);
    let names: Vec<String> = (0..EACH).map(|name| format!("p{number}-{name}")).collect();
    let handles: Vec<Secret<String>> = names.iter().map(|name| secrets.get(name)).collect();
    for handle in &handles {
        handle.ready().await.expect("read");
    }
    for name in &names {
        // Until the thread that writes has written: a process of the next moment finds it.
        let again = setup.secrets(down(), BootSnapshot::open(&home, URL).expect("opened")).get::<String>(name);
        while again.ready().await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn processes_share_one_snapshot_and_lose_nothing_of_each_other() {
    let setup = Setup { folder: tempfile::tempdir().expect("a folder"), clock: Clock::system() };
    let processes: Vec<_> = ["1", "2", "3"]
        .map(|number| {
            let child = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "snapshot::processes::a_process_keeps_what_it_reads"])
                .env("SNAPSHOT_TEST_HOME", setup.folder.path().join("home"))
                .env("SNAPSHOT_TEST_NUMBER", number)
                .stdout(Stdio::null())
                .spawn();
            (number, child.expect("started"))
        })
        .into();
    for (number, mut process) in processes {
        assert!(process.wait().expect("ended").success(), "{number}");
    }
    let secrets = setup.secrets(down(), setup.snapshot());
    for number in 1..=3 {
        for name in 0..EACH {
            let secret = secrets.get::<String>(&format!("p{number}-{name}"));
            secret.ready().await.expect("restored");
            assert_eq!(value(&secret), format!("{CANARY}-{number}"));
        }
    }
}

/// One that writes until it is killed; by itself, for a moment.
#[tokio::test]
async fn a_process_writes_all_the_while() {
    let config = Config::from_env().expect("configured");
    let setup = Setup { folder: tempfile::tempdir().expect("a folder"), clock: Clock::system() };
    let shared = config.other.get("SNAPSHOT_TEST_HOME").map(PathBuf::from);
    let rounds = if shared.is_some() { usize::MAX } else { 3 };
    let home = Home::open(shared.unwrap_or_else(|| setup.folder.path().join("home"))).expect("opened");
    let snapshot = BootSnapshot::open(&home, URL).expect("opened");
    let secrets = setup.secrets(Backend::holding(CANARY.repeat(1000)), snapshot);
    for _ in 0..rounds {
        // Each handle is the first one again, and so reads and keeps.
        secrets.get::<String>("token").ready().await.expect("read");
    }
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_a_whole_file() {
    let setup = Setup { folder: tempfile::tempdir().expect("a folder"), clock: Clock::system() };
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "snapshot::processes::a_process_writes_all_the_while"])
            .env("SNAPSHOT_TEST_HOME", setup.folder.path().join("home"))
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        let before = fs::read(setup.path(FILE)).ok();
        while fs::read(setup.path(FILE)).ok() == before {
            sleep(Duration::from_millis(1)).await;
        }
        // Somewhere in one of the next writes.
        sleep(Duration::from_millis(7 * round)).await;
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(setup.holds(CANARY), "round {round}");
        let token = setup.start_without_backend();
        token.ready().await.expect("restored");
        assert!(value(&token).starts_with(CANARY));
    }
}
