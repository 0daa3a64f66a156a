//! Credentials that are lent, on a paused clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use halfbyte_secrets::{ErrorKind, Event, ExposeSecret as _, Outcome, Secret, Secrets};
use tokio::time::sleep;

use super::lifecycle;
use super::scripted::Scripted;

async fn open(backend: &Scripted) -> Secret<String> {
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("db");
    secret.ready().await.unwrap();
    assert_eq!(backend.asked(), ["read current"]);
    secret
}

fn value(secret: &Secret<String>) -> String {
    secret.load().map_or_else(|error| format!("{:?}", error.kind()), |value| value.expose_secret().clone())
}

async fn seconds(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_at_two_thirds_and_stays_the_same_value() {
    let backend = Scripted::lending(30, 3600);
    let secret = open(&backend).await;
    seconds(19.9).await;
    assert!(backend.asked().is_empty());
    seconds(0.2).await;
    assert_eq!(backend.asked(), ["renew lease-1"]);
    seconds(200.0).await;
    assert!(backend.asked().iter().all(|asked| asked == "renew lease-1"));
    assert_eq!((value(&secret).as_str(), secret.generation()), ("credential-1", 1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_shrinks_is_replaced_and_not_renewed_to_death() {
    let backend = Scripted::lending(30, 70);
    let secret = open(&backend).await;
    // Renewed at 20 and 40; at 60 only 10 are left of 70, so there is another one before these are over.
    seconds(60.5).await;
    assert_eq!(backend.asked(), ["renew lease-1", "renew lease-1", "renew lease-1"]);
    seconds(9.0).await;
    assert_eq!(backend.asked(), ["read current"]);
    assert_eq!((value(&secret).as_str(), secret.generation()), ("credential-2", 2));
    assert_eq!(secret.previous().unwrap().expose_secret(), "credential-1");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_is_replaced_at_two_thirds() {
    let backend = Scripted::lending(30, 30).not_renewable();
    let secret = open(&backend).await;
    seconds(20.1).await;
    assert_eq!((backend.asked().join(", ").as_str(), value(&secret).as_str()), ("read current", "credential-2"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_backend_does_not_know_any_more_is_replaced_at_once() {
    for kind in [ErrorKind::NotFound, ErrorKind::Denied] {
        let backend = Scripted::lending(30, 3600);
        let secret = open(&backend).await;
        backend.fail_to_renew(kind);
        seconds(20.1).await;
        assert_eq!(backend.asked(), ["renew lease-1", "read current"]);
        assert_eq!(value(&secret), "credential-2");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_backend_is_away_it_is_tried_for_until_the_lease_ends_and_not_served_beyond() {
    let backend = Scripted::lending(30, 3600);
    let secret = open(&backend).await;
    backend.fail_to_renew(ErrorKind::Unavailable);
    backend.fail(ErrorKind::Unavailable);
    seconds(29.5).await;
    let tries = backend.asked().len();
    assert!(tries >= 4, "only {tries}");
    assert_eq!(value(&secret), "credential-1");
    seconds(0.6).await;
    assert_eq!(value(&secret), "Unavailable");
    backend.fail(None);
    backend.fail_to_renew(None);
    seconds(31.0).await;
    assert_eq!(value(&secret), "credential-2");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_works_again_in_time_keeps_the_value() {
    let backend = Scripted::lending(30, 3600);
    let secret = open(&backend).await;
    backend.fail_to_renew(ErrorKind::Throttled);
    seconds(24.0).await;
    backend.fail_to_renew(None);
    seconds(100.0).await;
    assert_eq!((value(&secret).as_str(), secret.generation()), ("credential-1", 1));
}

#[tokio::test(start_paused = true)]
async fn asking_for_something_newer_neither_renews_nor_replaces_a_young_lease() {
    let backend = Scripted::lending(30, 3600);
    let secret = open(&backend).await;
    seconds(5.0).await;
    assert_eq!(secret.refresh(1).await.unwrap().generation(), 1);
    assert!(backend.asked().is_empty());
    seconds(15.2).await;
    assert_eq!(backend.asked(), ["renew lease-1"], "it is still renewed in time");
}

#[tokio::test(start_paused = true)]
async fn asking_for_something_newer_when_a_renewal_is_near_has_it_renewed_and_answers_the_same() {
    let backend = Scripted::lending(30, 3600);
    let secret = open(&backend).await;
    for _ in 0..5 {
        seconds(12.0).await;
        let answer = secret.refresh(1).await.unwrap();
        assert_eq!((answer.generation(), answer.expose_secret().as_str()), (1, "credential-1"));
        assert_eq!(backend.asked(), ["renew lease-1"]);
    }
    assert_eq!(secret.reject(1).await.unwrap().expose_secret(), "credential-2");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_was_rejected_is_replaced_however_young_its_lease() {
    let backend = Scripted::lending(30, 3600);
    let secret = open(&backend).await;
    seconds(5.0).await;
    assert_eq!(secret.reject(1).await.unwrap().expose_secret(), "credential-2");
    assert_eq!(backend.asked(), ["read current"]);
    seconds(20.1).await;
    assert_eq!(backend.asked(), ["renew lease-2"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_lent_is_given_back_at_the_end_and_nothing_that_has_ended() {
    let (backend, lifecycle) = (Scripted::lending(30, 40), lifecycle());
    let secret = Secrets::new(backend.clone(), &lifecycle).get::<String>("db");
    secret.ready().await.unwrap();
    // The first lease ends after 40 seconds; the second one is from 36 on.
    seconds(38.0).await;
    assert_eq!(value(&secret), "credential-2");
    backend.asked();
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!(backend.asked(), ["revoke lease-1", "revoke lease-2", "close"]);

    let (backend, lifecycle) = (Scripted::lending(30, 40), super::lifecycle());
    let secret = Secrets::new(backend.clone(), &lifecycle).get::<String>("db");
    secret.ready().await.unwrap();
    seconds(41.0).await;
    backend.asked();
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert_eq!(backend.asked(), ["revoke lease-2", "close"]);
    assert_eq!(value(&secret), "credential-2");
}

#[tokio::test(start_paused = true)]
async fn what_is_lent_is_given_back_after_those_that_work_with_it_have_ended() {
    let (backend, lifecycle) = (Scripted::lending(3600, 3600), lifecycle());
    let secret = Secrets::new(backend.clone(), &lifecycle).get::<String>("db");
    secret.ready().await.unwrap();
    backend.asked();
    let (stopping, at_work) = (lifecycle.stopping(), backend.clone());
    let committer = lifecycle.spawn("committer", async move {
        stopping.await;
        seconds(3.0).await;
        at_work.asked()
    });
    assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
    assert!(committer.await.unwrap().is_empty(), "it still had its login");
    assert_eq!(backend.asked(), ["revoke lease-1", "close"]);
}

#[tokio::test(start_paused = true)]
async fn leases_are_given_back_at_once_and_the_backend_is_closed_though_it_hangs() {
    for (slow, given_back) in [(3, 5), (60, 0)] {
        let (backend, lifecycle) = (Scripted::lending(3600, 3600).slow_to_revoke(slow), lifecycle());
        let told: Arc<Mutex<Vec<_>>> = Arc::default();
        let telling = told.clone();
        let listen = move |event: &Event<'_>| telling.lock().unwrap().push((event.outcome, event.why.clone()));
        let secrets = Secrets::builder(backend.clone()).listen(listen).build(&lifecycle);
        let held: Vec<_> = (0..5).map(|n| secrets.get::<String>(&format!("db-{n}"))).collect();
        for secret in &held {
            secret.ready().await.unwrap();
        }
        told.lock().unwrap().clear();
        assert!(lifecycle.stop_tasks(Duration::from_secs(10)).await);
        assert_eq!(backend.asked().last().unwrap(), "close");
        let told = told.lock().unwrap();
        assert_eq!(told.iter().filter(|(outcome, _)| *outcome == Outcome::Revoked).count(), given_back);
        let lost = told.iter().filter(|(_, why)| why.as_ref().is_some_and(|why| why.contains("was not given back")));
        assert_eq!(lost.count(), 5 - given_back);
    }
}
