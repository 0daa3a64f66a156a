//! What is told of secrets, and to whom: events in the log, and numbers in metrics. Names, never values.

use std::sync::Arc;

use crate::Error;

/// Tells what happens to the secret of one name.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    name: Arc<str>,
    provider: &'static str,
}

impl Journal {
    pub(crate) fn new(name: &str, provider: &'static str) -> Self {
        Self { name: name.into(), provider }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A value came from the backend, the first or another one than before.
    pub(crate) fn read(&self, generation: u64, stage: &'static str) {
        self.tell(if generation == 1 { "fetched" } else { "rotated" }, generation, stage);
    }

    /// The backend cannot be asked, and a value of an earlier process stands in for it.
    pub(crate) fn restored(&self, generation: u64) {
        self.tell("restored", generation, "snapshot");
    }

    /// What was read before is still current.
    pub(crate) fn unchanged(&self) {}

    pub(crate) fn renewed(&self, generation: u64) {
        self.tell("renewed", generation, "lease");
    }

    pub(crate) fn revoked(&self) {
        self.tell("revoked", 0, "lease");
    }

    pub(crate) fn rejected(&self, generation: u64) {
        self.tell("rejected", generation, "current");
    }

    pub(crate) fn failed(&self, error: &Error) {
        let outcome = if error.is_denied() { "denied" } else { "failed" };
        self.tell(outcome, 0, "current");
    }

    fn tell(&self, outcome: &'static str, generation: u64, of: &'static str) {
        let Self { name, provider } = self;
        tracing::info!(
            target: "halfbyte::secrets",
            outcome,
            secret.name = %name,
            secret.generation = generation,
            secret.provider = provider,
            of,
            "the secret {name}: {outcome}",
        );
    }
}
