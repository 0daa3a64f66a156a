//! What policies saw of one question, out of what was loaded for many.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::entity::{Entity, EntityRef};
use super::rules::Rules;

/// What was loaded for a list of questions of one principal, shared by what is kept of each of them.
pub(super) struct Seen<'a> {
    who: Arc<Entity>,
    tenant: Arc<Entity>,
    things: HashMap<&'a EntityRef, &'a Arc<Entity>>,
    /// Those of them that policies name, and so may look at without being led there.
    named: Vec<&'a Arc<Entity>>,
}

impl<'a> Seen<'a> {
    /// `things` are those around; of two of one name either.
    pub(super) fn new(rules: &Rules, who: &Entity, tenant: &Entity, things: &'a [Arc<Entity>]) -> Self {
        let things: HashMap<_, _> = things.iter().map(|thing| (thing.name(), thing)).collect();
        let named = things.values().copied().filter(|thing| rules.index.literals.contains(thing.name()));
        let mut named: Vec<_> = named.collect();
        named.sort_unstable_by(|one, other| one.name().cmp(other.name()));
        Self { who: Arc::new(who.clone()), tenant: Arc::new(tenant.clone()), things, named }
    }

    /// What policies saw when `resource` was asked for: the principal first, then whatever can be got to from him and from there,
    /// each once. What else is in the list does not count.
    pub(super) fn of(&self, resource: &Entity) -> Vec<Arc<Entity>> {
        let (mut found, mut names) = (Vec::new(), HashSet::new());
        let mut add = |thing: &Arc<Entity>, found: &mut Vec<_>| {
            if names.insert(thing.name().clone()) {
                found.push(thing.clone());
            }
        };
        add(&self.who, &mut found);
        add(&self.tenant, &mut found);
        // As it is asked for, and not as the provider knows it; but for the principal and his tenant.
        add(&Arc::new(resource.clone()), &mut found);
        self.named.iter().for_each(|thing| add(thing, &mut found));
        let mut next = 0;
        while let Some(thing) = found.get(next).cloned() {
            next += 1;
            let mut mentioned: Vec<_> = thing.parents().iter().collect();
            thing.attributes().for_each(|(_, value)| value.names(&mut |name| mentioned.push(name)));
            mentioned.iter().filter_map(|name| self.things.get(name)).for_each(|thing| add(thing, &mut found));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{SourceFile, Value};

    fn name(id: &str) -> EntityRef {
        EntityRef::new("Thing", id.to_owned())
    }

    fn thing(id: &str) -> Entity {
        Entity::named(name(id))
    }

    #[test]
    fn what_can_be_got_to_is_seen_and_what_policies_name_and_nothing_else_of_the_list() {
        let schema = "entity Thing in [Thing] = { tenant: HalfByte::Tenant };
            action Look appliesTo { principal: HalfByte::User, resource: Thing };";
        let policy = r#"permit (principal, action, resource) when { resource in Thing::"named" };"#;
        let files = [SourceFile::new("p.cedarschema", schema), SourceFile::new("p.cedar", policy)];
        let rules = Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"));
        let record = |id: &str| Value::Record([("deep".into(), Value::Set(vec![name(id).into()]))].into());
        let things: Vec<_> = [
            thing("named").parent(name("of-named")),
            thing("of-named"),
            thing("parent").attribute("of", name("of-parent")),
            thing("of-parent").parent(name("l-1")),
            thing("deep"),
            thing("of-who"),
            thing("other").parent(name("of-other")),
            thing("of-other"),
            thing("l-1").attribute("stale", true),
        ]
        .into_iter()
        .map(Arc::new)
        .collect();
        let (who, tenant) = (thing("who").parent(name("of-who")), thing("tenant"));
        let seen = Seen::new(&rules, &who, &tenant, &things);
        let asked = thing("l-1").parent(name("parent")).attribute("far", record("deep")).parent(name("away"));
        let found = seen.of(&asked);
        let ids: Vec<_> = found.iter().map(|thing| thing.name().id()).collect();
        assert_eq!(ids, ["who", "tenant", "l-1", "named", "of-who", "parent", "deep", "of-named", "of-parent"]);
        assert_eq!(*found[2], asked, "as it is asked for");
        let ids = seen.of(&thing("who")).len();
        assert_eq!(ids, 5, "who, tenant, what policies name, and where those two stand");
    }
}
