use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use halfbyte_core::lifecycle::Check;
use tokio::time::Instant;

use super::{Exported, SendError};

/// The longest text of another system that is shown.
const LONGEST: usize = 300;

/// What an export does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportState {
    /// It has not asked the store yet.
    Starting,
    /// Another process exports.
    Standby,
    /// Everything has been exported.
    Current,
    /// It is sending.
    Behind,
    /// The store or the destination does not answer as it should; it is tried again.
    Failing,
    /// The destination refuses an event for good; it is tried again, and those behind it wait.
    Refused,
}

impl ExportState {
    /// The state as health checks show it.
    pub fn as_str(self) -> &'static str {
        match self {
            ExportState::Starting => "starting",
            ExportState::Standby => "standby",
            ExportState::Current => "current",
            ExportState::Behind => "behind",
            ExportState::Failing => "failing",
            ExportState::Refused => "refused",
        }
    }
}

/// How an export fares in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportStats {
    /// What it does.
    pub state: ExportState,
    /// Events that the destination confirmed to this process.
    pub exported: u64,
    /// Requests that the destination did not confirm.
    pub failed: u64,
    /// How long ago everything had been exported for the last time, and zero when it is; `None` while another process
    /// exports.
    pub lag: Option<Duration>,
    /// What goes wrong now, for people.
    pub problem: Option<String>,
}

#[derive(Debug)]
pub(super) struct Status {
    pub(super) name: Arc<str>,
    check: Arc<str>,
    exported: AtomicU64,
    failed: AtomicU64,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    state: ExportState,
    problem: Option<Box<str>>,
    behind_since: Option<Instant>,
    /// When the destination confirmed something, or there was nothing to send.
    good_at: Option<Instant>,
}

impl Status {
    pub(super) fn new(name: Arc<str>) -> Self {
        let check = format!("billing.export.{name}").into();
        let now = Now { state: ExportState::Starting, problem: None, behind_since: None, good_at: None };
        Self { name, check, exported: AtomicU64::new(0), failed: AtomicU64::new(0), now: Mutex::new(now) }
    }

    /// There are events to send.
    pub(super) fn behind(&self) {
        let mut now = self.lock();
        now.behind_since.get_or_insert_with(Instant::now);
        // What goes wrong stays so until something works.
        if now.problem.is_none() {
            now.state = ExportState::Behind;
        }
    }

    pub(super) fn exported(&self, events: usize) {
        self.exported.fetch_add(u64::try_from(events).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.good(ExportState::Behind);
    }

    pub(super) fn current(&self) {
        self.good(ExportState::Current);
    }

    fn good(&self, state: ExportState) {
        let mut now = self.lock();
        let recovered = now.problem.take().is_some();
        now.state = state;
        now.good_at = Some(Instant::now());
        if state == ExportState::Current {
            now.behind_since = None;
        }
        drop(now);
        if recovered {
            tracing::info!(export = %self.name, "usage events are exported again");
        }
    }

    pub(super) fn standby(&self) {
        let mut now = self.lock();
        (now.state, now.problem, now.behind_since) = (ExportState::Standby, None, None);
    }

    /// One request was not confirmed.
    pub(super) fn count_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The destination refuses `first`, alone, for good.
    pub(super) fn refused(&self, first: &Exported, error: &SendError) {
        let (id, source) = (clip(&first.event().id), clip(&first.event().source));
        let message = clip(&error.to_string());
        let problem = format!("event {id:?} of {source:?} is refused, and those behind it wait: {message}");
        self.problem(ExportState::Refused, problem);
    }

    pub(super) fn failing(&self, error: &dyn fmt::Display) {
        self.problem(ExportState::Failing, clip(&error.to_string()));
    }

    fn problem(&self, state: ExportState, problem: String) {
        let mut now = self.lock();
        let is_new = now.problem.as_deref() != Some(&problem);
        now.state = state;
        now.problem = Some(problem.as_str().into());
        drop(now);
        if is_new {
            tracing::warn!(export = %self.name, problem, "usage events are not exported; it is tried again");
        }
    }

    pub(super) fn stats(&self) -> ExportStats {
        let now = self.lock();
        let is_ours = !matches!(now.state, ExportState::Starting | ExportState::Standby);
        ExportStats {
            state: now.state,
            exported: self.exported.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            lag: is_ours.then(|| now.behind_since.map(|since| since.elapsed()).unwrap_or_default()),
            problem: now.problem.as_deref().map(str::to_owned),
        }
    }

    /// Requests are served all the same, whatever becomes of the export.
    pub(super) fn check(&self) -> Check {
        let now = self.lock();
        Check {
            name: Arc::clone(&self.check),
            ready: true,
            state: now.state.as_str(),
            age: now.good_at.map(|at| at.elapsed()),
            detail: now.problem.as_deref().map(str::to_owned),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text from elsewhere, bounded, in one line.
pub(super) fn clip(text: &str) -> String {
    let plain = |char: char| if char.is_control() { ' ' } else { char };
    let mut clipped: String = text.chars().take(LONGEST).map(plain).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_elsewhere_is_one_bounded_line() {
        assert_eq!(clip("no\r\nsuch\tmeter"), "no  such meter");
        assert_eq!(clip(&"é".repeat(1000)).chars().count(), LONGEST + 1);
    }
}
