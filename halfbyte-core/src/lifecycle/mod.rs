//! Tracked tasks, drain phases and health checks: what a process must know of itself to start and to stop well.

mod health;
mod phase;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
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
    /// When each phase was, in their order.
    entered: [OnceLock<Timestamp>; Phase::ALL.len()],
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Those that run when the others have ended.
    last: TaskTracker,
    run_last: CancellationToken,
    /// When the last ones have to be through; set before they are let run.
    last_until: OnceLock<Instant>,
    health: Health,
    clock: Clock,
}

impl Lifecycle {
    /// A life that is [starting](Phase::Starting).
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            phase: watch::Sender::new(Phase::Starting),
            entered: Phase::ALL.map(|phase| match phase {
                Phase::Starting => clock.now().into(),
                _ => OnceLock::new(),
            }),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            last: TaskTracker::new(),
            run_last: CancellationToken::new(),
            last_until: OnceLock::new(),
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
            if phase > from {
                // Before anyone sees the phase, and once, since it is never left backwards.
                let _first = self.0.entered[phase as usize].set(self.0.clock.now());
            }
            phase > from
        });
        // After the change: a subscriber of the log may ask for the phase.
        if forwards {
            tracing::info!(from = from.as_str(), to = phase.as_str(), "the life cycle moves on");
        }
        forwards
    }

    /// When `phase` was entered, by the [clock](Self::clock); `None` if that was not yet, or if it was skipped.
    pub fn entered(&self, phase: Phase) -> Option<Timestamp> {
        self.0.entered[phase as usize].get().copied()
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

    /// Runs `task` when the tasks of [`spawn`](Self::spawn) have ended, or have used up their part of the budget of
    /// [`stop_tasks`](Self::stop_tasks): for giving back what they work with. It is told when it has to be through, and does not
    /// run in a process that ends otherwise.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn spawn_last<F>(&self, name: &'static str, task: impl FnOnce(Instant) -> F + Send + 'static) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let life = Arc::downgrade(&self.0);
        let run = self.0.run_last.clone();
        self.0.last.spawn(async move {
            run.cancelled_owned().await;
            tracing::trace!(name, "a last task starts");
            let until = life.upgrade().and_then(|life| life.last_until.get().copied());
            task(until.unwrap_or_else(Instant::now)).await;
        })
    }

    /// Resolves when background tasks are asked to end.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.0.stop.clone().cancelled_owned()
    }

    /// Asks the background tasks to end and waits for them; then lets those of [`spawn_last`](Self::spawn_last) run, and waits
    /// for these too, all within `budget`. Where there are any, a fifth of it is kept for them, or a second if that is more, but
    /// never over half. Answers whether all did end. Not cancel safe: where it is dropped, the last ones may not run, unless it is
    /// called again.
    pub async fn stop_tasks(&self, budget: Duration) -> bool {
        let Inner { tasks, stop, last, run_last, last_until, .. } = &*self.0;
        stop.cancel();
        tasks.close();
        let kept = if last.is_empty() { Duration::ZERO } else { kept_for_the_last(budget) };
        let begun = Instant::now();
        let most = begun + budget.saturating_sub(kept).min(LONGEST);
        let mut all = timeout_at(most, tasks.wait()).await.is_ok();
        let until = begun + budget.min(LONGEST);
        // One that works up to its last moment has ended in time: it is told an earlier one.
        let _set_before = last_until.set(until - to_end_in(budget));
        run_last.cancel();
        last.close();
        all &= timeout_at(until, last.wait()).await.is_ok();
        if !all {
            tracing::warn!(left = self.tasks(), ?budget, "background tasks did not end in time");
        }
        all
    }

    /// How many background tasks have not ended yet, the last ones included.
    pub fn tasks(&self) -> usize {
        self.0.tasks.len() + self.0.last.len()
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

/// An instant that is further away may not exist.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// What of `budget` the last tasks have, however long the others take.
fn kept_for_the_last(budget: Duration) -> Duration {
    (budget / 5).max(Duration::from_secs(1)).min(budget / 2)
}

/// What of `budget` the last tasks have to end in when their time is up.
fn to_end_in(budget: Duration) -> Duration {
    (budget / 10).min(Duration::from_millis(200))
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
    async fn it_is_known_when_a_phase_was_entered_and_which_were_skipped() {
        let begun: Timestamp = "2030-01-01T12:00:00Z".parse().unwrap();
        let life = Lifecycle::new(Clock::manual(begun));
        for (later, phase) in [(5, Phase::Ready), (3, Phase::Draining), (1, Phase::LameDuck), (1, Phase::Draining)] {
            tokio::time::advance(Duration::from_secs(later)).await;
            life.enter(phase);
        }
        let entered = |phase| life.entered(phase).map(|at| at.duration_since(begun).as_secs());
        assert_eq!(Phase::ALL.map(entered), [Some(0), Some(5), None, Some(8), None, None]);
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
        life.spawn("polite", std::future::ready(()));
        assert!(!life.stop_tasks(Duration::from_secs(3)).await);
        assert_eq!(life.tasks(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_tasks_run_when_the_others_have_ended_with_what_is_left_of_the_budget() {
        for (slow, budget, begins, ends_all) in [(2, 10, 2, true), (9, 10, 8, false), (60, 3, 2, false)] {
            let life = Lifecycle::new(Clock::system());
            let (stopping, begun) = (life.stopping(), Instant::now());
            life.spawn("slow", async move {
                stopping.await;
                tokio::time::sleep(Duration::from_secs(slow)).await;
            });
            let ran = life.spawn_last("last", move |until| async move {
                assert_eq!(begun.elapsed().as_secs(), begins);
                assert_eq!(until - begun, Duration::from_secs(budget) - Duration::from_millis(200));
            });
            assert_eq!(life.stop_tasks(Duration::from_secs(budget)).await, ends_all, "{slow} of {budget}");
            ran.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_last_task_that_uses_all_the_time_that_it_was_given_has_ended_in_time() {
        for budget in [Duration::from_secs(2), Duration::from_millis(50), Duration::from_secs(60)] {
            let life = Lifecycle::new(Clock::system());
            life.spawn_last("thorough", tokio::time::sleep_until);
            assert!(life.stop_tasks(budget).await, "{budget:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_last_task_that_does_not_end_is_told_of_and_not_waited_for() {
        let life = Lifecycle::new(Clock::system());
        life.spawn_last("deaf", |_until| std::future::pending());
        let begun = Instant::now();
        assert!(!life.stop_tasks(Duration::from_secs(3)).await);
        assert_eq!(begun.elapsed().as_secs(), 3);
    }
}
