//! The task that keeps the pool at the credential that is current and works.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Inner;
use super::login::Failure;
use super::retire::Retired;

/// The wait after the first look that failed; it doubles, less up to half at random.
const BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// How often a new credential may be refused before it is rejected: a database may learn of it later than we do.
const PATIENCE: u32 = 3;

/// How long the connections that are out at the end may take.
const CLOSING: Duration = Duration::from_secs(5);

pub(super) async fn run(inner: Arc<Inner>, stopping: impl Future<Output = ()>) {
    let mut stopping = pin!(stopping);
    let mut closed = pin!(inner.pool.close_event());
    let mut follower = Follower { inner: &inner, seen: inner.progress.borrow().generation, retiring: JoinSet::new() };
    let is_stopping = loop {
        tokio::select! {
            biased;
            () = &mut stopping => break true,
            () = &mut closed => break false,
            () = follower.step() => {}
        }
    };
    // A pool is closed when its connections are back. Until then they need the credential, which is given back with the last
    // handle to it, and that may be this one.
    let too_late = async {
        if !is_stopping {
            stopping.await;
        }
        sleep(CLOSING).await;
    };
    tokio::select! {
        biased;
        () = inner.pool.close() => {}
        () = too_late => {
            let name = inner.secret.name();
            tracing::warn!(secret.name = name, "connections to the database were still in use at the end");
        }
    }
}

struct Follower<'a> {
    inner: &'a Inner,
    /// The newest generation that was looked at.
    seen: u64,
    retiring: JoinSet<()>,
}

impl Follower<'_> {
    /// Waits until there is a reason to look, and looks.
    async fn step(&mut self) {
        let Self { inner, seen, .. } = self;
        let failures = inner.progress.borrow().failures;
        let wait = if failures == 0 { inner.check_every } else { backoff(failures) };
        tokio::select! {
            _newer = inner.secret.changed(*seen) => {}
            // While it backs off, the next look is near.
            () = inner.nudge.notified(), if failures == 0 => {}
            () = sleep(wait) => {}
        }
        inner.progress.send_modify(|progress| progress.is_looking = true);
        let outcome = self.look().await;
        while self.retiring.try_join_next().is_some() {}
        self.tell(&outcome);
        self.inner.progress.send_modify(|progress| {
            progress.looks += 1;
            progress.is_looking = false;
            progress.failures = if outcome.is_ok() { 0 } else { progress.failures.saturating_add(1) };
        });
    }

    /// Verifies the credential that is current, and takes it if it is not the one in use.
    async fn look(&mut self) -> Result<(), Option<Failure>> {
        let Inner { secret, login, progress, .. } = self.inner;
        let mut snapshot = secret.load().map_err(|_| None)?;
        loop {
            let generation = snapshot.generation();
            let options = login.options(&snapshot).map_err(|error| Some(Failure::from(error)))?;
            drop(snapshot);
            let (in_use, failures) = {
                let progress = progress.borrow();
                (progress.generation, if generation > self.seen { 0 } else { progress.failures })
            };
            self.seen = self.seen.max(generation);
            match login.verify(&options).await {
                Ok(()) if generation == in_use => return Ok(()),
                Ok(()) => {
                    self.adopt(generation, options);
                    return Ok(());
                }
                Err(failure) if failure.is_refusal && (generation == in_use || failures + 1 >= PATIENCE) => {
                    // Answers another generation each time, and has a budget.
                    snapshot = secret.reject(generation).await.map_err(|_| Some(failure))?;
                }
                Err(failure) => return Err(Some(failure)),
            }
        }
    }

    fn adopt(&mut self, generation: u64, options: PgConnectOptions) {
        let Inner { pool, cutoff, secret, progress, .. } = self.inner;
        let before = pool.connect_options();
        let is_other_user = before.get_username() != options.get_username();
        let ends = secret.lease_ends(progress.borrow().generation).filter(|_| is_other_user);
        let lent = ends.map(|ends: Instant| (Box::new((*before).clone()), ends));
        pool.set_connect_options(options);
        let retired = Retired { pool: pool.clone(), cutoff: cutoff.clone(), lent };
        retired.now();
        self.retiring.spawn(retired.run());
        progress.send_modify(|progress| progress.generation = generation);
        let name = secret.name();
        tracing::info!(
            target: "halfbyte::secrets",
            outcome = "adopted",
            secret.name = name,
            secret.generation = generation,
            "new connections to the database use another credential",
        );
    }

    /// At a rate that falls.
    fn tell(&self, outcome: &Result<(), Option<Failure>>) {
        let failures = self.inner.progress.borrow().failures.saturating_add(1);
        let Err(failure) = outcome else { return };
        if !failures.is_power_of_two() {
            return;
        }
        let name = self.inner.secret.name();
        let error = failure.as_ref().and_then(|failure| failure.error.as_ref());
        let error = error.map_or_else(|| "no answer".to_owned(), |error| halfbyte_core::error_chain(error));
        tracing::warn!(secret.name = name, failures, error, "a database credential does not work");
    }
}

fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(MAX_BACKOFF).mul_f64(1.0 - fastrand::f64() / 2.0)
}
