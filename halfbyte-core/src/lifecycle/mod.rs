//! Tracked tasks, drain phases and health checks: what a process must know of itself to start and to stop well.

mod health;
mod phase;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

pub use self::health::{Check, Health};
pub use self::phase::Phase;
use crate::Clock;

/// The life of one process: its phase, its background tasks, its health and its clock.
///
/// Clones share everything. Whatever runs in the background is spawned here, so that drain can wait for it.
///
/// ```
/// use std::time::Duration;
/// use halfbyte_core::{Clock, Lifecycle};
/// use halfbyte_core::lifecycle::Phase;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let lifecycle = Lifecycle::new(Clock::system());
/// let stopping = lifecycle.stopping();
/// lifecycle.spawn("ticker", async move { stopping.await });
/// lifecycle.enter(Phase::Ready);
/// assert!(lifecycle.stop_tasks(Duration::from_secs(1)).await);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lifecycle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    phase: watch::Sender<Phase>,
    tasks: TaskTracker,
    stop: CancellationToken,
    health: Health,
    clock: Clock,
}

impl Lifecycle {
    /// A life that is [starting](Phase::Starting).
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            phase: watch::Sender::new(Phase::Starting),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            health: Health::default(),
            clock,
        }))
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// Goes on to `phase`; phases only go forwards, so an earlier one than now is ignored. Answers whether it moved.
    pub fn enter(&self, phase: Phase) -> bool {
        let mut from = phase;
        let forwards = self.0.phase.send_if_modified(|now| {
            from = *now;
            *now = (*now).max(phase);
            phase > from
        });
        // After the change: a subscriber of the log may ask for the phase.
        if forwards {
            tracing::info!(from = from.as_str(), to = phase.as_str(), "the life cycle moves on");
        }
        forwards
    }

    /// Resolves once `phase` or a later one is entered. Cancel safe.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.0.phase.subscribe();
        let _sender_is_alive = phases.wait_for(|now| *now >= phase).await.is_ok();
    }

    /// Runs `task` in the background under this life; `name` shows in the log.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        tracing::trace!(name, "a task starts");
        self.0.tasks.spawn(task)
    }

    /// Resolves when background tasks are asked to end.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.0.stop.clone().cancelled_owned()
    }

    /// Asks the background tasks to end and waits up to `budget` for them; answers whether all did.
    pub async fn stop_tasks(&self, budget: Duration) -> bool {
        self.0.stop.cancel();
        self.0.tasks.close();
        let all = tokio::time::timeout(budget, self.0.tasks.wait()).await.is_ok();
        if !all {
            tracing::warn!(left = self.0.tasks.len(), ?budget, "background tasks did not end in time");
        }
        all
    }

    /// What readiness asks.
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// The clock of this life.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn phases_only_go_forwards() {
        let life = Lifecycle::new(Clock::system());
        assert!(life.enter(Phase::Draining));
        assert!(!life.enter(Phase::Ready));
        assert_eq!(life.phase(), Phase::Draining);
        life.reached(Phase::LameDuck).await;
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_waits_for_tasks_up_to_its_budget() {
        let life = Lifecycle::new(Clock::system());
        let stopping = life.stopping();
        life.spawn("polite", async move {
            stopping.await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        });
        assert!(life.stop_tasks(Duration::from_secs(3)).await);

        let life = Lifecycle::new(Clock::system());
        life.spawn("deaf", std::future::pending::<()>());
        assert!(!life.stop_tasks(Duration::from_secs(3)).await);
    }
}
