use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Policy;
use super::error::{Error, ErrorKind};
use crate::lifecycle::Check;

/// How current a [`Live`](super::Live) value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never fetched; [`load`](super::Live::load) is an error.
    Cold,
    /// As current as the policy asks for.
    Fresh,
    /// The last known good copy is served past its freshness.
    Stale,
    /// Too old to be served; [`load`](super::Live::load) is an error.
    Expired,
}

impl State {
    /// The state in lower case, as metrics and readiness show it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Cold => "cold",
            State::Fresh => "fresh",
            State::Stale => "stale",
            State::Expired => "expired",
        }
    }
}

/// What is known of a [`Live`](super::Live) value, without the value.
#[derive(Clone, Debug)]
pub struct Status {
    /// The name it was started with.
    pub name: Arc<str>,
    /// Counts the values that came from the backend; 0 before the first.
    pub generation: u64,
    /// Fetches that failed since the last one that did not.
    pub failures: u32,
    pub(super) last_error: Option<Arc<dyn StdError + Send + Sync>>,
    /// When the backend last confirmed the value, and for how long it is then fresh and usable; `None` for ever.
    confirmed: Option<(Instant, Option<Lifetime>)>,
    pub(super) attempts: u64,
    pub(super) in_flight: bool,
    pub(super) last_attempt: Option<Instant>,
    pub(super) next_attempt: Option<Instant>,
    pub(super) ended: bool,
    lazy: bool,
    required: bool,
}

/// How long a confirmed value is current, and how long it may be served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    pub(super) fresh_for: Duration,
    pub(super) usable_for: Duration,
    /// Whether the source itself said when it ends.
    pub(super) is_lease: bool,
}

impl Status {
    pub(super) fn cold(name: Arc<str>, policy: &Policy) -> Self {
        Self {
            name,
            lazy: policy.lazy,
            required: policy.required,
            generation: 0,
            failures: 0,
            last_error: None,
            confirmed: None,
            attempts: 0,
            in_flight: false,
            last_attempt: None,
            next_attempt: None,
            ended: false,
        }
    }

    pub(super) fn confirmed(&mut self, generation: u64, lifetime: Option<Lifetime>) {
        self.generation = generation;
        self.failures = 0;
        self.last_error = None;
        self.confirmed = Some((Instant::now(), lifetime));
    }

    /// How current the value is now.
    pub fn state(&self) -> State {
        match self.confirmed {
            None => State::Cold,
            Some((_, None)) => State::Fresh,
            Some((at, Some(lifetime))) => match at.elapsed() {
                age if age < lifetime.fresh_for => State::Fresh,
                age if age < lifetime.usable_for => State::Stale,
                _ => State::Expired,
            },
        }
    }

    /// How long ago the backend last confirmed the value; `None` if it never did.
    pub fn age(&self) -> Option<Duration> {
        self.confirmed.map(|(at, _)| at.elapsed())
    }

    /// What the backend said at the last failed fetch, with all causes, or why what it gave last was
    /// [refused](super::Fetched::refused); `None` after a good one.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.as_deref().map(|error| crate::error_chain(error))
    }

    /// When the value may no longer be served; `None` if that never comes or it is not there.
    pub(super) fn usable_until(&self) -> Option<Instant> {
        let (at, lifetime) = self.confirmed?;
        at.checked_add(lifetime?.usable_for)
    }

    /// How much is left of what the source said itself; `None` if it said nothing.
    pub(super) fn lease_left(&self) -> Option<Duration> {
        let (at, lifetime) = self.confirmed?;
        let lifetime = lifetime.filter(|lifetime| lifetime.is_lease)?;
        Some(lifetime.usable_for.saturating_sub(at.elapsed()))
    }

    /// Whether there is a value that may be served.
    pub(super) fn is_usable(&self) -> bool {
        matches!(self.state(), State::Fresh | State::Stale)
    }

    /// The error of the last attempt, while no further one is due.
    pub(super) fn backing_off(&self) -> Option<Error> {
        let retry_in = self.next_attempt?.saturating_duration_since(Instant::now());
        if self.in_flight || retry_in.is_zero() { None } else { self.failed() }
    }

    /// The error of the last attempt that is through.
    pub(super) fn failed(&self) -> Option<Error> {
        (self.failures > 0).then(|| self.to_error())
    }

    pub(super) fn to_error(&self) -> Error {
        Error {
            name: self.name.clone(),
            kind: match self.state() {
                State::Cold => ErrorKind::Cold,
                State::Expired => ErrorKind::Expired,
                State::Fresh | State::Stale => ErrorKind::RefreshFailed,
            },
            retry_in: self.next_attempt.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now())),
            source: self.last_error.clone(),
        }
    }

    pub(super) fn check(&self) -> Check {
        let state = self.state();
        Check {
            name: self.name.clone(),
            // Nobody has asked for a lazy value yet: waiting for it would keep those away who would ask.
            ready: self.is_usable() || !self.required || (self.lazy && self.attempts == 0),
            state: state.as_str(),
            age: self.age(),
            detail: self.last_error(),
        }
    }
}
