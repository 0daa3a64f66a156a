use std::time::Duration;

use halfbyte_billing::{Basis, Decision};
use halfbyte_core::Clock;
use jiff::SignedDuration;
use tokio::task::JoinSet;

use crate::support::{Desk, Folder, answering, keyed, number, raw, request, tenant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_tasks_never_get_more_than_the_limit_and_get_all_of_it() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let mut tasks = JoinSet::new();
    for task in 0..64_u16 {
        let app = desk.app("labels");
        tasks.spawn(async move {
            let mut allowed = 0;
            for round in 0..30_u16 {
                // Some fail, so that units come back while others are refused.
                let failing = (task + round) % 5 == 0;
                let wanted = if failing { answering(request("acme"), 500) } else { request("acme") };
                let status = tower::ServiceExt::oneshot(app.clone(), wanted).await.expect("infallible").status();
                allowed += u64::from(status == 200);
            }
            allowed
        });
    }
    let mut allowed = tasks.join_all().await.into_iter().sum::<u64>();
    while desk.status("labels", request("acme")).await == 200 {
        allowed += 1;
    }
    assert_eq!(allowed, 500);
    assert_eq!(desk.used("acme").await, 500);
}

#[tokio::test]
async fn a_new_period_brings_a_new_quota_and_usage_stays_in_its_own() {
    let folder = Folder::new();
    let clock = Clock::manual("2026-12-31T23:59:00Z".parse().expect("a time"));
    let desk = Desk::try_open(&folder.home(), clock.clone()).await.expect("opens");
    desk.subscribe("acme", "daily").await;
    for expected in [200, 200, 200, 429] {
        assert_eq!(desk.status("labels", request("acme")).await, expected);
    }
    assert_eq!(desk.used("acme").await, 3);
    clock.jump(SignedDuration::from_mins(2));
    for expected in [200, 200, 200, 429] {
        assert_eq!(desk.status("labels", request("acme")).await, expected);
    }
    assert_eq!(desk.used("acme").await, 3, "January's");
    let rows = desk.billing.usage_of(&tenant("acme")).await.expect("rows");
    assert_eq!(
        (rows[0].period.to_string(), rows[0].used, rows[0].limit),
        ("2027-01-01".into(), 3.into(), Some(3.into()))
    );
}

#[tokio::test]
async fn what_is_leased_and_not_used_is_given_back_when_it_falls_idle_and_at_flush() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let leased = "SELECT coalesce(sum(units), 0) FROM holds";
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    desk.used("acme").await;
    assert_eq!(number(&folder.database(), leased), 61, "an eighth of 500, less the one that was used");
    desk.billing.flush(Duration::from_secs(5)).await.expect("flushed");
    assert_eq!(number(&folder.database(), leased), 0);

    assert_eq!(desk.status("labels", request("acme")).await, 200);
    let given_back = async {
        while number(&folder.database(), leased) > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), given_back).await.expect("idle units are given back");
}

#[tokio::test]
async fn a_lease_that_nobody_waits_for_any_more_strands_nothing() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    for _ in 0..50 {
        let call = desk.call("labels", request("acme"));
        // Given up while the store is asked.
        _ = tokio::time::timeout(Duration::from_micros(200), call).await;
    }
    let used = desk.used("acme").await;
    let mut more = 0;
    while desk.status("labels", request("acme")).await == 200 {
        more += 1;
    }
    assert_eq!(used + more, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_on_from_their_tranche_while_the_store_is_locked_and_are_503_without_one() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    desk.subscribe("globex", "pro").await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    let lock = raw(&folder.database());
    lock.execute_batch("BEGIN IMMEDIATE").expect("locked");
    for _ in 0..10 {
        assert_eq!(desk.status("labels", request("acme")).await, 200);
    }
    let response = desk.call("labels", request("globex")).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    drop(lock);
    assert_eq!(desk.used("acme").await, 11);
}

#[tokio::test]
async fn a_check_does_no_reserving() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    let check = |name: &str, feature: &str| desk.billing.check(&tenant(name), feature);
    for _ in 0..10 {
        assert_eq!(check("acme", "labels"), Decision::Allow { remaining: Some(3), basis: Basis::Live });
    }
    for _ in 0..3 {
        assert_eq!(desk.status("labels", keyed("acme", "one")).await, 200);
    }
    for expected in [200, 200, 429] {
        assert_eq!(desk.status("labels", request("acme")).await, expected);
    }
    assert!(matches!(check("acme", "labels"), Decision::QuotaExhausted(quota) if quota.limit == 3));
    assert_eq!(check("acme", "tracking"), Decision::NotEntitled);
    assert_eq!(check("nobody", "labels"), Decision::NotEntitled);
    assert_eq!(check("acme", "no-such-feature"), Decision::NotEntitled);
}
