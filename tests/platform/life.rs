//! The one life cycle, with real signals to a process of its own.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use halfbyte::core::lifecycle::Phase;
use halfbyte::{StepKind, exit_code};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::child::Product;
use crate::start;

/// The steps of a life that was served, in order.
const STEPS: [&str; 9] =
    ["starting", "ready", "lame-duck", "stop-accepting", "in-flight", "usage", "tasks", "telemetry", "closed"];

#[tokio::test]
async fn either_signal_leads_through_every_step_and_fails_no_request() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut product = Product::start("serves", folder.path(), None, &[("HALFBYTE_LAME_DUCK", "1")]);
        product.told("READY=1").await;
        let mut slow = JoinSet::new();
        for milliseconds in [500, 2500] {
            slow.spawn(reqwest::get(product.url(&format!("/slow/{milliseconds}"))));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        product.signal(signal);
        product.told("STOPPING=1").await;
        // The lame duck still accepts, and says that it is one.
        assert_eq!(reqwest::get(product.url("/")).await.unwrap().status(), 200);
        let ready = reqwest::get(format!("http://{}/readyz", product.admin)).await.unwrap();
        assert_eq!(ready.status(), 503);
        while let Some(answer) = slow.join_next().await {
            assert_eq!(answer.unwrap().unwrap().status(), 200);
        }
        assert_eq!(product.ended().await.code(), Some(0), "{}", product.log());
        let log = product.log();
        let begins: Vec<_> = STEPS[1..].iter().map(|step| log.find(&format!("begins step=\"{step}\""))).collect();
        assert!(begins.iter().all(Option::is_some) && begins.is_sorted(), "{begins:?} in\n{log}");
        assert!(log.contains("ends step=\"lame-duck\"") && log.contains("budget=1s"), "{log}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once_wherever_the_drain_is() {
    for (lame_duck, step) in [("60", "lame-duck"), ("0", "in-flight")] {
        let folder = tempfile::tempdir().unwrap();
        let mut product = Product::start("serves", folder.path(), None, &[("HALFBYTE_LAME_DUCK", lame_duck)]);
        product.told("READY=1").await;
        let mut slow = JoinSet::new();
        slow.spawn(reqwest::get(product.url("/slow/60000")));
        tokio::time::sleep(Duration::from_millis(100)).await;
        product.signal("TERM");
        product.says(&format!("begins step=\"{step}\"")).await;
        product.signal("INT");
        assert_eq!(product.ended().await.code(), Some(70), "{}", product.log());
        assert!(slow.join_next().await.unwrap().unwrap().is_err());
        assert!(!product.log().contains("begins step=\"usage\""));
    }
}

#[tokio::test]
async fn a_process_that_is_told_to_stop_while_it_starts_lets_nobody_in_and_ends_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let mut product = Product::start("young", folder.path(), None, &[("HALFBYTE_LAME_DUCK", "60")]);
    // The admin listener answers from the beginning of serving on.
    let readyz = format!("http://{}/readyz", product.admin);
    while reqwest::get(&readyz).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(TcpStream::connect(product.public).await.is_err(), "it is not ready yet");
    product.signal("TERM");
    assert_eq!(product.ended().await.code(), Some(0), "{}", product.log());
    assert!(!product.log().contains("\"ready\""), "{}", product.log());
}

#[tokio::test]
async fn a_signal_after_the_drain_ends_a_process_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let mut product = Product::start("hangs", folder.path(), None, &[]);
    product.told("READY=1").await;
    product.signal("TERM");
    product.says("hangs").await;
    product.signal("TERM");
    let status = product.ended().await;
    assert_eq!((status.code(), status.signal()), (None, Some(15)), "{}", product.log());
}

#[tokio::test]
async fn a_signal_before_it_serves_ends_a_process_also_one_that_signals_do_not_end_by_themselves() {
    for (signal, number) in [("TERM", 15), ("INT", 2)] {
        let folder = tempfile::tempdir().unwrap();
        let mut product = Product::start("first", folder.path(), None, &[]);
        product.says("started").await;
        product.signal(signal);
        let status = product.ended().await;
        assert_eq!((status.code(), status.signal()), (None, Some(number)), "{}", product.log());
    }
}

#[tokio::test]
async fn a_handler_can_wait_for_the_drain() {
    let folder = tempfile::tempdir().unwrap();
    let mut product = Product::start("serves", folder.path(), None, &[]);
    product.told("READY=1").await;
    let mut waits = JoinSet::new();
    waits.spawn(reqwest::get(product.url("/until-draining")));
    tokio::time::sleep(Duration::from_millis(100)).await;
    product.signal("TERM");
    assert_eq!(waits.join_next().await.unwrap().unwrap().unwrap().status(), 200);
    assert_eq!(product.ended().await.code(), Some(0), "{}", product.log());
}

#[tokio::test]
async fn the_steps_of_a_life_can_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let platform = start::start(folder.path(), "[products.parcel]").await.unwrap();
    assert_eq!(platform.steps().iter().map(|step| step.kind).collect::<Vec<_>>(), [StepKind::Starting]);
    let mut serving = JoinSet::new();
    serving.spawn(platform.clone().serve(axum::Router::new()));
    platform.lifecycle().reached(Phase::Ready).await;
    platform.lifecycle().enter(Phase::LameDuck);
    let outcome = serving.join_next().await.unwrap().unwrap();
    assert!(outcome.is_ok(), "{:?}", exit_code(outcome));
    let steps = platform.steps();
    assert_eq!(steps.iter().map(|step| step.kind.as_str()).collect::<Vec<_>>(), STEPS);
    let budgets: Vec<_> = steps.iter().map(|step| step.budget.map(|budget| budget.as_secs())).collect();
    assert_eq!(budgets, [Some(10), None, Some(0), None, Some(30), Some(10), Some(2), Some(5), None]);
    let (last, others) = steps.split_last().unwrap();
    assert!(last.took.is_none() && others.iter().all(|step| step.took.is_some() && step.left == 0), "{steps:?}");
    assert!(steps.is_sorted_by_key(|step| step.entered));
}
