//! What was lent and nobody waits for or uses any more is given back all the same; on a paused clock.

use std::time::Duration;

use halfbyte_secrets::live::Policy;
use halfbyte_secrets::{ErrorKind, ExposeSecret as _, Secret, Secrets};
use tokio::time::{Instant, sleep};

use super::lifecycle;
use super::pawnbroker::Pawnbroker;

const TIMEOUT: u64 = 10;

fn policy() -> Policy {
    let fetch_timeout = Duration::from_secs(TIMEOUT);
    Policy { fetch_timeout, jitter: 0.0, max_backoff: Duration::from_secs(1), ..Policy::default() }
}

fn open(backend: &Pawnbroker, lifecycle: &halfbyte_core::Lifecycle) -> Secrets {
    Secrets::builder(backend.clone()).policy(policy()).build(lifecycle)
}

async fn seconds(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds)).await;
}

fn value(secret: &Secret<String>) -> String {
    secret.load().expect("loaded").expose_secret().clone()
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_answered_after_its_fetch_was_given_up_is_given_back_at_once() {
    let backend = Pawnbroker::new(3600);
    backend.slow_to_read(12.0);
    let secret = open(&backend, &lifecycle()).get::<String>("db");
    assert!(secret.ready().await.expect_err("too slow").is_unavailable());
    backend.slow_to_read(0.0);
    seconds(1.0).await;
    assert_eq!((value(&secret).as_str(), backend.revoked().len()), ("credential-2", 0));
    seconds(1.1).await;
    assert_eq!(backend.revoked(), ["lease-1"]);
    seconds(600.0).await;
    assert_eq!((value(&secret).as_str(), backend.revoked().len()), ("credential-2", 1));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_the_end_cuts_is_waited_for_and_what_it_lends_given_back() {
    let (backend, lifecycle) = (Pawnbroker::new(3600), lifecycle());
    backend.slow_to_read(3.0);
    let secret = open(&backend, &lifecycle).get::<String>("db");
    seconds(1.0).await;
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!(backend.told(), ["read", "lent lease-1", "revoke lease-1", "close"]);
    assert_eq!(secret.generation(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_at_the_end_keeps_nothing_else_from_being_given_back() {
    let (backend, lifecycle) = (Pawnbroker::new(3600).slow_to_revoke(2.0), lifecycle());
    let secrets = open(&backend, &lifecycle);
    let held = secrets.get::<String>("db");
    held.ready().await.expect("lent");
    backend.slow_to_read(f64::INFINITY);
    let _hanging = secrets.get::<String>("other");
    seconds(1.0).await;
    let begun = Instant::now();
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!(begun.elapsed().as_millis(), 2500, "half of the five seconds that there are");
    assert_eq!((backend.revoked(), backend.told().last().map(String::as_str)), (vec!["lease-1".into()], Some("close")));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_has_at_most_one_read_more_than_the_one_that_is_waited_for() {
    for (backend, most) in [(Pawnbroker::new(3600), 2), (Pawnbroker::new(3600).lends_nothing(), 1)] {
        let lifecycle = lifecycle();
        backend.slow_to_read(f64::INFINITY);
        let _secret = open(&backend, &lifecycle).get::<String>("db");
        seconds(600.0).await;
        assert!(backend.told().len() > 40, "asked on and on");
        assert_eq!(backend.most_at_once(), most);
        let begun = Instant::now();
        assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
        let waited = begun.elapsed();
        assert_eq!(waited.is_zero(), most == 1, "there is nothing to wait for where nothing is lent: {waited:?}");
        assert_eq!(backend.at_once(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_was_given_up_runs_on_also_when_the_one_after_it_is_cut_short() {
    for is_end in [false, true] {
        let (backend, lifecycle) = (Pawnbroker::new(3600), lifecycle());
        backend.slow_to_read(12.0);
        let secret = open(&backend, &lifecycle).get::<String>("db");
        seconds(9.0).await;
        // The next one is quicker: it begins after 10 s, and answers after 12 s too.
        backend.slow_to_read(2.0);
        seconds(2.0).await;
        assert_eq!(backend.at_once(), 2);
        if is_end {
            assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
        } else {
            drop(secret);
            seconds(3.0).await;
        }
        let lent = backend.told().iter().filter(|told| told.starts_with("lent")).count();
        assert_eq!((lent, backend.revoked()), (2, vec!["lease-1".into(), "lease-2".into()]), "at the end: {is_end}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_was_given_up_has_as_much_time_again_and_no_more() {
    let (backend, lifecycle) = (Pawnbroker::new(3600), lifecycle());
    backend.slow_to_read(f64::INFINITY);
    let secret = open(&backend, &lifecycle).get::<String>("db");
    seconds(10.1).await;
    backend.slow_to_read(0.0);
    seconds(1.0).await;
    assert_eq!(value(&secret), "credential-2");
    seconds(8.8).await;
    assert_eq!(backend.at_once(), 1);
    seconds(0.2).await;
    assert_eq!(backend.at_once(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_answered_too_late_counts_for_the_end() {
    let (backend, lifecycle) = (Pawnbroker::new(30), lifecycle());
    let secret = open(&backend, &lifecycle).get::<String>("db");
    secret.ready().await.expect("lent");
    // Asked for at 20, given up at 30, when the lease would have ended; answered at 32.
    backend.slow_to_renew(12.0);
    seconds(40.0).await;
    assert_eq!(value(&secret), "credential-2");
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!(backend.revoked(), ["lease-1", "lease-2"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_lent_to_a_handle_is_given_back_soon_after_the_last_one_is_dropped() {
    let (backend, lifecycle) = (Pawnbroker::new(3600), lifecycle());
    let secrets = open(&backend, &lifecycle);
    let secret = secrets.get::<String>("db");
    secret.ready().await.expect("lent");
    assert_eq!(secret.reject(1).await.expect("another").generation(), 2);
    let clone = secret.clone();
    drop(secret);
    seconds(60.0).await;
    assert!(backend.revoked().is_empty(), "there is another handle");
    drop(clone);
    seconds(0.1).await;
    assert_eq!(backend.revoked(), ["lease-1", "lease-2"], "also what it had before");
    let again = secrets.get::<String>("db");
    again.ready().await.expect("lent");
    assert_eq!(value(&again), "credential-3");
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!(backend.revoked(), ["lease-1", "lease-2", "lease-3"], "each once");
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_dropped_while_its_credential_is_made_leaves_none() {
    let (backend, lifecycle) = (Pawnbroker::new(3600), lifecycle());
    backend.slow_to_read(5.0);
    let secrets = open(&backend, &lifecycle);
    drop(secrets.get::<String>("db"));
    let secret = secrets.get::<String>("db");
    seconds(1.0).await;
    drop(secret);
    seconds(5.0).await;
    assert_eq!(backend.told().last().map(String::as_str), Some("revoke lease-1"));
    assert_eq!(backend.at_once(), 0);
}

#[tokio::test(start_paused = true)]
async fn other_handles_to_the_same_name_keep_what_was_lent_to_them() {
    let backend = Pawnbroker::new(3600);
    let secrets = open(&backend, &lifecycle());
    let (text, bytes) = (secrets.get::<String>("db"), secrets.get::<Vec<u8>>("db"));
    text.ready().await.expect("lent");
    bytes.ready().await.expect("lent");
    let of_text = value(&text).replace("credential", "lease");
    drop(text);
    seconds(60.0).await;
    assert_eq!(backend.revoked(), [of_text]);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_given_back_in_the_background_is_told_of_and_left_for_the_end() {
    let (backend, lifecycle) = (Pawnbroker::new(3600), lifecycle());
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let telling = told.clone();
    let listen = move |event: &halfbyte_secrets::Event<'_>| telling.lock().unwrap().extend(event.why.clone());
    let secrets = Secrets::builder(backend.clone()).policy(policy()).listen(listen).build(&lifecycle);
    let secret = secrets.get::<String>("db");
    secret.ready().await.expect("lent");
    backend.fail_to_revoke(ErrorKind::Unavailable);
    drop(secret);
    seconds(60.0).await;
    assert!(backend.revoked().is_empty());
    let why = told.lock().unwrap().join(" ");
    assert!(why.contains("not used any more") && why.contains("the end tries again"), "{why}");
    backend.fail_to_revoke(None);
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!(backend.revoked(), ["lease-1"]);
}

#[tokio::test(start_paused = true)]
async fn few_leases_at_once_are_given_back_in_the_background() {
    let backend = Pawnbroker::new(3600).slow_to_revoke(1.0);
    let secrets = open(&backend, &lifecycle());
    let held: Vec<_> = (0..10).map(|n| secrets.get::<String>(&format!("db-{n}"))).collect();
    for secret in &held {
        secret.ready().await.expect("lent");
    }
    drop(held);
    for given_back in [4, 8, 10] {
        seconds(1.01).await;
        assert_eq!(backend.revoked().len(), given_back);
    }
    assert_eq!(backend.asked_to_revoke(), 10, "each once");
}

#[tokio::test(start_paused = true)]
async fn what_is_being_given_back_when_the_end_comes_is_not_given_back_twice() {
    let (backend, lifecycle) = (Pawnbroker::new(3600).slow_to_revoke(1.0), lifecycle());
    let secrets = open(&backend, &lifecycle);
    let (dropped, held) = (secrets.get::<String>("dropped"), secrets.get::<String>("held"));
    dropped.ready().await.expect("lent");
    held.ready().await.expect("lent");
    drop(dropped);
    seconds(0.5).await;
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!((backend.revoked().len(), backend.asked_to_revoke()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_slow_to_be_given_back_is_not_begun_again_at_the_end() {
    // Longer than half of the five seconds that there are.
    let (backend, lifecycle) = (Pawnbroker::new(3600).slow_to_revoke(3.5), lifecycle());
    let secrets = open(&backend, &lifecycle);
    let held: Vec<_> = (0..40).map(|n| secrets.get::<String>(&format!("db-{n}"))).collect();
    for secret in &held {
        secret.ready().await.expect("lent");
    }
    drop(held);
    seconds(0.5).await;
    assert_eq!(backend.asked_to_revoke(), 4, "the others wait for their turn");
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!((backend.revoked().len(), backend.asked_to_revoke()), (40, 40));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_back_at_all_is_told_of_once_at_the_end_and_asked_for_once() {
    let (backend, lifecycle) = (Pawnbroker::new(3600).slow_to_revoke(f64::INFINITY), lifecycle());
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let telling = told.clone();
    let listen = move |event: &halfbyte_secrets::Event<'_>| telling.lock().unwrap().extend(event.why.clone());
    let secrets = Secrets::builder(backend.clone()).policy(policy()).listen(listen).build(&lifecycle);
    let (dropped, held) = (secrets.get::<String>("dropped"), secrets.get::<String>("held"));
    dropped.ready().await.expect("lent");
    held.ready().await.expect("lent");
    drop(dropped);
    seconds(1.0).await;
    let begun = Instant::now();
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!(begun.elapsed().as_millis(), 4000, "of the five seconds one is for saying goodbye");
    assert_eq!((backend.asked_to_revoke(), backend.told().last().map(String::as_str)), (2, Some("close")));
    let told = told.lock().unwrap();
    assert_eq!(told.iter().filter(|why| why.contains("lasts until it ends by itself")).count(), 2, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_answered_while_its_lease_is_given_back_does_not_give_it_back_twice() {
    let backend = Pawnbroker::new(30).slow_to_revoke(5.0);
    let secret = open(&backend, &lifecycle()).get::<String>("db");
    secret.ready().await.expect("lent");
    // Asked for at 20, answered at 23.
    backend.slow_to_renew(3.0);
    seconds(21.0).await;
    drop(secret);
    seconds(60.0).await;
    assert_eq!((backend.revoked().len(), backend.asked_to_revoke()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_handles_come_and_go_all_that_was_lent_is_given_back_once() {
    let (backend, lifecycle) = (Pawnbroker::new(3600), lifecycle());
    let secrets = open(&backend, &lifecycle);
    let mut users = tokio::task::JoinSet::new();
    for user in 0..8 {
        let secrets = secrets.clone();
        users.spawn(async move {
            for turn in 0..25 {
                let secret = secrets.get::<String>(&format!("db-{user}"));
                match turn % 3 {
                    0 => drop(secret),
                    1 => tokio::task::yield_now().await,
                    _ => secret.ready().await.expect("lent"),
                }
            }
        });
    }
    users.join_all().await;
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    let lent = backend.told().iter().filter(|told| told.starts_with("lent")).count();
    assert!(lent >= 64, "only {lent}");
    assert_eq!((backend.revoked().len(), backend.asked_to_revoke()), (lent, lent));
}

#[test]
fn a_handle_may_outlive_its_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (backend, first) = (Pawnbroker::new(3600), runtime());
    let secret = first.block_on(async {
        let secret = open(&backend, &lifecycle()).get::<String>("db");
        secret.ready().await.expect("lent");
        secret
    });
    drop(first);
    drop(secret);
    assert!(backend.revoked().is_empty(), "there is nobody to do it");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_at_the_end_harms_no_other_lease_and_is_closed() {
    let (backend, lifecycle) = (Pawnbroker::new(3600), lifecycle());
    let secrets = open(&backend, &lifecycle);
    let held: Vec<_> = (0..3).map(|n| secrets.get::<String>(&format!("db-{n}"))).collect();
    for secret in &held {
        secret.ready().await.expect("lent");
    }
    backend.panic_at("lease-2");
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!(backend.revoked(), ["lease-1", "lease-3"]);
    assert_eq!(backend.told().last().map(String::as_str), Some("close"));
}
