use halfbyte_billing::{Customers, Decision, ErrorKind, Per, Period};
use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle};

use crate::support::{Desk, Folder, answering, catalog, request, tenant};

async fn back_office(folder: &Folder) -> Customers {
    let (home, life) = (Home::open(folder.home()).expect("a home"), Lifecycle::new(Clock::system()));
    Customers::open(&BillingBackend::Sqlite(None), &home, catalog(), &life).await.expect("it opens")
}

#[tokio::test]
async fn a_back_office_works_without_a_product_and_a_running_product_sees_what_it_does() {
    let folder = Folder::new();
    let office = back_office(&folder).await;
    let desk = Desk::open(&folder.home()).await;
    assert_eq!(desk.status("tracking", request("acme")).await, 403);

    assert!(office.create(&tenant("acme")).await.expect("made"));
    assert!(office.subscribe(&tenant("acme"), "pro").await.expect("subscribed"));
    tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    assert_eq!(desk.status("tracking", request("acme")).await, 200, "a refusal is looked into first");

    assert!(office.end(&tenant("acme")).await.expect("ended"));
    let withdrawn = async {
        while desk.billing.check(&tenant("acme"), "tracking") != Decision::NotEntitled {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let bound = std::time::Duration::from_millis(1500);
    tokio::time::timeout(bound, withdrawn).await.expect("an end is seen within a second");
}

#[tokio::test]
async fn operations_of_the_back_office_may_be_repeated() {
    let folder = Folder::new();
    let office = back_office(&folder).await;
    let acme = tenant("acme");
    assert!(office.create(&acme).await.expect("made"));
    assert!(!office.create(&acme).await.expect("there already"));
    assert!(office.subscribe(&acme, "starter").await.expect("subscribed"));
    assert!(!office.subscribe(&acme, "starter").await.expect("subscribed already"));
    assert!(office.subscribe(&acme, "pro").await.expect("changed"));
    assert_eq!(office.list().await.expect("listed"), [(acme.clone(), Some("pro".to_owned()))]);
    assert!(office.end(&acme).await.expect("ended"));
    assert!(!office.end(&acme).await.expect("ended already"));
    assert_eq!(office.list().await.expect("listed"), [(acme, None)], "an ended customer is still one");
}

#[tokio::test]
async fn what_the_catalogue_or_the_store_does_not_have_is_told() {
    let folder = Folder::new();
    let office = back_office(&folder).await;
    let acme = tenant("acme");
    let error = office.subscribe(&acme, "pro").await.expect_err("nobody made it");
    assert_eq!(error.kind(), ErrorKind::NoCustomer, "{error}");
    office.create(&acme).await.expect("made");
    let error = office.subscribe(&acme, "prp").await.expect_err("there is none");
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::Catalog, "there is no plan \"prp\"; did you mean \"pro\"?".into())
    );
    let period = Period::containing(Clock::system().now(), Per::Month);
    let error = office.usage(&acme, "label", period).await.expect_err("there is none");
    assert_eq!(error.to_string(), "there is no meter \"label\"; did you mean \"labels\"?");
}

#[tokio::test]
async fn a_plan_that_another_process_gave_counts_for_the_request_that_would_be_refused_without_it() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    for expected in [200, 200, 200, 429] {
        assert_eq!(desk.status("labels", request("acme")).await, expected);
    }
    let office = Desk::open(&folder.home()).await;
    office.subscribe("acme", "pro").await;
    // Past the gap between two looks, and well before the snapshot is refreshed by itself.
    tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
}

#[tokio::test]
async fn a_new_plan_counts_at_once_in_the_process_that_made_it_and_keeps_what_was_used() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "starter").await;
    for expected in [200, 200, 200, 429] {
        assert_eq!(desk.status("labels", request("acme")).await, expected);
    }
    desk.subscribe("acme", "pro").await;
    assert_eq!(desk.status("labels", request("acme")).await, 200);
    desk.subscribe("acme", "starter").await;
    assert_eq!(desk.status("labels", request("acme")).await, 429, "what was used before counts on");
    assert_eq!(desk.used("acme").await, 4);
    assert_eq!(desk.status("labels", answering(request("acme"), 500)).await, 429);
}
