//! From the signal to the end: lame duck, draining, flushing, closed.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use halfbyte_core::lifecycle::Phase;
use halfbyte_core::{Lifecycle, error_chain};
use halfbyte_observe::Telemetry;

use crate::contract::Limits;
use crate::error::{Error, ErrorKind};
use crate::notify::Supervisor;
use crate::platform::Platform;
use crate::progress::{Progress, StepKind};

/// How [`conduct`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conducted {
    /// The drain is over.
    ToTheEnd,
    /// This signal came while it was under way.
    Interrupted(&'static str),
}

/// As [`conduct`]; a second signal ends the process at once: usage is in the journal already.
pub(crate) async fn conduct_or_exit(
    life: Lifecycle,
    progress: Progress,
    signals: impl Stream<Item = &'static str> + Unpin,
    lame_duck: Duration,
    supervisor: Supervisor,
) {
    if let Conducted::Interrupted(signal) = conduct(&life, &progress, signals, lame_duck, &supervisor).await {
        tracing::error!(signal, "told to stop a second time: ending at once");
        std::process::exit(i32::from(Error::new(ErrorKind::Drain, "").exit_code()));
    }
}

/// Leads from the first signal into draining, and looks out for a second one until all is closed. A process that was never ready
/// has nobody to tell that it will stop, so that it has no lame duck.
async fn conduct(
    life: &Lifecycle,
    progress: &Progress,
    mut signals: impl Stream<Item = &'static str> + Unpin,
    lame_duck: Duration,
    supervisor: &Supervisor,
) -> Conducted {
    let mut next = async || match signals.next().await {
        Some(signal) => signal,
        None => std::future::pending().await,
    };
    let was_asked = tokio::select! {
        signal = next() => {
            tracing::info!(signal, "told to stop");
            false
        }
        () = life.reached(Phase::LameDuck) => {
            tracing::info!("asked to stop");
            true
        }
    };
    let was_ready = progress.report().iter().any(|step| step.kind == StepKind::Ready);
    let lame_duck = if was_ready { lame_duck } else { Duration::ZERO };
    supervisor.stopping();
    progress.enter(StepKind::LameDuck, Some(lame_duck));
    let second = async {
        if was_asked {
            // The program began the drain, so the first signal tells it nothing new.
            next().await;
        }
        next().await
    };
    let first = async {
        tokio::time::sleep(lame_duck).await;
        progress.enter(StepKind::StopAccepting, None);
        life.reached(Phase::Closed).await;
    };
    tokio::select! {
        () = first => Conducted::ToTheEnd,
        signal = second => Conducted::Interrupted(signal),
    }
}

/// Writes out what is held in memory: usage first, telemetry about all of it last. Answers whether all was. `cut` is how many
/// connections the drain has cut off.
pub(crate) async fn flush(platform: &Platform, limits: &Limits, telemetry: Option<Telemetry>, cut: u64) -> bool {
    let billing = platform.billing();
    let usage = async |budget| match billing.flush(budget).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::error!(error = error_chain(&error), "usage is in the journal and is counted by the next process");
            Err(billing.stats().backlog as u64)
        }
    };
    let telemetry = async |budget| {
        let Some(telemetry) = telemetry else { return 0 };
        let flushed = telemetry.shutdown(budget).await;
        if !flushed.is_complete() {
            // What is on disk is sent by the next process.
            tracing::warn!(safe = flushed.is_safe(), "{flushed}");
        }
        flushed.failures().iter().map(|failure| failure.unsent).sum()
    };
    flush_in_order(platform.lifecycle(), platform.progress(), limits, cut, usage, telemetry).await
}

/// The order of [`flush`]: `usage` and `telemetry` are given their budget and answer what they left.
async fn flush_in_order(
    life: &Lifecycle,
    progress: &Progress,
    limits: &Limits,
    cut: u64,
    usage: impl AsyncFnOnce(Duration) -> Result<(), u64>,
    telemetry: impl AsyncFnOnce(Duration) -> u64,
) -> bool {
    progress.go_on(StepKind::Usage, Some(limits.drain_usage), cut);
    let usage = usage(limits.drain_usage).await;
    progress.go_on(StepKind::Tasks, Some(limits.drain_tasks), usage.err().unwrap_or(0));
    let tasks = life.stop_tasks(limits.drain_tasks).await;
    let still_running = if tasks { 0 } else { life.tasks() as u64 };
    progress.go_on(StepKind::Telemetry, Some(limits.drain_telemetry), still_running);
    let unsent = telemetry(limits.drain_telemetry).await;
    progress.go_on(StepKind::Closed, None, unsent);
    // Telemetry does not count: a collector that is away must not make a good stop look like a bad one.
    usage.is_ok() && tasks
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use halfbyte_core::Clock;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::contract::Contract;

    const SECOND: Duration = Duration::from_secs(1);

    fn life() -> (Lifecycle, Progress) {
        let life = Lifecycle::new(Clock::system());
        (life.clone(), Progress::new(life, 10 * SECOND))
    }

    /// Signals that come as long after the start as it says.
    fn signals(at: &[(u64, &'static str)]) -> impl Stream<Item = &'static str> + Unpin + use<> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let at = at.to_vec();
        let begun = Instant::now();
        let sending = async move {
            for (second, signal) in at {
                tokio::time::sleep_until(begun + Duration::from_secs(second)).await;
                let _nobody_listens_any_more = sender.send(signal);
            }
            std::future::pending::<()>().await;
        };
        let mut sending = Box::pin(sending);
        let mut receiver: mpsc::UnboundedReceiver<&'static str> = receiver;
        stream::poll_fn(move |cx| {
            let _never = std::future::Future::poll(sending.as_mut(), cx);
            receiver.poll_recv(cx)
        })
    }

    fn kinds(progress: &Progress) -> Vec<&'static str> {
        progress.report().iter().map(|step| step.kind.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_leads_through_the_lame_duck_into_draining() {
        for signal in ["SIGTERM", "SIGINT"] {
            let ((life, progress), begun) = (life(), Instant::now());
            progress.enter(StepKind::Ready, None);
            let closes = async {
                life.reached(Phase::LameDuck).await;
                assert_eq!(begun.elapsed(), 3 * SECOND);
                life.reached(Phase::Draining).await;
                assert_eq!(begun.elapsed(), 8 * SECOND);
                sleep(SECOND).await;
                progress.enter(StepKind::Closed, None);
            };
            let supervisor = Supervisor::none();
            let conducted = conduct(&life, &progress, signals(&[(3, signal)]), 5 * SECOND, &supervisor);
            assert_eq!(tokio::join!(conducted, closes).0, Conducted::ToTheEnd);
            let steps = progress.report();
            assert_eq!(kinds(&progress), ["starting", "ready", "lame-duck", "stop-accepting", "closed"]);
            assert_eq!((steps[2].budget, steps[2].took), (Some(5 * SECOND), Some(5 * SECOND)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_a_drain_wherever_it_is() {
        for second in [4, 9, 30] {
            let ((life, progress), begun) = (life(), Instant::now());
            progress.enter(StepKind::Ready, None);
            let came = signals(&[(3, "SIGTERM"), (second, "SIGINT")]);
            let ended = conduct(&life, &progress, came, 5 * SECOND, &Supervisor::none()).await;
            assert_eq!(ended, Conducted::Interrupted("SIGINT"));
            assert_eq!(begun.elapsed().as_secs(), second);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_is_told_to_stop_while_it_starts_has_no_lame_duck() {
        let ((life, progress), begun) = (life(), Instant::now());
        let closes = async {
            life.reached(Phase::Draining).await;
            assert_eq!(begun.elapsed(), SECOND);
            assert!(!progress.enter(StepKind::Ready, None), "it becomes ready in a drain");
            progress.enter(StepKind::Closed, None);
        };
        let supervisor = Supervisor::none();
        let conducted = conduct(&life, &progress, signals(&[(1, "SIGTERM")]), 5 * SECOND, &supervisor);
        assert_eq!(tokio::join!(conducted, closes).0, Conducted::ToTheEnd);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_the_program_began_is_ended_by_the_second_signal_and_not_by_the_first() {
        let ((life, progress), begun) = (life(), Instant::now());
        progress.enter(StepKind::Ready, None);
        life.enter(Phase::LameDuck);
        let came = signals(&[(1, "SIGTERM"), (2, "SIGTERM")]);
        let ended = conduct(&life, &progress, came, 5 * SECOND, &Supervisor::none()).await;
        assert_eq!((ended, begun.elapsed()), (Conducted::Interrupted("SIGTERM"), 2 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn usage_then_tasks_then_telemetry_are_given_their_budgets_and_what_they_leave_is_told() {
        let limits = Contract::V1.limits();
        // What each takes of its budget in percent, what it leaves, and whether the whole counts as clean.
        for (usage_takes, tasks_take, telemetry_takes, usage_leaves, clean) in [
            (50, 50, 50, None, true),
            (100, 50, 50, Some(7), false),
            (10, 500, 50, None, false),
            (10, 10, 100, None, true),
        ] {
            let ((life, progress), begun) = (life(), Instant::now());
            let part = |budget: Duration, percent: u32| budget * percent / 100;
            let (stopping, tasks_take) = (life.stopping(), part(limits.drain_tasks, tasks_take));
            life.spawn("task", async move {
                stopping.await;
                sleep(tasks_take).await;
            });
            let usage = async |budget: Duration| {
                assert_eq!((life.phase(), budget), (Phase::Flushing, limits.drain_usage));
                sleep(part(budget, usage_takes)).await;
                usage_leaves.map_or(Ok(()), Err)
            };
            let telemetry = async |budget: Duration| {
                assert_eq!((life.phase(), budget), (Phase::Flushing, limits.drain_telemetry));
                sleep(part(budget, telemetry_takes)).await;
                u64::from(telemetry_takes == 100)
            };
            progress.enter(StepKind::InFlight, Some(limits.drain_in_flight));
            assert_eq!(flush_in_order(&life, &progress, &limits, 2, usage, telemetry).await, clean);
            assert_eq!(life.phase(), Phase::Closed);
            assert_eq!(kinds(&progress), ["starting", "in-flight", "usage", "tasks", "telemetry", "closed"]);
            let steps = progress.report();
            let left: Vec<_> = steps.iter().map(|step| step.left).collect();
            let tasks_left = u64::from(tasks_take > limits.drain_tasks);
            let unsent = u64::from(telemetry_takes == 100);
            assert_eq!(left, [0, 2, usage_leaves.unwrap_or(0), tasks_left, unsent, 0]);
            let all = limits.drain_usage + limits.drain_tasks + limits.drain_telemetry;
            assert!(begun.elapsed() <= all, "{:?}", begun.elapsed());
        }
    }
}
