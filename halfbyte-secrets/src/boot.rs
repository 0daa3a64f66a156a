//! What the reader of one secret does about the copy that is kept for a start without the backend.

use std::sync::Arc;
use std::time::Duration;

use halfbyte_core::{Clock, Lifecycle};
use secrecy::zeroize::Zeroizing;
use tokio::time::{Instant, timeout_at};

use crate::Name;
use crate::provider::Boxed;

/// How often a value that does not change is noted as confirmed.
const NOTED_EVERY: Duration = Duration::from_secs(300);

/// How long writing may take at the end.
const WRITING: Duration = Duration::from_secs(5);

/// How long a restored value counts as current: the backend is asked again soon.
pub(crate) const FRESH_FOR: Duration = Duration::from_secs(5);

/// Where values outlive the process. Times are seconds since 1970.
pub(crate) trait Memory: Send + Sync {
    /// The value of `name`, if it is there and not too old at `now`.
    fn recall<'a>(&'a self, name: &'a Name, now: i64) -> Boxed<'a, Option<Recalled>>;

    /// Keeps `value`, which the backend has confirmed at `now`. Does not wait until it is written.
    fn keep(&self, name: &Name, value: &[u8], now: i64);

    /// Forgets what was confirmed up to `now`. Does not wait until that is written.
    fn forget(&self, name: &Name, now: i64);

    /// Resolves when all of that is written, or cannot be.
    fn flush(&self) -> Boxed<'_, ()>;
}

/// Has `memory` written to its end when the process ends and nobody reads secrets any more.
///
/// # Panics
///
/// Outside a Tokio runtime.
pub(crate) fn flush_at_the_end(memory: Arc<dyn Memory>, lifecycle: &Lifecycle) {
    lifecycle.spawn_last("boot snapshot", move |until| async move {
        if timeout_at(until.min(Instant::now() + WRITING), memory.flush()).await.is_err() {
            tracing::warn!(
                target: "halfbyte::secrets",
                "the boot snapshot: it was not written in time, and is as it was before",
            );
        }
    });
}

/// A value of an earlier process.
pub(crate) struct Recalled {
    pub(crate) value: Zeroizing<Vec<u8>>,
    /// For how long it may still be used.
    pub(crate) left: Duration,
}

/// The memory for one secret.
pub(crate) struct Boot {
    memory: Option<Arc<dyn Memory>>,
    /// By the policy.
    is_allowed: bool,
    clock: Clock,
}

/// What is known of it in this process.
#[derive(Default)]
pub(crate) struct State {
    /// The backend has said something about the secret: what an earlier process knew counts no more.
    is_answered: bool,
    is_forgotten: bool,
    noted: Option<Instant>,
}

impl Boot {
    pub(crate) fn new(memory: Option<Arc<dyn Memory>>, is_allowed: bool, clock: Clock) -> Self {
        Self { memory, is_allowed, clock }
    }

    /// Whether a value may be restored.
    pub(crate) fn may_recall(&self, state: &State) -> bool {
        self.memory.is_some() && self.is_allowed && !state.is_answered
    }

    pub(crate) async fn recall(&self, name: &Name) -> Option<Recalled> {
        self.memory.as_ref()?.recall(name, self.now()).await
    }

    /// Whether the value itself is wanted though it is known: to be noted as confirmed.
    pub(crate) fn is_due(&self, state: &State) -> bool {
        self.memory.is_some()
            && self.is_allowed
            && !state.is_forgotten
            && state.noted.is_none_or(|at| at.elapsed() >= NOTED_EVERY)
    }

    /// The backend has given `value` to keep.
    pub(crate) fn keep(&self, state: &mut State, name: &Name, value: &[u8]) {
        state.is_answered = true;
        let Some(memory) = &self.memory else { return };
        if self.is_allowed {
            memory.keep(name, value, self.now());
            (state.noted, state.is_forgotten) = (Some(Instant::now()), false);
        } else {
            self.forget(state, name);
        }
    }

    /// The backend has no value, does not give it, or only lends it: a process that starts later must not have it from here.
    pub(crate) fn forget(&self, state: &mut State, name: &Name) {
        state.is_answered = true;
        if let Some(memory) = &self.memory
            && !std::mem::replace(&mut state.is_forgotten, true)
        {
            memory.forget(name, self.now());
        }
    }

    /// The backend has said something that is no reason to forget.
    pub(crate) fn answered(&self, state: &mut State) {
        state.is_answered = true;
    }

    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }
}
