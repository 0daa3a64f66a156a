use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Entities, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint,
    ResourceConstraint, Schema,
};

use super::entity::EntityRef;
use super::follows::Follows;
use super::question::name_of_cedar;
use super::ready::Ready;
use super::rules::Origin;
use super::shape::Leads;

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
    by_principal: HashMap<(Key, Key), Arc<ByResource>>,
    /// The attributes, of whatever, that conditions look at where a principal of that type asks; `None` for all.
    attributes: HashMap<EntityTypeName, Option<HashSet<Box<str>>>>,
    /// What policies look through, by the action in their scopes.
    follows: HashMap<Key, Follows>,
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
    /// What policies about it look through.
    pub(super) follows: Follows,
    /// The types that it applies to.
    pub(super) principals: HashSet<EntityTypeName>,
    pub(super) resources: HashSet<EntityTypeName>,
    keys: Box<[Key]>,
}

/// The policies with the same action and principal in their scopes.
#[derive(Default)]
pub(super) struct ByResource {
    policies: HashMap<Key, Vec<Arc<Ready>>>,
    reads: Reads,
}

/// The attributes of `resource` that conditions look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    All,
    These(BTreeSet<Box<str>>),
}

impl Index {
    /// `policies`, which stand there, fit `schema`, in which those attributes lead to other things.
    pub(super) fn new(
        policies: &PolicySet,
        origins: &HashMap<PolicyId, Origin>,
        schema: &Schema,
        leads: &Leads,
    ) -> Self {
        let attributes = schema.principals().map(|kind| (kind.clone(), Some(HashSet::new()))).collect();
        let mut index = Self { attributes, ..Self::default() };
        for policy in policies.policies() {
            let id = origins
                .get(policy.id())
                .map_or_else(|| AsRef::<str>::as_ref(policy.id()).into(), |origin| origin.id.clone());
            index.add(policy, id, leads);
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
            let keys: Box<[_]> = [ANY].into_iter().chain(keys).collect();
            let mut follows = Follows::default();
            keys.iter().filter_map(|key| index.follows.get(key)).for_each(|more| follows.merge(more));
            // Of actions the provider knows nothing.
            let is_action = |root: &EntityRef| root.kind() == "Action" || root.kind().ends_with("::Action");
            let is_named = |uid: &EntityUid| *uid == action.uid() || follows.roots.contains(&name_of_cedar(uid));
            let entities = all.iter().filter(|other| is_named(&other.uid())).cloned();
            let entities = Entities::from_entities(entities, None).unwrap_or_default();
            follows.roots.retain(|root| !is_action(root));
            let acting = Acting {
                keys,
                entities,
                follows,
                principals: schema.principals_for_action(&uid).into_iter().flatten().cloned().collect(),
                resources: schema.resources_for_action(&uid).into_iter().flatten().cloned().collect(),
                uid,
            };
            index.actions.insert(name.into(), acting);
        }
        index
    }

    fn add(&mut self, policy: &Policy, id: Arc<str>, leads: &Leads) {
        let literals: Vec<_> = policy.entity_literals().iter().map(name_of_cedar).collect();
        let json = policy.to_json().ok();
        let conditions = json.as_ref().and_then(|json| json.get("conditions"));
        let asking = match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::In(_) => None,
            PrincipalConstraint::Is(kind) | PrincipalConstraint::IsIn(kind, _) => Some(kind),
            PrincipalConstraint::Eq(uid) => Some(uid.type_name().clone()),
        };
        let of_kinds = self.attributes.iter_mut();
        for (_, attributes) in of_kinds.filter(|(kind, _)| asking.as_ref().is_none_or(|asking| asking == *kind)) {
            see(conditions, attributes);
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
        let reads = Reads::of(conditions);
        let follows = Follows::of(conditions, leads, literals.iter().cloned());
        self.literals.extend(literals);
        let ready = Arc::new(Ready::new(policy, id, conditions));
        for action in actions {
            self.follows.entry(action).or_default().merge(&follows);
            let same = self.by_principal.entry((action, principal)).or_default();
            let same = Arc::get_mut(same).expect("nobody has it before all are added");
            same.reads.merge(&reads);
            same.policies.entry(resource).or_default().push(ready.clone());
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

    /// The attributes, of whatever, that conditions look at if a principal of that type asks; `None` for all.
    pub(super) fn attributes(&self, principal: &EntityTypeName) -> Option<&HashSet<Box<str>>> {
        self.attributes.get(principal)?.as_ref()
    }

    /// The policies that may apply to `principal` doing `action` to something.
    pub(super) fn of_principal(
        &self,
        action: &Acting,
        principal: &EntityUid,
        entities: &Entities,
    ) -> Vec<Arc<ByResource>> {
        let keys = self.keys(principal, entities);
        let pairs = action.keys.iter().flat_map(|action| keys.iter().map(|principal| (*action, *principal)));
        pairs.filter_map(|pair| self.by_principal.get(&pair).cloned()).collect()
    }

    /// Those of them that may apply to `resource`. One may come twice, if its scope names several actions.
    pub(super) fn candidates<'a>(
        &self,
        of_principal: &'a [Arc<ByResource>],
        resource: &EntityUid,
        entities: &Entities,
    ) -> impl Iterator<Item = &'a Ready> {
        let keys = self.keys(resource, entities);
        let found = of_principal
            .iter()
            .flat_map(move |same| keys.clone().into_iter().filter_map(|key| same.policies.get(&key)));
        found.flatten().map(|ready| &**ready)
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
    /// Of one policy with these conditions, in Cedar's JSON form.
    fn of(conditions: Option<&serde_json::Value>) -> Self {
        let Some(conditions) = conditions else { return Self::All };
        let mut reads = Self::default();
        reads.look(conditions);
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

/// Adds to `seen` what those conditions look at: all, if it cannot be told.
fn see(conditions: Option<&serde_json::Value>, seen: &mut Option<HashSet<Box<str>>>) {
    match (conditions, &mut *seen) {
        (Some(conditions), Some(seen)) => names(conditions, seen),
        _ => *seen = None,
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

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn conditions(condition: &str) -> serde_json::Value {
        let policy = Policy::parse(None, format!("forbid (principal, action, resource) when {{ {condition} }};"));
        policy.expect("a policy").to_json().expect("JSON")["conditions"].clone()
    }

    #[test]
    fn a_policy_that_cannot_be_looked_at_may_look_at_everything() {
        assert_eq!(Reads::of(None), Reads::All);
        let mut seen = Some(HashSet::new());
        see(Some(&conditions("resource.a.b has c.d")), &mut seen);
        assert_eq!(seen, Some(["a", "b", "c", "d"].map(Box::from).into()));
        see(None, &mut seen);
        see(Some(&conditions("resource.a")), &mut seen);
        assert_eq!(seen, None, "whatever comes after it");
    }

    #[test]
    fn of_a_resource_that_may_go_anywhere_all_is_looked_at() {
        for (condition, expected) in [
            ("true", Some("")),
            ("resource == principal", Some("")),
            ("principal in resource", Some("")),
            ("resource in [principal.a, X::\"1\"]", Some("")),
            ("resource is X in principal.a", Some("")),
            ("principal.a == principal.b", Some("")),
            ("resource.a == resource.b.c", Some("a b")),
            ("resource has a && resource.b in principal", Some("a b")),
            ("resource has a.b", Some("a")),
            ("[resource].contains(principal)", None),
            ("principal.a.contains(resource)", None),
            ("(if true then resource else principal).a", None),
            ("{ a: resource }.a.b", None),
            ("principal in [resource]", None),
            ("resource is X in [resource]", None),
        ] {
            let expected =
                expected.map_or(Reads::All, |names| Reads::These(names.split_whitespace().map(Box::from).collect()));
            assert_eq!(Reads::of(Some(&conditions(condition))), expected, "{condition}");
        }
    }
}
