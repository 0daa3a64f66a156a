use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use halfbyte_secrets::live::Policy;
use halfbyte_secrets::{Ask, Error, Lease, Provider, Reading, Secrets};
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
