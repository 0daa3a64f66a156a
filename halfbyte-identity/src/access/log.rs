//! What is told of decisions, and to whom. Names and ids, never what an attribute says.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use halfbyte_core::{Clock, Principal, TraceId, error_chain};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

use super::action::Action;
use super::decision::Decision;
use super::entity::{Entity, EntityRef};
use super::events::{is_severe, trace, trace_list, trace_row, trace_suppressed};
use super::question::name_of;
use super::recorder::Recorder;
use super::seen::Seen;
use super::throttle::{Kind, Seldom, Suppressed, Throttle};

/// How many denials of a principal and an action are logged in full in a second.
const IN_FULL: u32 = 10;

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
    /// To what. Of an empty type and id if the request did not say, or not clearly: see [`is_unclear`](Self::is_unclear).
    pub resource: EntityRef,
    /// Whether he may.
    #[serde(rename = "allowed")]
    pub is_allowed: bool,
    /// The ids of the policies that decided; none if it was denied because none permits.
    pub policies: Vec<Box<str>>,
    /// The ids of the policies that could not be evaluated; `question` if what was asked does not fit the schema, or is
    /// not all there.
    pub errors: Vec<Box<str>>,
    /// Which set of policies decided.
    pub version: Box<str>,
    /// How long it took; whole nanoseconds in JSON.
    #[serde(rename = "took_ns", serialize_with = "to_nanos", deserialize_with = "of_nanos")]
    pub took: Duration,
}

impl Record {
    /// Whether the request did not say what it asks for: a layer refused it, and no policy was asked. The
    /// [resource](Self::resource) has an empty type then, as nothing else has, and an empty id.
    pub fn is_unclear(&self) -> bool {
        self.resource.kind().is_empty()
    }

    /// What is asked for by a request that does not say.
    pub(super) fn nothing() -> EntityRef {
        EntityRef::new("", "")
    }
}

fn to_nanos<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
}

fn of_nanos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_nanos)
}

type Listener = Box<dyn Fn(&Record) + Send + Sync>;

/// Who is told of decisions: the log (`tracing`, target `halfbyte::decisions`) of denials and of some that were allowed,
/// listeners and a [`Recorder`] of all.
///
/// Of **every denial** the metric `halfbyte.access.decisions` knows, each [listener](Self::listen), and the [recorder](Self::record) if a
/// policy was asked. The log has the first 10 of a second in full, of each principal and action, and the number of the rest:
/// [`denials_per_second`](Self::denials_per_second) with `u32::MAX` has it log all.
///
/// ```
/// # use halfbyte_identity::access::{Access, DecisionLog};
/// # fn example(access: Access) -> Access {
/// access.log(DecisionLog::new().sample_allowed(1000).listen(|record| if !record.is_allowed { /* count it */ }))
/// # }
/// ```
///
/// # What is logged
///
/// - A denial, of a layer or of one check, is an event `denied` at INFO; at WARN if policies could not be evaluated, or somebody
///   reached for another tenant's. An attacker can ask as often as he likes: of one principal and action (and level) so many
///   [a second](Self::denials_per_second) are logged in full, the rest is counted, and one event `suppressed` tells the count with the
///   next decision on anything after that second, or when the log is dropped. So nobody hides another one's denials behind his own, as
///   long as they are of fewer than 128 principals and actions in a tenant, and of 1,024 in all, in one second: those on top are
///   counted together, by tenant and action, and then as `others`.
/// - A request that a layer refuses because it does not say what it asks for, or not clearly, is a denial too, by no policy and with an
///   empty resource. It is none to replay: a recorder leaves it out.
/// - A list ([`filter`](super::Access::filter), [`check_all`](super::Access::check_all)) is one event `listed`, with how many rows
///   there were, how many are hidden, and by which policies: what a list does not show, nobody was denied. It counts as a denial if
///   something is hidden, for level and number, and as allowed if nothing is. Its hidden rows are events `hidden` at DEBUG.
/// - Of what is allowed one in some, by [`sample_allowed`](Self::sample_allowed), as an event `allowed` at INFO.
///
/// Listeners and recorders are told of each single decision, rows of lists too, and none of them is held back.
pub struct DecisionLog {
    clock: Clock,
    one_in: u32,
    listeners: Vec<Listener>,
    recorder: Option<Recorder>,
    /// Allowed decisions outside of any trace, to count off.
    allowed: AtomicU64,
    throttle: Throttle,
    /// That nothing can be decided.
    failing: Seldom,
}

impl Default for DecisionLog {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            one_in: 100,
            listeners: Vec::new(),
            recorder: None,
            allowed: AtomicU64::new(0),
            throttle: Throttle::new(IN_FULL),
            failing: Seldom::new(),
        }
    }
}

impl DecisionLog {
    /// Logs denials, 10 a second of each principal and action in full, and 1 in 100 of what is allowed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Logs one in `n` of what is allowed: 1 all, 0 none. Within a trace it is all or none, by the trace's id; outside of one, each
    /// `n`th, beginning with the first. Denials are not sampled.
    #[must_use]
    pub fn sample_allowed(mut self, n: u32) -> Self {
        self.one_in = n;
        self
    }

    /// Logs `n` denials a second of each principal and action in full, and tells how many more there were: `u32::MAX` logs all.
    #[must_use]
    pub fn denials_per_second(mut self, n: u32) -> Self {
        self.throttle = Throttle::new(n);
        self
    }

    /// Tells `listener` of each decision, sampled or not. It must be quick, as the request waits for it; if it panics, that is logged,
    /// the decision stands, and the others are told.
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

    /// Tells of a decision. That nobody is to be told of costs an atomic addition. `seen` is what policies saw, the principal first;
    /// nothing if none was asked.
    pub(super) fn concluded(
        &self,
        asker: &Asker<'_>,
        resource: &EntityRef,
        decision: &Decision,
        seen: impl FnOnce() -> Vec<Arc<Entity>>,
    ) {
        self.tell_of_suppressed(self.throttle.due(asker.ended));
        let is_logged = if decision.is_allowed {
            self.samples()
        } else {
            self.throttle.admits(asker.kind([decision]), asker.ended)
        };
        if !is_logged && self.is_alone() {
            return;
        }
        let record = asker.record(self.clock.now(), resource, decision);
        if is_logged {
            isolated("the log of decisions", || trace(&record, decision));
        }
        self.pass_on(record, seen);
    }

    /// Warns that it cannot be decided: all requests fail then. Once in a second.
    pub(super) fn unavailable(&self, action: Action, cause: &'static str, error: &(dyn Error + 'static)) {
        if let Some(more) = self.failing.admits(Instant::now()) {
            tracing::warn!(%action, cause, error = error_chain(error), more, "access cannot be decided");
        }
    }

    /// Tells of the decisions on a list, each on one of `resources`.
    pub(super) fn listed<'a>(
        &self,
        asker: &Asker<'_>,
        resources: &[Entity],
        decisions: &[Decision],
        seen: impl FnOnce() -> Seen<'a>,
    ) {
        if decisions.is_empty() {
            return;
        }
        self.tell_of_suppressed(self.throttle.due(asker.ended));
        let hidden = || decisions.iter().filter(|decision| !decision.is_allowed);
        let is_logged = match hidden().next() {
            None => self.samples(),
            Some(_) => self.throttle.admits(asker.kind(hidden()), asker.ended),
        };
        if is_logged {
            isolated("the log of decisions", || trace_list(asker, decisions));
        }
        let shows_rows = tracing::enabled!(target: "halfbyte::decisions", tracing::Level::DEBUG);
        if !shows_rows && self.is_alone() {
            return;
        }
        let (now, seen) = (self.clock.now(), self.is_recorded().then(seen));
        for (resource, decision) in resources.iter().zip(decisions) {
            let record = asker.record(now, resource.name(), decision);
            if shows_rows && !decision.is_allowed {
                isolated("the log of decisions", || trace_row(&record, decision));
            }
            self.pass_on(record, || seen.as_ref().map(|seen| seen.of(resource)).unwrap_or_default());
        }
    }

    /// Nobody but the log is to be told.
    fn is_alone(&self) -> bool {
        self.listeners.is_empty() && self.recorder.is_none()
    }

    fn pass_on(&self, record: Record, seen: impl FnOnce() -> Vec<Arc<Entity>>) {
        for listener in &self.listeners {
            isolated("who listens to decisions", || listener(&record));
        }
        if let Some(recorder) = &self.recorder {
            isolated("the recorder of decisions", || recorder.record(record, seen()));
        }
    }

    fn tell_of_suppressed(&self, suppressed: Vec<Suppressed>) {
        for Suppressed { kind, count } in suppressed {
            isolated("the log of decisions", || trace_suppressed(&kind, count));
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
}

/// What is held back yet is told of.
impl Drop for DecisionLog {
    fn drop(&mut self) {
        self.tell_of_suppressed(self.throttle.rest());
    }
}

/// Whoever panics at hearing of a decision does no harm to it, nor to who is told after.
fn isolated(who: &'static str, told: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(told)).is_err() {
        let error = || tracing::error!(target: "halfbyte::decisions", "{who} has panicked");
        let _panicked_again = catch_unwind(AssertUnwindSafe(error));
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

/// Who asked for what to be done, and when it was decided.
pub(super) struct Asker<'a> {
    pub(super) principal: &'a Principal,
    pub(super) action: &'static str,
    pub(super) ended: Instant,
    /// For each decision.
    pub(super) took: Duration,
}

impl Asker<'_> {
    fn record(&self, time: Timestamp, resource: &EntityRef, decision: &Decision) -> Record {
        let Decision { is_allowed, policies, errors, version } = decision;
        Record {
            time,
            principal: name_of(self.principal),
            tenant: self.principal.tenant().as_str().into(),
            action: self.action.into(),
            resource: resource.clone(),
            is_allowed: *is_allowed,
            policies: policies.iter().map(|id| (&**id).into()).collect(),
            errors: errors.iter().map(|error| error.policy.as_deref().unwrap_or("question").into()).collect(),
            version: (&**version).into(),
            took: self.took,
        }
    }

    fn kind<'d>(&self, denials: impl IntoIterator<Item = &'d Decision>) -> Kind {
        let is_severe = denials.into_iter().any(is_severe);
        let (tenant, principal) = (Some(self.principal.tenant().clone()), Some(name_of(self.principal)));
        Kind { tenant, principal, action: self.action, is_severe }
    }
}

/// A decision log as [`Access`](super::Access) keeps it.
pub(super) type Log = Arc<DecisionLog>;
