//! What is told of decisions, and to whom. Names and ids, never what an attribute says.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use halfbyte_core::{Clock, Principal, TraceId};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::asked::Asked;
use super::decision::Decision;
use super::entity::{Entity, EntityRef};
use super::question::name_of;
use super::recorder::Recorder;

/// Asking for what is of another tenant is more than a missing role.
const ISOLATION: &str = "halfbyte.tenant-isolation";

/// A decision as it is told of: names and ids alone. One line of JSON by its `Serialize`.
///
/// Why a policy could not be evaluated, it does not say, as that may quote a value: [`Rules::explain`](super::Rules::explain) does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// When it was decided.
    pub time: Timestamp,
    /// Who asked, as policies name him.
    pub principal: EntityRef,
    /// The tenant of the principal.
    pub tenant: Box<str>,
    /// What he would do.
    pub action: Box<str>,
    /// To what.
    pub resource: EntityRef,
    /// Whether he may.
    #[serde(rename = "allowed")]
    pub is_allowed: bool,
    /// The ids of the policies that decided; none if it was denied because none permits.
    pub policies: Vec<Box<str>>,
    /// The ids of the policies that could not be evaluated; `question` if what was asked does not fit the schema.
    pub errors: Vec<Box<str>>,
    /// Which set of policies decided.
    pub version: Box<str>,
    /// How long it took; whole nanoseconds in JSON.
    #[serde(rename = "took_ns", serialize_with = "to_nanos", deserialize_with = "of_nanos")]
    pub took: Duration,
}

fn to_nanos<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
}

fn of_nanos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_nanos)
}

type Listener = Box<dyn Fn(&Record) + Send + Sync>;

/// Who is told of decisions: the log (`tracing`, target `halfbyte::decisions`) of each denial and of some that were allowed,
/// listeners and a [`Recorder`] of all.
///
/// A denial is told of at INFO; at WARN if policies could not be evaluated, or somebody reached for another tenant's.
///
/// ```
/// # use halfbyte_identity::access::{Access, DecisionLog};
/// # fn example(access: Access) -> Access {
/// access.log(DecisionLog::new().sample_allowed(1000).listen(|record| if !record.is_allowed { /* count it */ }))
/// # }
/// ```
pub struct DecisionLog {
    clock: Clock,
    one_in: u32,
    listeners: Vec<Listener>,
    recorder: Option<Recorder>,
    /// Allowed decisions outside of any trace, to count off.
    allowed: AtomicU64,
}

impl Default for DecisionLog {
    fn default() -> Self {
        Self { clock: Clock::system(), one_in: 100, listeners: Vec::new(), recorder: None, allowed: AtomicU64::new(0) }
    }
}

impl DecisionLog {
    /// Logs each denial, and 1 in 100 of what is allowed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Logs one in `n` of what is allowed: 1 all, 0 none. Within a trace it is all or none, by the trace's id; outside of one, each
    /// `n`th, beginning with the first. Denials are always logged.
    #[must_use]
    pub fn sample_allowed(mut self, n: u32) -> Self {
        self.one_in = n;
        self
    }

    /// Tells `listener` of each decision, sampled or not. It must be quick, as the request waits for it; if it panics, that is logged
    /// and the decision stands.
    #[must_use]
    pub fn listen(mut self, listener: impl Fn(&Record) + Send + Sync + 'static) -> Self {
        self.listeners.push(Box::new(listener));
        self
    }

    /// Has `recorder` write each decision down with the attributes that policies saw: for a dry run, and only as long as that takes.
    #[must_use]
    pub fn record(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Takes the time of records from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Tells of a decision. That nobody is to be told of costs an atomic addition.
    pub(super) fn concluded(&self, concluded: &Concluded<'_>) {
        let is_logged = !concluded.decision.is_allowed || self.samples();
        if !is_logged && self.listeners.is_empty() && self.recorder.is_none() {
            return;
        }
        // Whoever panics at hearing it does no harm to the decision.
        let told = catch_unwind(AssertUnwindSafe(|| self.tell(concluded, is_logged)));
        if told.is_err() {
            let warn = || tracing::error!(target: "halfbyte::decisions", "who listens to decisions has panicked");
            let _panicked_again = catch_unwind(AssertUnwindSafe(warn));
        }
    }

    /// Whether what policies saw is written down.
    pub(super) fn is_recorded(&self) -> bool {
        self.recorder.is_some()
    }

    fn samples(&self) -> bool {
        let n = u64::from(self.one_in);
        match (n, TraceId::current()) {
            (0, _) => false,
            (1, _) => true,
            (n, Some(TraceId(id))) => {
                // Those 8 bytes are random in a W3C trace id; folded, as not all who make one keep to that.
                let id = u128::from_be_bytes(id);
                ((id >> 64) as u64 ^ id as u64).is_multiple_of(n)
            }
            (n, None) => self.allowed.fetch_add(1, Ordering::Relaxed).is_multiple_of(n),
        }
    }

    fn tell(&self, concluded: &Concluded<'_>, is_logged: bool) {
        let record = concluded.record(self.clock.now());
        if is_logged {
            trace(&record, concluded.decision);
        }
        for listener in &self.listeners {
            listener(&record);
        }
        if let Some(recorder) = &self.recorder {
            // What no policy decided, none can decide again.
            if let Some(asked) = Asked::seen(&record.principal, concluded.action, concluded.resource, concluded.seen) {
                recorder.record(record, asked);
            }
        }
    }
}

/// The reasons of errors too, which hold no value.
fn trace(record: &Record, decision: &Decision) {
    let Record { principal, tenant, action, resource, is_allowed, version, took, .. } = record;
    let errors: Vec<_> = decision.errors.iter().map(ToString::to_string).collect();
    let (policies, errors) = (record.policies.join(" "), errors.join("; "));
    let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let outcome = if *is_allowed { "allowed" } else { "denied" };
    if !errors.is_empty() || policies.split(' ').any(|id| id == ISOLATION) {
        tracing::warn!(
            target: "halfbyte::decisions",
            outcome, %principal, %tenant, %action, %resource, policies, errors, %version, took_us = took,
            "{outcome}: {action} on {resource}"
        );
    } else {
        tracing::info!(
            target: "halfbyte::decisions",
            outcome, %principal, %tenant, %action, %resource, policies, errors, %version, took_us = took,
            "{outcome}: {action} on {resource}"
        );
    }
}

impl fmt::Debug for DecisionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionLog")
            .field("one_in", &self.one_in)
            .field("listeners", &self.listeners.len())
            .field("recorder", &self.recorder)
            .finish_non_exhaustive()
    }
}

/// A decision, and all that it was about.
pub(super) struct Concluded<'a> {
    pub(super) principal: &'a Principal,
    pub(super) action: &'a str,
    pub(super) resource: &'a EntityRef,
    /// All that policies saw, the principal too; nothing if none was asked.
    pub(super) seen: &'a [&'a Entity],
    pub(super) decision: &'a Decision,
    pub(super) took: Duration,
}

impl Concluded<'_> {
    fn record(&self, time: Timestamp) -> Record {
        let Decision { is_allowed, policies, errors, version } = self.decision;
        Record {
            time,
            principal: name_of(self.principal),
            tenant: self.principal.tenant().as_str().into(),
            action: self.action.into(),
            resource: self.resource.clone(),
            is_allowed: *is_allowed,
            policies: policies.iter().map(|id| (&**id).into()).collect(),
            errors: errors.iter().map(|error| error.policy.as_deref().unwrap_or("question").into()).collect(),
            version: (&**version).into(),
            took: self.took,
        }
    }
}

/// A decision log as [`Access`](super::Access) keeps it.
pub(super) type Log = Arc<DecisionLog>;
