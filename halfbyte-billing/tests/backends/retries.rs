//! Transactions that lose against others: a trigger raises what PostgreSQL would.

use std::time::{Duration, Instant};

use halfbyte_billing::{ErrorKind, Receipt};
use sqlx::Connection as _;
use tempfile::TempDir;

use crate::support::{Database, Desk, labels};

/// Deadlock, serialization, statement timeout, lock timeout.
const PASSING: [&str; 4] = ["40P01", "40001", "57014", "55P03"];
/// So often a transaction is tried: once, and five times again.
const TRIES: i64 = 6;

struct Contended {
    database: Database,
    desk: Desk,
    _folder: TempDir,
}

impl Contended {
    /// With a customer called acme; the first `times` that rows are put into `table` fail with `state`. A sequence is not
    /// rolled back.
    async fn on(table: &str, state: &str, times: i64) -> Self {
        let (database, folder) = (Database::create().await, tempfile::tempdir().expect("a folder"));
        let desk = Desk::open(&database.url(), &folder.path().join("home")).await;
        desk.subscribe("acme", "small").await;
        let function = format!(
            "CREATE SEQUENCE public.tries;
             CREATE FUNCTION public.trip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF nextval('public.tries') <= {times} THEN
                     RAISE EXCEPTION 'others were in the way' USING ERRCODE = '{state}';
                 END IF;
                 RETURN NULL;
             END $$;"
        );
        let trigger = match table.strip_suffix(" at its commit") {
            None => {
                format!(
                    "CREATE TRIGGER trip BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION public.trip()"
                )
            }
            Some(table) => format!(
                "CREATE CONSTRAINT TRIGGER trip AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION public.trip()"
            ),
        };
        database.run(&(function + &trigger)).await;
        Self { database, desk, _folder: folder }
    }

    async fn tries(&self) -> i64 {
        self.database.number("SELECT last_value FROM public.tries").await
    }

    async fn ingest(&self) -> Receipt {
        let event = labels("one", "acme", self.desk.life.clock().now(), 4);
        self.desk.billing.ingest(event).await.expect("taken in")
    }

    /// The event is counted once, and all else of the limit can be used.
    async fn end(self) {
        self.desk.settle().await;
        assert_eq!(self.desk.use_up("acme").await, 6);
        self.desk.settle().await;
        self.database.is_settled_at(10).await;
        self.desk.stop().await;
        self.database.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_against_others_tries_again_and_counts_once() {
    for state in PASSING {
        let contended = Contended::on("events", state, TRIES - 1).await;
        assert_eq!(contended.ingest().await, Receipt::Counted { overage: 0 }, "{state}");
        assert_eq!(contended.tries().await, TRIES, "{state}");
        contended.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_too_often_leaves_it_in_the_journal_and_counts_it_later() {
    for state in PASSING {
        let contended = Contended::on("events", state, TRIES).await;
        assert_eq!(contended.ingest().await, Receipt::Spooled, "{state}");
        assert_eq!(contended.tries().await, TRIES, "{state}");
        contended.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_contention_is_not_tried_again_at_once() {
    // The disk of the server is full.
    let contended = Contended::on("events", "53100", 1).await;
    assert_eq!(contended.ingest().await, Receipt::Spooled);
    assert_eq!(contended.tries().await, 1);
    contended.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_for_what_is_in_it_is_answered_and_keeps_nothing_else_out() {
    // A division by zero, in whatever checks what is inserted.
    let contended = Contended::on("events", "22012", 1).await;
    let event = labels("refused", "acme", contended.desk.life.clock().now(), 4);
    let error = contended.desk.billing.ingest(event).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(contended.desk.billing.stats().refused, 1);
    assert_eq!(contended.ingest().await, Receipt::Counted { overage: 0 });
    contended.end().await;
}

/// The server gives up a statement after ten seconds; then others have had their chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_others_too_long_does_not_wait_again_at_once() {
    let contended = Contended::on("events", "40P01", 0).await;
    let other = contended.database.hold("LOCK TABLE events IN EXCLUSIVE MODE").await;
    let began = Instant::now();
    assert_eq!(contended.ingest().await, Receipt::Spooled);
    assert!(began.elapsed() < Duration::from_secs(18), "{:?}", began.elapsed());
    other.close().await.expect("closed");
    contended.end().await;
}

/// What was leased, burned or given back by a transaction that was rolled back was not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_right_wherever_a_transaction_is_tripped() {
    for table in ["holds", "burns", "lots", "aggregates", "holds at its commit", "burns at its commit"] {
        for times in [2, TRIES + 1] {
            let contended = Contended::on(table, "40P01", times).await;
            let key = format!("{table} {times}");
            let answered = async {
                for id in 0..4 {
                    while contended.desk.status("acme", &format!("{id}")).await == 503 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(20), answered).await.expect("it is leased in the end");
            contended.desk.settle().await;
            assert_eq!(contended.desk.used("acme").await, 4, "{key}");
            contended.end().await;
        }
    }
}
