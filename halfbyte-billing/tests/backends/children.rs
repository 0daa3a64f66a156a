//! What second processes do.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::common::child::{Child, MARK};
use crate::common::killed::work;
use crate::support::{App, Desk, keyed};

/// A child process that does one of the things below.
pub fn start(url: &str, home: &Path, task: &str, argument: &str) -> Child {
    let environment = [("BILLING_TEST_URL", url), ("BILLING_TEST_TASK", task), ("BILLING_TEST_ARGUMENT", argument)];
    let home = ("BILLING_TEST_HOME", home.as_os_str());
    Child::start(environment.map(|(name, value)| (name, OsStr::new(value))).into_iter().chain([home]))
}

/// What child processes of the other tests run; does nothing unless a test started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_process() {
    let Some(home) = env::var_os("BILLING_TEST_HOME").map(PathBuf::from) else { return };
    let say = |what| env::var(what).expect("started by a test");
    let desk = Desk::with_lease(&say("BILLING_TEST_URL"), &home, Duration::from_secs(4)).await;
    match say("BILLING_TEST_TASK").as_str() {
        "hammer" => hammer(desk).await,
        "work" => work(&desk, &say("BILLING_TEST_ARGUMENT")).await,
        other => panic!("nobody does {other}"),
    }
}

/// Uses labels until there are none for a while; says the key of each that was answered.
async fn hammer(desk: Desk) {
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        writers.spawn(until_refused(desk.app("labels"), writer));
    }
    writers.join_all().await;
    desk.stop().await;
}

async fn until_refused(app: App, writer: u64) {
    let mut refused_since = None;
    for count in 0_u64.. {
        let key = format!("{}-{writer}-{count}", std::process::id());
        match app.clone().oneshot(keyed("acme", &key)).await.expect("infallible").status().as_u16() {
            200 => {
                println!("{MARK}{key}");
                refused_since = None;
            }
            // Others may hold what they do not use, or be dead: until their lease has expired it is too early to stop.
            429 | 503 => {
                let since = *refused_since.get_or_insert_with(Instant::now);
                if since.elapsed() > Duration::from_secs(12) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => panic!("answered {other}"),
        }
    }
}
