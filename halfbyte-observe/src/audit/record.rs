//! What a product has to say: who did what to what.

use std::collections::BTreeMap;
use std::net::IpAddr;

use halfbyte_core::{Caller, Principal, RequestId, TraceId};
use serde::{Deserialize, Serialize};

use super::chain::Key;
use super::entry::{Person, Recorded, Thing};
use super::error::AuditError;

const MAX_NAME: usize = 128;
const MAX_ID: usize = 1024;
const MAX_TEXT: usize = 1024;
const MAX_DETAILS: usize = 32;
const MAX_ACTORS: usize = 16;

/// Who did what to what, with which outcome: what [`AuditLog::record`](super::AuditLog::record) writes.
///
/// Made where it happens: the caller is [`Caller::current`] and the trace [`TraceId::current`] unless something else is
/// said.
///
/// ```
/// use halfbyte_observe::audit::{Outcome, Record};
///
/// let record = Record::new("label.delete", "label", "L-17", Outcome::denied("not the owner"))
///     .from("192.0.2.1".parse().unwrap())
///     .detail("copies", 2)
///     .detail("dry_run", false);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a record is written by `AuditLog::record`"]
pub struct Record {
    who: Who,
    action: String,
    what: Thing,
    outcome: Outcome,
    from: Option<IpAddr>,
    request_id: Option<RequestId>,
    trace_id: Option<TraceId>,
    details: BTreeMap<String, Value>,
}

/// Who did it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Who {
    /// Whom identity has verified.
    Principal(Principal),
    /// The product by itself: the name of a job, or of the person who runs it.
    System(String),
    /// Nobody knows.
    Anonymous,
}

impl From<Principal> for Who {
    fn from(principal: Principal) -> Self {
        Self::Principal(principal)
    }
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Allowed,
    /// It was refused.
    Denied {
        /// Why, in up to 1024 bytes.
        reason: String,
    },
    /// It was allowed, and could not be done.
    Failed {
        /// Why, in up to 1024 bytes.
        reason: String,
    },
}

impl Outcome {
    /// It was refused.
    pub fn denied(reason: impl Into<String>) -> Self {
        Self::Denied { reason: reason.into() }
    }

    /// It was allowed, and could not be done.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into() }
    }
}

/// The value of a detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Value {
    /// Yes or no.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Up to 1024 bytes.
    Text(String),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl Record {
    /// `action` and `kind` are names that the product chooses, of up to 128 visible ASCII characters, such as
    /// `label.delete` and `label`; `id` says which one, in up to 1024 bytes.
    pub fn new(action: impl Into<String>, kind: impl Into<String>, id: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            who: Caller::current().map_or(Who::Anonymous, Who::Principal),
            action: action.into(),
            what: Thing { kind: kind.into(), id: id.into() },
            outcome,
            from: None,
            request_id: None,
            trace_id: TraceId::current(),
            details: BTreeMap::new(),
        }
    }

    /// Who did it, if not the current caller.
    pub fn by(self, who: impl Into<Who>) -> Self {
        Self { who: who.into(), ..self }
    }

    /// The address of the client.
    pub fn from(self, address: IpAddr) -> Self {
        Self { from: Some(address), ..self }
    }

    /// The request in which it was done.
    pub fn request_id(self, id: RequestId) -> Self {
        Self { request_id: Some(id), ..self }
    }

    /// The trace in which it was done, if not the current one.
    pub fn trace_id(self, id: TraceId) -> Self {
        Self { trace_id: Some(id), ..self }
    }

    /// Something else to say, up to 32 times; the same `name` again replaces what was said. Names are as those of actions.
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.details.insert(name.into(), value.into());
        self
    }

    /// As it stands in the log; with hashed subjects where there is a key for that.
    pub(super) fn into_recorded(self, subjects: Option<&Key>) -> Result<Recorded, AuditError> {
        self.check()?;
        let person = |kind: &str, subject: &str, tenant: Option<&str>, issuer: &str| Person {
            kind: kind.to_owned(),
            subject: subjects.is_none().then(|| subject.to_owned()),
            // A subject is unique only together with its issuer.
            subject_hash: subjects.map(|key| key.hash(&[issuer, subject])),
            tenant: tenant.map(str::to_owned),
            issuer: (!issuer.is_empty()).then(|| issuer.to_owned()),
            actors: Vec::new(),
        };
        let who = match &self.who {
            Who::Anonymous => Person { kind: "anonymous".to_owned(), ..Person::default() },
            // The name of a program is nobody's secret.
            Who::System(name) => Person { kind: "system".to_owned(), subject: Some(name.clone()), ..Person::default() },
            Who::Principal(principal) => {
                let issuer = principal.issuer();
                let kind = principal.kind().as_str();
                let actor = |actor: &halfbyte_core::Actor| {
                    person("actor", &actor.subject, None, actor.issuer.as_deref().unwrap_or(issuer))
                };
                Person {
                    actors: principal.actors().iter().map(actor).collect(),
                    ..person(kind, principal.subject(), Some(principal.tenant().as_str()), issuer)
                }
            }
        };
        Ok(Recorded {
            who,
            action: self.action,
            what: self.what,
            outcome: self.outcome,
            from: self.from,
            request_id: self.request_id.map(|id| id.to_string()),
            trace_id: self.trace_id.map(|id| id.to_string()),
            details: self.details,
        })
    }

    /// Nothing is cut to fit: a record says all of it, or the caller hears that it does not.
    fn check(&self) -> Result<(), AuditError> {
        name("action", &self.action)?;
        name("type of the resource", &self.what.kind)?;
        text("id of the resource", &self.what.id, MAX_ID)?;
        match &self.outcome {
            Outcome::Allowed => {}
            Outcome::Denied { reason } | Outcome::Failed { reason } => text("reason", reason, MAX_TEXT)?,
        }
        match &self.who {
            Who::Anonymous => {}
            Who::System(name) => text("name of the system", name, MAX_ID)?,
            Who::Principal(principal) => {
                text("subject", principal.subject(), MAX_ID)?;
                text("issuer", principal.issuer(), MAX_ID)?;
                if principal.actors().len() > MAX_ACTORS {
                    return Err(AuditError::invalid(format!("more than {MAX_ACTORS} actors")));
                }
                for actor in principal.actors() {
                    text("subject of an actor", &actor.subject, MAX_ID)?;
                    text("issuer of an actor", actor.issuer.as_deref().unwrap_or_default(), MAX_ID)?;
                }
            }
        }
        if self.details.len() > MAX_DETAILS {
            return Err(AuditError::invalid(format!("more than {MAX_DETAILS} details")));
        }
        for (key, value) in &self.details {
            name("name of a detail", key)?;
            if let Value::Text(value) = value {
                text("text of a detail", value, MAX_TEXT)?;
            }
        }
        Ok(())
    }
}

fn name(what: &str, value: &str) -> Result<(), AuditError> {
    if (1..=MAX_NAME).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(AuditError::invalid(format!("the {what} is not 1 to {MAX_NAME} visible ASCII characters")))
}

fn text(what: &str, value: &str, most: usize) -> Result<(), AuditError> {
    let len = value.len();
    if len <= most {
        return Ok(());
    }
    Err(AuditError::invalid(format!("the {what} has {len} bytes; at most {most} are written")))
}
