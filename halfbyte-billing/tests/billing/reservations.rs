//! Reserve, settle, release: units that are held in the store, by whichever process they are settled.

use std::time::Duration;

use halfbyte_billing::{Decision, ErrorKind, IdempotencyKey, Receipt, Reservation, Reserved};
use tokio::task::JoinSet;

use crate::support::{Desk, Folder, lots, number, raw, request, tenant};

const COUNTED: Receipt = Receipt::Counted { overage: 0 };
const MINUTE: Duration = Duration::from_secs(60);
const HELD: &str = "SELECT coalesce(sum(units), 0) FROM holds";

async fn reserve(desk: &Desk, units: u64, time: Duration) -> Reserved {
    match desk.billing.reserve(&tenant("acme"), "labels", units, time).await.expect("an answer") {
        Reservation::Held(reserved) => reserved,
        other => panic!("{other:?}"),
    }
}

async fn settle(desk: &Desk, reserved: &Reserved, units: u64, key: &str) -> Receipt {
    let key = IdempotencyKey::of(key.as_bytes());
    desk.billing.settle_reserved(reserved, units, key).await.expect("settled")
}

/// What is burned and held in all, once this process has given back what it does not need.
async fn balance(desk: &Desk, folder: &Folder) -> (i64, i64) {
    desk.billing.flush(Duration::from_secs(5)).await.expect("flushed");
    let lots = lots(&folder.database(), "acme");
    let held = lots.iter().map(|(_, _, held)| held).sum();
    assert_eq!(number(&folder.database(), HELD), held, "holds and lots agree");
    (lots.iter().map(|(_, burned, _)| burned).sum(), held)
}

#[tokio::test]
async fn what_is_reserved_is_settled_with_what_it_turned_out_to_be() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let mut used = 0;
    for (held, units, overage) in [(100, 30, 0), (100, 100, 0), (100, 130, 0), (50, 0, 0), (200, 300, 60)] {
        let reserved = reserve(&desk, held, MINUTE).await;
        assert_eq!((reserved.units(), reserved.feature(), reserved.tenant().as_str()), (held, "labels", "acme"));
        assert_eq!(balance(&desk, &folder).await.1, i64::try_from(held).expect("small"));
        let receipt = settle(&desk, &reserved, units, &format!("{held}-{units}")).await;
        assert_eq!(receipt, Receipt::Counted { overage }, "{units} of {held}");
        used += units;
        assert_eq!(desk.used("acme").await, used);
        let burned = i64::try_from(used.min(500)).expect("small");
        assert_eq!(balance(&desk, &folder).await, (burned, 0), "{units} of {held}");
    }
}

#[tokio::test]
async fn what_is_released_is_free_again_and_releasing_twice_changes_nothing() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let (one, two) = (reserve(&desk, 300, MINUTE).await, reserve(&desk, 200, MINUTE).await);
    for _ in 0..2 {
        desk.billing.release_reserved(&one).await.expect("released");
        assert_eq!(balance(&desk, &folder).await, (0, 200));
    }
    assert_eq!(settle(&desk, &two, 200, "two").await, COUNTED);
    desk.billing.release_reserved(&two).await.expect("nothing is left");
    assert_eq!(balance(&desk, &folder).await, (200, 0));
    assert_eq!(number(&folder.database(), "SELECT count(*) FROM owners"), 1, "this process");
}

#[tokio::test]
async fn a_use_is_settled_once_for_its_key() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let reserved = reserve(&desk, 100, MINUTE).await;
    assert_eq!(settle(&desk, &reserved, 70, "one").await, COUNTED);
    assert_eq!(settle(&desk, &reserved, 70, "one").await, Receipt::Duplicate);
    assert_eq!(settle(&desk, &reserved, 71, "one").await, Receipt::Conflict);
    assert_eq!((desk.used("acme").await, balance(&desk, &folder).await), (70, (70, 0)));
}

#[tokio::test]
async fn another_process_settles_it_by_its_text_also_after_the_first_has_ended() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let text = reserve(&desk, 100, MINUTE).await.to_string();
    desk.stop().await;
    assert_eq!(number(&folder.database(), HELD), 100, "it outlives its process");
    let desk = Desk::open(&folder.home()).await;
    let reserved: Reserved = text.parse().expect("it is one");
    assert_eq!(reserved.to_string(), text);
    assert_eq!(settle(&desk, &reserved, 60, "one").await, COUNTED);
    assert_eq!(balance(&desk, &folder).await, (60, 0));
    for wrong in ["", "labels", "0190-1/acme/labels/5", &text.replace("/100", "/-1"), &text.replace("/acme", "/a b")] {
        let error = wrong.parse::<Reserved>().expect_err("it is none");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}");
    }
}

#[tokio::test]
async fn what_is_held_is_not_there_for_requests_and_what_they_hold_idle_is_given_up_for_it() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    assert!(number(&folder.database(), HELD) > 0, "a tranche");
    let reserved = reserve(&desk, 499, MINUTE).await;
    assert_eq!(desk.status("labels", request("acme")).await, 429);
    let refused = desk.billing.reserve(&tenant("acme"), "labels", 1, MINUTE).await.expect("an answer");
    match refused {
        Reservation::Refused(Decision::QuotaExhausted(quota)) => assert_eq!((quota.limit, quota.remaining), (500, 0)),
        other => panic!("{other:?}"),
    }
    assert_eq!(settle(&desk, &reserved, 498, "one").await, COUNTED);
    tokio::time::sleep(Duration::from_millis(260)).await;
    assert_eq!(
        [desk.status("labels", request("acme")).await, desk.status("labels", request("acme")).await],
        [200, 429]
    );
    assert_eq!(desk.used("acme").await, 500);
}

#[tokio::test]
async fn a_reservation_expires_by_itself_and_what_is_settled_then_is_counted_all_the_same() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let reserved = reserve(&desk, 400, Duration::from_millis(300)).await;
    let expired = async {
        while number(&folder.database(), HELD) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(4), expired).await.expect("it expires");
    assert_eq!(desk.billing.stats().reclaimed, 400);
    let other = reserve(&desk, 400, MINUTE).await;
    assert_eq!(settle(&desk, &reserved, 300, "late").await, Receipt::Counted { overage: 200 });
    assert_eq!(settle(&desk, &other, 400, "other").await, COUNTED);
    assert_eq!((desk.used("acme").await, balance(&desk, &folder).await), (700, (500, 0)));
}

#[tokio::test]
async fn reservations_and_requests_together_never_get_more_than_the_limit() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let mut tasks = JoinSet::new();
    for task in 0..8_u64 {
        let (billing, app) = (desk.billing.clone(), desk.app("labels"));
        tasks.spawn(async move {
            let mut used = 0;
            for round in 0..12_u64 {
                let wanted = 5 + (task * 7 + round) % 11;
                let reservation = billing.reserve(&tenant("acme"), "labels", wanted, MINUTE).await.expect("an answer");
                if let Reservation::Held(reserved) = reservation {
                    match round % 3 {
                        0 => billing.release_reserved(&reserved).await.expect("released"),
                        less => {
                            let receipt =
                                billing.settle_reserved(&reserved, wanted - less, IdempotencyKey::unique()).await;
                            assert_eq!(receipt.expect("settled"), COUNTED);
                            used += wanted - less;
                        }
                    }
                }
                let call = tower::ServiceExt::oneshot(app.clone(), request("acme"));
                used += u64::from(call.await.expect("infallible").status() == 200);
            }
            used
        });
    }
    let used: u64 = tasks.join_all().await.into_iter().sum();
    assert!(used <= 500, "{used}");
    assert_eq!(desk.used("acme").await, used);
    assert_eq!(balance(&desk, &folder).await, (i64::try_from(used).expect("small"), 0));
    let rest = 500 - used;
    if rest > 0 {
        reserve(&desk, rest, MINUTE).await;
    }
    assert_eq!(desk.status("labels", request("acme")).await, 429, "all of it was to be had");
}

#[tokio::test]
async fn what_cannot_be_reserved_says_why() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    let reserve =
        async |name: &str, feature: &str, units| desk.billing.reserve(&tenant(name), feature, units, MINUTE).await;
    assert_eq!(reserve("nobody", "labels", 1).await.expect("an answer"), Reservation::Refused(Decision::NotEntitled));
    for feature in ["lables", "booking"] {
        assert_eq!(reserve("acme", feature, 1).await.expect_err("no such").kind(), ErrorKind::Catalog);
    }
    desk.subscribe("acme", "pro").await;
    let error = reserve("acme", "tracking", 1).await.expect_err("it is not metered");
    assert_eq!(error.to_string(), "\"tracking\" is not metered: there is nothing to reserve");
    let refused = reserve("acme", "labels", 501).await.expect("an answer");
    assert!(matches!(refused, Reservation::Refused(Decision::QuotaExhausted(quota)) if quota.remaining == 500));
    assert!(matches!(reserve("acme", "labels", u64::MAX).await, Ok(Reservation::Refused(_))));
    assert!(matches!(reserve("acme", "labels", 0).await, Ok(Reservation::Held(_))));
}

#[tokio::test]
async fn while_the_store_is_away_nothing_is_reserved_and_what_is_held_stays() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let reserved = reserve(&desk, 100, MINUTE).await;
    folder.take_database();
    let error = desk.billing.reserve(&tenant("acme"), "labels", 1, MINUTE).await.expect_err("no store");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let key = IdempotencyKey::of(b"one");
    let error = desk.billing.settle_reserved(&reserved, 40, key).await.expect_err("no store");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    folder.bring_database_back();
    assert_eq!(settle(&desk, &reserved, 40, "one").await, COUNTED);
    assert_eq!((desk.used("acme").await, balance(&desk, &folder).await), (40, (40, 0)));
}

#[tokio::test]
async fn a_reservation_that_nobody_is_there_to_take_is_given_back() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let lock = raw(&folder.database());
    lock.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let given_up = tokio::time::timeout(Duration::from_millis(300), reserve(&desk, 400, MINUTE)).await;
    assert!(given_up.is_err(), "the store is locked");
    lock.execute_batch("COMMIT").expect("unlocked");
    // It is made first, and given back within a second.
    let made = async {
        while number(&folder.database(), HELD) != 400 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while number(&folder.database(), HELD) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), made).await.expect("it is given back");
    assert_eq!(number(&folder.database(), "SELECT count(*) FROM owners"), 1, "this process");
    reserve(&desk, 500, MINUTE).await;
}
