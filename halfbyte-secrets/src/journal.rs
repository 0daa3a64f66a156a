//! What is told of secrets, and to whom: events in the log, numbers in metrics, and a listener of the product's own.
//! Names, never values.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;

use crate::{Error, Stage};

/// Something happened to a secret; see [`Builder::listen`](crate::Builder::listen). Holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The product or program that it happened in.
    pub who: &'a str,
    /// The secret's name.
    pub name: &'a str,
    /// Which provider has it.
    pub provider: &'static str,
    /// The generation it is about; 0 if it is about none.
    pub generation: u64,
    /// What happened.
    pub outcome: Outcome,
    /// Why it went wrong, with all causes; `None` if it did not.
    pub why: Option<String>,
}

/// What can happen to a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Its first value came from the backend.
    Fetched,
    /// Another value than before came from the backend, of this stage.
    Rotated(Stage),
    /// The backend cannot be asked, and a value of an earlier process stands in for it.
    Restored,
    /// The backend was asked, and what there is is still current.
    Unchanged,
    /// Its lease was renewed.
    Renewed,
    /// Its lease was given back.
    Revoked,
    /// A user of it said that it was not accepted.
    Rejected,
    /// The backend does not give it, or it was not declared.
    Denied,
    /// The backend does not have it.
    Missing,
    /// The backend could not be asked, or gave what cannot be used.
    Failed,
}

impl Outcome {
    /// As events and metrics show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Rotated(Stage::Current) => "rotated",
            Self::Rotated(Stage::Pending) => "rotated_to_pending",
            Self::Rotated(Stage::Previous) => "rotated_to_previous",
            Self::Restored => "restored",
            Self::Unchanged => "unchanged",
            Self::Renewed => "renewed",
            Self::Revoked => "revoked",
            Self::Rejected => "rejected",
            Self::Denied => "denied",
            Self::Missing => "missing",
            Self::Failed => "failed",
        }
    }

    /// That of a read or a renewal which answered `error`.
    fn of(error: &Error) -> Self {
        use crate::ErrorKind::{Denied, NotFound, Undeclared};
        match error.kind() {
            Denied | Undeclared => Self::Denied,
            NotFound => Self::Missing,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Is told of everything that happens; it must be quick, and must not read secrets itself.
pub(crate) type Listener = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// Who is told, for all secrets of a process.
#[derive(Clone)]
pub(crate) struct Audience {
    pub(crate) who: Arc<str>,
    pub(crate) provider: &'static str,
    pub(crate) listener: Option<Listener>,
    pub(crate) reads: Counter<u64>,
}

impl Audience {
    pub(crate) fn of(&self, name: &str) -> Journal {
        Journal { name: name.into(), audience: self.clone() }
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audience").field("who", &self.who).finish_non_exhaustive()
    }
}

/// Tells what happens to the secret of one name.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    name: Arc<str>,
    audience: Audience,
}

impl Journal {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A value came from the backend, the first or another one than before.
    pub(crate) fn read(&self, generation: u64, stage: Stage) {
        self.tell(generation, if generation == 1 { Outcome::Fetched } else { Outcome::Rotated(stage) });
    }

    pub(crate) fn tell(&self, generation: u64, outcome: Outcome) {
        self.say(generation, outcome, None);
    }

    pub(crate) fn failed(&self, generation: u64, error: &Error) {
        self.say(generation, Outcome::of(error), Some(halfbyte_core::error_chain(error)));
    }

    /// Whoever panics at hearing it, a listener or a layer of the log, does no harm to the secret.
    fn say(&self, generation: u64, outcome: Outcome, why: Option<String>) {
        let told = catch_unwind(AssertUnwindSafe(|| self.say_or_panic(generation, outcome, why)));
        if told.is_err() {
            let name = &self.name;
            let warn = || tracing::error!(target: "halfbyte::secrets", "who listens to the secret {name} has panicked");
            let _panicked_again = catch_unwind(AssertUnwindSafe(warn));
        }
    }

    fn say_or_panic(&self, generation: u64, outcome: Outcome, why: Option<String>) {
        let Self { name, audience: Audience { who, provider, listener, reads } } = self;
        reads.add(
            1,
            &[
                KeyValue::new("halfbyte.secret.name", name.clone()),
                KeyValue::new("halfbyte.secret.outcome", outcome.as_str()),
            ],
        );
        let why_shown = why.as_deref();
        match outcome {
            // Each second, for a file.
            Outcome::Unchanged => {}
            Outcome::Renewed => tracing::debug!(
                target: "halfbyte::secrets",
                outcome = outcome.as_str(), secret.name = %name, secret.generation = generation, secret.provider = provider, who = %who,
                "the secret {name}: {outcome}"
            ),
            Outcome::Rejected | Outcome::Denied | Outcome::Missing | Outcome::Failed => tracing::warn!(
                target: "halfbyte::secrets",
                outcome = outcome.as_str(), secret.name = %name, secret.generation = generation, secret.provider = provider, who = %who,
                error = why_shown,
                "the secret {name}: {outcome}"
            ),
            _ => tracing::info!(
                target: "halfbyte::secrets",
                outcome = outcome.as_str(), secret.name = %name, secret.generation = generation, secret.provider = provider, who = %who,
                "the secret {name}: {outcome}"
            ),
        }
        if let Some(listener) = listener {
            listener(&Event { who, name, provider, generation, outcome, why });
        }
    }
}
