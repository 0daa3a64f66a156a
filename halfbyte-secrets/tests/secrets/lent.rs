use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use halfbyte_secrets::live::Policy;
use halfbyte_secrets::{Ask, Error, ErrorKind, ExposeSecret as _, Lease, Provider, Reading, Secrets, Version};
use tokio::time::Instant;

use super::lifecycle;

const TTL: Duration = Duration::from_secs(30);

/// Lends a new value each time, and renews each lease once.
#[derive(Clone, Default)]
struct Lender {
    reads: Arc<AtomicU32>,
    renewals: Arc<AtomicU32>,
}

impl Provider for Lender {
    const NAME: &'static str = "lender";

    async fn read(&self, _: Ask<'_>) -> Result<Reading, Error> {
        let number = self.reads.fetch_add(1, Ordering::SeqCst).to_string();
        Ok(Reading::new(number.clone()).lease(Lease::new(number, TTL).renewable(true)))
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, Error> {
        let is_last = self.renewals.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        Ok(Lease::new(lease.id(), if is_last { TTL / 2 } else { TTL }).renewable(true))
    }

    fn policy(&self) -> Policy {
        Policy { jitter: 0.0, ..Policy::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_lease_moves_with_its_renewals_and_is_remembered_after_its_replacement() {
    let life = lifecycle();
    let began = Instant::now();
    let secret = Secrets::new(Lender::default(), &life).get::<String>("login");
    assert_eq!(secret.lease_ends(1), None);
    secret.ready().await.expect("loaded");
    assert_eq!(secret.lease_ends(1), Some(began + TTL));

    // Renewed when two thirds of it are over.
    tokio::time::sleep(Duration::from_secs(21)).await;
    let renewed = began + Duration::from_secs(20) + TTL;
    assert_eq!((secret.generation(), secret.lease_ends(1)), (1, Some(renewed)));

    // The next one is short: another credential, while the end of this one is still known.
    let generation = secret.changed(1).await;
    assert_eq!(generation, 2);
    let (first, second) = (secret.lease_ends(1), secret.lease_ends(2));
    assert!(first > Some(Instant::now()) && second > first, "{first:?} {second:?}");

    // Of old ones nothing is kept.
    secret.changed(9).await;
    assert_eq!((secret.lease_ends(1), secret.lease_ends(2)), (None, None));
    assert!(secret.lease_ends(secret.generation()) > Some(Instant::now()));
}

/// Has versions and lends: a new value only to those who do not know the one that there is.
#[derive(Clone, Default)]
struct Versioned {
    /// "Unchanged" is the answer to all but the first, whatever they know; as a broken provider has it.
    is_stubborn: bool,
    /// Some, for a value that is lent only later.
    lends_from: u32,
    reads: Arc<AtomicU32>,
}

impl Provider for Versioned {
    const NAME: &'static str = "versioned";

    async fn read(&self, ask: Ask<'_>) -> Result<Reading, Error> {
        let number = self.reads.fetch_add(1, Ordering::SeqCst);
        let lease = Lease::new(number.to_string(), TTL);
        let is_lent = number >= self.lends_from;
        if ask.known().is_some() || (self.is_stubborn && number > 0) {
            return Ok(if is_lent && !self.is_stubborn {
                Reading::unchanged().lease(lease)
            } else {
                Reading::unchanged()
            });
        }
        let value = Reading::new(format!("credential-{number}")).version(Version::new("1"));
        Ok(if is_lent { value.lease(lease) } else { value })
    }

    fn policy(&self) -> Policy {
        Policy { jitter: 0.0, fresh_for: Duration::from_secs(60), ..Policy::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn who_holds_a_lease_does_not_ask_whether_its_value_is_unchanged() {
    let secret = Secrets::new(Versioned::default(), &lifecycle()).get::<String>("login");
    for generation in 1..10 {
        secret.ready().await.expect("loaded");
        assert_eq!(secret.load().expect("served").generation(), generation);
        tokio::time::sleep(TTL * 2 / 3 + Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_said_to_be_unchanged_is_served_no_longer_for_that() {
    let backend = Versioned { is_stubborn: true, ..Versioned::default() };
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("login");
    secret.ready().await.expect("loaded");
    tokio::time::sleep(TTL - Duration::from_millis(1)).await;
    assert_eq!(secret.load().expect("still lent").expose_secret(), "credential-0");
    assert!(backend.reads.load(Ordering::SeqCst) > 1, "it was asked before");
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(secret.load().expect_err("it has ended").kind(), ErrorKind::Malformed);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_lent_only_later_is_no_unchanged_one() {
    let backend = Versioned { lends_from: 1, ..Versioned::default() };
    let secret = Secrets::new(backend.clone(), &lifecycle()).get::<String>("login");
    secret.ready().await.expect("loaded");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(backend.reads.load(Ordering::SeqCst) > 1, "it was asked again");
    let error = secret.status().last_error().expect("told of");
    assert!(error.contains("unchanged"), "{error}");
    assert_eq!(secret.load().expect("the last good one").generation(), 1);
}
