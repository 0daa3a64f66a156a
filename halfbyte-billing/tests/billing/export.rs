//! Export: every event that counts, at least once, in order, and on from where it was after a restart.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use halfbyte_billing::export::{BoxFuture, Destination, Export, Exported, SendError};
use halfbyte_billing::{Event, EventRef};

use crate::support::{Desk, Folder, keyed, labels};

/// Keeps the ids of what it was sent; says so to the first `answers` requests only.
#[derive(Clone, Default)]
struct Inbox {
    ids: Arc<Mutex<Vec<String>>>,
    lost: Arc<Mutex<u32>>,
}

impl Inbox {
    fn ids(&self) -> Vec<String> {
        self.ids.lock().expect("nobody panicked").clone()
    }

    /// The answers to the next so many requests get lost.
    fn lose(&self, answers: u32) {
        *self.lost.lock().expect("nobody panicked") = answers;
    }

    /// Waits for the event `last` to be the last one.
    async fn until(&self, last: &str) {
        let arrived = async {
            while self.ids().last().is_none_or(|id| id != last) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(10), arrived).await;
        outcome.unwrap_or_else(|_| panic!("{last} did not arrive, {:?} did", self.ids()));
    }
}

impl Destination for Inbox {
    fn send<'a>(&'a self, events: &'a [Exported]) -> BoxFuture<'a, Result<usize, SendError>> {
        Box::pin(async {
            let mut ids = self.ids.lock().expect("nobody panicked");
            ids.extend(events.iter().map(|exported| exported.event().id().to_owned()));
            let mut lost = self.lost.lock().expect("nobody panicked");
            if *lost > 0 {
                *lost -= 1;
                return Err(SendError::failed("the answer got lost"));
            }
            Ok(events.len())
        })
    }
}

fn export(inbox: &Inbox) -> Export {
    Export::new("inbox", inbox.clone()).expect("a name").batch(7).poll(Duration::from_millis(10))
}

async fn ingest(desk: &Desk, from: usize, until: usize) {
    let now = desk.life.clock().now();
    for id in from..until {
        desk.ingest(labels(&format!("e{id:03}"), "acme", now, 1)).await;
    }
}

#[tokio::test]
async fn every_event_arrives_in_order_and_after_a_restart_it_goes_on_where_it_was() {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    ingest(&desk, 0, 20).await;
    let exporter = desk.billing.export(export(&inbox));
    ingest(&desk, 20, 40).await;
    inbox.until("e039").await;
    drop(exporter);
    desk.stop().await;

    let desk = Desk::open(&folder.home()).await;
    ingest(&desk, 40, 60).await;
    let _exporter = desk.billing.export(export(&inbox));
    inbox.until("e059").await;
    let expected: Vec<_> = (0..60).map(|id| format!("e{id:03}")).collect();
    let mut ids = inbox.ids();
    // Where the first process stopped before it had noted the last answer, those events come twice.
    ids.dedup();
    let again = ids.len() - 60;
    assert!(again <= 7, "{ids:?}");
    ids.drain(40..40 + again);
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn what_was_not_confirmed_is_sent_again_and_nothing_overtakes_it() {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    inbox.lose(1);
    ingest(&desk, 0, 10).await;
    let _exporter = desk.billing.export(export(&inbox));
    inbox.until("e009").await;
    let expected: Vec<_> = (0..7).chain(0..10).map(|id| format!("e{id:03}")).collect();
    assert_eq!(inbox.ids(), expected);
}

#[tokio::test]
async fn requests_corrections_and_duplicates_are_exported_as_they_were_taken() {
    let folder = Folder::new();
    let inbox = Inbox::default();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let _exporter = desk.billing.export(export(&inbox));
    let now = desk.life.clock().now();
    assert_eq!(desk.status("labels", keyed("acme", "one")).await, 200);
    assert_eq!(desk.used("acme").await, 1);
    ingest(&desk, 0, 1).await;
    ingest(&desk, 0, 1).await;
    let target = EventRef::new("/warehouse", "e000").expect("a reference");
    desk.ingest(Event::void("/office", "v", "acme", now, &target).expect("a void")).await;
    desk.ingest(labels("last", "acme", now, 1)).await;
    inbox.until("last").await;
    let key = halfbyte_billing::IdempotencyKey::of(b"one");
    let ids = inbox.ids();
    assert_eq!(ids.first(), Some(&format!("labels/{key}")));
    assert_eq!(ids.iter().filter(|id| *id == "e000").count(), 1, "{ids:?}");
    assert_eq!(ids[ids.len() - 2..], ["v", "last"]);
}
