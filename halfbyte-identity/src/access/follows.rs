//! What policies look through: things that are neither principal nor resource, got at by attributes or named outright.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value as Json;

use super::entity::EntityRef;
use super::shape::Leads;

/// What has to be there before policies are asked. Cedar says that what is not there has no attributes and stands in nothing, and so
/// a policy that forbids by them would not apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Follows {
    /// Attributes through which is looked, as in `resource.project.frozen`.
    pub(super) names: HashSet<Box<str>>,
    /// How many of them one after the other, at most.
    pub(super) reach: usize,
    /// Things that policies name and look at.
    pub(super) roots: BTreeSet<EntityRef>,
}

impl Follows {
    /// Of one policy with these conditions, in Cedar's JSON form, and these names of things in it.
    pub(super) fn of(conditions: Option<&Json>, leads: &Leads, literals: impl IntoIterator<Item = EntityRef>) -> Self {
        let mut follows = Self::default();
        match conditions {
            Some(conditions) => follows.look(conditions, leads),
            // What cannot be looked at may do anything.
            None => {
                follows = Self {
                    names: leads.names.clone(),
                    reach: if leads.steps.is_empty() { 0 } else { usize::MAX },
                    roots: literals.into_iter().collect(),
                }
            }
        }
        follows
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.names.extend(other.names.iter().cloned());
        self.reach = self.reach.max(other.reach);
        self.roots.extend(other.roots.iter().cloned());
    }

    /// Adds what `expression` looks through: whatever stands to the left of an operator that looks a thing up.
    fn look(&mut self, expression: &Json, leads: &Leads) {
        if let Json::Object(fields) = expression {
            for (operator, inner) in fields {
                let looks_up = matches!(operator.as_str(), "." | "has" | "in" | "is" | "hasTag" | "getTag");
                if let Some(left) = inner.get("left").filter(|_| looks_up) {
                    let path = path(inner);
                    let through = path.len().saturating_sub(1);
                    let mut steps = self.through(left, leads);
                    for name in path.iter().take(through).filter_map(Json::as_str) {
                        steps += self.name(name, leads);
                    }
                    self.reach = self.reach.max(steps);
                }
            }
        }
        parts(expression).for_each(|part| self.look(part, leads));
    }

    /// Adds all that `left` may come by, and tells how many steps away that is at most.
    fn through(&mut self, left: &Json, leads: &Leads) -> usize {
        if let Some(name) = left.get("__entity").and_then(named) {
            self.roots.insert(name);
            return 0;
        }
        let deepest = parts(left).map(|part| self.through(part, leads)).max().unwrap_or(0);
        match left {
            Json::Object(fields) => {
                let names = fields.values().flat_map(path).filter_map(Json::as_str);
                deepest + names.map(|name| self.name(name, leads)).sum::<usize>()
            }
            _ => deepest,
        }
    }

    /// Adds an attribute, and tells how many steps it takes.
    fn name(&mut self, name: &str, leads: &Leads) -> usize {
        if leads.names.contains(name) {
            self.names.insert(name.into());
        }
        usize::from(leads.steps.contains(name))
    }
}

/// The attributes that an operator takes: one, or for `has a.b.c` all of them.
pub(super) fn path(operands: &Json) -> &[Json] {
    match operands.get("attr") {
        Some(Json::Array(path)) => path,
        Some(name) => std::slice::from_ref(name),
        None => &[],
    }
}

/// All that stands directly in an expression.
pub(super) fn parts(expression: &Json) -> impl Iterator<Item = &Json> {
    let (items, fields) = match expression {
        Json::Array(items) => (Some(items), None),
        Json::Object(fields) => (None, Some(fields)),
        _ => (None, None),
    };
    items.into_iter().flatten().chain(fields.into_iter().flat_map(serde_json::Map::values))
}

fn named(entity: &Json) -> Option<EntityRef> {
    let part = |name| entity.get(name).and_then(Json::as_str);
    Some(EntityRef::new(part("type")?.to_owned(), part("id")?))
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    /// The names of a schema in which `a`, `b`, `owner` and `buddies` are things, and `profile` is a record of such.
    fn leads() -> Leads {
        let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        Leads {
            names: names(&["a", "b", "owner", "buddies", "profile"]),
            steps: names(&["a", "b", "owner", "buddies"]),
        }
    }

    fn follows(condition: &str) -> Follows {
        let policy = Policy::parse(None, format!("forbid (principal, action, resource) when {{ {condition} }};"));
        let json = policy.expect("a policy").to_json().expect("JSON");
        Follows::of(json.get("conditions"), &leads(), [])
    }

    #[test]
    fn what_is_looked_through_is_found_wherever_it_stands() {
        for (condition, names, reach, roots) in [
            ("resource.a", "", 0, ""),
            ("resource has a", "", 0, ""),
            ("resource.a == principal", "", 0, ""),
            ("resource in resource.a", "", 0, ""),
            ("principal in X::\"1\"", "", 0, ""),
            ("[resource.a, X::\"1\"].contains(resource.b)", "", 0, ""),
            ("resource.note.street", "", 0, ""),
            ("resource.a.frozen", "a", 1, ""),
            ("resource.a has frozen", "a", 1, ""),
            ("resource[\"a\"][\"frozen\"]", "a", 1, ""),
            ("resource.a in X::\"1\"", "a", 1, ""),
            ("resource.a in [X::\"1\", X::\"2\"]", "a", 1, ""),
            ("resource.a is X in X::\"1\"", "a", 1, ""),
            ("resource.a.hasTag(\"x\")", "a", 1, ""),
            ("resource.a.getTag(\"x\") == 1", "a", 1, ""),
            ("resource.a.name like \"x*\"", "a", 1, ""),
            ("resource.a.b.frozen", "a b", 2, ""),
            ("resource.a.a.a.frozen", "a", 3, ""),
            ("resource has a.frozen", "a", 1, ""),
            ("resource has a.b.frozen", "a b", 2, ""),
            ("resource.a has b.frozen", "a b", 2, ""),
            ("principal.profile.department == \"x\"", "profile", 0, ""),
            ("principal.profile.a.frozen", "a profile", 1, ""),
            ("(if resource.a == principal then resource.b else resource.owner).frozen", "a b owner", 1, ""),
            ("(if resource.a.frozen then resource else resource).frozen", "a", 1, ""),
            ("{ x: resource.a }.x.frozen", "a", 1, ""),
            ("{ x: resource.a.frozen }.x", "a", 1, ""),
            ("[resource.a.frozen].contains(true)", "a", 1, ""),
            ("!(resource.n > 1 && (resource.b.frozen || resource.n < 2))", "b", 1, ""),
            ("ip(resource.a.address).isLoopback()", "a", 1, ""),
            ("resource.a.address.isInRange(resource.b.range)", "a b", 1, ""),
            ("X::\"1\".frozen", "", 0, "1"),
            ("X::\"1\" has frozen", "", 0, "1"),
            ("X::\"1\" in X::\"2\"", "", 0, "1"),
            ("X::\"1\" is X in X::\"2\"", "", 0, "1"),
            ("X::\"1\" == X::\"2\"", "", 0, ""),
            ("X::\"1\".a.frozen", "a", 1, "1"),
            ("(if resource.n > 1 then X::\"1\" else N::X::\"2\").a.frozen", "a", 1, "1 2"),
            ("{ \"left\": resource.a, \".\": X::\"1\" } has left", "a", 1, "1"),
            ("principal.tenant.suspended && resource.tenant.suspended", "", 0, ""),
        ] {
            let found = follows(condition);
            let mut followed: Vec<_> = found.names.iter().map(|name| &**name).collect();
            followed.sort_unstable();
            let mut ids: Vec<_> = found.roots.iter().map(EntityRef::id).collect();
            ids.sort_unstable();
            assert_eq!((&*followed.join(" "), found.reach, &*ids.join(" ")), (names, reach, roots), "{condition}");
        }
        assert_eq!(follows("N::X::\"2\".frozen").roots, [EntityRef::new("N::X", "2")].into());
    }

    #[test]
    fn a_policy_that_cannot_be_looked_at_may_look_through_all() {
        let literal = EntityRef::new("X", "1");
        let follows = Follows::of(None, &leads(), [literal.clone()]);
        assert_eq!((follows.names, follows.reach, follows.roots), (leads().names, usize::MAX, [literal].into()));
    }

    #[test]
    fn what_several_policies_look_through_is_put_together() {
        let mut all = follows("resource.a.a.frozen");
        all.merge(&follows("X::\"1\".b.frozen"));
        let names = ["a", "b"].map(Box::from).into();
        assert_eq!(all, Follows { names, reach: 2, roots: [EntityRef::new("X", "1")].into() });
    }
}
