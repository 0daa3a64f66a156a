//! Real second processes: this test binary, started again.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use halfbyte_billing::{Event, IdempotencyKey, Receipt, Reservation};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::support::{Desk, keyed, labels, raw, request, tenant};

/// Told apart from what the test harness prints.
const MARK: &str = "> ";

/// A child process that does one of the things below.
pub struct Child {
    process: std::process::Child,
    lines: BufReader<ChildStdout>,
}

impl Child {
    pub fn start(home: &Path, task: &str, argument: &str) -> Self {
        // Where files cannot grow, a write must fail and not kill.
        let mut process = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(env::current_exe().expect("this binary"))
            .args(["--exact", "children::a_child_process", "--nocapture"])
            .env("BILLING_TEST_HOME", home)
            .env("BILLING_TEST_TASK", task)
            .env("BILLING_TEST_ARGUMENT", argument)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let lines = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, lines }
    }

    /// The next thing it says; `None` when it has ended. A line that its death cut short is not one.
    pub fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).expect("text");
            match line.strip_suffix('\n') {
                None => return None,
                // The harness leaves its own line open.
                Some(line) => {
                    if let Some((_, said)) = line.split_once(MARK) {
                        return Some(said.to_owned());
                    }
                }
            }
        }
    }

    /// SIGKILL; answers everything it had said that was not read yet.
    pub fn kill(mut self) -> Vec<String> {
        self.process.kill().expect("killed");
        let said = std::iter::from_fn(|| self.line()).collect();
        self.process.wait().expect("gone");
        said
    }

    /// Waits for its end.
    pub fn join(mut self) -> Vec<String> {
        let said = std::iter::from_fn(|| self.line()).collect();
        assert!(self.process.wait().expect("gone").success(), "a child failed; it said {said:?}");
        said
    }
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
        "key" => println!("{MARK}{}", IdempotencyKey::unique()),
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

/// Ingests events, answers requests, and reserves and settles, for six tenants from the `first` on, and keeps giving back
/// what it has leased; says the id and the units of all that was acknowledged. Six things at most are under way.
async fn work(desk: &Desk, argument: &str) {
    let (child, first) = argument.split_once(' ').expect("a name and a number");
    let first: u64 = first.parse().expect("a number");
    let mut tasks = JoinSet::new();
    for writer in 0..6_u64 {
        let (billing, app, child) = (desk.billing.clone(), desk.app("labels"), child.to_owned());
        let clock = desk.life.clock().clone();
        tasks.spawn(async move {
            for count in 0_u64.. {
                let name = format!("t{}", first + (count * 5 + writer) % 6);
                let unique = format!("{child}-{writer}-{count}");
                let key = IdempotencyKey::of(unique.as_bytes());
                match writer {
                    0 | 1 => {
                        let event = Event::new("/child", &unique, "parcel.rush", &name, clock.now()).expect("an event");
                        let event = event.data(serde_json::json!({ "units": 1 + count % 3 })).expect("data");
                        let receipt = billing.ingest(event).await.expect("taken in");
                        // Where the store does not answer in time, it is on the disk and counted later.
                        assert!(matches!(receipt, Receipt::Counted { overage: 0 } | Receipt::Spooled), "{receipt:?}");
                        println!("{MARK}{unique} {}", 1 + count % 3);
                    }
                    2 => {
                        let asked = billing.reserve(&tenant(&name), "labels", 4, Duration::from_secs(5)).await;
                        if let Ok(Reservation::Held(reserved)) = asked {
                            if billing.settle_reserved(&reserved, 1 + count % 4, key).await.is_err() {
                                // It may be counted or not: as what was under way when it was killed.
                                std::future::pending::<()>().await;
                            }
                            println!("{MARK}labels/{key} {}", 1 + count % 4);
                        }
                    }
                    _ => {
                        match app.clone().oneshot(keyed(&name, &unique)).await.expect("infallible").status().as_u16() {
                            200 => println!("{MARK}labels/{key} 1"),
                            429 => tokio::time::sleep(Duration::from_millis(5)).await,
                            // On a busy machine the store need not answer within a request's patience.
                            503 => tokio::time::sleep(Duration::from_millis(50)).await,
                            other => panic!("answered {other}"),
                        }
                    }
                }
            }
        });
    }
    let billing = desk.billing.clone();
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(11)).await;
            billing.flush(Duration::from_secs(5)).await.expect("flushed");
        }
    });
    while let Some(ended) = tasks.join_next().await {
        // What went wrong must be known, and the others not go on.
        if let Err(error) = ended {
            println!("{MARK}failed {error}");
            std::process::exit(1);
        }
    }
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
