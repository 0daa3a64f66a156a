//! What things stand in, further and further out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cedar_policy::SchemaFragment;
use halfbyte_core::BoxError;

use super::entity::{Entity, EntityRef};
use super::provider::Erased;
use super::rules::Rules;

/// How many steps out, at most.
const MAX_STEPS: usize = 16;
/// How many things one thing, with the principal, may stand in.
const MAX_AROUND: usize = 256;
/// How many things are kept for one request; more are asked for each time.
const MAX_KEPT: usize = 4096;

/// What the provider has answered about one principal's request.
#[derive(Default)]
pub(super) struct Known {
    pub(super) principal: OnceLock<Entity>,
    pub(super) tenant: OnceLock<Entity>,
    /// `None` is what is not there.
    things: Mutex<HashMap<EntityRef, Option<Arc<Entity>>>>,
}

impl Known {
    /// The thing of that name, if it is there.
    pub(super) async fn thing(&self, provider: &dyn Erased, name: &EntityRef) -> Result<Option<Arc<Entity>>, BoxError> {
        if let Some(known) = self.things().get(name) {
            return Ok(known.clone());
        }
        let found = match provider.entity(name).await? {
            Some(found) if found.name() == name => Some(Arc::new(found)),
            Some(other) => ignore(&other),
            None => None,
        };
        self.keep(name.clone(), found.clone());
        Ok(found)
    }

    /// Those of `names` that are there.
    async fn those(&self, provider: &dyn Erased, names: Vec<EntityRef>) -> Result<Vec<Arc<Entity>>, BoxError> {
        let (mut those, mut unknown) = (Vec::new(), Vec::new());
        {
            let things = self.things();
            for name in names {
                match things.get(&name) {
                    Some(known) => those.extend(known.clone()),
                    None => unknown.push(name),
                }
            }
        }
        if unknown.is_empty() {
            return Ok(those);
        }
        let mut missing: HashSet<_> = unknown.iter().cloned().collect();
        for found in provider.entities(&unknown).await? {
            if missing.remove(found.name()) {
                let found = Arc::new(found);
                self.keep(found.name().clone(), Some(found.clone()));
                those.push(found);
            } else {
                ignore(&found);
            }
        }
        missing.into_iter().for_each(|name| self.keep(name, None));
        Ok(those)
    }

    fn keep(&self, name: EntityRef, found: Option<Arc<Entity>>) {
        let mut things = self.things();
        if things.len() < MAX_KEPT {
            things.insert(name, found);
        }
    }

    fn things(&self) -> std::sync::MutexGuard<'_, HashMap<EntityRef, Option<Arc<Entity>>>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A database that is lax about case, say, has found something else.
fn ignore(other: &Entity) -> Option<Arc<Entity>> {
    tracing::warn!(
        found = %other.name(),
        "the entity provider answered what it was not asked for, and it counts as not there: compare ids byte for byte"
    );
    None
}

/// Why what things stand in is not known.
pub(super) enum Lost {
    Provider(BoxError),
    Bounds(String),
}

/// A walk outwards from some things, step by step, that comes by each thing once.
struct Walk<'a> {
    rules: &'a Rules,
    /// The principal and his tenant, which are known anyway.
    own: [&'a EntityRef; 2],
    seen: HashSet<EntityRef>,
    next: Vec<EntityRef>,
    steps: usize,
}

impl<'a> Walk<'a> {
    fn new(rules: &'a Rules, who: &'a Entity, tenant: &'a Entity, resources: &[Entity]) -> Self {
        let own = [who.name(), tenant.name()];
        let mut walk = Self { rules, own, seen: HashSet::new(), next: Vec::new(), steps: 0 };
        resources.iter().chain([who]).for_each(|thing| walk.outwards(thing));
        walk
    }

    /// Adds to the next step what `thing` stands in.
    fn outwards(&mut self, thing: &Entity) {
        for parent in thing.parents() {
            let has_more = !self.rules.names_only.contains(parent.kind()) && !self.own.contains(&parent);
            if has_more && self.seen.insert(parent.clone()) {
                self.next.push(parent.clone());
            }
        }
    }

    /// What the next step comes by; nothing at the end. At most so many things `for_each` of so many are walked by.
    fn step(&mut self, for_each: usize) -> Result<Vec<EntityRef>, Lost> {
        if self.next.is_empty() {
            return Ok(Vec::new());
        }
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Lost::Bounds(format!("what it stands in is more than {MAX_STEPS} steps away")));
        }
        if self.seen.len() > MAX_AROUND.saturating_mul(for_each) {
            return Err(Lost::Bounds(format!("it stands in more than {MAX_AROUND} things")));
        }
        Ok(std::mem::take(&mut self.next))
    }
}

/// All that `resources` and `who` stand in, at any distance, as far as the provider has it; without `who` and his `tenant`.
/// And what of `resources` is out of bounds, were it asked for alone.
pub(super) async fn around(
    known: &Known,
    provider: &dyn Erased,
    rules: &Rules,
    who: &Entity,
    tenant: &Entity,
    resources: &[Entity],
) -> Result<Around, Lost> {
    let mut walk = Walk::new(rules, who, tenant, resources);
    let mut things = Vec::new();
    loop {
        let names = walk.step(resources.len().max(1))?;
        if names.is_empty() {
            break;
        }
        let those = known.those(provider, names).await.map_err(Lost::Provider)?;
        those.iter().for_each(|thing| walk.outwards(thing));
        things.extend(those);
    }
    let mut outside = vec![None; resources.len()];
    // So few things cannot be too many, nor make a way too long.
    if resources.len() > 1 && walk.seen.len() > MAX_STEPS {
        let by_name: HashMap<_, _> = things.iter().map(|thing| (thing.name(), thing)).collect();
        for (resource, outside) in resources.iter().zip(&mut outside) {
            let mut walk = Walk::new(rules, who, tenant, std::slice::from_ref(resource));
            *outside = loop {
                match walk.step(1) {
                    Ok(names) if names.is_empty() => break None,
                    Ok(names) => {
                        names.iter().filter_map(|name| by_name.get(name)).for_each(|thing| walk.outwards(thing))
                    }
                    Err(Lost::Bounds(reason)) => break Some(reason),
                    Err(lost) => return Err(lost),
                }
            };
        }
    }
    Ok(Around { things, outside })
}

/// What some things stand in.
pub(super) struct Around {
    pub(super) things: Vec<Arc<Entity>>,
    /// For each of those things, why it is out of bounds.
    pub(super) outside: Vec<Option<String>>,
}

/// The types of a schema that have no attributes and no tags, and stand in nothing. All others are asked for.
pub(super) fn names_only<'a>(fragments: impl Iterator<Item = &'a SchemaFragment>) -> HashSet<Box<str>> {
    let mut names = HashSet::new();
    for fragment in fragments {
        let Ok(serde_json::Value::Object(namespaces)) = fragment.clone().to_json_value() else { continue };
        for (namespace, content) in &namespaces {
            let types = content.get("entityTypes").and_then(|types| types.as_object());
            for (name, _) in types.into_iter().flatten().filter(|(_, kind)| !has_more(kind)) {
                let name = if namespace.is_empty() { name.clone() } else { format!("{namespace}::{name}") };
                names.insert(name.into());
            }
        }
    }
    names
}

fn has_more(kind: &serde_json::Value) -> bool {
    let is_empty = |value: &serde_json::Value| match value {
        serde_json::Value::Array(items) => items.is_empty(),
        serde_json::Value::Object(fields) => fields.is_empty(),
        other => other.is_null(),
    };
    let has_attributes = kind.get("shape").is_some_and(|shape| {
        let plain = shape.get("type").is_some_and(|kind| kind == "Record");
        !plain || shape.get("attributes").is_some_and(|attributes| !is_empty(attributes))
    });
    has_attributes
        || ["memberOfTypes", "tags"].iter().any(|field| kind.get(field).is_some_and(|value| !is_empty(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_with_nothing_but_a_name_are_not_asked_for() {
        let text = r#"
            entity Plain;
            entity Alike = {};
            entity Inside in [Plain];
            entity Told = { name?: String };
            entity Tagged tags String;
            entity Colour enum ["red"];
            namespace Deep { entity Plain; entity Inside in [Plain]; }
        "#;
        let (fragment, _) = SchemaFragment::from_cedarschema_str(text).expect("a schema");
        let mut names: Vec<_> = names_only([&fragment].into_iter()).into_iter().collect();
        names.sort_unstable();
        assert_eq!(names, ["Alike", "Colour", "Deep::Plain", "Plain"].map(Box::from));
    }
}
