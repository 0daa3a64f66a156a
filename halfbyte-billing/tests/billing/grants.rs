//! Grants: what is burned first, what expires, what recurs, and what is taken over.

use halfbyte_billing::{Catalog, Decision, GrantSpec, Operation, Per, Receipt};
use halfbyte_core::Clock;
use jiff::SignedDuration;

use crate::support::{Desk, Folder, at, jump_to, labels, lots, request, tenant};

const CATALOGUE: &str = r#"
[products.parcel]
[meters.labels]
product = "parcel"
[features.labels]
product = "parcel"
meter = "labels"
[plans.small]
features.labels = { limit = 10, per = "month" }
[plans.prepaid]
features.labels = "prepaid"
[plans.saver]
features.labels = { limit = 10, per = "month", rollover = 15 }
"#;

const COUNTED: Receipt = Receipt::Counted { overage: 0 };

async fn on(folder: &Folder, plan: &str) -> (Desk, Clock) {
    let clock = Clock::manual(at("2026-03-01T00:00:00"));
    let catalog = Catalog::parse("grants.toml", CATALOGUE).unwrap_or_else(|error| panic!("{error}"));
    let desk = Desk::of(&folder.home(), clock.clone(), catalog).await.expect("opens");
    desk.subscribe("acme", plan).await;
    (desk, clock)
}

async fn grant(desk: &Desk, spec: GrantSpec) {
    assert!(desk.billing.customers().grant(&tenant("acme"), spec).await.expect("granted"));
}

fn labels_of(id: &str, amount: u64) -> GrantSpec {
    GrantSpec::new(id, "labels", amount)
}

/// What is burned of each lot, without its date.
async fn burned(desk: &Desk, folder: &Folder) -> Vec<(String, i64)> {
    desk.billing.flush(std::time::Duration::from_secs(5)).await.expect("flushed");
    let lots = lots(&folder.database(), "acme");
    assert!(lots.iter().all(|(_, _, held)| *held == 0), "{lots:?}");
    let short = |name: &str| name.split("/2026").next().unwrap_or(name).to_owned();
    lots.iter().filter(|(_, burned, _)| *burned != 0).map(|(name, burned, _)| (short(name), *burned)).collect()
}

fn these<const N: usize>(all: [(&str, i64); N]) -> Vec<(String, i64)> {
    all.map(|(name, burned)| (name.to_owned(), burned)).to_vec()
}

#[tokio::test]
async fn what_is_burned_first_is_said_by_priority_then_expiry_then_age() {
    let folder = Folder::new();
    let (desk, clock) = on(&folder, "small").await;
    grant(&desk, labels_of("forever", 4)).await;
    clock.jump(SignedDuration::from_secs(1));
    grant(&desk, labels_of("younger", 4)).await;
    grant(&desk, labels_of("soon", 4).expires(at("2026-03-20"))).await;
    grant(&desk, labels_of("first", 4).priority(1)).await;
    grant(&desk, labels_of("last", 4).priority(200).expires(at("2026-03-10"))).await;
    let now = clock.now();
    for (id, units, expected) in [
        ("a", 5, these([("grant/first", 4), ("grant/soon", 1)])),
        ("b", 10, these([("grant/first", 4), ("grant/soon", 4), ("plan", 7)])),
        (
            "c",
            9,
            these([("grant/first", 4), ("grant/forever", 4), ("grant/soon", 4), ("grant/younger", 2), ("plan", 10)]),
        ),
    ] {
        assert_eq!(desk.ingest(labels(id, "acme", now, units)).await, COUNTED);
        assert_eq!(burned(&desk, &folder).await, expected, "{id}");
    }
    assert_eq!(desk.ingest(labels("d", "acme", now, 8)).await, Receipt::Counted { overage: 2 });
}

#[tokio::test]
async fn requests_burn_in_the_same_order_as_events() {
    let folder = Folder::new();
    let (desk, _clock) = on(&folder, "small").await;
    grant(&desk, labels_of("forever", 2)).await;
    grant(&desk, labels_of("soon", 2).expires(at("2026-03-20"))).await;
    for _ in 0..13 {
        assert_eq!(desk.status("labels", request("acme")).await, 200);
    }
    assert_eq!(burned(&desk, &folder).await, these([("grant/forever", 1), ("grant/soon", 2), ("plan", 10)]));
    assert_eq!(
        [desk.status("labels", request("acme")).await, desk.status("labels", request("acme")).await],
        [200, 429]
    );
}

#[tokio::test]
async fn what_is_prepaid_is_402_when_it_is_used_up_and_goes_on_after_a_grant() {
    let folder = Folder::new();
    let (desk, _clock) = on(&folder, "prepaid").await;
    assert_eq!(desk.status("labels", request("acme")).await, 402);
    assert_eq!(desk.billing.check(&tenant("acme"), "labels"), Decision::PaymentRequired);
    grant(&desk, labels_of("bought", 2)).await;
    for expected in [200, 200, 402, 402] {
        assert_eq!(desk.status("labels", request("acme")).await, expected);
    }
    grant(&desk, labels_of("more", 1)).await;
    for expected in [200, 402] {
        assert_eq!(desk.status("labels", request("acme")).await, expected);
    }
    assert_eq!(desk.used("acme").await, 3);
}

#[tokio::test]
async fn a_grant_can_be_used_from_its_beginning_until_it_expires_or_is_revoked() {
    let folder = Folder::new();
    let (desk, clock) = on(&folder, "prepaid").await;
    grant(&desk, labels_of("week", 5).effective(at("2026-03-02")).expires(at("2026-03-09"))).await;
    grant(&desk, labels_of("next", 5).effective(at("2026-03-20"))).await;
    let days = SignedDuration::from_hours(24);
    for (expected, what) in [(402, "not yet"), (200, "now"), (402, "expired")] {
        assert_eq!(desk.status("labels", request("acme")).await, expected, "{what}");
        clock.jump(days * 5);
    }
    clock.jump(days * 5);
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    desk.operate("revoke", "acme", Operation::RevokeGrant { id: "next".into() }).await;
    assert_eq!(desk.status("labels", request("acme")).await, 402);
    assert_eq!(burned(&desk, &folder).await, these([("grant/next", 1), ("grant/week", 1)]));
    let late = labels("late", "acme", at("2026-03-05"), 3);
    assert_eq!(desk.ingest(late).await, COUNTED, "an event burns what could be used when it happened");
    assert_eq!(burned(&desk, &folder).await, these([("grant/next", 1), ("grant/week", 4)]));
}

#[tokio::test]
async fn a_grant_that_recurs_is_there_anew_each_period_and_takes_over_what_it_may() {
    let folder = Folder::new();
    let (desk, clock) = on(&folder, "prepaid").await;
    grant(&desk, labels_of("daily", 5).each(Per::Day, 3)).await;
    for (day, uses, overage) in [(0, 1, 0), (1, 8, 0), (2, 6, 1), (4, 9, 1)] {
        jump_to(&clock, at("2026-03-01T01:00:00") + SignedDuration::from_hours(24 * day));
        // Of the four that are left of the first day three are taken over.
        let event = labels(&day.to_string(), "acme", clock.now(), uses);
        assert_eq!(desk.ingest(event).await, Receipt::Counted { overage }, "day {day}");
    }
}

#[tokio::test]
async fn what_a_plan_includes_and_was_not_used_is_there_in_the_next_period_up_to_its_cap() {
    let folder = Folder::new();
    let (desk, clock) = on(&folder, "saver").await;
    let mut statuses = Vec::new();
    for (month, uses) in [("2026-03", 4), ("2026-04", 0), ("2026-05", 25), ("2026-06", 10)] {
        jump_to(&clock, at(&format!("{month}-15")));
        for _ in 0..uses {
            assert_eq!(desk.status("labels", request("acme")).await, 200, "{month}");
        }
        statuses.push(desk.billing.usage_of(&tenant("acme")).await.expect("rows")[0].used);
    }
    assert_eq!(statuses, [4, 0, 25, 10].map(Into::into));
    assert_eq!(
        desk.status("labels", request("acme")).await,
        429,
        "6 and 10 were taken over into May, and nothing into June"
    );
    jump_to(&clock, at("2027-06-15"));
    assert_eq!(desk.ingest(labels("cap", "acme", clock.now(), 30)).await, Receipt::Counted { overage: 5 });
}

#[tokio::test]
async fn what_this_process_holds_is_not_lost_when_something_is_granted() {
    let folder = Folder::new();
    let (desk, _clock) = on(&folder, "prepaid").await;
    grant(&desk, labels_of("bought", 80)).await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    let mut used = 1;
    for more in ["one", "two", "three"] {
        grant(&desk, labels_of(more, 1)).await;
        assert_eq!(desk.status("labels", request("acme")).await, 200);
        used += 1;
    }
    while desk.status("labels", request("acme")).await == 200 {
        used += 1;
    }
    assert_eq!(used, 83);
}
