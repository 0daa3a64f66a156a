//! A question outside of a request: what tools ask, and what a recorded log holds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use halfbyte_core::Principal;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use super::around;
use super::decide;
use super::decision::{Decision, EvaluationError};
use super::entity::{Entity, EntityRef, Resource, Value};
use super::index::Acting;
use super::provider::Membership;
use super::question::{Question, entity_of, entity_of_tenant, put, request, unfit};
use super::rules::Rules;
use super::schema;

/// How many actions are named to who asks for one that is not there.
const NAMED: usize = 50;

/// Whether a principal may do something to a resource, with all that policies see of it: for [`Rules::explain`] and other tools.
///
/// It is written by hand, and knows what it is told. A running product is asked by [`Access::explain`](super::Access::explain), which
/// asks the provider for the rest.
///
/// ```
/// # use halfbyte_core::Principal;
/// use halfbyte_identity::access::{Asked, Entity, Rules};
///
/// # fn example(rules: &Rules, caller: &Principal) {
/// let label = Entity::new("Label", "l-1").of_tenant(caller.tenant()).attribute("sealed", true);
/// println!("{}", rules.explain(&Asked::new(caller, "EditLabel", &label)));
/// # }
/// ```
///
/// `Debug` shows names, and no attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub(super) principal: Entity,
    pub(super) action: Box<str>,
    pub(super) resource: EntityRef,
    /// What those two refer to, and the resource itself.
    others: Vec<Entity>,
}

impl Asked {
    /// Of a principal as its token says, in a tenant that is not suspended.
    pub fn new(principal: &Principal, action: &str, resource: &impl Resource) -> Self {
        let resource = resource.entity();
        let tenant = EntityRef::tenant(principal.tenant());
        let mut asked = Self {
            principal: entity_of(principal),
            action: action.into(),
            resource: resource.name().clone(),
            others: vec![entity_of_tenant(tenant.clone(), false)],
        };
        // Of what is known anyway, that counts: people may ask for themselves, and for their tenant.
        if *resource.name() != tenant && resource.name() != asked.principal.name() {
            asked.others.push(resource);
        }
        asked
    }

    /// As a decision saw it: `others` are all things but the principal, each once.
    pub(super) fn seen(principal: &Entity, action: &str, resource: &EntityRef, others: &[Arc<Entity>]) -> Self {
        let others = others.iter().map(|thing| (**thing).clone()).collect();
        Self { principal: principal.clone(), action: action.into(), resource: resource.clone(), others }
    }

    /// Adds what the product knows of the principal.
    #[must_use]
    pub fn member(mut self, known: Membership) -> Self {
        let profile = known.profile.into_iter().map(|(name, value)| (name.into(), value)).collect();
        self.principal = self.principal.attribute("profile", Value::Record(profile));
        self.principal = known.groups.into_iter().fold(self.principal, Entity::parent);
        self
    }

    /// Says that the principal's tenant is suspended.
    #[must_use]
    pub fn suspended(mut self) -> Self {
        let tenant = self.others.iter_mut().find(|entity| entity.name().kind() == super::entity::TENANT);
        if let Some(tenant) = tenant {
            *tenant = entity_of_tenant(tenant.name().clone(), true);
        }
        self
    }

    /// Adds what the principal or the resource refers to, such as the folder that it stands in. Of two things of one name the first
    /// counts: the principal, his tenant and the resource are there already.
    #[must_use]
    pub fn entity(mut self, entity: Entity) -> Self {
        if self.entities().all(|known| known.name() != entity.name()) {
            self.others.push(entity);
        }
        self
    }

    /// All that policies see, the principal first.
    pub(super) fn entities(&self) -> impl Iterator<Item = &Entity> {
        std::iter::once(&self.principal).chain(&self.others)
    }

    /// What `rules` say. What was given is all there is: where a running product would deny as its provider does not know something, this
    /// does.
    pub(super) fn decide(&self, rules: &Rules) -> Decision {
        let decided = || {
            self.lacking(action_named(rules, &self.action)?, rules).map_err(unfit)?;
            Ok(decide::by_all(rules, &self.question(rules)?))
        };
        match self.named(&self.resource) {
            Some(resource) => decide::of_base_if_foreign(rules, &self.principal, resource, decided()),
            None => decided().unwrap_or_else(|error| Decision::unfit(rules, error)),
        }
    }

    fn named(&self, name: &EntityRef) -> Option<&Entity> {
        self.entities().find(|thing| thing.name() == name)
    }

    fn lacking(&self, action: &Acting, rules: &Rules) -> Result<(), String> {
        let tenant = match self.principal.get("tenant") {
            Some(Value::Entity(of)) => self.named(of),
            _ => None,
        };
        match (self.named(&self.resource), tenant) {
            (Some(resource), Some(tenant)) => {
                let follows = (rules, &action.follows);
                around::lacking(follows, (&self.principal, tenant), resource, self.entities())
            }
            // The base set cannot be evaluated then.
            _ => Ok(()),
        }
    }

    /// In the terms of `rules`, of whatever version; checked as a request's question is.
    pub(super) fn question(&self, rules: &Rules) -> Result<Question, EvaluationError> {
        let action = action_named(rules, &self.action)?;
        let request = request(rules, action, self.principal.name(), &self.resource)?;
        let entities: Vec<_> = self.entities().collect();
        Ok(Question { request, entities: put(rules, self.principal.name(), &action.entities, &entities)? })
    }
}

/// The action of that name, with its namespace, as [`Action`](super::Action) has it.
pub(super) fn action_named<'a>(rules: &'a Rules, name: &str) -> Result<&'a Acting, EvaluationError> {
    rules.index.action(name).ok_or_else(|| {
        let mut known: Vec<_> = rules.schema.actions().map(schema::name_of).collect();
        known.sort_unstable();
        let more = known.len().saturating_sub(NAMED);
        known.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        unfit(format!("the schema has no action {name:?}; it has {}{more}", known.join(", ")))
    })
}

/// `{"type": "Label", "id": "l-1"}`
impl Serialize for EntityRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Named { kind: self.kind().into(), id: self.id().into() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EntityRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Named { kind, id } = Named::deserialize(deserializer)?;
        Ok(Self::new(kind.into_owned(), id))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named<'a> {
    #[serde(rename = "type")]
    kind: Cow<'a, str>,
    id: Cow<'a, str>,
}

/// An entity with its values, in Cedar's JSON format. Not `Serialize` of [`Entity`]: only a recorder writes values.
pub(super) fn to_json(entity: &Entity) -> serde_json::Value {
    let attrs: serde_json::Map<_, _> =
        entity.attributes().map(|(name, value)| (name.to_owned(), value_to_json(value))).collect();
    json!({ "uid": entity.name(), "attrs": attrs, "parents": entity.parents() })
}

/// In Cedar's JSON format an object with one of these is no record. It has no way to write a record with such a field; ours has the last.
const MARKS: [&str; 3] = ["__entity", "__extn", RECORD];

/// A record whose fields are called as they like.
const RECORD: &str = "__record";

fn value_to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => json!(value),
        Value::Long(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Set(items) => items.iter().map(value_to_json).collect(),
        Value::Record(fields) => {
            let json: serde_json::Value =
                fields.iter().map(|(name, value)| (name.to_string(), value_to_json(value))).collect();
            // Else it would be read as what such a name stands for.
            if fields.keys().any(|name| MARKS.contains(&&**name)) { json!({ RECORD: json }) } else { json }
        }
        Value::Entity(name) => json!({ "__entity": name }),
        Value::Ip(address) => json!({ "__extn": { "fn": "ip", "arg": address } }),
        Value::Time(time) => json!({ "__extn": { "fn": "datetime", "arg": time } }),
    }
}

/// What a recorder wrote of a question, read back.
#[derive(Deserialize)]
pub(super) struct Seen {
    principal: EntityRef,
    action: Box<str>,
    resource: EntityRef,
    entities: Vec<EntityLine>,
}

#[derive(Deserialize)]
struct EntityLine {
    uid: EntityRef,
    attrs: BTreeMap<String, ValueLine>,
    parents: Vec<EntityRef>,
}

struct ValueLine(Value);

#[derive(Deserialize)]
#[serde(tag = "fn", content = "arg", rename_all = "lowercase")]
enum Extension {
    Ip(std::net::IpAddr),
    Datetime(jiff::Timestamp),
}

impl Seen {
    /// The question again. `None` if it has no principal.
    pub(super) fn into_asked(self) -> Option<Asked> {
        let (mut principal, mut others) = (None, Vec::new());
        for EntityLine { uid, attrs, parents } in self.entities {
            let is_principal = uid == self.principal;
            let mut entity = parents.into_iter().fold(Entity::named(uid), Entity::parent);
            for (name, ValueLine(value)) in attrs {
                entity = entity.attribute(name, value);
            }
            if is_principal {
                principal = Some(entity);
            } else {
                others.push(entity);
            }
        }
        Some(Asked { principal: principal?, action: self.action, resource: self.resource, others })
    }
}

impl<'de> Deserialize<'de> for ValueLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        value_of(serde_json::Value::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

/// Errors say what is wrong and never the value.
fn value_of(json: serde_json::Value) -> Result<Value, &'static str> {
    Ok(match json {
        serde_json::Value::Null => return Err("an attribute is null"),
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(value) => Value::Long(value.as_i64().ok_or("a number is no 64-bit integer")?),
        serde_json::Value::String(value) => Value::from(value),
        serde_json::Value::Array(items) => Value::Set(items.into_iter().map(value_of).collect::<Result<_, _>>()?),
        serde_json::Value::Object(mut fields) => match MARKS.into_iter().find(|mark| fields.contains_key(*mark)) {
            None => record_of(fields)?,
            Some(_) if fields.len() > 1 => return Err("something stands beside __entity, __extn or __record"),
            Some(mark) => marked(mark, fields.remove(mark).unwrap_or_default())?,
        },
    })
}

fn marked(mark: &str, json: serde_json::Value) -> Result<Value, &'static str> {
    match (mark, json) {
        (RECORD, serde_json::Value::Object(fields)) => record_of(fields),
        (RECORD, _) => Err("__record is no object"),
        ("__entity", json) => {
            serde_json::from_value(json).map(Value::Entity).map_err(|_| "__entity is not a type and an id")
        }
        (_, json) => match serde_json::from_value(json).map_err(|_| "__extn is neither ip nor datetime")? {
            Extension::Ip(address) => Ok(Value::Ip(address)),
            Extension::Datetime(time) => Ok(Value::Time(time)),
        },
    }
}

fn record_of(fields: serde_json::Map<String, serde_json::Value>) -> Result<Value, &'static str> {
    let fields = fields.into_iter().map(|(name, value)| Ok((name.into(), value_of(value)?)));
    fields.collect::<Result<_, _>>().map(Value::Record)
}
