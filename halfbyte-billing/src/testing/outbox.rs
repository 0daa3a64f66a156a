use std::collections::BTreeSet;
use std::time::Duration;

use super::fresh::Fresh;
use super::support::{COUNTED, commit, correction, event, given, noon};
use crate::store::{Dialect, Position, count};

pub(super) async fn every_event_is_read_once_while_others_commit(fresh: Fresh) {
    const BATCHES: usize = 25;
    let write = async |process: usize| {
        let mut session = fresh.session().await;
        for n in 0..BATCHES {
            let batch = ["a", "b", "c"].map(|part| event(&format!("{process} {n} {part}")));
            commit(&mut *session, &batch).await;
        }
    };
    let read = async {
        let (mut position, mut seen) = (Position::default(), Vec::new());
        while seen.len() < 3 * 3 * BATCHES {
            let page = fresh.store.outbox(position, 4).await.unwrap();
            for (at, received) in page {
                assert!(at > position, "{at} after {position}");
                assert_eq!(at.to_string().parse::<Position>().unwrap(), at);
                position = at;
                seen.push(received.event.id);
            }
            tokio::task::yield_now().await;
        }
        seen
    };
    let reading = tokio::time::timeout(Duration::from_secs(60), read);
    let ((), (), (), seen) = tokio::join!(write(0), write(1), write(2), reading);
    let seen = seen.expect("everything is read in the end");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "none twice, and so none left out");
}

pub(super) async fn what_is_not_committed_holds_back_what_came_after_it(fresh: Fresh) {
    let ids = async |after: Position| -> Vec<String> {
        let page = fresh.store.outbox(after, 10).await.unwrap();
        page.into_iter().map(|(_, received)| received.event.id.to_string()).collect()
    };
    let mut slow = fresh.session().await;
    slow.begin().await.unwrap();
    assert_eq!(count(&mut *slow, noon(0), &given(&[event("slow")])).await.unwrap(), [COUNTED]);
    // SQLite has no other writer meanwhile.
    if slow.dialect() == Dialect::Postgres {
        assert_eq!(fresh.count(&[event("fast")]).await, [COUNTED]);
    }
    assert_eq!(ids(Position::default()).await, Vec::<String>::new());
    slow.commit().await.unwrap();
    if slow.dialect() == Dialect::Sqlite {
        fresh.count(&[event("fast")]).await;
    }
    fresh.count(&[correction("void", "slow")]).await;
    // Whatever else the server does at this instant may hold events back for a moment.
    let all = async {
        while ids(Position::default()).await.len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("everything is read in the end");
    assert_eq!(ids(Position::default()).await, ["slow", "fast", "void"]);
    let first = fresh.store.outbox(Position::default(), 1).await.unwrap()[0].0;
    assert_eq!(ids(first).await, ["fast", "void"]);
}

pub(super) async fn an_export_has_one_holder_and_goes_on_where_it_was(fresh: Fresh) {
    let store = &fresh.store;
    let hour = Duration::from_secs(3600);
    fresh.count(&[event("a")]).await;
    let start = store.claim_export("nats", "one", hour).await.unwrap();
    assert_eq!(start, Some(Position::default()));
    assert_eq!(store.claim_export("nats", "other", hour).await.unwrap(), None);
    assert_eq!(store.claim_export("http", "other", hour).await.unwrap(), start, "each export by itself");
    let page = async {
        loop {
            if let Some((position, _)) = store.outbox(Position::default(), 9).await.unwrap().pop() {
                return position;
            }
            tokio::task::yield_now().await;
        }
    };
    let position = tokio::time::timeout(Duration::from_secs(30), page).await.expect("it is read in the end");
    assert!(!store.advance_export("nats", "other", position).await.unwrap());
    assert!(store.advance_export("nats", "one", position).await.unwrap());
    assert_eq!(store.claim_export("nats", "one", Duration::ZERO).await.unwrap(), Some(position), "prolonged");
    assert_eq!(store.claim_export("nats", "other", hour).await.unwrap(), Some(position), "after it had expired");
    assert!(!store.advance_export("nats", "one", Position::default()).await.unwrap());
    store.release_export("nats", "one").await.unwrap();
    assert_eq!(store.claim_export("nats", "one", hour).await.unwrap(), None);
    store.release_export("nats", "other").await.unwrap();
    assert_eq!(store.claim_export("nats", "one", hour).await.unwrap(), Some(position), "after it was given back");
}
