//! The task that reads the outbox, sends, and keeps how far it has come.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::{Lifecycle, error_chain};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::claim::{Claim, Lost};
use super::pace::{Next, Pace};
use super::status::Status;
use super::{Bell, Export, ExportStats, Exported, Outbox, SendError};

/// How often a process asks for a claim that another has.
const STANDBY: Duration = Duration::from_secs(5);
/// How long a request may go on that was under way when the process was told to stop.
const GRACE: Duration = Duration::from_secs(2);
/// How long the first event after a pause waits for others to share its request.
const GATHER: Duration = Duration::from_millis(20);

/// A running export; clones are of the same one. It goes on when all are dropped, and ends with its process.
#[derive(Clone, Debug)]
pub struct Exporter(Arc<Status>);

impl Exporter {
    /// Starts `export` as a task of `lifecycle`. `bell` rings when this process has committed something.
    pub(crate) fn start(export: Export, outbox: Arc<dyn Outbox>, bell: Bell, lifecycle: &Lifecycle) -> Self {
        let (exporter, task) = Self::prepare(export, outbox, bell, lifecycle);
        lifecycle.spawn("billing.export", task);
        exporter
    }

    /// The export and its task, which does nothing until it is polled. It may be dropped at any moment.
    pub(super) fn prepare(
        export: Export,
        outbox: Arc<dyn Outbox>,
        bell: Bell,
        lifecycle: &Lifecycle,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let status = Arc::new(Status::new(Arc::clone(&export.name)));
        let probed = Arc::downgrade(&status);
        lifecycle.health().register(move || Some(probed.upgrade()?.check()));
        let task = Task {
            claim: Claim::new(outbox, Arc::clone(&export.name)),
            export,
            pace: Pace::default(),
            status: Arc::clone(&status),
            rings: bell.listen(),
            _bell: bell,
            lifecycle: lifecycle.clone(),
        };
        (Self(status), task.run())
    }

    /// The name of the export.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How it fares in this process.
    pub fn stats(&self) -> ExportStats {
        self.0.stats()
    }
}

struct Task {
    export: Export,
    claim: Claim,
    pace: Pace,
    status: Arc<Status>,
    rings: watch::Receiver<()>,
    /// So that `rings` never ends.
    _bell: Bell,
    lifecycle: Lifecycle,
}

/// What is waited for before going on.
enum Pause {
    Nothing,
    /// New events, or the time to look for them.
    Events,
    Wait(Duration),
}

/// Why a step ended early.
enum Trouble {
    Claim(Lost),
    Stopping,
}

impl From<Lost> for Trouble {
    fn from(lost: Lost) -> Self {
        Trouble::Claim(lost)
    }
}

impl Task {
    async fn run(mut self) {
        loop {
            let pause = match self.step().await {
                Ok(pause) => pause,
                Err(Trouble::Stopping) => break,
                Err(Trouble::Claim(lost)) => self.without_claim(&lost),
            };
            let stopping = self.lifecycle.stopping();
            tokio::select! {
                biased;
                () = stopping => break,
                () = self.pause(pause) => {}
            }
        }
        self.claim.release().await;
    }

    /// Reads one batch and sends it.
    async fn step(&mut self) -> Result<Pause, Trouble> {
        let after = self.claim.hold().await?;
        let batch = self.claim.read(&after, self.export.batch).await?;
        if !batch.is_empty() {
            self.status.behind();
        }
        let mut rest = &batch[..];
        while !rest.is_empty() {
            let next = &rest[..self.pace.take(rest.len())];
            match self.send(next).await? {
                Ok(sent) => {
                    self.claim.advance(&next[sent - 1].position).await?;
                    self.pace.accepted(sent);
                    self.status.exported(sent);
                    rest = &rest[sent..];
                }
                Err(error) => {
                    self.status.count_failure();
                    if let Next::Wait(wait) = self.pace.failed(next.len(), &error, fastrand::f64()) {
                        match error.is_permanent() {
                            true => self.status.refused(&next[0], &error),
                            false => self.status.failing(&error),
                        }
                        return Ok(Pause::Wait(wait));
                    }
                }
            }
        }
        if batch.len() < self.export.batch {
            self.status.current();
            return Ok(Pause::Events);
        }
        Ok(Pause::Nothing)
    }

    /// Sends `events` while the claim is held; answers how many of them, at least one, are safe.
    async fn send(&mut self, events: &[Exported]) -> Result<Result<usize, SendError>, Trouble> {
        if self.is_stopping().await {
            return Err(Trouble::Stopping);
        }
        self.claim.hold().await?;
        let destination = Arc::clone(&self.export.destination);
        let mut sending = destination.send(events);
        let mut stopping = pin!(self.lifecycle.stopping());
        let mut deadline = None;
        loop {
            let renew_at = self.claim.renew_at().unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                answer = &mut sending => return Ok(answer.and_then(|safe| checked(safe, events.len()))),
                () = &mut stopping, if deadline.is_none() => deadline = Some(Instant::now() + GRACE),
                () = sleep_until(deadline.unwrap_or(renew_at)), if deadline.is_some() => return Err(Trouble::Stopping),
                () = sleep_until(renew_at) => drop(self.claim.hold().await?),
            }
        }
    }

    fn without_claim(&mut self, lost: &Lost) -> Pause {
        match lost {
            Lost::ToAnother => {
                self.status.standby();
                Pause::Wait(STANDBY)
            }
            Lost::Store(error) => {
                self.status.failing(&error_chain(error));
                Pause::Wait(self.pace.wait(None, fastrand::f64()))
            }
        }
    }

    /// Waits, and keeps the claim meanwhile.
    async fn pause(&mut self, pause: Pause) {
        let (wait, listens) = match pause {
            Pause::Nothing => return,
            Pause::Events => (self.export.poll, true),
            Pause::Wait(wait) => (wait, false),
        };
        let end = Instant::now() + wait;
        loop {
            let renew_at = self.claim.renew_at();
            tokio::select! {
                () = sleep_until(end) => return,
                rung = self.rings.changed(), if listens => {
                    debug_assert!(rung.is_ok(), "we hold the bell");
                    sleep(GATHER).await;
                    return;
                }
                () = sleep_until(renew_at.unwrap_or(end)), if renew_at.is_some() => {
                    if let Err(lost) = self.claim.hold().await {
                        // What was waited for is no longer ours, or not known to be.
                        self.without_claim(&lost);
                    }
                }
            }
        }
    }

    async fn is_stopping(&self) -> bool {
        let stopping = self.lifecycle.stopping();
        tokio::select! {
            biased;
            () = stopping => true,
            () = std::future::ready(()) => false,
        }
    }
}

/// A destination may be of somebody else's making.
fn checked(safe: usize, sent: usize) -> Result<usize, SendError> {
    match safe {
        0 => Err(SendError::failed("the destination took no event and gave no reason")),
        _ => Ok(safe.min(sent)),
    }
}
