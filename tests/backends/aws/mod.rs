//! Secrets in AWS Secrets Manager, which moto stands in for, as `HALFBYTE_SECRETS_URL=aws-sm://region/prefix` reads them.

mod moto;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use halfbyte::core::{Clock, Lifecycle};
use halfbyte::secrets::testing::conformance;
use halfbyte::secrets::{ErrorKind, ExposeSecret as _, Policy, Secret, Secrets, live};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::moto::Moto;

const PATIENCE: Duration = Duration::from_secs(20);

/// A policy under which a change shows at once.
fn quick() -> Policy {
    let fresh_for = Duration::from_millis(50);
    Policy::from(live::Policy { fresh_for, demand_gap: Duration::from_millis(10), ..live::Policy::default() })
}

fn secrets(moto: &Moto, policy: Policy) -> Secrets {
    Secrets::builder(moto.aws()).policy(policy).build(&Lifecycle::new(Clock::system()))
}

fn value(secret: &Secret<String>) -> String {
    secret.load().unwrap().expose_secret().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_rotations_under_eight_readers_are_never_torn_and_never_undone() {
    let moto = Moto::direct();
    let whole = |number: usize| format!("{number}:").repeat(200 + number);
    moto.create("token", &whole(0)).await;
    let secret = secrets(&moto, quick()).get::<String>("token");
    secret.ready().await.unwrap();
    let (seen, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let (secret, seen, is_over) = (secret.clone(), seen.clone(), is_over.clone());
        readers.spawn(async move {
            let mut reads = 0_usize;
            while !is_over.load(Ordering::SeqCst) {
                let least = seen.load(Ordering::SeqCst);
                let value = value(&secret);
                let number: usize = value.split(':').next().unwrap().parse().unwrap();
                assert_eq!(value, whole(number), "torn");
                assert!(number >= least, "{number} was read after {least}");
                reads += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            reads
        });
    }
    for number in 1..=50 {
        let before = secret.generation();
        moto.put("token", &whole(number)).await;
        timeout(PATIENCE, secret.changed(before)).await.unwrap();
        seen.store(number, Ordering::SeqCst);
    }
    is_over.store(true, Ordering::SeqCst);
    assert!(readers.join_all().await.into_iter().all(|reads| reads > 50));
    assert_eq!((value(&secret), secret.generation()), (whole(50), 51));
    assert_eq!(*secret.previous().unwrap().expose_secret(), whole(49));
}

/// Create the pending version, set it in the database, test it, promote it: the database knows it before it is current.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_in_four_steps_is_followed_by_rejection_and_its_end_is_no_news() {
    let moto = Moto::direct();
    moto.create("db", "old").await;
    let secret = secrets(&moto, quick()).get::<String>("db");
    secret.ready().await.unwrap();
    assert_eq!(value(&secret), "old");

    moto.pend("db", "new").await;
    secret.refresh(1).await.unwrap();
    assert_eq!((value(&secret).as_str(), secret.generation()), ("old", 1), "pending is not current");

    let next = secret.reject(1).await.unwrap();
    assert_eq!((next.expose_secret().as_str(), next.generation()), ("new", 2));
    assert_eq!(secret.previous().unwrap().expose_secret(), "old");

    moto.promote("db").await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        secret.refresh(2).await.unwrap();
    }
    assert_eq!((value(&secret).as_str(), secret.generation()), ("new", 2), "the same value, the same generation");
    // Moto, as AWS may, leaves it pending as well: what was rejected is still the old value.
    assert_eq!(secret.previous().unwrap().expose_secret(), "old");
    // And nothing new comes of a plain write in moto from here on: a promotion leaves its own idea of "current" behind.
}

#[tokio::test]
async fn what_was_current_before_the_start_is_previous_where_that_is_asked_for() {
    let moto = Moto::direct();
    moto.create("key", "first").await;
    moto.put("key", "second").await;
    let secret = secrets(&moto, quick().previous_at_start()).get::<String>("key");
    secret.ready().await.unwrap();
    assert_eq!(value(&secret), "second");
    let previous = secret.previous().unwrap();
    assert_eq!((previous.expose_secret().as_str(), previous.generation()), ("first", 0));
}

#[tokio::test]
async fn what_is_missing_or_marked_for_deletion_is_not_found_and_optional_secrets_live_with_it() {
    let moto = Moto::direct();
    moto.create("gone", "value").await;
    moto.delete("gone").await;
    let secrets = secrets(&moto, quick());
    for (name, said) in [("never", "ResourceNotFoundException"), ("gone", "InvalidRequestException")] {
        let error = secrets.get::<String>(name).ready().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let chain = halfbyte::core::error_chain(&error);
        assert!(chain.contains(said), "{chain}");
        let optional = secrets.get::<Option<String>>(name);
        optional.ready().await.unwrap();
        assert_eq!(*optional.load().unwrap().expose_secret(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    let report = conformance::run(Moto::behind_a_proxy().await).await;
    println!("{report}");
    report.assert();
    assert_eq!(report.not_run(), ["lease", "lease expiry", "lease given back"], "{report}");
}
