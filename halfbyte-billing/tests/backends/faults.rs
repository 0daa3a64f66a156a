//! A PostgreSQL behind a network that falls silent, and that loses what commits are answered.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use halfbyte_billing::{Billing, Receipt};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::proxy::{Fate, Proxy};
use crate::support::{Database, Desk, keyed, labels, tenant};

/// A process whose database is behind a proxy.
struct Far {
    database: Database,
    proxy: Proxy,
    desk: Desk,
    _folder: TempDir,
}

impl Far {
    /// With a customer called acme.
    async fn with_plan(plan: &str) -> Self {
        let (database, folder) = (Database::create().await, tempfile::tempdir().expect("a folder"));
        let proxy = Proxy::start(&database.url()).await;
        let home: PathBuf = folder.path().join("home");
        let desk = Desk::open(&proxy.url(&database.url()), &home).await;
        desk.subscribe("acme", plan).await;
        Self { database, proxy, desk, _folder: folder }
    }

    /// Cuts the commit number `nth` of those to come, from 1.
    fn cut(&self, nth: usize, fate: Fate) {
        let mut count = 0;
        self.proxy.commits(move || {
            count += 1;
            if count == nth { fate } else { Fate::Through }
        });
    }

    async fn end(self) {
        self.desk.stop().await;
        self.database.remove().await;
    }
}

/// So long after the client was cut off that it looks for its commit before that is there.
const LATE: Duration = Duration::from_millis(1200);
const FATES: [Fate; 3] = [Fate::Lost, Fate::Unanswered, Fate::Late(LATE)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_commit_is_cut_all_is_counted_once_and_the_leases_are_right() {
    let mut tasks = JoinSet::new();
    for fate in FATES {
        // That of a lease, of a use, of what is given back.
        for nth in 1..=3 {
            tasks.spawn(async move {
                let far = Far::with_plan("small").await;
                far.cut(nth, fate);
                for key in ["one", "two"] {
                    while far.desk.status("acme", key).await == 503 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    far.desk.settle().await;
                }
                assert_eq!(far.proxy.cut(), 1, "{fate:?} of {nth}");
                assert_eq!(far.desk.use_up("acme").await, 8, "{fate:?} of {nth}: all that is left, and no more");
                far.desk.settle().await;
                assert_eq!(far.desk.used("acme").await, 10, "{fate:?} of {nth}");
                far.database.is_settled_at(10).await;
                far.end().await;
            });
        }
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_commit_is_cut_is_spooled_and_counted_once() {
    for fate in FATES {
        let far = Far::with_plan("small").await;
        far.cut(1, fate);
        let event = labels("one", "acme", far.desk.life.clock().now(), 4);
        assert_eq!(far.desk.billing.ingest(event.clone()).await.expect("taken in"), Receipt::Spooled);
        far.desk.settle().await;
        assert_eq!(far.desk.billing.ingest(event).await.expect("taken in"), Receipt::Duplicate);
        assert_eq!((far.proxy.cut(), far.desk.billing.stats().backlog), (1, 0));
        far.database.is_settled_at(4).await;
        far.end().await;
    }
}

/// A third of all commits are cut while eight clients use a limit, and ask again where they were refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_commits_are_cut_all_of_a_limit_is_used_and_not_one_more() {
    let far = Far::with_plan("busy").await;
    far.proxy.commits(|| match fastrand::u8(0..9) {
        0 => Fate::Lost,
        1 => Fate::Unanswered,
        2 => Fate::Late(Duration::from_millis(fastrand::u64(0..600))),
        _ => Fate::Through,
    });
    let until = Instant::now() + Duration::from_secs(10);
    let answered = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (app, answered) = (far.desk.app("labels"), answered.clone());
        writers.spawn(async move {
            let mut count = 0;
            while Instant::now() < until {
                let call = app.clone().oneshot(keyed("acme", &format!("{writer}-{count}")));
                match call.await.expect("infallible").status().as_u16() {
                    200 => count += 1,
                    503 | 429 => {}
                    other => panic!("answered {other}"),
                }
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..300))).await;
            }
            answered.fetch_add(count, Ordering::Relaxed);
        });
    }
    let giving_back = async {
        loop {
            tokio::time::sleep(Duration::from_millis(150)).await;
            _ = far.desk.billing.flush(Duration::from_secs(5)).await;
        }
    };
    tokio::select! {
        _ = writers.join_all() => {}
        () = giving_back => {}
    }
    far.proxy.commits(|| Fate::Through);
    far.desk.settle().await;
    let answered = answered.load(Ordering::Relaxed);
    assert_eq!(far.desk.used("acme").await, answered, "{} commits were cut", far.proxy.cut());
    assert_eq!(answered + far.desk.use_up("acme").await, 200, "{} commits were cut", far.proxy.cut());
    far.desk.settle().await;
    far.database.is_settled_at(200).await;
    assert!(far.proxy.cut() > 5, "{}", far.proxy.cut());
    far.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_given_up_and_all_goes_on_when_it_speaks_again() {
    let far = Far::with_plan("large").await;
    far.desk.subscribe("other", "large").await;
    assert_eq!(far.desk.status("acme", "before").await, 200);
    far.proxy.silence();
    let began = Instant::now();
    let now = far.desk.life.clock().now();
    let (billing, answered) = (far.desk.billing.clone(), AtomicUsize::new(0));
    let ingested = async {
        let receipt = billing.ingest(labels("one", "acme", now, 4));
        let receipt = tokio::time::timeout(Duration::from_secs(22), receipt).await.expect("the server is given up");
        receipt.expect("taken in")
    };
    let asked = async {
        for count in 0..100 {
            assert_eq!(far.desk.status("acme", &format!("silent-{count}")).await, 200, "of the tranche");
            answered.fetch_add(1, Ordering::Relaxed);
        }
        assert!(began.elapsed() < Duration::from_secs(1), "requests do not wait: {:?}", began.elapsed());
        let asked = Instant::now();
        assert_eq!(far.desk.status("other", "none").await, 503, "it has no tranche");
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    };
    let (receipt, ()) = tokio::join!(ingested, asked);
    assert_eq!(receipt, Receipt::Spooled);
    assert!(far.desk.billing.stats().backlog > 100, "nothing is committed");
    far.proxy.speak();
    far.desk.caught_up(Duration::from_secs(10)).await;
    far.desk.settle().await;
    assert_eq!(far.desk.used("acme").await, 105);
    far.database.is_settled_at(105).await;
    assert_eq!(far.desk.status("other", "now").await, 200);
    far.end().await;
}

/// As behind a firewall that forgets connections, or where an address has moved to another machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_stay_silent_for_ever_are_replaced() {
    let far = Far::with_plan("large").await;
    assert_eq!(far.desk.status("acme", "before").await, 200);
    far.desk.settle().await;
    let stranded = Arc::new(AtomicBool::new(false));
    let read = |billing: Billing| async move { billing.customers().account(&tenant("acme")).await.is_ok() };
    // All that reads is in the midst of it.
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let (billing, stranded) = (far.desk.billing.clone(), stranded.clone());
        readers.spawn(async move {
            while !stranded.load(Ordering::Relaxed) {
                read(billing.clone()).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    far.proxy.strand();
    stranded.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let goes_on = async {
        drop(readers.join_all().await);
        while !read(far.desk.billing.clone()).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        far.desk.settle().await;
    };
    tokio::time::timeout(Duration::from_secs(25), goes_on).await.expect("it reads and writes again");
    assert!(began.elapsed() < Duration::from_secs(28), "{:?}", began.elapsed());
    assert_eq!(far.desk.status("acme", "after").await, 200);
    far.desk.settle().await;
    assert_eq!(far.desk.used("acme").await, 2);
    far.end().await;
}
