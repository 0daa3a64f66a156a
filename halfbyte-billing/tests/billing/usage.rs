use std::time::Duration;

use crate::support::{Desk, Folder, keyed, request, tenant};

#[tokio::test]
async fn usage_is_shown_at_once_with_its_limit() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    for used in 1..=5 {
        assert_eq!(desk.status("labels", request("acme")).await, 200);
        let rows = desk.billing.usage_of(&tenant("acme")).await.expect("rows");
        assert_eq!(rows.len(), 2, "one for each meter");
        assert_eq!(
            (&*rows[0].meter, &*rows[0].unit, rows[0].used, rows[0].limit),
            ("labels", "label", used.into(), Some(500.into()))
        );
    }
}

#[tokio::test]
async fn a_tenant_without_a_plan_still_sees_what_it_used() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    desk.billing.customers().end(&tenant("acme")).await.expect("ended");
    let rows = desk.billing.usage_of(&tenant("acme")).await.expect("rows");
    assert_eq!((rows[0].used, rows[0].limit, rows[0].feature.clone()), (1.into(), None, None));
}

#[tokio::test]
async fn a_key_counts_once_also_across_a_restart() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert_eq!(desk.status("labels", keyed("acme", "one")).await, 200);
    desk.stop().await;
    assert_eq!(folder.journals(), [""; 0].map(std::path::PathBuf::from), "a clean end leaves no journal");

    let desk = Desk::open(&folder.home()).await;
    assert_eq!(desk.used("acme").await, 1);
    assert_eq!(desk.status("labels", keyed("acme", "one")).await, 200);
    assert_eq!(desk.used("acme").await, 1);
}

#[tokio::test]
async fn after_the_stop_requests_are_refused_and_nothing_is_given_away() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    assert!(desk.life.stop_tasks(Duration::from_secs(5)).await);
    assert_eq!(desk.status("labels", request("acme")).await, 503);
    desk.billing.flush(Duration::from_secs(1)).await.expect_err("it has stopped");
    assert_eq!(Desk::open(&folder.home()).await.used("acme").await, 1);
}

#[tokio::test]
async fn readiness_names_the_store_and_the_accounts() {
    let folder = Folder::new();
    let desk = Desk::open(&folder.home()).await;
    let report = desk.life.health().report();
    let names: Vec<_> = report.iter().map(|check| (&*check.name, check.ready, check.state)).collect();
    assert_eq!(names, [("billing.accounts", true, "fresh"), ("billing.store", true, "ok")]);
}
