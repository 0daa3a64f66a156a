//! Credentials that a backend has made and nobody is to use, and what else a fetch leaves when it does not go as planned.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_secrets::{
    Ask, Error, ErrorKind, ExposeSecret as _, Json, Lease, Provider, Reading, Secrets, Stage, live,
};
use tokio::time::{Instant, sleep, sleep_until};

use super::lifecycle;
use super::scripted::Scripted;

/// Lends a new value each time and remembers what it gave and got back.
#[derive(Clone)]
struct Lender {
    ttl: Duration,
    /// What a new value begins with.
    text: &'static str,
    /// How long it takes to take back.
    slow: Duration,
    lent: Arc<Mutex<(u32, Vec<String>)>>,
}

impl Lender {
    fn of(ttl: Duration, text: &'static str) -> Self {
        Self { ttl, text, slow: Duration::ZERO, lent: Arc::default() }
    }

    fn granted(&self) -> u32 {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn revoked(&self) -> Vec<String> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

impl Provider for Lender {
    const NAME: &'static str = "lender";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        if ask.stage() != Stage::Current {
            return Err(Error::new(ErrorKind::NotFound, "there is only one"));
        }
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        lent.0 += 1;
        let id = lent.0.to_string();
        Ok(Reading::new(format!("{}{id}", self.text)).lease(Lease::new(id, self.ttl)))
    }

    async fn revoke(&self, lease: &Lease) -> Result<(), Error> {
        sleep(self.slow).await;
        self.lent.lock().unwrap_or_else(PoisonError::into_inner).1.push(lease.id().to_owned());
        Ok(())
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_credential_that_cannot_be_parsed_is_given_back_at_once_and_only_once() {
    let (backend, lifecycle) = (Lender::of(HOUR, "not JSON "), lifecycle());
    let secret = Secrets::new(backend.clone(), &lifecycle).get::<Json<Vec<String>>>("db");
    assert_eq!(secret.ready().await.expect_err("no JSON").kind(), ErrorKind::Malformed);
    assert_eq!(backend.revoked(), ["1"]);
    sleep(Duration::from_secs(60)).await;
    let granted: Vec<String> = (1..=backend.granted()).map(|id| id.to_string()).collect();
    assert!(granted.len() > 1);
    assert_eq!(backend.revoked(), granted);
    assert!(lifecycle.stop_tasks(Duration::from_secs(5)).await);
    assert_eq!(backend.revoked(), granted, "nothing is left for the end");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_could_not_be_given_back_in_time_is_given_back_at_the_end() {
    let (mut backend, lifecycle) = (Lender::of(HOUR, "not JSON "), lifecycle());
    backend.slow = Duration::from_secs(3);
    let began = Instant::now();
    let secret = Secrets::new(backend.clone(), &lifecycle).get::<Json<Vec<String>>>("db");
    assert_eq!(secret.ready().await.expect_err("no JSON").kind(), ErrorKind::Malformed);
    assert!(began.elapsed() < Duration::from_secs(2), "nobody waits for that");
    assert!(backend.revoked().is_empty());
    assert!(lifecycle.stop_tasks(Duration::from_secs(60)).await);
    assert_eq!(backend.revoked().first().map(String::as_str), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_over_at_once_is_an_error_with_a_back_off_and_given_back() {
    for ttl in [Duration::ZERO, Duration::from_millis(999)] {
        let backend = Lender::of(ttl, "credential-");
        let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("db");
        let error = secret.ready().await.expect_err("of no use");
        assert!(error.is_unavailable(), "{error:?}");
        sleep(Duration::from_secs(60)).await;
        let granted = backend.granted();
        assert!((2..=20).contains(&granted), "{granted} in a minute");
        assert_eq!(backend.revoked().len(), granted as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_without_an_end_that_a_clock_can_tell_is_served() {
    let secret = Secrets::new(Lender::of(Duration::MAX, "credential-"), &lifecycle()).get::<String>("db");
    secret.ready().await.expect("served");
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_loses_no_value() {
    let panics = AtomicBool::new(true);
    let listener = move |_: &halfbyte_secrets::Event<'_>| {
        assert!(!panics.swap(false, Ordering::SeqCst), "at the first event");
    };
    let backend = Scripted::holding("value");
    let secret = Secrets::builder(backend).listen(listener).build(&lifecycle()).get::<String>("db");
    secret.ready().await.expect("served all the same");
    assert_eq!(secret.load().expect("loaded").expose_secret(), "value");
    assert_eq!((secret.generation(), secret.status().failures), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_verified_with_what_the_backend_has_deleted() {
    let backend = Scripted::holding("first");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<Option<String>>("key");
    secret.ready().await.expect("read");
    backend.set(Stage::Current, "second");
    sleep(Duration::from_secs(61)).await;
    assert_eq!(secret.previous().expect("remembered").expose_secret().as_deref(), Some("first"));
    backend.unset(Stage::Current);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(*secret.load().expect("absent").expose_secret(), None);
    assert!(secret.previous().is_none());

    let backend = Scripted::holding("first");
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("key");
    secret.ready().await.expect("read");
    backend.set(Stage::Current, "second");
    sleep(Duration::from_secs(61)).await;
    assert!(secret.previous().is_some());
    backend.unset(Stage::Current);
    sleep(Duration::from_secs(61)).await;
    assert!(secret.previous().is_none(), "also where the last good copy is served on");
}

#[tokio::test(start_paused = true)]
async fn a_previous_credential_is_remembered_no_longer_than_it_was_lent() {
    let backend = Lender::of(Duration::from_secs(30), "credential-");
    let secret = Secrets::new(backend, &lifecycle()).get::<String>("db");
    secret.ready().await.expect("read");
    let ends = secret.lease_ends(1).expect("lent");
    secret.changed(1).await;
    assert_eq!(secret.previous().expect("remembered").generation(), 1);
    sleep_until(ends).await;
    assert!(secret.previous().is_none_or(|previous| previous.generation() > 1));
}

/// As [`Lender`], but each answer takes its time.
struct Slow(Lender, Duration);

impl Provider for Slow {
    const NAME: &'static str = "slow";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let reading = self.0.read(ask).await?;
        sleep(self.1).await;
        Ok(reading)
    }

    fn policy(&self) -> live::Policy {
        live::Policy { fetch_timeout: Duration::from_secs(10), ..live::Policy::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_backend_is_waited_for_where_no_earlier_process_left_anything() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = halfbyte_core::home::Home::open(folder.path().join("home")).expect("opened");
    let snapshot = halfbyte_secrets::BootSnapshot::open(&home, "https://vault.example.com").expect("opened");
    let lender = Lender::of(HOUR, "credential-");
    let slow = Slow(lender.clone(), Duration::from_secs(9));
    let secrets = Secrets::builder(slow).snapshot(snapshot).build(&lifecycle());
    let secret = secrets.get::<String>("db");
    secret.ready().await.expect("waited for");
    assert_eq!((secret.load().expect("read").expose_secret().as_str(), lender.granted()), ("credential-1", 1));
}
