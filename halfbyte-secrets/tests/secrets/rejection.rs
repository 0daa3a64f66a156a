//! What a backend does not accept, and what takes its place.

use std::time::Duration;

use futures_util::future::join_all;
use halfbyte_secrets::{ErrorKind, ExposeSecret as _, Json, Policy, Secret, Secrets, Stage};
use tokio::time::sleep;

use super::lifecycle;
use super::scripted::Scripted;

async fn open(backend: &Scripted) -> Secret<String> {
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("key");
    secret.ready().await.unwrap();
    backend.asked();
    secret
}

fn value(secret: &Secret<String>) -> String {
    secret.load().unwrap().expose_secret().clone()
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_rotated_gives_way_to_the_new_one_by_one_read_for_all() {
    let backend = Scripted::holding("old");
    let secret = open(&backend).await;
    seconds(5).await;
    backend.set(Stage::Current, "new");
    let answers = join_all((0..50).map(|_| secret.reject(1))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().expose_secret() == "new"));
    assert_eq!(backend.asked(), ["read current"]);
    assert_eq!(secret.previous().unwrap().expose_secret(), "old");
}

#[tokio::test(start_paused = true)]
async fn who_is_late_gets_what_is_there_by_now_without_a_read() {
    let backend = Scripted::holding("old");
    let secret = open(&backend).await;
    backend.set(Stage::Current, "new");
    seconds(61).await;
    backend.asked();
    assert_eq!(secret.reject(1).await.unwrap().generation(), 2);
    assert!(backend.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_a_rotation_the_pending_value_stands_in_until_it_is_rejected_too() {
    let backend = Scripted::holding("current");
    backend.set(Stage::Previous, "previous");
    backend.set(Stage::Pending, "pending");
    let secret = open(&backend).await;
    seconds(5).await;
    assert_eq!(secret.reject(1).await.unwrap().expose_secret(), "pending");
    seconds(5).await;
    assert_eq!(secret.reject(2).await.unwrap().expose_secret(), "current");
    assert_eq!((value(&secret).as_str(), secret.generation()), ("current", 3));
}

#[tokio::test(start_paused = true)]
async fn the_previous_value_stands_in_only_for_who_had_it_lately_or_asked_for_that() {
    // One that was replaced before this process began.
    let backend = Scripted::holding("current");
    backend.set(Stage::Previous, "compromised");
    let secret = open(&backend).await;
    seconds(5).await;
    assert_eq!(secret.reject(1).await.unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!((value(&secret).as_str(), secret.generation()), ("current", 1));

    // The same, where the policy says so.
    let policy = Policy::from(halfbyte_secrets::Provider::policy(&backend)).fall_back_to_previous();
    let secret = Secrets::builder(backend.clone()).policy(policy).build(&lifecycle()).get::<String>("key");
    secret.ready().await.unwrap();
    seconds(5).await;
    assert_eq!(secret.reject(1).await.unwrap().expose_secret(), "compromised");

    // One that this process went on from, within its window and after it.
    for (window, expected) in [(3600, Ok("old")), (5, Err(ErrorKind::Rejected))] {
        let backend = Scripted::holding("old");
        let policy = Policy::from(halfbyte_secrets::Provider::policy(&backend));
        let policy = policy.rotation_window(Duration::from_secs(window));
        let secret = Secrets::builder(backend.clone()).policy(policy).build(&lifecycle()).get::<String>("key");
        secret.ready().await.unwrap();
        backend.set(Stage::Current, "new");
        backend.set(Stage::Previous, "old");
        secret.changed(1).await;
        seconds(10).await;
        let answer = secret.reject(2).await;
        let answer = answer.as_ref().map(|answer| answer.expose_secret().as_str()).map_err(|error| error.kind());
        assert_eq!(answer, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_minute_the_current_value_is_tried_again_by_one_read() {
    for jitter in [0.0, 0.1] {
        let backend = Scripted::holding("broken");
        backend.set(Stage::Pending, "pending");
        let policy = halfbyte_secrets::Provider::policy(&backend);
        let policy = halfbyte_secrets::live::Policy { jitter, fresh_for: Duration::from_secs(300), ..policy };
        let secret = Secrets::builder(backend.clone()).policy(policy).build(&lifecycle()).get::<String>("key");
        secret.ready().await.unwrap();
        seconds(5).await;
        secret.reject(1).await.unwrap();
        backend.asked();
        seconds(59).await;
        assert_eq!((value(&secret).as_str(), secret.generation()), ("pending", 2));
        assert!(backend.asked().is_empty());
        seconds(9).await;
        assert_eq!((value(&secret).as_str(), secret.generation()), ("broken", 3));
        assert_eq!(backend.asked(), ["read current"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_took_the_place_stays_where_it_becomes_current() {
    let backend = Scripted::holding("broken");
    backend.set(Stage::Pending, "pending");
    let secret = open(&backend).await;
    seconds(5).await;
    secret.reject(1).await.unwrap();
    // The rotation ends as it should: what is served is now called current.
    backend.set(Stage::Current, "pending");
    backend.unset(Stage::Pending);
    seconds(300).await;
    assert_eq!((value(&secret).as_str(), secret.generation()), ("pending", 2));
    backend.set(Stage::Current, "next");
    seconds(61).await;
    assert_eq!((value(&secret).as_str(), secret.generation()), ("next", 3));
}

#[tokio::test(start_paused = true)]
async fn who_causes_rejections_all_the_time_does_not_flip_the_value() {
    let backend = Scripted::holding("current");
    backend.set(Stage::Pending, "pending");
    let secret = open(&backend).await;
    let mut spent_on_pending = 0;
    for _ in 0..3600 {
        seconds(1).await;
        spent_on_pending += u32::from(value(&secret) == "pending");
        // The outsider, and those who notice that the pending value does not do.
        let _nothing_else = secret.reject(secret.generation()).await;
    }
    // Once for each wait of 1, 2, 4, 8 and 10 minutes, for a second.
    assert!((5..=12).contains(&secret.generation().div_ceil(2)), "{}", secret.generation());
    assert!(spent_on_pending <= 12, "{spent_on_pending}");
    // A new current value comes through at once all the same, and begins without a record.
    backend.set(Stage::Current, "new");
    seconds(61).await;
    assert_eq!(value(&secret), "new");
    assert_eq!(secret.reject(secret.generation()).await.unwrap().expose_secret(), "pending");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_used_does_not_stand_in() {
    let backend = Scripted::holding("[1]");
    backend.set(Stage::Pending, "half a val");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<Json<Vec<u8>>>("key");
    secret.ready().await.unwrap();
    seconds(5).await;
    assert_eq!(secret.reject(1).await.unwrap_err().kind(), ErrorKind::Rejected);
}

#[tokio::test(start_paused = true)]
async fn a_value_without_another_one_is_served_on_and_the_error_says_so() {
    let backend = Scripted::holding("only");
    let secret = open(&backend).await;
    seconds(5).await;
    let error = secret.reject(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.to_string(), "the secret key was rejected, and its backend has no other value");
    assert_eq!(backend.asked(), ["read current", "read pending"]);
    assert_eq!((value(&secret).as_str(), secret.generation()), ("only", 1));
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_for_another_reason_does_not_make_the_backend_work() {
    let backend = Scripted::holding("only");
    let secret = open(&backend).await;
    let mut reads = 0;
    for _ in 0..1000 {
        seconds(1).await;
        assert_eq!(secret.reject(1).await.unwrap_err().kind(), ErrorKind::Rejected);
        reads += backend.asked().len();
    }
    // Two reads for each of 5 and then one each ten seconds; and one each minute anyway.
    assert!((100..=2 * 105 + 17).contains(&reads), "{reads}");
}

#[tokio::test(start_paused = true)]
async fn when_all_values_were_rejected_the_backends_word_counts_again() {
    let backend = Scripted::holding("a");
    backend.set(Stage::Pending, "b");
    let secret = open(&backend).await;
    seconds(5).await;
    assert_eq!(secret.reject(1).await.unwrap().expose_secret(), "b");
    seconds(5).await;
    assert_eq!(secret.reject(2).await.unwrap().expose_secret(), "a");
    assert_eq!(secret.generation(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_value_before_is_remembered_for_the_window_and_wiped_after_it() {
    let backend = Scripted::holding("old");
    let policy = Policy::from(halfbyte_secrets::Provider::policy(&backend)).rotation_window(Duration::from_secs(90));
    let secret = Secrets::builder(backend.clone()).policy(policy).build(&lifecycle()).get::<String>("key");
    secret.ready().await.unwrap();
    assert!(secret.previous().is_none());
    backend.set(Stage::Current, "new");
    secret.changed(1).await;
    assert_eq!(
        (secret.previous().unwrap().expose_secret().as_str(), secret.previous().unwrap().generation()),
        ("old", 1)
    );
    seconds(89).await;
    assert!(secret.previous().is_some());
    seconds(2).await;
    assert!(secret.previous().is_none());
}

#[tokio::test(start_paused = true)]
async fn who_verifies_can_have_what_was_current_before_the_start() {
    let backend = Scripted::holding("new");
    backend.set(Stage::Previous, "old");
    let policy = Policy::from(halfbyte_secrets::Provider::policy(&backend)).previous_at_start();
    let secret = Secrets::builder(backend.clone()).policy_for("key", policy).build(&lifecycle()).get::<String>("key");
    secret.ready().await.unwrap();
    let previous = secret.previous().unwrap();
    assert_eq!((previous.expose_secret().as_str(), previous.generation()), ("old", 0));
    assert_eq!(format!("{previous} {previous:?}"), "[REDACTED] PreviousValue([REDACTED], generation 0)");
}
