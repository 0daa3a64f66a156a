//! Several processes on one PostgreSQL: this test binary, started again.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use halfbyte_billing::{Billing, Catalog, Per, Period, Settings};
use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, Principal, ProductId, TenantId};
use http::{Request, Response};
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::server::Server;

const LIMIT: u64 = 10_000;
const MARK: &str = "> ";
const CATALOGUE: &str = r#"
[products.parcel]
[meters.labels]
product = "parcel"
[features.labels]
product = "parcel"
meter = "labels"
[plans.pro]
features.labels = { limit = 10_000, per = "year" }
"#;

async fn open(url: &str, home: &Path) -> (Billing, Lifecycle) {
    let life = Lifecycle::new(Clock::system());
    let home = Home::open(home).expect("a home");
    let product = ProductId::new("parcel").expect("valid");
    let catalog = Catalog::parse("catalogue.toml", CATALOGUE).expect("good");
    let backend = BillingBackend::Postgres(url.to_owned().into());
    // Short, so that what the killed had is to be had again within the test.
    let settings = Settings::new(&backend, &home, product, catalog).lease(Duration::from_secs(4));
    (Billing::open(settings, &life).await.expect("it opens"), life)
}

fn acme() -> TenantId {
    TenantId::new("acme").expect("valid")
}

async fn used(billing: &Billing) -> u64 {
    let period = Period::containing(Clock::system().now(), Per::Year);
    let used = billing.usage(&acme(), "labels", period).await.expect("it answers");
    u64::try_from(used).expect("whole")
}

/// Four processes use up one limit together while two of them are killed and the database is restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_limit_is_never_exceeded_whoever_dies_and_all_of_it_can_be_used() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let (office, _life) = open(&server.url(), &folder.path().join("office")).await;
    office.customers().create(&acme()).await.expect("made");
    office.customers().subscribe(&acme(), "pro").await.expect("subscribed");

    let (said, saying) = mpsc::channel();
    // Two share a folder, as replicas on one machine do: what one leaves the other takes over at once.
    let homes = ["a", "a", "b", "c"].map(|name| folder.path().join(name));
    let mut children: Vec<_> = homes.iter().map(|home| hammer(&server.url(), home, said.clone())).collect();
    wait_for(&saying, LIMIT / 5);
    children[1].kill().expect("killed");
    wait_for(&saying, LIMIT / 5);
    server.restart(Duration::from_millis(1500));
    wait_for(&saying, LIMIT / 10);
    children[3].kill().expect("killed");
    drop(said);
    // Its journal is of a machine that is gone until it comes back.
    children.push(hammer(&server.url(), &folder.path().join("c"), mpsc::channel().0));
    for (index, mut child) in children.into_iter().enumerate() {
        let status = child.wait().expect("ended");
        assert!(status.success() || [1, 3].contains(&index), "child {index} failed");
    }
    let answered = saying.iter().count() as u64;
    assert!(answered <= LIMIT, "{answered} answered after the first half alone");
    assert_eq!(used(&office).await, LIMIT, "all of it, and not one more");
    assert_eq!(office.stats().overage, 0);
}

/// Waits until so many more were answered.
fn wait_for(saying: &mpsc::Receiver<String>, count: u64) {
    for _ in 0..count {
        saying.recv_timeout(Duration::from_secs(60)).expect("it goes on");
    }
}

/// Whatever the moment of a kill, what was answered is counted, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_counted_once_whatever_the_moment_of_a_kill() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let (office, _life) = open(&server.url(), &folder.path().join("office")).await;
    office.customers().create(&acme()).await.expect("made");
    office.customers().subscribe(&acme(), "pro").await.expect("subscribed");
    let mut answered = BTreeSet::new();
    for round in 0..25_u64 {
        let (said, saying) = mpsc::channel();
        let mut child = hammer(&server.url(), &home, said);
        answered.insert(saying.recv_timeout(Duration::from_secs(30)).expect("it works"));
        std::thread::sleep(Duration::from_micros(round * 3_700 % 40_000));
        child.kill().expect("killed");
        child.wait().expect("gone");
        answered.extend(saying.iter());
    }
    let (_next, _life) = open(&server.url(), &home).await;
    let counted = used(&office).await;
    let sure = answered.len() as u64;
    // What a writer was about to say when it was killed may be counted as well.
    assert!((sure..=sure + 25 * 8).contains(&counted), "{sure} answered, {counted} counted");
}

/// A child that uses labels until there are none for a while; says the key of each that was answered.
fn hammer(url: &str, home: &Path, said: mpsc::Sender<String>) -> std::process::Child {
    let mut child = Command::new(env::current_exe().expect("this binary"))
        .args(["--exact", "processes::a_child_process", "--nocapture"])
        .env("BILLING_TEST_HOME", home)
        .env("BILLING_TEST_URL", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stdout.take().expect("piped"));
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if let Some((_, key)) = line.split_once(MARK) {
                // Whoever only wants it to run has let go of the other end.
                _ = said.send(key.to_owned());
            }
        }
    });
    child
}

/// What the children of the other tests run; does nothing unless a test started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_process() {
    let Some(home) = env::var_os("BILLING_TEST_HOME").map(PathBuf::from) else { return };
    let url = env::var("BILLING_TEST_URL").expect("started by a test");
    let (billing, life) = open(&url, &home).await;
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let billing = billing.clone();
        writers.spawn(async move { until_refused(&billing, writer).await });
    }
    writers.join_all().await;
    billing.flush(Duration::from_secs(10)).await.expect("flushed");
    assert!(life.stop_tasks(Duration::from_secs(10)).await);
}

async fn until_refused(billing: &Billing, writer: u64) {
    let handler = service_fn(async |_: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::default()))
    });
    let app = billing.entitle("labels").expect("there").layer(billing.meter().layer(handler));
    let mut refused_since = None;
    for count in 0_u64.. {
        let key = format!("{}-{writer}-{count}", std::process::id());
        let mut request = Request::builder().header("idempotency-key", &key).body(()).expect("a request");
        request.extensions_mut().insert(Principal::builder("someone", acme(), jiff::Timestamp::MAX).build());
        match app.clone().oneshot(request).await.expect("infallible").status().as_u16() {
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
