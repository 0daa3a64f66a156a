//! Two processes on one home.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinSet;

use super::{INVALID, Kept};

#[tokio::test]
async fn what_one_process_makes_is_good_in_the_other_at_its_first_use() {
    let (one, hour) = (Kept::new().await, Duration::from_secs(3600));
    let other = Kept::on(&one.home).await;
    let (id, secret) = one.create().await;
    other.ask(&secret).await.expect("made a moment ago");
    // The other looks into the file for keys that it does not know at most four times a second.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let rotated = one.keys.rotate(&id, hour).await.expect("rotated");
    other.ask(&rotated).await.expect("made a moment ago");
    other.ask(&secret).await.expect("good during the overlap");
}

#[tokio::test]
async fn what_one_process_revokes_is_refused_in_the_other_within_2_seconds() {
    let one = Kept::new().await;
    let other = Kept::on(&one.home).await;
    let (id, secret) = one.create().await;
    other.ask(&secret).await.expect("good");
    one.keys.revoke(&id).await.expect("revoked");
    // Half a second more, as the read itself takes its time too.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(other.refusal(&secret).await, INVALID);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_lost_when_many_make_them_at_once() {
    let one = Kept::new().await;
    let other = Kept::on(&one.home).await;
    let mut work = JoinSet::new();
    for n in 0..24 {
        let keys = if n % 2 == 0 { one.keys.clone() } else { other.keys.clone() };
        work.spawn(async move {
            let (key, first) = keys.create(super::spec().label(n.to_string())).await.expect("created");
            let second = keys.rotate(&key.id, Duration::from_secs(60)).await.expect("rotated");
            if n % 3 == 0 {
                keys.revoke(&key.id).await.expect("revoked");
            }
            for secret in [&first, &second] {
                assert_eq!(keys.authenticate(secret.expose_secret()).await.is_ok(), n % 3 != 0, "{n}");
            }
            (n, second)
        });
    }
    let made: Vec<(usize, SecretString)> = work.join_all().await;
    let third = Kept::on(&one.home).await;
    let listed = third.keys.list(&"acme".parse().expect("a tenant")).await.expect("listed");
    assert_eq!(listed.len(), 24);
    for (n, secret) in made {
        assert_eq!(third.ask(&secret).await.is_ok(), n % 3 != 0, "{n}");
    }
}

#[tokio::test]
async fn a_flood_of_keys_that_are_made_up_has_the_file_read_four_times_a_second_at_most() {
    let kept = Kept::new().await;
    let elsewhere = Kept::new().await;
    let (_, good) = kept.create().await;
    let mut waited = 0;
    let start = tokio::time::Instant::now();
    for _ in 0..40 {
        let (_, made_up) = elsewhere.create().await;
        if kept.keys.authenticate_now(made_up.expose_secret()).is_none() {
            waited += 1;
        }
        assert_eq!(kept.refusal(&made_up).await, INVALID);
        kept.keys.authenticate_now(good.expose_secret()).expect("nothing is asked").expect("good");
    }
    let most = start.elapsed().as_millis() / 250 + 1;
    assert!(waited <= most && waited >= 1, "{waited} of at most {most}");
}
