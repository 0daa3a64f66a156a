//! Usage of features and meters that are not, or no longer, in a process's catalogue.

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use halfbyte_billing::{Catalog, CatalogSource, Event, Receipt};
use halfbyte_core::Clock;
use http::Response;
use http_body_util::Full;
use tokio::sync::Notify;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{CATALOGUE, Desk, Folder, keyed, labels, lots, number, request};

const RUSH: &str = r#"
[products.parcel]
[meters.rush]
product = "parcel"
[features.rush]
product = "parcel"
meter = "rush"
"#;

/// Leaves a journal with three labels, of which one was a request, and five of rush.
async fn leave_a_journal(folder: &Folder) -> PathBuf {
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    desk.used("acme").await;
    let now = desk.life.clock().now();
    folder.take_database();
    assert_eq!(desk.status("labels", keyed("acme", "one")).await, 200, "out of the tranche");
    let rush = Event::new("/warehouse", "rush", "parcel.rush", "acme", now).expect("an event");
    let rush = rush.data(serde_json::json!({ "units": 5 })).expect("data");
    for event in [labels("label", "acme", now, 2), rush, nothing(now)] {
        assert_eq!(desk.ingest(event).await, Receipt::Spooled);
    }
    let left = folder.journals().remove(0);
    // It stops while the store is away.
    assert!(desk.life.stop_tasks(Duration::from_secs(5)).await);
    drop(desk);
    folder.bring_database_back();
    left
}

/// Of a type that no catalogue knows.
fn nothing(now: jiff::Timestamp) -> Event {
    Event::new("/warehouse", "nothing", "parcel.weighed", "acme", now).expect("an event")
}

fn sum(folder: &Folder) -> i64 {
    number(&folder.database(), "SELECT coalesce(sum(sum), 0) FROM aggregates")
}

#[tokio::test]
async fn what_a_process_does_not_know_of_a_dead_ones_journal_waits_there_for_one_that_does() {
    let folder = Folder::new();
    let left = leave_a_journal(&folder).await;
    let rush = Catalog::parse("rush.toml", RUSH).expect("good");
    for _ in 0..2 {
        let other = Desk::of(&folder.home(), Clock::system(), rush.clone()).await.expect("opens");
        assert_eq!(sum(&folder), 1 + 5, "what it knows is counted, once");
        assert!(left.exists());
        let held = "SELECT sum(units) FROM holds";
        assert!(number(&folder.database(), held) > 0, "what is held for the rest stays held");
        other.stop().await;
    }
    let desk = Desk::open(&folder.home()).await;
    assert_eq!((desk.used("acme").await, desk.used_of("acme", "rush").await), (1 + 3, 5));
    assert_eq!(desk.billing.stats().overage, 0);
    assert_eq!(number(&folder.database(), "SELECT count(*) FROM events"), 5, "with the one that counts nothing");
    assert_eq!(number(&folder.database(), "SELECT sum(held) FROM lots"), 0);
    assert_eq!(folder.journals().len(), 1, "only its own journal is left");
}

#[tokio::test]
async fn what_was_counted_of_a_journal_is_not_counted_again_by_another_meter() {
    const LABELS: &str = "[products.parcel]\n[meters.labels]\nproduct = \"parcel\"\n";
    let labels = format!("{LABELS}[features.labels]\nproduct = \"parcel\"\nmeter = \"labels\"\n");
    let stickers = RUSH.replace("[products.parcel]\n", LABELS)
        + "[meters.stickers]\nproduct = \"parcel\"\n[features.labels]\nproduct = \"parcel\"\nmeter = \"stickers\"\n";
    let folder = Folder::new();
    let left = leave_a_journal(&folder).await;
    for (catalogue, counted) in [(labels, 1 + 3), (stickers, 1 + 3 + 5)] {
        let catalogue = Catalog::parse("catalogue.toml", &catalogue).unwrap_or_else(|error| panic!("{error}"));
        Desk::of(&folder.home(), Clock::system(), catalogue).await.expect("opens").stop().await;
        assert_eq!(sum(&folder), counted);
    }
    assert!(!left.exists());
}

/// A request that is let in by one catalogue and answered under another.
#[tokio::test]
async fn a_use_that_was_let_in_counts_though_its_feature_has_left_the_catalogue_meanwhile() {
    let gone = "[products.parcel]\n";
    for later in [gone.to_owned(), format!("{gone}[meters.labels]\nproduct = \"parcel\"\n")] {
        let folder = Folder::new();
        Desk::with_plan(&folder.home(), "pro").await.stop().await;
        let path = folder.home().join("catalogue.toml");
        fs::write(&path, CATALOGUE).expect("written");
        let source = CatalogSource::File(path.clone());
        let desk = Desk::of(&folder.home(), Clock::system(), source).await.expect("opens");
        let (begun, go_on) = (Notify::new(), Notify::new());
        let handler = service_fn(async |_: http::Request<()>| {
            begun.notify_one();
            go_on.notified().await;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let app = desk.billing.entitle("labels").expect("there").layer(desk.billing.meter().layer(handler));
        let change = async {
            begun.notified().await;
            fs::write(&path, &later).expect("written");
            while desk.billing.entitle("labels").is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            go_on.notify_one();
        };
        let change = tokio::time::timeout(Duration::from_secs(20), change);
        let (response, changed) = tokio::join!(app.oneshot(request("acme")), change);
        changed.expect("the catalogue is another");
        assert_eq!(response.expect("infallible").status(), 200);
        desk.billing.flush(Duration::from_secs(5)).await.expect("flushed");
        assert_eq!(sum(&folder), 1);
        let (_, burned, held) = lots(&folder.database(), "acme").remove(0);
        assert_eq!((burned, held, desk.billing.stats().overage), (1, 0, 0), "out of what was held for it");
        assert_eq!(desk.billing.stats().refused, 0);
        desk.stop().await;
    }
}
