use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, ProductId, TenantId};
use jiff::Timestamp;

use super::*;
use crate::account::MeteredRight;
use crate::entitle::{Gate, Verdict};
use crate::journal::{Bounds, Folder, Journal};
use crate::quota::{Cells, Metered};
use crate::store::{Batch, Entry, LeaseAsk, Units, owners};
use crate::testing::store_in;
use crate::{Billing, Catalog, Decision, Event, IdempotencyKey, Receipt, Settings, assemble};

const LABELS: &str = r#"
[meters.labels]
product = "parcel"
[features.labels]
product = "parcel"
meter = "labels"
[plans.free]
default = true
features.labels = "unlimited"
"#;

fn catalog(parts: &str) -> Catalog {
    Catalog::parse("c.toml", &format!("[products.parcel]\n{parts}")).unwrap_or_else(|error| panic!("{error}"))
}

fn acme() -> TenantId {
    TenantId::new("acme").expect("valid")
}

fn labels(id: &str, note: usize) -> Event {
    let event = Event::new("/warehouse", id, "parcel.labels", "acme", Clock::system().now()).expect("an event");
    event.data(serde_json::json!({ "units": 1, "note": "x".repeat(note) })).expect("data")
}

async fn opened(folder: &Path, backlog: Bounds) -> (Billing, Lifecycle) {
    let (home, life) = (Home::open(folder.join("home")).expect("a home"), Lifecycle::new(Clock::system()));
    let product = ProductId::new("parcel").expect("valid");
    let settings = Settings::new(&BillingBackend::Sqlite(None), &home, product, catalog(LABELS));
    let billing = Billing::open(Settings { backlog, ..settings }, &life).await.expect("it opens");
    (billing, life)
}

/// Takes the database away, or brings it back.
fn move_database(folder: &Path, from: &str, to: &str) {
    fs::create_dir_all(folder.join(to)).expect("made");
    for end in ["-shm", "-wal", ""] {
        let name = format!("billing.sqlite{end}");
        if folder.join(from).join(&name).exists() {
            fs::rename(folder.join(from).join(&name), folder.join(to).join(&name)).expect("moved");
        }
    }
}

#[tokio::test]
async fn events_that_are_long_fill_the_backlog_before_there_are_many_and_then_all_that_is_metered_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (billing, _life) = opened(folder.path(), Bounds { records: 1000, bytes: 100_000 }).await;
    let gate = Gate::new(&billing, "labels").expect("there");
    move_database(folder.path(), "home/billing", "kept");
    let mut spooled = 0;
    while billing.shared().journal.is_accepting() {
        assert!(spooled < 10, "more than fits");
        match billing.ingest(labels(&spooled.to_string(), 10_000)).await {
            Ok(receipt) => assert_eq!(receipt, Receipt::Spooled),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                break;
            }
        }
        spooled += 1;
        assert!(matches!(gate.decide(&acme(), 1), Verdict::Pass(_)));
    }
    assert!(spooled > 5, "{spooled}");
    // What no long one fits into, some short ones do.
    let mut short = 0;
    while billing.ingest(labels(&format!("short-{short}"), 0)).await.is_ok() {
        short += 1;
        assert!(short < 50, "more than fits");
    }
    assert!(short > 0);
    let key = IdempotencyKey::unique();
    if let Verdict::Pass(pass) = gate.decide(&acme(), 1) {
        // The last bytes.
        let (hold, at) = pass.held.expect("it is metered");
        let used = |bytes| crate::billing::Use { key, at, units: 1, data: Some("x".repeat(bytes).into()) };
        billing.settle(&hold, used(2000)).expect("an answer that was begun is recorded");
    }
    let check = billing.shared().check();
    assert_eq!((check.ready, check.state), (false, "journal-full"));
    assert!(matches!(gate.decide(&acme(), 1), Verdict::Refuse(Decision::Unavailable { .. })));
    billing.ingest(labels("one-more", 0)).await.expect_err("it is full");

    move_database(folder.path(), "kept", "home/billing");
    let counted = async {
        while billing.stats().backlog > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), counted).await.expect("it is counted");
    assert_eq!(billing.shared().check().state, "ok");
    assert!(matches!(gate.decide(&acme(), 1), Verdict::Pass(_)));
    assert_eq!(billing.ingest(labels("0", 10_000)).await.map_err(|error| error.kind()), Ok(Receipt::Conflict));
}

#[tokio::test]
async fn a_cell_that_was_lost_leases_nothing_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let (billing, _life) = opened(folder.path(), Bounds::default()).await;
    let catalog = billing.catalog();
    let (feature, meter) = (catalog.feature("labels").expect("there"), catalog.meter("labels").expect("there"));
    let metered = Arc::new(Metered { feature: feature.clone(), meter: meter.clone() });
    let right = MeteredRight::unknown(Clock::system().now());
    let cells = &billing.shared().cells;
    let cell = cells.make(acme(), 0, metered, right);
    assert!(billing.lease(&cell, 1).await.expect("the store answers").is_none(), "it has no lots");
    cells.lose();
    let error = billing.lease(&cell, 1).await.expect_err("it is not this process's any more");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// What a process needs to take over the journals of others.
struct Next {
    store: Store,
    folder: Folder,
    accounts: Accounts,
    shared: Shared,
    adopter: Adopter,
}

impl Next {
    async fn to(parent: &Path, catalog: Catalog) -> Self {
        let store = store_in(parent).await;
        let folder = Folder::new(Home::open(parent.join("journals")).expect("a folder"));
        let cells = Arc::new(Cells::default());
        let shared = Shared::new(folder.create().expect("made"), cells.clone());
        let adopter = Adopter::new(folder.clone());
        Self { store, folder, accounts: Accounts::new(catalog, cells), shared, adopter }
    }

    async fn adopt(&mut self) {
        let (mut session, now) = (self.store.writer().await.expect("a session"), Clock::system().now());
        let adopted = self.adopter.adopt(&self.store, &self.accounts, &self.shared, now, session.as_mut()).await;
        adopted.expect("the store is there");
        session.close().await.expect("closed");
    }

    async fn number(&self, sql: &'static str) -> i64 {
        let mut session = self.store.reader().await.expect("a session");
        session.query(sql, &[]).await.expect("queried")[0].int(0).expect("a number")
    }

    fn entry(&self, event: Event) -> Entry {
        assemble::of_event(&self.accounts, event, acme(), None, Clock::system().now()).expect("it can be counted")
    }
}

#[tokio::test]
async fn a_journal_that_is_anothers_is_looked_at_again_only_when_the_catalogue_is_another() {
    let parent = tempfile::tempdir().expect("a folder");
    let mut next = Next::to(parent.path(), catalog(LABELS)).await;
    let dead: Journal<Pending> = next.folder.create().expect("made");
    dead.append(Pending::Event(Arc::new(next.entry(labels("one", 0))))).expect("written");
    let (owner, path) = (dead.owner(), dead.path().to_owned());
    drop(dead);

    next.accounts.set_catalog(catalog(""));
    next.adopt().await;
    assert_eq!(next.number("SELECT count(*) FROM events").await, 0, "it is not used up by counting nothing");
    // One that is read again would be put away: there is nothing unknown in it now.
    let kept = fs::read(path.join("a")).expect("read");
    fs::write(path.join("a"), "nonsense").expect("written");
    next.adopt().await;
    assert!(path.exists());
    fs::write(path.join("a"), kept).expect("written");

    next.accounts.set_catalog(catalog(LABELS));
    next.adopt().await;
    assert_eq!(next.number("SELECT sum(sum) FROM aggregates").await, 1);
    assert_eq!(next.folder.owners().expect("listed"), BTreeSet::from([next.shared.journal.owner()]));
    assert!(!next.folder.owners().expect("listed").contains(&owner));
}

#[tokio::test]
async fn a_long_journal_is_adopted_in_parts_and_keeps_what_it_holds_until_the_last() {
    const USES: u32 = 2100;
    let parent = tempfile::tempdir().expect("a folder");
    let limited = LABELS.replace("\"unlimited\"", "{ limit = 10_000, per = \"year\" }");
    let mut next = Next::to(parent.path(), catalog(&limited)).await;
    let (now, catalog) = (Clock::system().now(), next.accounts.catalog());
    let feature = catalog.feature("labels").expect("there").clone();
    let metered =
        Arc::new(Metered { meter: catalog.meter("labels").expect("there").clone(), feature: feature.clone() });
    let crate::account::Right::Metered(right) = next.accounts.right(&acme(), &feature, now, now).0 else {
        panic!("it is metered")
    };
    let cell = next.accounts.cells.make(acme(), 0, metered, right);
    let dead: Journal<Pending> = next.folder.create().expect("made");
    let (owner, holder) = (dead.owner(), assemble::holder(dead.owner(), &cell));
    let used = |number: u32| PendingUse {
        cell: cell.clone(),
        key: IdempotencyKey::of(&number.to_le_bytes()),
        at: Timestamp::from_second(now.as_second()).expect("in range"),
        units: 1,
        held: 1,
        data: None,
    };
    let entry = |number: u32| {
        let known = Some(&*cell.metered);
        assemble::of_use(&next.accounts, &used(number).record(), known, None, now).expect("it can be counted")
    };

    let mut session = next.store.writer().await.expect("a session");
    owners::heartbeat(session.as_mut(), owner, Duration::from_secs(60)).await.expect("it lives");
    let lease = LeaseAsk {
        holder,
        tenant: acme(),
        feature: feature.name.clone(),
        lots: cell.right.lots.clone(),
        units: Units::Exactly(3000),
        expires_in: None,
    };
    // All but the last one it had counted before it died; it did not come to know that.
    let before: Vec<_> = (0..USES - 1).map(entry).map(Arc::new).collect();
    let (entries, leases) = (&before[..], &[lease][..]);
    let batch = Batch { owner, now, entries, releases: &[], leases, forget: None, keep: false };
    session.begin().await.expect("begun");
    crate::store::commit(session.as_mut(), &batch).await.expect("done");
    session.commit().await.expect("committed");
    // Until the last is counted nothing of what is held comes back.
    let given_back =
        "CREATE TRIGGER given_back BEFORE UPDATE ON lots WHEN NEW.held < OLD.held AND NEW.burned = OLD.burned
        BEGIN SELECT RAISE(ABORT, 'given back'); END";
    session.script(given_back).await.expect("made");
    session.close().await.expect("closed");
    assert_eq!(next.number("SELECT sum(held) FROM lots").await, 3000);
    (0..USES).for_each(|number| _ = dead.append(Pending::Use(used(number))).expect("written"));
    drop(dead);

    next.adopt().await;
    assert_eq!(next.shared.stats().refused, 0);
    assert_eq!(next.number("SELECT sum(sum) FROM aggregates").await, i64::from(USES));
    assert_eq!(next.number("SELECT sum(burned) FROM lots").await, i64::from(USES));
    assert_eq!(next.number("SELECT sum(held) FROM lots").await, 0);
    assert_eq!(next.folder.owners().expect("listed").len(), 1);
}

#[tokio::test]
async fn an_event_that_waited_counts_by_meters_that_have_left_the_catalogue_meanwhile() {
    let parent = tempfile::tempdir().expect("a folder");
    let next = Next::to(parent.path(), catalog(LABELS)).await;
    let entry = Arc::new(next.entry(labels("one", 0)));
    let Next { store, accounts, shared, adopter, .. } = next;
    let (accounts, lease) = (Arc::new(accounts), Duration::from_secs(60));
    let committer = Committer::new(Arc::new(shared), accounts.clone(), store, adopter, Clock::system(), lease, true);
    accounts.set_catalog(catalog(""));
    assert_eq!(committer.spooled(&entry).measurements, entry.measurements);
}

#[test]
fn a_transaction_takes_so_many_entries_or_so_many_bytes_and_one_entry_at_least() {
    let of = |count, size| batch::chunk(std::iter::repeat_n(size, count));
    assert_eq!([of(0, 1), of(1, usize::MAX), of(3, usize::MAX), of(3000, 1)], [0, 1, 1, 2048]);
    assert_eq!(of(3000, 64 * 1024), 512);
}
