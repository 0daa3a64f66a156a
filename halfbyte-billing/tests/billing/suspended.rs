//! Whether a tenant is suspended, for access control.

use std::time::Duration;

use allocation_counter::measure;
use futures_util::FutureExt as _;
use halfbyte_billing::{ErrorKind, Operation, Standing};

use crate::support::{Desk, Folder, tenant};

async fn is_suspended(desk: &Desk, name: &str) -> bool {
    desk.billing.is_suspended(&tenant(name)).await.expect("it is known")
}

/// Lets time pass for the timers of this process, and not for its clock.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_tenant_is_suspended_from_a_pause_until_it_is_resumed_and_for_nothing_else() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    assert!(!is_suspended(&desk, "acme").await);
    assert!(!is_suspended(&desk, "nobody").await, "it has no account");
    desk.operate("owes", "acme", Operation::SetStanding { standing: Standing::PastDue }).await;
    assert!(!is_suspended(&desk, "acme").await, "it is to be told that it has to pay");
    desk.operate("pause", "acme", Operation::Pause).await;
    assert!(is_suspended(&desk, "acme").await);
    assert!(!is_suspended(&desk, "nobody").await);
    desk.operate("resume", "acme", Operation::Resume).await;
    assert!(!is_suspended(&desk, "acme").await);
}

#[tokio::test]
async fn what_another_process_does_shows_within_a_second_and_before_anybody_is_called_suspended() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let other = Desk::open(&folder.home()).await;
    assert!(!is_suspended(&other, "acme").await);
    desk.operate("pause", "acme", Operation::Pause).await;
    let seen = async {
        while !is_suspended(&other, "acme").await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_millis(1500), seen).await.expect("within a second");
    // Reads that are asked for keep a distance; this is more than it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    desk.operate("resume", "acme", Operation::Resume).await;
    assert!(!is_suspended(&other, "acme").await, "it looks again");
}

#[tokio::test]
async fn without_the_store_the_last_word_holds_for_five_minutes_and_then_it_is_an_error() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    desk.subscribe("globex", "pro").await;
    desk.operate("pause", "acme", Operation::Pause).await;
    folder.take_database();
    pass(Duration::from_secs(60)).await;
    for (name, last_known) in [("acme", true), ("globex", false)] {
        let answer = is_suspended(&desk, name).now_or_never();
        assert_eq!(answer.expect("nobody waits for a store that is known to be away"), last_known);
    }
    pass(Duration::from_secs(245)).await;
    for name in ["acme", "globex", "nobody"] {
        let error = desk.billing.is_suspended(&tenant(name)).await.expect_err("nobody knows");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn of_a_tenant_that_is_not_suspended_it_is_known_at_once_and_without_allocation() {
    let folder = Folder::new();
    let desk = Desk::with_plan(&folder.home(), "pro").await;
    let acme = tenant("acme");
    let ask = || desk.billing.is_suspended(&acme).now_or_never().expect("it need not wait").expect("it is known");
    assert!(!ask());
    assert_eq!(measure(|| assert!(!ask())).count_total, 0);
}
