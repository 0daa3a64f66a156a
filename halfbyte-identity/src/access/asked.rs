//! A question outside of a request: what tools ask, and what a recorded log holds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr as _;

use cedar_policy::{Context, Entities, EntityId, EntityTypeName, EntityUid, Request};
use halfbyte_core::Principal;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use super::decide;
use super::decision::{Decision, EvaluationError};
use super::entity::{Entity, EntityRef, Resource, Value};
use super::provider::Membership;
use super::question::{Question, entity_of, entity_of_tenant, to_cedar, uid, unfit};
use super::rules::Rules;

/// Whether a principal may do something to a resource, with all that policies see of it: for [`Rules::explain`] and other tools.
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
        if *resource.name() != tenant {
            asked.others.push(resource);
        }
        asked
    }

    /// As a decision saw it. `None` if the principal is not among `seen`.
    pub(super) fn seen(principal: &EntityRef, action: &str, resource: &EntityRef, seen: &[&Entity]) -> Option<Self> {
        let who = seen.iter().find(|entity| entity.name() == principal)?;
        let mut others = Vec::<Entity>::with_capacity(seen.len());
        for entity in seen.iter().filter(|entity| entity.name() != principal) {
            // The tenant may be what is asked for.
            if others.iter().all(|other| other.name() != entity.name()) {
                others.push((*entity).clone());
            }
        }
        Some(Self { principal: (*who).clone(), action: action.into(), resource: resource.clone(), others })
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

    /// Adds what the principal or the resource refers to, such as the folder that it stands in.
    #[must_use]
    pub fn entity(mut self, entity: Entity) -> Self {
        self.others.push(entity);
        self
    }

    /// All that policies see, the principal first.
    pub(super) fn entities(&self) -> impl Iterator<Item = &Entity> {
        std::iter::once(&self.principal).chain(&self.others)
    }

    /// What `rules` say.
    pub(super) fn decide(&self, rules: &Rules) -> Decision {
        match self.question(rules) {
            Ok(question) => decide::by_all(rules, &question),
            Err(error) => Decision::unfit(rules, error),
        }
    }

    /// In the terms of `rules`, of whatever version.
    pub(super) fn question(&self, rules: &Rules) -> Result<Question, EvaluationError> {
        let action = action_uid(rules, &self.action)?;
        let (principal, resource) = (uid(rules, self.principal.name())?, uid(rules, &self.resource)?);
        let request = Request::new(principal, action, resource, Context::empty(), Some(&rules.schema));
        let request = request.map_err(|error| unfit(error.to_string()))?;
        let entities = self.entities().map(|entity| to_cedar(rules, entity)).collect::<Result<Vec<_>, _>>()?;
        let entities =
            Entities::from_entities(entities, Some(&rules.schema)).map_err(|error| unfit(without_values(&error)))?;
        Ok(Question { request, entities })
    }
}

/// The action of that name, if the schema has it.
pub(super) fn action_uid(rules: &Rules, name: &str) -> Result<EntityUid, EvaluationError> {
    let (kind, id) = match name.rsplit_once("::") {
        None => (Cow::Borrowed("Action"), name),
        Some((namespace, id)) => (Cow::Owned(format!("{namespace}::Action")), id),
    };
    let kind =
        EntityTypeName::from_str(&kind).map_err(|_| unfit(format!("{name:?} cannot be the name of an action")))?;
    let uid = EntityUid::from_type_name_and_id(kind, EntityId::new(id));
    if rules.schema.actions().any(|action| *action == uid) {
        return Ok(uid);
    }
    let mut known: Vec<_> = rules.schema.actions().map(action_name).collect();
    known.sort_unstable();
    Err(unfit(format!("the schema has no action {name:?}; it has {}", known.join(", "))))
}

/// How an [`Action`](super::Action) is called: without `Action::`.
pub(super) fn action_name(action: &EntityUid) -> String {
    match &*action.type_name().namespace() {
        "" => action.id().unescaped().to_owned(),
        namespace => format!("{namespace}::{}", action.id().unescaped()),
    }
}

/// What does not fit the schema. Cedar's own words for a value of another type show the value.
fn without_values(error: &cedar_policy::entities_errors::EntitiesError) -> String {
    use cedar_policy::entities_errors::EntitiesError;
    let EntitiesError::InvalidEntity(error) = error else { return error.to_string() };
    let text = error.to_string();
    // `in attribute `sealed` on `Label::"l-1"`, type mismatch: value was expected to have type Bool, but it ...: `...`
    match text.split_once("type mismatch") {
        None => text,
        Some((place, values)) => {
            let expected = values.split(", but it").next().unwrap_or_default();
            format!("{place}type mismatch{expected}")
        }
    }
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

fn value_to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => json!(value),
        Value::Long(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Set(items) => items.iter().map(value_to_json).collect(),
        Value::Record(fields) => fields.iter().map(|(name, value)| (name.to_string(), value_to_json(value))).collect(),
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
        serde_json::Value::Object(mut fields) if fields.contains_key("__entity") => {
            let name = fields.remove("__entity").map(serde_json::from_value);
            Value::Entity(name.and_then(Result::ok).ok_or("__entity is not a type and an id")?)
        }
        serde_json::Value::Object(mut fields) if fields.contains_key("__extn") => {
            let value = fields.remove("__extn").map(serde_json::from_value);
            match value.and_then(Result::ok).ok_or("__extn is neither ip nor datetime")? {
                Extension::Ip(address) => Value::Ip(address),
                Extension::Datetime(time) => Value::Time(time),
            }
        }
        serde_json::Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| Ok((name.into(), value_of(value)?)));
            Value::Record(fields.collect::<Result<_, &'static str>>()?)
        }
    })
}
