//! The one life cycle in its steps: when each was entered, what it may take, what it took, and what was left over.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::Lifecycle;
use halfbyte_core::lifecycle::Phase;
use jiff::Timestamp;
use tokio::time::Instant;

/// One step of a process's life, from [`Platform::steps`](crate::Platform::steps).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Which it is.
    pub kind: StepKind,
    /// When it was entered.
    pub entered: Timestamp,
    /// What it may take; none where it takes as long as it takes.
    pub budget: Option<Duration>,
    /// What it took, once it is over.
    pub took: Option<Duration>,
    /// What was not done when it was over: connections that were cut off, usage that is only in the journal, tasks that still
    /// ran, telemetry that was not sent.
    pub left: u64,
}

/// The steps of a life, in their order. Those of a drain are finer than its [phases](Phase).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StepKind {
    /// Waiting for what the first request may need.
    Starting,
    /// Serving.
    Ready,
    /// Told to stop: not ready, and still accepting.
    LameDuck,
    /// The listener is closed; who was at the door is let in.
    StopAccepting,
    /// Requests, streams and WebSockets go on to their end.
    InFlight,
    /// Usage is written.
    Usage,
    /// Background tasks end.
    Tasks,
    /// Telemetry is sent.
    Telemetry,
    /// Nothing is left to do.
    Closed,
}

impl StepKind {
    /// The step as logs and the admin listener show it.
    pub fn as_str(self) -> &'static str {
        match self {
            StepKind::Starting => "starting",
            StepKind::Ready => "ready",
            StepKind::LameDuck => "lame-duck",
            StepKind::StopAccepting => "stop-accepting",
            StepKind::InFlight => "in-flight",
            StepKind::Usage => "usage",
            StepKind::Tasks => "tasks",
            StepKind::Telemetry => "telemetry",
            StepKind::Closed => "closed",
        }
    }

    fn phase(self) -> Phase {
        match self {
            StepKind::Starting => Phase::Starting,
            StepKind::Ready => Phase::Ready,
            StepKind::LameDuck => Phase::LameDuck,
            StepKind::StopAccepting | StepKind::InFlight => Phase::Draining,
            StepKind::Usage | StepKind::Tasks | StepKind::Telemetry => Phase::Flushing,
            StepKind::Closed => Phase::Closed,
        }
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How late a timer may be that nobody is late for.
const TIMERS: Duration = Duration::from_secs(1);

/// Takes a life from step to step, and remembers each.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Inner>);

struct Inner {
    life: Lifecycle,
    steps: Mutex<Vec<(Step, Instant)>>,
}

impl Progress {
    /// Of a process that is starting, and has `budget` for that.
    pub(crate) fn new(life: Lifecycle, budget: Duration) -> Self {
        let step =
            Step { kind: StepKind::Starting, entered: life.clock().now(), budget: Some(budget), took: None, left: 0 };
        Self(Arc::new(Inner { life, steps: Mutex::new(vec![(step, Instant::now())]) }))
    }

    /// Goes on to `kind`, and the life to its phase. Steps only go forwards: answers whether this did.
    pub(crate) fn enter(&self, kind: StepKind, budget: Option<Duration>) -> bool {
        self.go_on(kind, budget, 0)
    }

    /// As [`enter`](Self::enter), with how much of the step before is not done.
    pub(crate) fn go_on(&self, kind: StepKind, budget: Option<Duration>, left: u64) -> bool {
        let mut steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
        // The program may have gone further by itself.
        if self.0.life.phase() > kind.phase() {
            return false;
        }
        if let Some((before, since)) = steps.last_mut() {
            if before.kind >= kind {
                return false;
            }
            let took = since.elapsed();
            (before.took, before.left) = (Some(took), left);
            let is_late = before.budget.is_some_and(|budget| took > budget + TIMERS);
            let (step, budget) = (before.kind.as_str(), before.budget.map(tracing::field::debug));
            if is_late || left > 0 {
                tracing::warn!(
                    step,
                    ?took,
                    budget,
                    left,
                    "a step of the life cycle ends, over its budget or with something left"
                );
            } else {
                tracing::info!(step, ?took, budget, left, "a step of the life cycle ends");
            }
        }
        tracing::info!(
            step = kind.as_str(),
            budget = budget.map(tracing::field::debug),
            "a step of the life cycle begins"
        );
        let entered = self.0.life.clock().now();
        steps.push((Step { kind, entered, budget, took: None, left: 0 }, Instant::now()));
        // Under the lock, so that steps and phases cannot cross.
        self.0.life.enter(kind.phase());
        true
    }

    /// The steps so far, the current one last.
    pub(crate) fn report(&self) -> Vec<Step> {
        self.0.steps.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(step, _)| *step).collect()
    }
}

#[cfg(test)]
mod tests {
    use halfbyte_core::Clock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_step_says_when_it_was_entered_what_it_took_and_what_was_left() {
        let began: Timestamp = "2030-01-01T12:00:00Z".parse().unwrap();
        let life = Lifecycle::new(Clock::manual(began));
        let progress = Progress::new(life.clone(), Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(progress.enter(StepKind::Ready, None));
        assert_eq!(life.phase(), Phase::Ready);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(progress.enter(StepKind::InFlight, Some(Duration::from_secs(30))));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(progress.go_on(StepKind::Usage, Some(Duration::from_secs(5)), 3));
        assert_eq!(life.phase(), Phase::Flushing);
        let at = |seconds| began + Duration::from_secs(seconds);
        let of = |step: Step| (step.kind.as_str(), step.entered, step.took.map(|took| took.as_secs()), step.left);
        assert_eq!(
            progress.report().into_iter().map(of).collect::<Vec<_>>(),
            [
                ("starting", at(0), Some(2), 0),
                ("ready", at(2), Some(60), 0),
                ("in-flight", at(62), Some(30), 3),
                ("usage", at(92), None, 0)
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn steps_only_go_forwards() {
        let life = Lifecycle::new(Clock::system());
        let progress = Progress::new(life.clone(), Duration::ZERO);
        assert!(progress.enter(StepKind::LameDuck, None));
        assert!(!progress.enter(StepKind::Ready, None) && !progress.enter(StepKind::LameDuck, None));
        assert_eq!((life.phase(), progress.report().len()), (Phase::LameDuck, 2));

        let life = Lifecycle::new(Clock::system());
        let progress = Progress::new(life.clone(), Duration::ZERO);
        life.enter(Phase::LameDuck);
        assert!(!progress.enter(StepKind::Ready, None), "the program has told it to stop");
        assert!(progress.enter(StepKind::LameDuck, None));
    }
}
