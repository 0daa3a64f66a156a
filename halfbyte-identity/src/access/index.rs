use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{
    ActionConstraint, Entities, EntityTypeName, EntityUid, Policy, PolicySet, PrincipalConstraint, ResourceConstraint,
    Schema,
};

use super::entity::EntityRef;
use super::question::name_of_cedar;

/// Policies by what their scopes can match, so that a decision evaluates those alone that may apply.
///
/// A policy stands under three keys: what its scope says of the action, the principal and the resource. A key is a thing that is
/// named (`==` and `in`), a type (`is`), or anything. A question has several keys of each: anything, its type, itself and all that it
/// stands in. What stands under none of them cannot match, so it would be neither satisfied nor an error: Cedar evaluates a condition
/// only after the scope.
#[derive(Default)]
pub(super) struct Index {
    actions: HashMap<Box<str>, Acting>,
    things: HashMap<EntityUid, Key>,
    kinds: HashMap<EntityTypeName, Key>,
    by_principal: HashMap<(Key, Key), ByResource>,
    /// The attributes, of whatever, that conditions look at where a principal of that type asks.
    attributes: HashMap<EntityTypeName, HashSet<Box<str>>>,
    /// All things that policies name.
    pub(super) literals: HashSet<EntityRef>,
}

/// Stands for a thing or a type that scopes name.
type Key = u32;

const ANY: Key = 0;

/// An action that can be asked for.
pub(super) struct Acting {
    pub(super) uid: EntityUid,
    /// It and the groups that it is in, as policies see them.
    pub(super) entities: Entities,
    /// The types that it applies to.
    pub(super) principals: HashSet<EntityTypeName>,
    pub(super) resources: HashSet<EntityTypeName>,
    keys: Box<[Key]>,
}

/// The policies with the same action and principal in their scopes.
#[derive(Default)]
pub(super) struct ByResource {
    policies: HashMap<Key, PolicySet>,
    reads: Reads,
}

/// The attributes of `resource` that conditions look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    All,
    These(BTreeSet<Box<str>>),
}

impl Index {
    /// `policies` fit `schema`.
    pub(super) fn new(policies: &PolicySet, schema: &Schema) -> Self {
        let attributes = schema.principals().map(|kind| (kind.clone(), HashSet::new())).collect();
        let mut index = Self { attributes, ..Self::default() };
        for policy in policies.policies() {
            index.add(policy);
        }
        let all = schema.action_entities().unwrap_or_default();
        for action in all.iter() {
            let uid = action.uid();
            let namespace = uid.type_name().namespace();
            let name = match (&*namespace, AsRef::<str>::as_ref(uid.id())) {
                ("", id) => id.into(),
                (namespace, id) => format!("{namespace}::{id}"),
            };
            let groups: Vec<_> = all.ancestors(&uid).into_iter().flatten().cloned().collect();
            let keys = [&uid].into_iter().chain(&groups).filter_map(|uid| index.things.get(uid).copied());
            let acting = Acting {
                keys: [ANY].into_iter().chain(keys).collect(),
                entities: Entities::from_entities([action.clone()], None).unwrap_or_default(),
                principals: schema.principals_for_action(&uid).into_iter().flatten().cloned().collect(),
                resources: schema.resources_for_action(&uid).into_iter().flatten().cloned().collect(),
                uid,
            };
            index.actions.insert(name.into(), acting);
        }
        index
    }

    fn add(&mut self, policy: &Policy) {
        self.literals.extend(policy.entity_literals().iter().map(name_of_cedar));
        let asking = match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::In(_) => None,
            PrincipalConstraint::Is(kind) | PrincipalConstraint::IsIn(kind, _) => Some(kind),
            PrincipalConstraint::Eq(uid) => Some(uid.type_name().clone()),
        };
        let conditions = policy.to_json().unwrap_or_default();
        for (kind, attributes) in &mut self.attributes {
            if asking.as_ref().is_none_or(|asking| asking == kind) {
                names(&conditions, attributes);
            }
        }
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => ANY,
            PrincipalConstraint::Is(kind) => self.kind(kind),
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                self.thing(uid)
            }
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => ANY,
            ResourceConstraint::Is(kind) => self.kind(kind),
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
                self.thing(uid)
            }
        };
        let actions: BTreeSet<_> = match policy.action_constraint() {
            ActionConstraint::Any => [ANY].into(),
            ActionConstraint::Eq(uid) => [self.thing(uid)].into(),
            ActionConstraint::In(uids) => uids.into_iter().map(|uid| self.thing(uid)).collect(),
        };
        let reads = Reads::of(policy);
        for action in actions {
            let same = self.by_principal.entry((action, principal)).or_default();
            same.reads.merge(&reads);
            let added = same.policies.entry(resource).or_default().add(policy.clone());
            debug_assert!(added.is_ok(), "no two policies have one id, and none is a template");
        }
    }

    fn thing(&mut self, uid: EntityUid) -> Key {
        let next = self.next();
        *self.things.entry(uid).or_insert(next)
    }

    fn kind(&mut self, kind: EntityTypeName) -> Key {
        let next = self.next();
        *self.kinds.entry(kind).or_insert(next)
    }

    fn next(&self) -> Key {
        Key::try_from(self.things.len() + self.kinds.len() + 1).expect("fewer than four thousand million names")
    }

    /// The action of that name, as [`Action`](super::Action) has it.
    pub(super) fn action(&self, name: &str) -> Option<&Acting> {
        self.actions.get(name)
    }

    /// The attributes, of whatever, that conditions look at if a principal of that type asks; `None` if it is not known.
    pub(super) fn attributes(&self, principal: &EntityTypeName) -> Option<&HashSet<Box<str>>> {
        self.attributes.get(principal)
    }

    /// The policies that may apply to `principal` doing `action` to something.
    pub(super) fn of_principal(&self, action: &Acting, principal: &EntityUid, entities: &Entities) -> Vec<&ByResource> {
        let keys = self.keys(principal, entities);
        let pairs = action.keys.iter().flat_map(|action| keys.iter().map(|principal| (*action, *principal)));
        pairs.filter_map(|pair| self.by_principal.get(&pair)).collect()
    }

    /// Those of them that may apply to `resource`. One may come twice, if its scope names several actions.
    pub(super) fn candidates<'a>(
        &self,
        of_principal: &[&'a ByResource],
        resource: &EntityUid,
        entities: &Entities,
    ) -> Vec<&'a PolicySet> {
        let keys = self.keys(resource, entities);
        let found = of_principal.iter().flat_map(|same| keys.iter().filter_map(|key| same.policies.get(key)));
        found.collect()
    }

    fn keys(&self, uid: &EntityUid, entities: &Entities) -> Vec<Key> {
        let above = entities.ancestors(uid).into_iter().flatten();
        let named = [uid].into_iter().chain(above).filter_map(|uid| self.things.get(uid));
        [&ANY].into_iter().chain(self.kinds.get(uid.type_name())).chain(named).copied().collect()
    }
}

impl ByResource {
    pub(super) fn reads(&self) -> &Reads {
        &self.reads
    }
}

impl Default for Reads {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Reads {
    fn of(policy: &Policy) -> Self {
        let mut reads = Self::default();
        match policy.to_json() {
            Ok(json) => reads.look(json.get("conditions").unwrap_or(&json)),
            Err(_) => reads = Self::All,
        }
        reads
    }

    pub(super) fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::These(these), Self::These(others)) => these.extend(others.iter().cloned()),
            _ => *self = Self::All,
        }
    }

    /// Adds what `expression`, in Cedar's JSON form, looks at. Where `resource` stands by itself it may go anywhere, a set say, and its
    /// attributes be taken from there; unless it is only compared.
    fn look(&mut self, expression: &serde_json::Value) {
        use serde_json::Value;
        let is_resource = |value: Option<&Value>| {
            value.and_then(|value| value.get("Var")).and_then(Value::as_str) == Some("resource")
        };
        match expression {
            Value::Array(items) => items.iter().for_each(|item| self.look(item)),
            Value::Object(fields) => {
                for (operator, inner) in fields {
                    let (left, right) = (inner.get("left"), inner.get("right"));
                    match operator.as_str() {
                        "Var" if inner.as_str() == Some("resource") => *self = Self::All,
                        "." | "has" if is_resource(left) => match inner.get("attr") {
                            Some(Value::String(name)) => self.attribute(name),
                            Some(Value::Array(path)) if path.first().is_some_and(Value::is_string) => {
                                path.first().and_then(Value::as_str).into_iter().for_each(|name| self.attribute(name));
                            }
                            _ => *self = Self::All,
                        },
                        "==" | "!=" | "in" if left.is_some() && right.is_some() => {
                            [left, right].into_iter().filter(|side| !is_resource(*side)).flatten().for_each(|side| {
                                self.look(side);
                            });
                        }
                        "is" if is_resource(left) => inner.get("in").into_iter().for_each(|inner| self.look(inner)),
                        _ => self.look(inner),
                    }
                }
            }
            _ => {}
        }
    }

    fn attribute(&mut self, name: &str) {
        if let Self::These(these) = self {
            these.insert(name.into());
        }
    }
}

/// Adds the names of all attributes in `expression`, in Cedar's JSON form.
fn names(expression: &serde_json::Value, found: &mut HashSet<Box<str>>) {
    use serde_json::Value;
    match expression {
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        Value::Object(fields) => {
            for (key, inner) in fields {
                match (key.as_str(), inner) {
                    ("attr", Value::String(name)) => _ = found.insert(name.as_str().into()),
                    ("attr", Value::Array(path)) => found.extend(path.iter().filter_map(Value::as_str).map(Into::into)),
                    _ => {}
                }
                names(inner, found);
            }
        }
        _ => {}
    }
}
