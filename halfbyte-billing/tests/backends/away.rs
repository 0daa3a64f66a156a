//! A process that starts while its PostgreSQL is away.

use std::time::Duration;

use halfbyte_billing::{Basis, Billing, Catalog, Decision, Event, Operation, Per, Period, Receipt, Settings};
use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, ProductId, TenantId};

use crate::server::Server;

const CATALOGUE: &str = r#"
[products.parcel]
[meters.labels]
product = "parcel"
[features.labels]
product = "parcel"
meter = "labels"
[features.maps]
product = "parcel"
fallback = "allow"
[plans.pro]
features.labels = { limit = 10, per = "year" }
"#;

async fn open(server: &Server, home: &std::path::Path, life: &Lifecycle) -> Billing {
    let product = ProductId::new("parcel").expect("valid");
    let catalog = Catalog::parse("catalogue.toml", CATALOGUE).expect("good");
    let backend = BillingBackend::Postgres(server.url().into());
    let home = Home::open(home).expect("a home");
    Billing::open(Settings::new(&backend, &home, product, catalog), life).await.expect("it opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_before_anything_is_known_is_counted_later_for_whom_and_out_of_what_it_should_be() {
    let (server, folder, acme) = (Server::start(), tempfile::tempdir().expect("a folder"), TenantId::new("acme"));
    let (life, acme) = (Lifecycle::new(Clock::system()), acme.expect("valid"));
    let office = open(&server, &folder.path().join("office"), &life).await;
    office.customers().create(&acme).await.expect("made");
    office.customers().subscribe(&acme, "pro").await.expect("subscribed");
    let alias = Operation::AddSubject { subject: "key-7".into() };
    office.customers().operate("alias", &acme, alias).await.expect("added");
    drop(office);
    assert!(life.stop_tasks(Duration::from_secs(5)).await);
    server.down();

    let life = Lifecycle::new(Clock::system());
    let billing = open(&server, &folder.path().join("home"), &life).await;
    assert_eq!(billing.check(&acme, "maps"), Decision::Allow { remaining: None, basis: Basis::Fallback });
    assert!(matches!(billing.check(&acme, "labels"), Decision::Unavailable { .. }));
    let now = life.clock().now();
    for id in ["one", "two"] {
        let event = Event::new("/warehouse", id, "parcel.labels", "key-7", now).expect("an event");
        let event = event.data(serde_json::json!({ "units": 4 })).expect("data");
        assert_eq!(billing.ingest(event).await.expect("taken in"), Receipt::Spooled);
    }
    server.up();
    let counted = async {
        while billing.stats().backlog > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), counted).await.expect("it is counted");
    let used = async |name: &str| {
        let tenant = TenantId::new(name).expect("valid");
        billing.usage(&tenant, "labels", Period::containing(now, Per::Year)).await.expect("it answers")
    };
    assert_eq!((used("acme").await, used("key-7").await), (8.into(), 0.into()));
    assert_eq!(billing.stats().overage, 0, "it is charged to the plan");
}
