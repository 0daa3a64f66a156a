use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use cedar_policy::entities_errors::EntitiesError;
use cedar_policy::{Context, Entities, EntityId, EntityUid, Request, RestrictedExpression};
use halfbyte_core::Principal;
use halfbyte_core::PrincipalKind;

use super::action::Action;
use super::decision::EvaluationError;
use super::entity::{Entity, EntityRef, Value};
use super::index::Acting;
use super::rules::Rules;

const USER: &str = "HalfByte::User";
const SERVICE: &str = "HalfByte::Service";
/// Of the product's own making: teams, departments, projects.
pub(super) const GROUP: &str = "HalfByte::Group";
const ROLE: &str = "HalfByte::Role";
pub(super) const IN_ITSELF: &str = "something stands in itself";

/// What names a principal in policies: `HalfByte::User::"TENANT/SUBJECT"`, or `HalfByte::Service`. For attributes of what it owns:
/// `resource.owner == principal`. A `/` in the tenant is written `%2F`, and a `%` `%25`, so that no two tenants have a name in common.
///
/// The issuer is not in it: all issuers configured for a tenant share one space of subjects, and whom two of them call the same is the
/// same to policies. Where they do not, compare `principal.issuer` as well.
pub fn name_of(principal: &Principal) -> EntityRef {
    let kind = match principal.kind() {
        PrincipalKind::User => USER,
        // What a later kind may do is limited by its scopes.
        _ => SERVICE,
    };
    let tenant = principal.tenant().as_str();
    let tenant = if tenant.contains(['/', '%']) {
        Cow::Owned(tenant.replace('%', "%25").replace('/', "%2F"))
    } else {
        Cow::Borrowed(tenant)
    };
    EntityRef::new(kind, format!("{tenant}/{}", principal.subject()))
}

/// The principal as policies see it, by its token alone.
pub(super) fn entity_of(principal: &Principal) -> Entity {
    let entity = Entity::named(name_of(principal))
        .of_tenant(principal.tenant())
        .attribute("subject", principal.subject())
        .attribute("issuer", principal.issuer())
        .attribute("scopes", principal.scopes().collect::<Value>())
        .attribute("profile", Value::Record(Default::default()));
    principal.roles().fold(entity, |entity, role| entity.parent(EntityRef::new(ROLE, role)))
}

/// The tenant as policies see it.
pub(super) fn entity_of_tenant(name: EntityRef, is_suspended: bool) -> Entity {
    Entity::named(name.clone()).attribute("tenant", name).attribute("suspended", is_suspended)
}

/// What is asked, in Cedar's own terms.
pub(super) struct Question {
    pub(super) request: Request,
    pub(super) entities: Entities,
}

pub(super) fn acting(rules: &Rules, action: Action) -> Result<&Acting, EvaluationError> {
    rules.index.action(action.name()).ok_or_else(|| unfit(format!("the schema has no action {action}")))
}

/// A question that fits the schema: `action` applies to things of these two types.
pub(super) fn request(
    rules: &Rules,
    action: &Acting,
    principal: &EntityRef,
    resource: &EntityRef,
) -> Result<Request, EvaluationError> {
    let (principal, resource) = (uid(rules, principal)?, uid(rules, resource)?);
    for (uid, types, what) in [(&principal, &action.principals, "done by"), (&resource, &action.resources, "done to")] {
        if !types.contains(uid.type_name()) {
            return Err(unfit(format!("{} cannot be {what} {}", action.uid, uid.type_name())));
        }
    }
    let request = Request::new(principal, action.uid.clone(), resource, Context::empty(), None);
    request.map_err(|error| unfit(error.to_string()))
}

/// `entities`, which must fit the schema, with those that are there already: what policies can see of them if `principal` asks.
pub(super) fn put(
    rules: &Rules,
    principal: &EntityRef,
    there: &Entities,
    entities: &[&Entity],
) -> Result<Entities, EvaluationError> {
    entities.iter().try_for_each(|entity| rules.shapes.check(entity))?;
    let seen = rules.kinds.get(principal.kind()).and_then(|kind| rules.index.attributes(kind));
    let entities = entities.iter().map(|entity| seen_of(rules, entity, seen)).collect::<Result<Vec<_>, _>>()?;
    // Its messages show names, and no attributes.
    there.clone().add_entities(entities, None).map_err(|error| match error {
        EntitiesError::TransitiveClosureError(_) => unfit(IN_ITSELF.to_owned()),
        error => unfit(error.to_string()),
    })
}

/// What Cedar calls it, as a product does.
pub(super) fn name_of_cedar(uid: &EntityUid) -> EntityRef {
    EntityRef::new(uid.type_name().to_string(), AsRef::<str>::as_ref(uid.id()))
}

pub(super) fn unfit(reason: String) -> EvaluationError {
    EvaluationError { policy: None, reason: reason.into() }
}

pub(super) fn uid(rules: &Rules, name: &EntityRef) -> Result<EntityUid, EvaluationError> {
    let kind =
        rules.kinds.get(name.kind()).ok_or_else(|| unfit(format!("the schema has no entity {}", name.kind())))?;
    Ok(EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name.id())))
}

/// With all of its attributes.
#[cfg(test)]
pub(super) fn to_cedar(rules: &Rules, entity: &Entity) -> Result<cedar_policy::Entity, EvaluationError> {
    seen_of(rules, entity, None)
}

/// With those attributes that are `seen`; all if that is not known.
fn seen_of(
    rules: &Rules,
    entity: &Entity,
    seen: Option<&HashSet<Box<str>>>,
) -> Result<cedar_policy::Entity, EvaluationError> {
    let attributes = entity.attributes().filter(|(name, _)| seen.is_none_or(|seen| seen.contains(*name)));
    let attributes = attributes.map(|(name, value)| Ok((name.to_owned(), expression(rules, value)?)));
    let attributes = attributes.collect::<Result<HashMap<_, _>, EvaluationError>>()?;
    let parents = entity.parents().iter().map(|parent| uid(rules, parent)).collect::<Result<HashSet<_>, _>>()?;
    let made = cedar_policy::Entity::new(uid(rules, entity.name())?, attributes, parents);
    // Its message may show the value.
    made.map_err(|_| unfit(format!("an attribute of {} cannot be evaluated", entity.name())))
}

fn expression(rules: &Rules, value: &Value) -> Result<RestrictedExpression, EvaluationError> {
    Ok(match value {
        Value::Bool(value) => RestrictedExpression::new_bool(*value),
        Value::Long(value) => RestrictedExpression::new_long(*value),
        Value::String(value) => RestrictedExpression::new_string(value.to_string()),
        Value::Set(items) => {
            let items = items.iter().map(|item| expression(rules, item)).collect::<Result<Vec<_>, _>>()?;
            RestrictedExpression::new_set(items)
        }
        Value::Record(fields) => {
            let fields = fields.iter().map(|(name, value)| Ok((name.to_string(), expression(rules, value)?)));
            let fields = fields.collect::<Result<Vec<_>, EvaluationError>>()?;
            RestrictedExpression::new_record(fields).map_err(|error| unfit(error.to_string()))?
        }
        Value::Entity(name) => RestrictedExpression::new_entity_uid(uid(rules, name)?),
        // Cedar takes no IPv4 address in the clothes of an IPv6 one, as a socket of both kinds shows them.
        Value::Ip(address) => RestrictedExpression::new_ip(address.to_canonical().to_string()),
        Value::Time(time) => RestrictedExpression::new_datetime(time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()),
    })
}
