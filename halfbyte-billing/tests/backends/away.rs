//! A process that starts while its PostgreSQL is away.

use std::time::Duration;

use halfbyte_billing::{Basis, Decision, Operation, Receipt};

use crate::server::Server;
use crate::support::{Desk, labels, tenant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_before_anything_is_known_is_counted_later_for_whom_and_out_of_what_it_should_be() {
    let (server, folder, acme) = (Server::start(), tempfile::tempdir().expect("a folder"), tenant("acme"));
    let office = Desk::open(&server.url(), &folder.path().join("office")).await;
    office.subscribe("acme", "small").await;
    let alias = Operation::AddSubject { subject: "key-7".into() };
    office.billing.customers().operate("alias", &acme, alias).await.expect("added");
    office.stop().await;
    server.down();

    let desk = Desk::open(&server.url(), &folder.path().join("home")).await;
    assert_eq!(desk.billing.check(&acme, "maps"), Decision::Allow { remaining: None, basis: Basis::Fallback });
    assert!(matches!(desk.billing.check(&acme, "labels"), Decision::Unavailable { .. }));
    let now = desk.life.clock().now();
    for id in ["one", "two"] {
        let receipt = desk.billing.ingest(labels(id, "key-7", now, 4)).await.expect("taken in");
        assert_eq!(receipt, Receipt::Spooled);
    }
    server.up();
    desk.caught_up(Duration::from_secs(30)).await;
    assert_eq!((desk.used("acme").await, desk.used("key-7").await), (8, 0));
    assert_eq!(desk.billing.stats().overage, 0, "it is charged to the plan");
}
