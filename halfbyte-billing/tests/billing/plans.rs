//! Plans: limits of every kind, what changes when, and who keeps what was bought.

use halfbyte_billing::{Anchor, Basis, Catalog, Decision, ErrorKind, Operation, Receipt, Standing, Then, Trial, When};
use halfbyte_core::Clock;
use jiff::SignedDuration;

use crate::support::{Desk, Folder, at, jump_to, labels, request, tenant};

const CATALOGUE: &str = r#"
[products.parcel]
[meters.labels]
product = "parcel"
[features.labels]
product = "parcel"
meter = "labels"
[features.tracking]
product = "parcel"
[features.seats]
product = "parcel"
value = true
[plans.free]
default = true
features.labels = { limit = 1, per = "month" }
[plans.soft]
features.labels = { soft = 2, per = "month" }
[plans.graceful]
features.labels = { limit = 10, per = "month", grace = 20 }
[plans.unlimited]
features.labels = "unlimited"
[plans.pro]
[plans.pro.versions.1]
features = { tracking = true, seats = 5, labels = { limit = 3, per = "month", reset = "anniversary" } }
[add-ons.more]
features.labels = { limit = 2, per = "month", reset = "anniversary" }
[add-ons.extras]
features = { tracking = true, seats = "many" }
"#;

/// Published later.
const SECOND: &str = r#"
[plans.pro.versions.2]
features = { labels = { limit = 5, per = "month", reset = "anniversary" } }
"#;

fn catalog(text: &str) -> Catalog {
    Catalog::parse("plans.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

async fn desk_at(folder: &Folder, start: &str) -> (Desk, Clock) {
    let clock = Clock::manual(at(start));
    (Desk::of(&folder.home(), clock.clone(), catalog(CATALOGUE)).await.expect("opens"), clock)
}

/// A customer on a plan since 1 March.
async fn on(folder: &Folder, plan: &str) -> (Desk, Clock) {
    let (desk, clock) = desk_at(folder, "2026-03-01").await;
    desk.subscribe("acme", plan).await;
    (desk, clock)
}

fn subscribe(plan: &str, anchor: Option<Anchor>, trial: Option<Trial>) -> Operation {
    Operation::Subscribe { plan: plan.into(), version: None, anchor, trial }
}

/// How many requests are let in, up to twenty.
async fn allowed(desk: &Desk) -> usize {
    for count in 0..20 {
        if desk.status("labels", request("acme")).await != 200 {
            return count;
        }
    }
    20
}

#[tokio::test]
async fn a_soft_limit_lets_through_and_counts_what_goes_beyond() {
    let folder = Folder::new();
    let (desk, clock) = on(&folder, "soft").await;
    assert_eq!(allowed(&desk).await, 20);
    assert_eq!((desk.used("acme").await, desk.billing.stats().overage), (20, 18));
    let decision = desk.billing.check(&tenant("acme"), "labels");
    assert_eq!(decision, Decision::Allow { remaining: None, basis: Basis::Live });
    assert_eq!(desk.ingest(labels("one", "acme", clock.now(), 3)).await, Receipt::Counted { overage: 3 });
    let row = &desk.billing.usage_of(&tenant("acme")).await.expect("rows")[0];
    assert_eq!((row.used, row.limit), (23.into(), Some(2.into())));
}

#[tokio::test]
async fn grace_is_used_last_and_counted_as_overage() {
    let folder = Folder::new();
    let (desk, _clock) = on(&folder, "graceful").await;
    assert_eq!(allowed(&desk).await, 12);
    assert_eq!((desk.used("acme").await, desk.billing.stats().overage), (12, 2));
}

#[tokio::test]
async fn without_a_limit_all_is_counted_and_nothing_is_overage() {
    let folder = Folder::new();
    let (desk, _clock) = on(&folder, "unlimited").await;
    assert_eq!(allowed(&desk).await, 20);
    let decision = desk.billing.check(&tenant("acme"), "labels");
    assert_eq!(decision, Decision::Allow { remaining: None, basis: Basis::Live });
    assert_eq!((desk.used("acme").await, desk.billing.stats().overage), (20, 0));
    assert_eq!(desk.billing.usage_of(&tenant("acme")).await.expect("rows")[0].limit, None);
}

#[tokio::test]
async fn who_has_no_plan_has_the_default_one() {
    let folder = Folder::new();
    let (desk, _clock) = desk_at(&folder, "2026-03-01").await;
    assert_eq!(allowed(&desk).await, 1);
    desk.subscribe("acme", "pro").await;
    assert_eq!(allowed(&desk).await, 2, "one of three was used");
    desk.operate("end", "acme", Operation::Cancel { when: When::Now }).await;
    assert_eq!(desk.status("tracking", request("acme")).await, 403);
}

#[tokio::test]
async fn periods_are_counted_from_an_anchor_in_its_zone() {
    let folder = Folder::new();
    // Until 29 March Vienna is an hour ahead of UTC, then two.
    let (desk, clock) = desk_at(&folder, "2026-01-30T23:30:00").await;
    desk.billing.customers().create(&tenant("acme")).await.expect("made");
    let anchor = Anchor::new(at("2026-01-30T23:30:00"), "Europe/Vienna").expect("a zone");
    desk.operate("subscribe", "acme", subscribe("pro", Some(anchor), None)).await;
    assert_eq!(allowed(&desk).await, 3);
    // From the 31st at half past midnight, there: the last day of shorter months.
    for reset in ["2026-02-27T23:30:00", "2026-03-30T22:30:00", "2026-04-29T22:30:00"] {
        jump_to(&clock, at(reset) - SignedDuration::from_secs(5));
        assert_eq!(allowed(&desk).await, 0, "before {reset}");
        jump_to(&clock, at(reset));
        assert_eq!(allowed(&desk).await, 3, "from {reset}");
    }
}

#[tokio::test]
async fn a_trial_ends_by_itself() {
    let folder = Folder::new();
    let (desk, clock) = desk_at(&folder, "2026-03-01").await;
    for (name, then) in [("acme", Then::Cancel), ("globex", Then::Continue)] {
        desk.billing.customers().create(&tenant(name)).await.expect("made");
        let trial = Trial { until: at("2026-03-15"), then };
        desk.operate(&format!("try-{name}"), name, subscribe("pro", None, Some(trial))).await;
        assert_eq!(desk.status("tracking", request(name)).await, 200);
    }
    jump_to(&clock, at("2026-03-15"));
    assert_eq!(desk.status("tracking", request("acme")).await, 403);
    assert_eq!(desk.status("tracking", request("globex")).await, 200);
    assert_eq!(allowed(&desk).await, 1, "of the default plan");
}

#[tokio::test]
async fn a_pause_takes_everything_away_and_a_debt_asks_for_payment() {
    let folder = Folder::new();
    let (desk, _clock) = on(&folder, "pro").await;
    for (step, operation, expected) in [
        ("pause", Operation::Pause, [403, 403]),
        ("resume", Operation::Resume, [200, 200]),
        ("owe", Operation::SetStanding { standing: Standing::PastDue }, [402, 402]),
        ("pay", Operation::SetStanding { standing: Standing::Good }, [200, 200]),
    ] {
        desk.operate(step, "acme", operation).await;
        let statuses = [desk.status("tracking", request("acme")).await, desk.status("labels", request("acme")).await];
        assert_eq!(statuses, expected, "{step}");
    }
}

#[tokio::test]
async fn a_change_of_plan_takes_effect_now_or_when_the_period_ends() {
    let folder = Folder::new();
    let (desk, clock) = on(&folder, "pro").await;
    assert_eq!(allowed(&desk).await, 3);
    let change = |plan: &str, when| Operation::ChangePlan { plan: plan.into(), version: None, when };
    desk.operate("up", "acme", change("graceful", When::Now)).await;
    desk.operate("down", "acme", change("pro", When::PeriodEnd)).await;
    assert_eq!(desk.status("tracking", request("acme")).await, 403);
    assert_eq!(allowed(&desk).await, 9, "three of ten and two were used");
    jump_to(&clock, at("2026-04-01"));
    assert_eq!(desk.status("tracking", request("acme")).await, 200);
    assert_eq!(allowed(&desk).await, 3);
}

#[tokio::test]
async fn add_ons_add_to_what_is_metered_and_replace_values() {
    let folder = Folder::new();
    let (desk, _clock) = on(&folder, "pro").await;
    for name in ["more", "extras"] {
        desk.operate(name, "acme", Operation::AddAddOn { name: name.into() }).await;
    }
    assert_eq!(allowed(&desk).await, 5);
    assert_eq!(desk.billing.usage_of(&tenant("acme")).await.expect("rows")[0].limit, Some(5.into()));
    desk.operate("less", "acme", Operation::RemoveAddOn { name: "more".into() }).await;
    assert_eq!(allowed(&desk).await, 0);
    desk.operate("end", "acme", Operation::Cancel { when: When::Now }).await;
    assert_eq!(desk.status("tracking", request("acme")).await, 200, "an add-on stays, whatever the plan");
}

#[tokio::test]
async fn an_operation_is_done_once_for_its_id_and_answered_alike() {
    let folder = Folder::new();
    let (desk, clock) = on(&folder, "pro").await;
    let customers = desk.billing.customers();
    let upgrade = Operation::ChangePlan { plan: "soft".into(), version: None, when: When::PeriodEnd };
    let first = customers.operate("order-1", &tenant("acme"), upgrade.clone()).await.expect("done");
    assert_eq!((first.changed, first.effective), (true, at("2026-04-01")));
    clock.jump(SignedDuration::from_hours(24 * 40));
    let again = customers.operate("order-1", &tenant("acme"), upgrade.clone()).await.expect("answered");
    assert_eq!(again, first);
    desk.subscribe("globex", "pro").await;
    let other = Operation::ChangePlan { plan: "free".into(), version: None, when: When::PeriodEnd };
    for (name, operation) in [("acme", other), ("globex", upgrade)] {
        let error = customers.operate("order-1", &tenant(name), operation).await.expect_err("another operation");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    assert_eq!(customers.operations(&tenant("acme"), 10).await.expect("listed").len(), 3);
}

#[tokio::test]
async fn who_bought_a_version_keeps_it_when_there_is_another_one_or_none_any_more() {
    let folder = Folder::new();
    let (desk, clock) = on(&folder, "pro").await;
    desk.stop().await;
    let both = format!("{CATALOGUE}{SECOND}");
    let desk = Desk::of(&folder.home(), clock.clone(), catalog(&both)).await.expect("opens");
    desk.subscribe("globex", "pro").await;
    assert_eq!(desk.status("tracking", request("acme")).await, 200);
    assert_eq!(desk.status("tracking", request("globex")).await, 403);
    assert_eq!(allowed(&desk).await, 3);
    desk.operate("newest", "acme", Operation::ChangePlan { plan: "pro".into(), version: None, when: When::Now }).await;
    assert_eq!(allowed(&desk).await, 2);
    desk.stop().await;

    let without = CATALOGUE.split("[plans.pro]").next().expect("the first part");
    let desk = Desk::of(&folder.home(), clock.clone(), catalog(without)).await.expect("opens");
    jump_to(&clock, at("2026-04-01"));
    assert_eq!(allowed(&desk).await, 5, "of version 2, which is no longer sold");
}

#[tokio::test]
async fn a_running_process_takes_over_a_catalogue_and_nobody_loses_what_is_no_longer_sold() {
    let folder = Folder::new();
    let file = folder.home().with_file_name("plans.toml");
    std::fs::write(&file, CATALOGUE).expect("written");
    let clock = Clock::manual(at("2026-03-01"));
    let source = halfbyte_billing::CatalogSource::File(file.clone());
    let desk = Desk::of(&folder.home(), clock, source).await.expect("opens");
    desk.subscribe("acme", "pro").await;
    desk.subscribe("globex", "soft").await;
    assert_eq!(allowed(&desk).await, 3);
    let without = CATALOGUE
        .split("[plans.pro]")
        .next()
        .expect("the first part")
        .replace("labels = { limit = 1,", "labels = { limit = 7,");
    let without = without.replace("[plans.free]", "[plans.basic]");
    std::fs::write(&file, without).expect("written");
    let taken_over = async {
        while desk.billing.customers().subscribe(&tenant("globex"), "basic").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), taken_over).await.expect("within seconds");
    let shown = async {
        while desk.billing.check(&tenant("globex"), "labels") == Decision::NotEntitled
            || desk.billing.usage_of(&tenant("nobody")).await.expect("rows")[0].limit != Some(7.into())
        {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), shown).await.expect("within seconds");
    assert_eq!(desk.status("tracking", request("acme")).await, 200, "it was bought");
    assert_eq!(allowed(&desk).await, 0);
}

#[tokio::test]
async fn two_processes_see_what_one_of_them_changes() {
    let folder = Folder::new();
    let (desk, clock) = on(&folder, "pro").await;
    let other = Desk::of(&folder.home(), clock, catalog(CATALOGUE)).await.expect("opens");
    assert_eq!(other.status("tracking", request("acme")).await, 200);
    desk.operate("pause", "acme", Operation::Pause).await;
    assert_eq!(desk.status("tracking", request("acme")).await, 403, "at once");
    let seen = async {
        while other.status("tracking", request("acme")).await != 403 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_millis(1500), seen).await.expect("within a second");
}
