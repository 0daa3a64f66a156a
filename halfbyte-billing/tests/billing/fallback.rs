//! What is decided by: what the store says, the last that it said, or the product's own word.

use std::time::Duration;

use halfbyte_billing::{Basis, Catalog, Decision, Operation, Standing};
use halfbyte_core::Clock;

use crate::support::{Desk, Folder, keyed, request, tenant};

const CATALOGUE: &str = r#"
[products.parcel]
[meters.labels]
product = "parcel"
[meters.rush]
product = "parcel"
[features.labels]
product = "parcel"
meter = "labels"
[features.rush]
product = "parcel"
meter = "rush"
fallback = "allow"
[features.tracking]
product = "parcel"
[features.maps]
product = "parcel"
fallback = "allow"
[plans.pro]
features = { tracking = true, labels = { limit = 500, per = "month" }, rush = { limit = 2, per = "month" } }
[plans.mini]
features = { labels = { limit = 1, per = "month" } }
"#;

async fn opened(folder: &Folder) -> Desk {
    let catalog = Catalog::parse("fallback.toml", CATALOGUE).unwrap_or_else(|error| panic!("{error}"));
    let desk = Desk::of(&folder.home(), Clock::system(), catalog).await.expect("opens");
    desk.subscribe("acme", "pro").await;
    desk
}

/// Lets time pass for the timers of this process, and not for its clock.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn basis(desk: &Desk, feature: &str) -> Basis {
    match desk.billing.check(&tenant("acme"), feature) {
        Decision::Allow { basis, .. } => basis,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_decision_says_whether_it_is_live_stale_by_how_much_or_a_fallback() {
    let folder = Folder::new();
    let desk = opened(&folder).await;
    assert_eq!(basis(&desk, "tracking"), Basis::Live);
    folder.take_database();
    pass(Duration::from_secs(60)).await;
    match basis(&desk, "tracking") {
        Basis::Stale(age) => assert!((60..70).contains(&age.as_secs()), "{age:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(desk.status("tracking", request("acme")).await, 200);
    pass(Duration::from_secs(245)).await;
    assert_eq!(basis(&desk, "maps"), Basis::Fallback, "allowed, although the plan lacks it");
    let unavailable = Decision::Unavailable { retry_in: Duration::from_secs(1) };
    assert_eq!(desk.billing.check(&tenant("acme"), "tracking"), unavailable);

    folder.bring_database_back();
    let live = async {
        while desk.billing.check(&tenant("acme"), "tracking")
            != (Decision::Allow { remaining: None, basis: Basis::Live })
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(10), live).await;
    assert!(outcome.is_ok(), "{:?}", desk.life.health().report());
    assert_eq!(desk.status("maps", request("acme")).await, 403);
}

#[tokio::test]
async fn when_nothing_is_known_a_feature_is_denied_or_let_through_and_counted_later_once() {
    let folder = Folder::new();
    let desk = opened(&folder).await;
    assert_eq!(desk.status("rush", request("acme")).await, 200);
    assert_eq!(desk.used_of("acme", "rush").await, 1);
    folder.take_database();
    pass(Duration::from_secs(305)).await;
    for feature in ["labels", "tracking"] {
        let response = desk.call(feature, request("acme")).await;
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"1".parse().expect("one")));
    }
    assert_eq!(desk.status("maps", request("acme")).await, 200);
    for key in ["one", "two", "two", "three"] {
        assert_eq!(desk.status("rush", keyed("acme", key)).await, 200, "beyond any limit");
    }
    folder.bring_database_back();
    let counted = async {
        while desk.billing.stats().backlog > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), counted).await.expect("it is counted");
    assert_eq!(desk.used_of("acme", "rush").await, 4);
    assert_eq!(desk.billing.stats().overage, 2, "it is charged to the plan, of which two were not used up");
    assert_eq!(desk.status("rush", keyed("acme", "two")).await, 200, "a repetition");
    assert_eq!(desk.used_of("acme", "rush").await, 4);
}

#[tokio::test]
async fn while_the_store_is_away_what_is_not_leased_is_denied_or_let_through_at_once() {
    let folder = Folder::new();
    let desk = opened(&folder).await;
    folder.take_database();
    assert_eq!(desk.status("tracking", request("acme")).await, 200, "from the last accounts");
    assert_eq!(desk.status("labels", request("acme")).await, 503);
    for _ in 0..4 {
        assert_eq!(desk.status("rush", request("acme")).await, 200);
    }
    folder.bring_database_back();
    assert_eq!(desk.used_of("acme", "rush").await, 4);
    assert_eq!(desk.status("rush", request("acme")).await, 429);
}

#[tokio::test]
async fn while_the_store_is_away_nobody_is_refused_for_what_it_might_have_to_say() {
    let folder = Folder::new();
    let desk = opened(&folder).await;
    desk.subscribe("globex", "mini").await;
    desk.subscribe("initech", "pro").await;
    desk.operate("owes", "initech", Operation::SetStanding { standing: Standing::PastDue }).await;
    assert_eq!(desk.status("labels", request("globex")).await, 200);
    // Nobody, whose plan lacks it, who owes, and who has nothing left; "maps" would let in of whom nothing is known.
    let refused = [
        ("tracking", "nobody", 403),
        ("maps", "acme", 403),
        ("tracking", "initech", 402),
        ("rush", "initech", 402),
        ("labels", "globex", 429),
    ];
    for (feature, name, status) in refused {
        assert_eq!(desk.status(feature, request(name)).await, status, "{feature} of {name}");
    }
    folder.take_database();
    // Looks that are asked for keep a distance; this is more than it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    for (feature, name, _) in refused {
        let response = desk.call(feature, request(name)).await;
        assert_eq!(response.status(), 503, "{feature} of {name}");
        assert_eq!(response.headers()["retry-after"], "1", "{feature} of {name}");
    }
    assert_eq!(desk.status("tracking", request("acme")).await, 200, "who may goes on");
    folder.bring_database_back();
    for (feature, name, status) in refused {
        let again = async {
            while desk.status(feature, request(name)).await != status {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), again).await.unwrap_or_else(|_| panic!("{feature} of {name}"));
    }
}

#[tokio::test]
async fn what_was_let_through_is_counted_by_the_next_process() {
    let folder = Folder::new();
    let desk = opened(&folder).await;
    folder.take_database();
    for key in ["one", "two", "three"] {
        assert_eq!(desk.status("rush", keyed("acme", key)).await, 200);
    }
    // It stops while the store is away.
    assert!(desk.life.stop_tasks(Duration::from_secs(5)).await);
    drop(desk);
    folder.bring_database_back();
    let desk = opened(&folder).await;
    assert_eq!(desk.used_of("acme", "rush").await, 3);
}
