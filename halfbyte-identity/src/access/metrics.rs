use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

use super::action::Action;

/// What is counted of decisions.
#[derive(Clone)]
pub(super) struct Metrics {
    decisions: Counter<u64>,
    errors: Counter<u64>,
}

/// Why something could not be decided as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A policy could not be evaluated.
    Policy,
    /// What was asked, or what is known of it, does not fit the schema or the bounds.
    Question,
    /// There are no policies.
    Policies,
    /// The product's own provider failed.
    Provider,
}

impl Fault {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Question => "question",
            Self::Policies => "no-policies",
            Self::Provider => "provider",
        }
    }
}

impl Metrics {
    /// `halfbyte.access.decisions` by action and decision, and `halfbyte.access.errors` by action and type.
    pub(super) fn new(meter: &Meter) -> Self {
        let decisions = meter.u64_counter("halfbyte.access.decisions").with_description("What policies decided");
        let errors = meter
            .u64_counter("halfbyte.access.errors")
            .with_description("What could not be evaluated, and was denied for that reason");
        Self { decisions: decisions.build(), errors: errors.build() }
    }

    pub(super) fn decided(&self, action: Action, is_allowed: bool) {
        let decision = if is_allowed { "allow" } else { "deny" };
        self.decisions.add(1, &[of(action), KeyValue::new("halfbyte.access.decision", decision)]);
    }

    pub(super) fn failed(&self, action: Action, fault: Fault) {
        self.errors.add(1, &[of(action), KeyValue::new("error.type", fault.as_str())]);
    }
}

fn of(action: Action) -> KeyValue {
    KeyValue::new("halfbyte.access.action", action.name())
}
