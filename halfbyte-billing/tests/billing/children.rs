//! What second processes do.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use halfbyte_billing::Receipt;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::common::child::{Child, MARK};
use crate::common::killed::work;
use crate::support::{Desk, keyed, labels, raw, request};

/// A child process that does one of the things below.
pub fn start(home: &Path, task: &str, argument: &str) -> Child {
    let environment = [("BILLING_TEST_TASK", task), ("BILLING_TEST_ARGUMENT", argument)];
    let home = ("BILLING_TEST_HOME", home.as_os_str());
    Child::start(environment.map(|(name, value)| (name, OsStr::new(value))).into_iter().chain([home]))
}

/// What child processes of the other tests run; does nothing unless a test started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_process() {
    let Some(home) = env::var_os("BILLING_TEST_HOME").map(PathBuf::from) else { return };
    let argument = env::var("BILLING_TEST_ARGUMENT").expect("started by a test");
    let desk = Desk::open(&home).await;
    match env::var("BILLING_TEST_TASK").expect("started by a test").as_str() {
        "answer" => answer(&desk, &home, &argument).await,
        "ingest" => ingest(&desk, &argument).await,
        "fill" => fill(&desk).await,
        "take" => take(desk).await,
        "spool" => spool(&desk).await,
        "work" => work(&desk, &argument).await,
        "key" => println!("{MARK}{}", halfbyte_billing::IdempotencyKey::unique()),
        other => panic!("nobody does {other}"),
    }
}

/// Answers requests with the given keys while the store cannot be written, and then waits to be killed.
async fn answer(desk: &Desk, home: &Path, keys: &str) {
    assert_eq!(desk.status("labels", keyed("acme", "before")).await, 200);
    assert_eq!(desk.used("acme").await, 1);
    let lock = raw(&home.join("billing/billing.sqlite"));
    lock.execute_batch("BEGIN IMMEDIATE").expect("locked");
    for key in keys.split(',') {
        assert_eq!(desk.status("labels", keyed("acme", key)).await, 200);
    }
    println!("{MARK}answered");
    std::future::pending().await
}

/// Four writers that say which of their keys were answered, and one that keeps giving tranches back.
async fn ingest(desk: &Desk, round: &str) {
    let mut tasks = JoinSet::new();
    for writer in 0..4 {
        let (app, round) = (desk.app("labels"), round.to_owned());
        tasks.spawn(async move {
            for count in 0_u64.. {
                let call = app.clone().oneshot(keyed("acme", &format!("{round}-{writer}-{count}")));
                let status = call.await.expect("infallible").status();
                assert_eq!(status, 200);
                println!("{MARK}{writer} {count}");
            }
        });
    }
    let billing = desk.billing.clone();
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(7)).await;
            billing.flush(Duration::from_secs(5)).await.expect("flushed");
        }
    });
    tasks.join_all().await;
}

/// Answers while there is room on the disk, while there is none, and when there is some again.
async fn fill(desk: &Desk) {
    let say = async |when: &str| {
        let status = desk.status("labels", keyed("acme", when)).await;
        let state = desk.store_check().state;
        println!("{MARK}{when} {status} {state}");
    };
    say("before").await;
    limit_files("0");
    say("full").await;
    say("still-full").await;
    limit_files("unlimited");
    while !desk.store_check().ready {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    say("full").await;
    println!("{MARK}{}", desk.used("acme").await);
}

/// Waits until events are spooled, one of them twice, and then to be killed.
async fn spool(desk: &Desk) {
    println!("{MARK}opened");
    let now = desk.life.clock().now();
    for (id, units) in [("one", 2), ("two", 5), ("two", 5), ("three", 5)] {
        while desk.ingest(labels(id, "acme", now, units)).await != Receipt::Spooled {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    println!("{MARK}spooled");
    std::future::pending().await
}

/// Lets no file of this process grow beyond `bytes`.
fn limit_files(bytes: &str) {
    let (pid, limit) = (std::process::id().to_string(), format!("--fsize={bytes}:"));
    let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("util-linux has prlimit");
    assert!(done.success(), "{done}");
}

/// Takes all that is to be had, and says how much it was.
async fn take(desk: Desk) {
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (app, billing) = (desk.app("labels"), desk.billing.clone());
        tasks.spawn(async move {
            let (mut taken, mut refusals) = (0, 0);
            while refusals < 5 {
                match app.clone().oneshot(request("acme")).await.expect("infallible").status().as_u16() {
                    200 => (taken, refusals) = (taken + 1, 0),
                    429 => {
                        // What this process holds may be what another one waits for.
                        billing.flush(Duration::from_secs(5)).await.expect("flushed");
                        tokio::time::sleep(Duration::from_millis(260)).await;
                        refusals += 1;
                    }
                    503 => tokio::time::sleep(Duration::from_millis(50)).await,
                    other => panic!("answered {other}"),
                }
            }
            taken
        });
    }
    let taken: u64 = tasks.join_all().await.into_iter().sum();
    desk.stop().await;
    println!("{MARK}{taken}");
}
